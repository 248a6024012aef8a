"""Log-mel spectrograms per second: ours, compiled, against librosa clip by clip and in one batch.

    python -m tests.benchmarks.front_end [clips]

Clips of 64,600 samples, 512 points, window 400, hop 160, 80 bands, float32; all rows in one process, alternating,
medians of 5. Also prints the largest difference in the logarithm. One virtual CPU device per core.
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
    compiled = jax.jit(spectrum.log_mel)
    placed = {mesh.size: jax.device_put(x, devices.split_batch(mesh)) for mesh in (one, all_)}
    rows = {
        "librosa, clip by clip": lambda: np.stack([by_librosa(clip) for clip in x]),
        "librosa, one batch": lambda: by_librosa(x),
        **{
            f"dfjax, {size} device{'s' * (size > 1)}": lambda a=array: jax.block_until_ready(compiled(a))
            for size, array in placed.items()
        },
    }
    results = {name: work() for name, work in rows.items()}
    times = {name: [] for name in rows}
    for _ in range(REPEATS):
        for name, work in rows.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    reference = statistics.median(times["librosa, clip by clip"])
    print(f"{count} clips of {MAX_SAMPLES} samples, {os.cpu_count()} cores")
    for name, seconds in times.items():
        median = statistics.median(seconds)
        error = np.abs(np.asarray(results[name]) - results["librosa, clip by clip"]).max()
        print(f"{name:24s} {count / median:8.0f} clips/s {reference / median:6.2f} x   differs by {error:.1e}")


if __name__ == "__main__":
    main()
