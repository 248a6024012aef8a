"""The resident feed: a whole split in memory in its compact form, int16 samples or uint8 pixels.

Audio becomes {'audio': int16 (rows, buffer), 'length': int32 (rows,)}, images {'image': uint8 (rows, size, size, 3)},
audio-visual records {'image', 'audio': int16 (rows, SAMPLE_RATE)}: their sound has one length.
"""

import numpy as np

from dfjax.data.sources import READ_AHEAD, Split
from dfjax.media.decoding import compact
from dfjax.records import MAX_SAMPLES, SAMPLE_RATE, InputError


def load(split: Split, modality: str, *, size: int | None = None) -> dict[str, np.ndarray]:
    """Reads every record of a split into host arrays, in record order.

    Args:
      split: an opened split.
      modality: 'audio', 'image' or 'av'.
      size: side of the square that images are resized to, in pixels; None for audio.

    Returns:
      Name -> array, as at the head of this file.

    Raises:
      InputError: a record is damaged or too long, or its picture cannot be decoded.
    """
    if modality == "audio":
        return _load_audio(split)
    arrays = {"image": np.empty((len(split), size, size, 3), np.uint8)}
    if modality == "av":
        arrays["audio"] = np.empty((len(split), SAMPLE_RATE), np.int16)
    for row, record in _records(split):
        for name, value in compact(record, modality, size).items():
            arrays[name][row] = value
    return arrays


def _load_audio(split: Split) -> dict[str, np.ndarray]:
    clips = [record["audio"] for _, record in _records(split)]
    length = np.array([len(clip) for clip in clips], np.int32)
    buffer = int(length.max(initial=1))
    if buffer > MAX_SAMPLES:
        raise InputError(f"a record of {split.dataset} has {buffer} samples; expected at most {MAX_SAMPLES}")
    audio = np.zeros((len(clips), buffer), np.int16)
    for row, clip in enumerate(clips):
        audio[row, : len(clip)] = clip
    return {"audio": audio, "length": length}


def _records(split: Split):
    """(row, record) over the split, read in blocks."""
    for start in range(0, len(split), READ_AHEAD):
        rows = range(start, min(start + READ_AHEAD, len(split)))
        yield from zip(rows, split.records.__getitems__(list(rows)), strict=True)
