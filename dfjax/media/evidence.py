"""What a detector is shown of one file: its windows or faces, when each is, and the properties of some of them.

It is the same for a file judged alone, in the process of the detector, and for one of many, in a worker process; so
nothing here imports JAX.
"""

import dataclasses
import os
import stat
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Int16

from dfjax.media import MediaError, audio, decoding, facts, images, properties
from dfjax.records import SAMPLE_RATE, InputError

SECONDS = 60.0  # a file may take this long to decode ...
BYTES_PER_SECOND = 1e6  # ... and its size over this on top
BUCKETS = ("gs", "s3", "az")  # the kinds that epath reads


@dataclasses.dataclass(frozen=True)
class Evidence:
    """One file as a detector takes it."""

    examples: list[dict[str, np.ndarray]]  # 'audio' as long as its window is, 'image' (size, size, 3), or both
    parts: list[dict[str, Any]]  # of each: `start` and `end`, or `frame` and `seconds`; seconds from the beginning
    properties: list[dict[str, float]]  # of those that `properties.looks` names; of none where nobody asks
    # of the whole: `seconds` and, of a lossy file, `coding`; or `frames_without_face`; and `notes`, if there are any:
    # lines on what of the file was not judged
    facts: dict[str, Any]


def of_file(
    path: epath.PathLike,
    modality: str,
    options: dict[str, Any],
    *,
    size: int | None = None,
    overlap: float = 0.0,
    described: bool = False,
    longest: float = audio.MAX_SECONDS,
) -> Evidence:
    """Windows or faces of a file, decoded and cut out exactly as the training data were.

    Args:
      path: of the file.
      modality: as `decoding.decode_item` takes it.
      options: of the face crops.
      size: side in pixels of the pictures that the detector takes.
      overlap: share that the windows of a recording have in common, from 0 to below 1.
      described: whether properties are measured.
      longest: seconds of a recording; a longer one is refused.

    Raises:
      MediaError: the file is unusable; the message is the reason.
    """
    _check(path)
    if modality == "audio":
        samples, info = audio.decode(path, longest)
        seen = of_sound(samples, info.seconds, overlap=overlap, described=described)
        if coding := audio.coding(path, info):
            seen.facts["coding"] = coding
        return _noted(seen, facts.cut_short(path))
    found = decoding.decode_item(path, modality, options)
    records = found["records"]
    try:
        examples = [decoding.compact(record, "av" if modality == "av" else "image", size) for record in records]
    except InputError as error:  # of a record, which this is not
        raise MediaError("OpenCV cannot decode the picture") from error
    seen = Evidence(
        examples=examples,
        parts=[
            {"frame": int(record["frame"]), "seconds": round(float(record.get("seconds", 0.0)), 3)}
            for record in records
        ],
        properties=_described(records) if described else [],
        facts={"frames_without_face": found.get("faceless", 0)},
    )
    if "pictures" in found:
        return _noted(seen, _further(found["pictures"]))
    kind = None if any(record["frame"] for record in records) else images.still(path)
    return _noted(seen, f"named as a video, but a {kind} picture, which was judged" if kind else facts.cut_short(path))


def _noted(seen: Evidence, note: str | None) -> Evidence:
    return dataclasses.replace(seen, facts=seen.facts | {"notes": [note]}) if note else seen


def _further(held: int) -> str | None:
    """A note on the pictures of a file behind its first."""
    return f"only the first of {held:,} pictures in the file was judged" if held > 1 else None


def _check(path: epath.PathLike) -> None:
    """Raises MediaError where no decoder can read, or a pipe would be waited for; decoders say less or nothing then."""
    scheme, inside, _ = os.fspath(path).partition("://")
    if inside:
        if scheme not in BUCKETS:
            raise MediaError(
                f"{scheme}:// cannot be read; expected a file on a disk, or in a bucket: {', '.join(BUCKETS)}"
            )
        return
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise MediaError(f"unreadable: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(found.st_mode):
        raise MediaError("a folder; give its files, or permission to list them")
    if not stat.S_ISREG(found.st_mode):
        raise MediaError("a pipe or a device, which can be read once only; write it to a file first")
    if not found.st_size:
        raise MediaError("empty file")


def of_sound(
    samples: Int16[np.ndarray, " samples"], seconds: float, *, overlap: float = 0.0, described: bool = False
) -> Evidence:
    """Windows of a recording; without overlap they are those of the records that the threshold was chosen on.

    Args:
      samples: mono at 16 kHz.
      seconds: how long the recording is.
      overlap: share that its windows have in common.
      described: whether properties are measured.
    """
    windows = audio.windows(samples, overlap)
    return Evidence(
        examples=[{"audio": window} for _, window in windows],
        parts=[
            {"start": round(start / SAMPLE_RATE, 3), "end": round((start + len(window)) / SAMPLE_RATE, 3)}
            for start, window in windows
        ],
        properties=_described([{"audio": window} for _, window in windows]) if described else [],
        facts={"seconds": round(seconds, 3)},
    )


def safely(
    path: str,
    modality: str,
    options: dict[str, Any],
    size: int | None,
    overlap: float,
    described: bool,
    longest: float = audio.MAX_SECONDS,
) -> tuple[Evidence | None, str]:
    """(evidence, '') of `of_file`, which takes the same, or (None, reason): what a worker process calls."""

    def collect(path, modality, options):
        return of_file(path, modality, options, size=size, overlap=overlap, described=described, longest=longest)

    found, why = decoding.safely(path, modality, options, collect)
    return (None if why else found), why


def patience(path: str) -> float:
    """Seconds after which a file counts as one that hangs its decoder."""
    try:
        return SECONDS + os.stat(path).st_size / BYTES_PER_SECOND
    except (OSError, ValueError):
        return SECONDS


def _described(records: list[dict[str, Any]]) -> list[dict[str, float]]:
    return [properties.measure(records[k]) for k in properties.looks(len(records))]
