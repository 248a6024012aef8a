"""Examples per second that reach the step as batches: our feeds against a torch DataLoader on the same clips and pictures.

    python -m tests.benchmarks.loader [clips] [pictures]     # default 2,000 of each; torch needs pip install 'dfjax[parity]'

Drawn 1:1 where one tenth are fakes, in batches of 32. Clips of about 2 s: torch reads WAV files with soundfile in two workers,
cuts 2 s at random and draws with a WeightedRandomSampler; streaming reads records and hands over what the step cuts;
resident draws and cuts on the device, in one compiled call. Pictures are JPEGs of 256 pixels brought to 224: torch reads files
and decodes with Pillow, as is usual, or as we do, with OpenCV. Nothing is trained. Rows take turns, medians of 5 passes after
one that is not counted; `times` is by the fastest of torch's.
"""

import io
import pathlib
import statistics
import sys
import tempfile
import time

import jax
import numpy as np
import soundfile
from PIL import Image

from dfjax.data import audio, feeds, sampling, sources
from dfjax.media import images
from dfjax.records import Input
from dfjax.runtime import devices, process
from tests import prepared
from tests.benchmarks import rows

RATE, SECONDS, BATCH, PASSES = 16_000, 2.0, 32, 5
STORED, SIDE = 256, 224  # pixels, of the JPEGs and of what the step is given


def read_wav(path: pathlib.Path) -> np.ndarray:
    """2 s of a file, cut at random."""
    x, _ = soundfile.read(path, dtype="float32")
    wanted = int(RATE * SECONDS)
    x = np.resize(x, max(wanted, len(x)))
    start = np.random.randint(len(x) - wanted + 1)
    return x[start : start + wanted]


def read_pillow(path: pathlib.Path) -> np.ndarray:
    """RGB pixels of a file."""
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        return np.array(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def read_opencv(path: pathlib.Path) -> np.ndarray:
    """RGB pixels of a file."""
    return images.fitted(path.read_bytes(), SIDE)


class Files:
    """A torch dataset of (example, label)."""

    def __init__(self, folder: pathlib.Path, labels: np.ndarray, read):
        self.folder, self.labels, self.read = folder, labels, read

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.read(self.folder / str(i)), np.float32(self.labels[i])


def write_files(split: sources.Split, folder: pathlib.Path) -> None:
    """Each record as a WAV file or a JPEG."""
    folder.mkdir()
    for i in range(len(split)):
        record = split.records[i]
        if "image" in record:
            (folder / str(i)).write_bytes(record["image"])
        else:
            soundfile.write(folder / str(i), record["audio"], RATE, format="WAV")


def torch_pass(split: sources.Split, folder: pathlib.Path, read):
    """A call that draws one pass from files; None without torch."""
    try:
        import torch
        from torch.utils.data import DataLoader, WeightedRandomSampler
    except ImportError:
        return None
    weights = (1 / np.bincount(split.label))[split.label]
    sampler = WeightedRandomSampler(torch.from_numpy(weights), len(split))
    words = {"num_workers": 2, "persistent_workers": True, "drop_last": True}
    loader = DataLoader(Files(folder, split.label, read), BATCH, sampler=sampler, **words)
    run = lambda: sum(len(y) for _, y in loader)
    run()  # its workers are forked before jax has threads
    return run


def our_pass(kind: str, split: sources.Split, modality: str):
    """A call that draws one pass with the feed `kind`."""
    mesh = devices.make_mesh(BATCH)
    strata = sampling.strata(split.label, {0: 0.5, 1: 0.5})
    takes = Input(modality, SIDE if modality == "image" else None, None)
    feed = feeds.make(kind, split, strata, BATCH, model=takes, mesh=mesh, seed=0, first=0)

    @jax.jit
    def cut(key, data):
        key_draw, key_cut = jax.random.split(key)
        found = feed.examples(key_draw, data)
        if modality == "image":
            return found["image"], found["label"]
        return audio.random_cut(key_cut, found["audio"], found["length"], int(RATE * SECONDS)), found["label"]

    step = 0

    def one_pass():
        nonlocal step
        for _ in range(len(split) // BATCH):
            batch = cut(jax.random.key(step), feed.take(step))
            step += 1
        jax.block_until_ready(batch)

    return one_pass


def race(calls: dict, drawn: int) -> dict[str, float]:
    """Examples per second of each call that is not None; they take turns."""
    times = {name: [] for name, run in calls.items() if run}
    for _ in range(PASSES + 1):
        for name in times:
            start = time.perf_counter()
            calls[name]()
            times[name].append(time.perf_counter() - start)
    return {name: drawn / statistics.median(seconds[1:]) for name, seconds in times.items()}


def main() -> None:
    """Prints one line per row."""
    counts = [int(word) for word in sys.argv[1:]] + [2_000, 2_000][len(sys.argv) - 1 :]
    with tempfile.TemporaryDirectory() as name:
        folder, calls = pathlib.Path(name), {}
        for modality, count in zip(("audio", "image"), counts, strict=True):
            counted = {"train": (count * 9 // 10, count // 10)}
            where = prepared.make(
                folder / f"of {modality}", counts=counted, modality=modality, seconds=SECONDS, jpeg=STORED
            )
            split, files = sources.open_split(where, "train"), folder / modality
            write_files(split, files)
            peers = {"": read_wav} if modality == "audio" else {", Pillow": read_pillow, ", OpenCV": read_opencv}
            peers = {f"torch, 2 workers{name}": torch_pass(split, files, read) for name, read in peers.items()}
            calls[modality] = split, peers
        for modality, (split, peers) in calls.items():
            ours = {f"dfjax, {kind}": our_pass(kind, split, modality) for kind in ("streaming", "resident")}
            unit = "clips/s" if modality == "audio" else "pictures/s"
            rates = race(peers | ours, len(split) // BATCH * BATCH)
            fastest = max((rates[name] for name in peers if name in rates), default=None)
            for name, rate in rates.items():
                rows.show(name, rate, unit, rate / fastest if fastest else None)


if __name__ == "__main__":
    process.use_all_cores()
    main()
