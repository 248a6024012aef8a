"""kill -9 at random moments of a run, until it is through: nothing lost, the same bits at the end.

    python -m tests.benchmarks.kills [--count 100] [--feed resident|streaming]

Trains and scores a small prepared dataset once without interruption, then again and again with every process
killed after a random time between its start and the length of the shortest whole run so far. A run that gets through is compared
with the undisturbed one, score files and log byte for byte, and a new one begins, until `--count` processes were killed.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from tests import job, prepared


def main() -> None:
    """Prints a line per run that got through and a summary; exit code 1 if any differed or broke."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="processes to kill")
    parser.add_argument("--feed", default="streaming", choices=("resident", "streaming"))
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        directory = prepared.make(folder / "data")

        def start(workdir):
            words = [sys.executable, "-m", "tests.job", str(workdir), str(directory), f"data.feed={args.feed}"]
            environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
            return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        began = time.perf_counter()
        if start(folder / "whole").wait():
            sys.exit("the undisturbed run failed")
        usual = time.perf_counter() - began
        expected = job.results(folder / "whole")
        killed, finished, broken, differing = 0, 0, 0, 0
        while killed < args.count:
            workdir, before = folder / f"run{finished}", killed
            while True:
                process, began = start(workdir), time.perf_counter()
                try:
                    process.wait(rng.uniform(0, usual) if killed < args.count else None)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    killed += 1
                    continue
                message = process.communicate()[1].decode()
                usual = min(usual, time.perf_counter() - began) if killed == before else usual
                break
            finished += 1
            same = process.returncode == 0 and job.results(workdir) == expected
            broken += process.returncode != 0
            differing += process.returncode == 0 and not same
            print(f"run {finished}: {killed - before} kills, {'the same bits' if same else 'NOT THE SAME'}", flush=True)
            if process.returncode:
                print(message)
        print(f"{killed} kills, {finished} runs finished, {broken} broken, {differing} differing ({args.feed} feed)")
        sys.exit(bool(broken or differing))


if __name__ == "__main__":
    main()
