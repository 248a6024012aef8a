"""Peak memory of a streaming run against the number of records.

    python -m tests.benchmarks.memory [records ...]        # default 1,000 and 100,000

Prepares synthetic clips of 0.1 s (about 4 KB a record), trains 40 steps from the stream in a process of its own
and prints that process's largest resident size; `times` is the first by it. Goal: less than 10 % more from 1,000 to 100,000 records.
"""

import os
import resource
import subprocess
import sys
import tempfile

from tests import job, prepared
from tests.benchmarks import rows

VALIDATION = (12, 6)


def child(folder: str, directory: str) -> None:
    """Trains and prints the peak in MiB."""
    from dfjax.runtime import process

    process.use_all_cores()
    words = {"data.feed": "streaming", "data.seconds": 0.1, "train.steps": 40, "train.eval_every": 40}
    job.job(folder, directory, **words)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Prints one line per size."""
    if len(sys.argv) > 1 and sys.argv[1] == "child":
        child(*sys.argv[2:])
        return
    first = None
    for count in [int(word) for word in sys.argv[1:]] or [1_000, 100_000]:
        with tempfile.TemporaryDirectory() as folder:
            counts = {"train": (count * 9 // 10, count // 10), "validation": VALIDATION, "test": VALIDATION}
            directory = prepared.make(folder, counts=counts, seconds=0.1)
            words = [sys.executable, "-m", "tests.benchmarks.memory", "child", f"{folder}/w", str(directory)]
            out = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ).stdout
        peak = float(out.split()[-1])
        first = first or peak
        rows.show(f"{count:,} records", peak, "MiB", first / peak)


if __name__ == "__main__":
    main()
