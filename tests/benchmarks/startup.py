"""From the start of the process to the first finished training step, and where the time goes.

    python -m tests.benchmarks.startup [runs]

Runs experiments/audio_texture.py on prepared synthetic clips for one step. Goal: under 4 s on two idle cores.
Prints the medians of wall seconds, of CPU seconds with what the process takes to end, and the modules that took longest
to import.
"""

import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from tests import prepared
from tests.benchmarks import rows

COUNTS = {"train": (270, 30), "validation": (27, 3), "test": (27, 3)}
CHILD = """
import gc, sys, time
gc.disable()  # as dfjax.run.command.main
from dfjax.run import main_job
from dfjax.inference import validation
from dfjax.runtime import process
from dfjax.training import train
from etils import epath
from experiments import audio_texture
gc.freeze(); gc.enable()
process.use_all_cores()
config = audio_texture.get_config("made")
config.data.dataset = "demo_speech"; main_job.check(config)
config.train.update({"steps": 1, "eval_every": 10**6}); config.optim.warmup_steps = 0
class Done(Exception): pass
def evaluated(*args, **words): raise Done
validation.scorers.score_split = evaluated
try:
    train.train(config, epath.Path(sys.argv[1]), sys.argv[2], progress=False)
except Done:
    print(time.time())
"""


def main() -> None:
    """Prints a row, then the slowest imports."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        directory = prepared.make(folder, counts=COUNTS, seconds=2.0)
        walls, cpus = [], []
        for i in range(runs):
            began, used = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
            words = [sys.executable, "-c", CHILD, f"{folder}/{i}", str(directory)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            walls.append(float(done.stdout.split()[-1]) - began)
            cpus.append(after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime)
    rows.show("to the first step", statistics.median(walls), "s", cpu_seconds=statistics.median(cpus), runs=runs)
    words = [sys.executable, "-X", "importtime", "-c", "import dfjax.run.main_job"]
    lines = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ).stderr.splitlines()
    found = [re.match(r"import time:\s+(\d+) \|\s+(\d+) \|(\s+)(\S+)", line) for line in lines]
    times = sorted(((int(m[2]) / 1e6, m[4]) for m in found if m and len(m[3]) <= 7), reverse=True)
    print("slowest imports:", ", ".join(f"{name} {seconds:.2f} s" for seconds, name in times[:8]))


if __name__ == "__main__":
    main()
