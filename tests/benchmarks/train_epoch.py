"""Epochs of the usual notebook recipe for audio against ours, same clips, same network, same machine, same run.

    python -m tests.benchmarks.train_epoch [clips]        # its peer needs torch: pip install 'dfjax[parity]'

The recipe: librosa.load and melspectrogram for every clip in a torch DataLoader with two workers and a
WeightedRandomSampler, focal loss, Adam, a convolutional network of about 98 thousand parameters. Rows:

  torch, librosa per clip   the recipe
  torch, cached features    the same, log-mel of all clips computed beforehand (no random cuts any more)
  torch, cached, compiled   the same under torch.compile and channels_last, where a C++ compiler is at hand
  dfjax, same network       waveforms resident, drawn, cut, transformed and trained on in one compiled step
  dfjax, texture            the same with the detector of experiments/audio_texture.py

Goals on two idle cores: the recipe beaten 1.5 times by 'dfjax, same network'; the epochs
of `texture` not slower than the cached rows. Prints seconds per epoch after a first one that is not counted,
and the ratio to the recipe.
"""

import os
import pathlib
import statistics
import sys
import tempfile
import time

import jax

jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)

import librosa
import numpy as np
import optax
import soundfile
from flax import nnx

from dfjax import models
from dfjax.data import audio, sampling
from dfjax.features import spectrum
from dfjax.models import heads, pooling
from dfjax.runtime import devices
from dfjax.training import losses, train_step
from tests.benchmarks import rows

