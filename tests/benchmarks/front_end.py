"""Log-mel spectrograms per second: ours, compiled, against librosa clip by clip and in one batch.

    python -m tests.benchmarks.front_end [clips]

Clips of 64,600 samples, 512 points, window 400, hop 160, 80 bands, float32; all rows in one process, alternating,
medians of 5. `differs_by` is the largest difference in the logarithm. One virtual CPU device per core.
"""

import os
import statistics
import sys
import time

import jax

jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)

import librosa
import numpy as np

from dfjax.features import spectrum
from dfjax.records import MAX_SAMPLES
from dfjax.runtime import devices
from tests.benchmarks import rows

REPEATS = 5
MEL = {"sr": 16_000, "n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 80}


def by_librosa(x: np.ndarray) -> np.ndarray:
    """Log-mel of one clip or a batch, (..., frames, bands)."""
    return np.swapaxes(np.log(np.maximum(librosa.feature.melspectrogram(y=x, **MEL), 1e-10)), -1, -2)


def main() -> None:
    """Prints the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    x = (0.1 * np.random.default_rng(0).standard_normal((count, MAX_SAMPLES))).astype(np.float32)
    one, all_ = (devices.make_mesh(n) for n in (1, count))
    placed = {
        mesh.size: (devices.each_alone(spectrum.log_mel, mesh), jax.device_put(x, devices.split_batch(mesh)))
        for mesh in (one, all_)
    }
    calls = {
        "librosa, clip by clip": lambda: np.stack([by_librosa(clip) for clip in x]),
        "librosa, one batch": lambda: by_librosa(x),
        **{
            f"dfjax, {size} device{'s' * (size > 1)}": lambda run=run, a=array: jax.block_until_ready(run(a))
            for size, (run, array) in placed.items()
        },
    }
    results = {name: work() for name, work in calls.items()}
    times = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, work in calls.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    reference = statistics.median(times["librosa, clip by clip"])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        error = np.abs(np.asarray(results[name]) - results["librosa, clip by clip"]).max()
        rows.show(name, count / median, "clips/s", reference / median, differs_by=float(error))


if __name__ == "__main__":
    main()
