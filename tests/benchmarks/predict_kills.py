"""kill -9 at random moments of dfjax.predict --output, until it is through: nothing lost, nothing judged twice.

    python -m tests.benchmarks.predict_kills [--count 20] [--kind .jsonl]

Recordings of half a second to nine seconds and files that are none are judged once without interruption, then again
with every process killed a random moment after the table has got a random number of new rows, none among them. Each
table must be the undisturbed one but for the order of its rows.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from tests.data_builders import fixtures

FILES = 300


def rows(path: pathlib.Path) -> list[str]:
    """The rows of a table as text, sorted."""
    return sorted(path.read_text().splitlines())


def main() -> None:
    """Prints a line per run that got through; exit code 1 if any table differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20, help="processes to kill")
    parser.add_argument("--kind", default=".jsonl", choices=(".jsonl", ".csv"))
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    draw = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for k in range(FILES):
            path = folder / "media" / f"{k:03}.wav"
            if k % 25:
                fixtures.audio(path, draw.choice((0.5, 0.9, 0.8, 9.0)), seed=k)
            else:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(b"no sound")

        def start(table: str) -> subprocess.Popen:
            words = [sys.executable, "-m", "dfjax.predict", "--output", str(folder / table), str(folder / "media")]
            environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
            return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        began = time.perf_counter()
        start(f"whole{args.kind}").communicate()
        usual = time.perf_counter() - began
        expected = rows(folder / f"whole{args.kind}")
        assert sum(f"{k:03}.wav" in line for k in range(FILES) for line in expected) == FILES
        print(f"undisturbed: {usual:.0f} s, {len(expected)} rows", flush=True)
        killed, finished, differing = 0, 0, 0
        while killed < args.count:
            table, before, seen = f"run{finished}{args.kind}", killed, []
            while True:
                path, process = folder / table, start(table)
                wanted = draw.randrange(FILES // 4) + (seen[-1] if seen else 0)
                while killed < args.count and process.poll() is None:
                    if path.exists() and path.read_bytes().count(b"\n") >= wanted:
                        time.sleep(draw.uniform(0, 0.2))
                        process.kill()
                    time.sleep(0.002)
                process.communicate()
                if process.returncode != -signal.SIGKILL:
                    break
                killed += 1
                seen.append(path.read_bytes().count(b"\n"))
            finished += 1
            same = rows(folder / table) == expected
            differing += not same
            told = "the same rows" if same else "NOT THE SAME"
            print(f"run {finished}: {killed - before} kills, rows after each {seen}: {told}", flush=True)
        print(json.dumps({"kills": killed, "runs": finished, "differing": differing}))
        sys.exit(bool(differing))


if __name__ == "__main__":
    main()