RATE, SECONDS, BATCH, EPOCHS = 16_000, 2.0, 32, 3
WIDTHS = (32, 64, 128)
MEL = {"sr": RATE, "n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 80}


def write_clips(folder: pathlib.Path, count: int) -> np.ndarray:
    """One tenth fakes, as WAV files; returns the labels."""
    rng = np.random.default_rng(0)
    labels = (np.arange(count) % 10 == 9).astype(np.int32)
    t = np.arange(int(RATE * SECONDS)) / RATE
    for i, label in enumerate(labels):
        x = 0.2 * np.sin(2 * np.pi * rng.uniform(80, 300) * t) + 0.02 * rng.standard_normal(len(t))
        soundfile.write(folder / f"{i}.wav", x + 0.05 * label * np.sign(np.sin(2000 * np.pi * t)), RATE)
    return labels


def epochs(run_epoch) -> float:
    """Median seconds of an epoch; the first is not counted."""
    run_epoch()
    times = []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        run_epoch()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


# ---------------------------------------------------------------------- torch


def log_mel(path) -> np.ndarray:
    """What the notebook does for every clip."""
    x, _ = librosa.load(path, sr=RATE)
    return np.log(np.maximum(librosa.feature.melspectrogram(y=x, **MEL), 1e-10))[None].astype(np.float32)


class Files:
    """A torch dataset of (features, label)."""

    def __init__(self, folder, labels):
        self.folder, self.labels = folder, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return log_mel(self.folder / f"{i}.wav"), np.float32(self.labels[i])


def torch_rows(folder: pathlib.Path, labels: np.ndarray) -> dict[str, float]:
    """Seconds per epoch of the three torch rows; none without torch."""
    try:
        import torch
        from torch import nn
        from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler
    except ImportError:
        return {}

    def network():
        layers, before = [nn.BatchNorm2d(1)], 1
        for width in WIDTHS:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
            before = width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 32), nn.ReLU(), nn.Dropout(0.3)]
        return nn.Sequential(*layers, nn.Linear(32, 1))

    def focal(logits, y):
        p = torch.sigmoid(logits)
        q = torch.where(y == 1, p, 1 - p)
        return ((1 - q) ** 2 * nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="none")).mean()

    weights = (1 / np.bincount(labels))[labels]
    sampler = WeightedRandomSampler(torch.from_numpy(weights), len(labels))

    def fit(loader, compiled=False):
        model = network()
        model.train()
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        run = torch.compile(model.to(memory_format=torch.channels_last)) if compiled else model

        def epoch():
            for x, y in loader:
                x = x.to(memory_format=torch.channels_last) if compiled else x
                loss = focal(run(x)[:, 0], y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        return epochs(epoch)

    files = DataLoader(Files(folder, labels), BATCH, sampler=sampler, num_workers=2, drop_last=True)
    found = {"torch, librosa per clip": fit(files)}
    stored = np.stack([log_mel(folder / f"{i}.wav") for i in range(len(labels))])
    cached = TensorDataset(torch.from_numpy(stored), torch.from_numpy(labels.astype(np.float32)))
    loader = DataLoader(cached, BATCH, sampler=sampler, drop_last=True)
    found["torch, cached features"] = fit(loader)
    try:
        found["torch, cached, compiled"] = fit(loader, compiled=True)
    except Exception as error:  # no compiler on this machine
        print(f"torch.compile: {str(error).splitlines()[0][:100]}")
    print(f"network: {sum(p.numel() for p in network().parameters()):,} parameters in torch")
    return found


# ---------------------------------------------------------------------- dfjax


class SameNetwork(nnx.Module):
    """The torch network, log-mel inside."""

    def __init__(self, *, rngs: nnx.Rngs):
        widths = (1, *WIDTHS)
        self.first = nnx.BatchNorm(1, rngs=rngs)
        pairs = list(zip(widths[:-1], WIDTHS, strict=True))
        self.convs = nnx.List([nnx.Conv(a, b, (3, 3), rngs=rngs) for a, b in pairs])
        self.norms = nnx.List([nnx.BatchNorm(b, rngs=rngs) for b in WIDTHS])
        self.hidden = nnx.Linear(WIDTHS[-1], 32, rngs=rngs)
        self.dropout = nnx.Dropout(0.3)
        self.head = heads.Linear(32, rngs=rngs)

    def __call__(self, x, *, rngs=None):
        h = self.first(spectrum.log_mel(x)[..., None])
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = pooling.max_pool(jax.nn.relu(norm(conv(h))), 2, 2)
        return self.head(self.dropout(jax.nn.relu(self.hidden(h.mean(axis=(1, 2)))), rngs=rngs))


def our_epochs(build, clips: np.ndarray, labels: np.ndarray) -> float:
    """Seconds per epoch: as many steps as the clips fill batches."""
    mesh = devices.make_mesh(BATCH)
    everywhere = devices.replicated(mesh)
    tx, root = optax.adam(1e-3), jax.random.key(0)
    graphdef, state = train_step.create(build, tx, root, ema=False, sharding=everywhere)
    length = np.full(len(clips), clips.shape[1], np.int32)
    strata = sampling.strata(labels, {0: 0.5, 1: 0.5})
    data = jax.device_put({"audio": clips, "length": length, "label": labels, "strata": strata}, everywhere)

    @devices.shared_by(mesh)
    def one_step(state, data, key):
        keys = jax.random.split(key, 3)
        rows = jax.lax.with_sharding_constraint(
            sampling.draw(keys[0], data["strata"], BATCH), devices.split_batch(mesh)
        )
        x = audio.random_cut(keys[1], data["audio"][rows], data["length"][rows], int(RATE * SECONDS))
        loss = lambda logits, y, step: losses.focal(logits, y, gamma=2.0)
        return train_step.update(state, x, data["label"][rows], keys[2], graphdef=graphdef, tx=tx, loss=loss)

    run = train_step.compile_steps(one_step, 1, everywhere)

    def epoch():
        nonlocal state
        for _ in range(len(clips) // BATCH):
            state, _ = run(state, data, root)
        jax.block_until_ready(state)

    return epochs(epoch)


def main() -> None:
    """Prints the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        labels = write_clips(folder, count)
        found = torch_rows(folder, labels)
        clips = np.stack([soundfile.read(folder / f"{i}.wav", dtype="int16")[0] for i in range(count)])
    found["dfjax, same network"] = our_epochs(lambda rngs: SameNetwork(rngs=rngs), clips, labels)
    found["dfjax, texture"] = our_epochs(lambda rngs: models.build("texture", rngs=rngs), clips, labels)
    peer = found.get("torch, librosa per clip")
    for name, seconds in found.items():
        rows.show(name, seconds, "s per epoch", peer and peer / seconds, clips=count)


if __name__ == "__main__":
    main()
