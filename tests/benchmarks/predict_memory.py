"""Memory of judging ever more files: python -m tests.benchmarks.predict_memory [--files 100000] [--seconds 560]

Each file is one of its own, 0.3 s of noise. `predict --output` judges them in a process of its own; what it holds is
read when so many rows are written. It is stopped after so many seconds. Expected: the same from 1,000 files on.
"""

import argparse
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import soundfile

from tests.benchmarks import rows
from tests.benchmarks.service import memory

WHEN = (1_000, 3_000, 10_000, 30_000, 60_000, 100_000)  # files


def written(path: pathlib.Path, known: int, lines: int) -> tuple[int, int]:
    """Bytes and lines of a table by now, from what was known of it."""
    if not path.exists():
        return known, lines
    with path.open("rb") as file:
        file.seek(known)
        new = file.read()
    return known + len(new), lines + new.count(b"\n")


def main() -> None:
    """Prints MiB of the command, and of it with its decoders, by files judged."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=560, help="after which it is stopped")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, rng = pathlib.Path(name), np.random.default_rng(0)
        for k in range(args.files):
            (folder / "clips" / f"{k // 1000:03}").mkdir(parents=True, exist_ok=True)
            path = folder / "clips" / f"{k // 1000:03}" / f"{k:06}.wav"
            soundfile.write(path, rng.integers(-3_000, 3_000, 4_800, dtype=np.int16), 16_000)
        table, size, lines, shown = folder / "verdicts.jsonl", 0, 0, 0
        words = [sys.executable, "-m", "dfjax.predict", "--output", str(table), str(folder / "clips")]
        began = time.monotonic()
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
            while command.poll() is None and time.monotonic() < began + args.seconds:
                time.sleep(0.05)
                size, lines = written(table, size, lines)
                if shown < len(WHEN) and lines >= WHEN[shown]:
                    own, together = memory(command.pid)
                    seconds = time.monotonic() - began
                    print(
                        f"{lines:7,} files after {seconds:.0f} s: {own:.0f} MiB, decoders too {together:.0f}",
                        flush=True,
                    )
                    rows.show(f"{WHEN[shown]} files", own, "MiB")
                    shown += 1
            if command.poll() is None:
                command.send_signal(signal.SIGINT)
        size, lines = written(table, size, lines)
        print(f"{lines:,} rows in the table, exit status {command.returncode}")


if __name__ == "__main__":
    main()
