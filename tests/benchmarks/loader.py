"""Clips per second that reach the step as batches: both feeds against a torch DataLoader on the same clips.

    python -m tests.benchmarks.loader [clips]        # default 2,000; torch's row needs pip install 'dfjax[parity]'

Clips of about 2 s, one tenth fakes, drawn 1:1, batches of 32. Torch reads WAV files with soundfile in two workers, cuts
2 s at random and draws with a WeightedRandomSampler; streaming reads records and hands over what the step cuts; resident
draws and cuts on the device, in one compiled call. Nothing is trained. Rows take turns, medians of 5 passes after one that is
not counted.
"""

import json
import pathlib
import statistics
import sys
import tempfile
import time

import jax
import numpy as np
import soundfile

from dfjax import models
from dfjax.data import audio, feeds, sampling, sources
from dfjax.runtime import devices, process
from tests import prepared

RATE, SECONDS, BATCH, PASSES = 16_000, 2.0, 32, 5


class Files:
    """A torch dataset of (2 s cut at random, label)."""

    def __init__(self, folder: pathlib.Path, labels: np.ndarray):
        self.folder, self.labels = folder, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        x, _ = soundfile.read(self.folder / f"{i}.wav", dtype="float32")
        wanted = int(RATE * SECONDS)
        x = np.resize(x, max(wanted, len(x)))
        start = np.random.randint(len(x) - wanted + 1)
        return x[start : start + wanted], np.float32(self.labels[i])


def torch_pass(split: sources.Split, folder: pathlib.Path):
    """A call that draws one pass from WAV files; None without torch."""
    try:
        import torch
        from torch.utils.data import DataLoader, WeightedRandomSampler
    except ImportError:
        return None
    for i in range(len(split)):
        soundfile.write(folder / f"{i}.wav", split.records[i]["audio"], RATE)
    weights = (1 / np.bincount(split.label))[split.label]
    sampler = WeightedRandomSampler(torch.from_numpy(weights), len(split))
    words = {"num_workers": 2, "persistent_workers": True, "drop_last": True}
    loader = DataLoader(Files(folder, split.label), BATCH, sampler=sampler, **words)
    run = lambda: sum(len(y) for _, y in loader)
    run()  # its workers are forked before jax has threads
    return run


def our_pass(kind: str, split: sources.Split):
    """A call that draws one pass with the feed `kind`."""
    mesh = devices.make_mesh(BATCH)
    strata = sampling.strata(split.label, {0: 0.5, 1: 0.5})
    takes = models.input_of("texture", {})
    feed = feeds.make(kind, split, strata, BATCH, model=takes, mesh=mesh, seed=0, first=0)

    @jax.jit
    def cut(key, data):
        key_draw, key_cut = jax.random.split(key)
        found = feed.examples(key_draw, data)
        return audio.random_cut(key_cut, found["audio"], found["length"], int(RATE * SECONDS)), found["label"]

    step = 0

    def one_pass():
        nonlocal step
        for _ in range(len(split) // BATCH):
            batch = cut(jax.random.key(step), feed.take(step))
            step += 1
        jax.block_until_ready(batch)

    return one_pass


def main() -> None:
    """Prints one line per row."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        counts = {"train": (count * 9 // 10, count // 10)}
        split = sources.open_split(prepared.make(folder, counts=counts, seconds=SECONDS), "train")
        rows = {"torch, 2 workers": torch_pass(split, folder)}
        rows |= {f"dfjax, {kind}": our_pass(kind, split) for kind in ("streaming", "resident")}
        rows = {name: run for name, run in rows.items() if run}
        times = {name: [] for name in rows}
        for _ in range(PASSES + 1):
            for name, run in rows.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    drawn = len(split) // BATCH * BATCH
    rates = {name: drawn / statistics.median(seconds[1:]) for name, seconds in times.items()}
    for name, rate in rates.items():
        ratio = {"times_torch": round(rate / rates["torch, 2 workers"], 2)} if "torch, 2 workers" in rates else {}
        print(json.dumps({"row": name, "clips_per_second": round(rate), **ratio}))


if __name__ == "__main__":
    process.use_all_cores()
    main()
