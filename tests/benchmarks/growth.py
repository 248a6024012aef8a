"""How cost grows as work grows: python -m tests.benchmarks.growth [--figure FILE.png] [--only NAME ...] [--small].

Time and memory by number of files (index, prepare, one epoch of a streaming training, predict), by scores (all monotone
criteria, bootstrap, size of the report's page) and by simulated devices (training with the same batch, and the part of
a state that the fullest device holds where it is spread). Each point is a process of its own, so that its peak resident
set is its own; peaks are of the process without its workers. Expected: time linear from thousands on; memory flat by
files in training and judging, growing by the records that TFDS's shuffler holds in preparing, linear by scores; a page
that stops growing; with simulated devices, which share the same cores, no gain in time and a state of one part each.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from tests.benchmarks import rows

RATE = 16_000
SECONDS = 0.3  # of a clip
BATCH = 32
Work = Callable[[], object]


# ---------------------------------------------------------------------- what is made beforehand


def names(folder: pathlib.Path, count: int) -> None:
    """A tree of WaveFake's layout: names alone."""
    from tests.benchmarks import indexing

    indexing.FILES = count
    indexing.wavefake(folder / "tree")


def media(folder: pathlib.Path, count: int) -> None:
    """Clips in `{split}/{class}/`, one tenth fake, every one with its own samples."""
    import soundfile

    time_, rng = np.arange(int(RATE * SECONDS)) / RATE, np.random.default_rng(0)
    for i in range(count):
        split, label = ("train", "train", "train", "val", "test")[i % 5], ("real", "fake")[i % 10 > 8]
        path = folder / "media" / split / label / f"{i:06d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        x = 0.2 * np.sin(2 * np.pi * rng.uniform(100, 300) * time_) + 0.02 * rng.standard_normal(len(time_))
        soundfile.write(path, x, RATE)


def records(folder: pathlib.Path, count: int) -> None:
    """A prepared dataset of so many training clips."""
    from tests import prepared

    counts = {"train": (count * 9 // 10, count // 10), "validation": (12, 6), "test": (12, 6)}
    prepared.make(folder / "data", counts=counts, seconds=SECONDS)


def nothing(folder: pathlib.Path, count: int) -> None:
    """For work that makes what it needs."""


# ---------------------------------------------------------------------- the work: imports, then a function


def index(folder: pathlib.Path, count: int) -> Work:
    import data_builders

    module = sys.modules[data_builders.load("wavefake").__module__]
    return lambda: module.index(folder / "tree")


def prepare(folder: pathlib.Path, count: int) -> Work:
    from dfjax import prepare

    return lambda: prepare.prepare("folder_audio", folder / "media", folder / "prepared", progress=False)


def train(folder: pathlib.Path, count: int) -> Work:
    from tests import job

    steps = max(count // BATCH, 1)
    words = {"data.feed": "streaming", "data.seconds": SECONDS, "train.batch": BATCH}
    words |= {"train.steps": steps, "train.eval_every": steps, "train.log_every": steps}
    directory = next((folder / "data").rglob("dataset_info.json")).parent
    return lambda: job.job(str(folder / "run"), str(directory), **words)


def predict(folder: pathlib.Path, count: int) -> Work:
    import dfjax
    from dfjax.runtime import workers

    paths = sorted(map(str, (folder / "media").rglob("*.wav")))
    judge = dfjax.load()
    return lambda: sum(1 for _ in judge.many(paths, jobs=workers.cores()))


def _scores(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    label = (rng.random(count) < 0.09).astype(np.int32)
    return label, (rng.normal(size=count) + 2 * label).astype(np.float32)


def criteria(folder: pathlib.Path, count: int) -> Work:
    from dfjax.decide import thresholds
    from tests.benchmarks.thresholds import CRITERIA

    label, score = _scores(count)
    return lambda: thresholds.search_all(score, label, CRITERIA)


def bootstrap(folder: pathlib.Path, count: int) -> Work:
    from dfjax.decide import optimism

    label, score = _scores(count)
    return lambda: optimism.bootstrap(score, label, "f1", n=1000)


def page(folder: pathlib.Path, count: int) -> Work:
    from tests.reporting import test_report_html

    def made():
        text, _ = test_report_html.make_page(count)
        return {"bytes": len(text.encode())}

    return made


def devices(folder: pathlib.Path, count: int) -> Work:
    from tests import job

    words = {"train.batch": 16, "train.steps": 40, "train.eval_every": 40, "train.log_every": 40}
    directory = next((folder / "data").rglob("dataset_info.json")).parent
    return lambda: job.job(str(folder / "run"), str(directory), **words)


def spread(folder: pathlib.Path, count: int) -> Work:
    import functools

    from dfjax.runtime import devices
    from tests import sharded

    def made():
        mesh = devices.make_mesh(sharded.BATCH)
        return {"bytes": sharded.bytes_each(sharded.start(functools.partial(devices.part_of, mesh))[1])}

    return made


SERIES = {  # name: what is made, the work, sizes, what a size counts
    "index": (names, index, (1_000, 10_000, 100_000), "files"),
    "prepare": (media, prepare, (300, 1_000, 3_000, 10_000), "files"),
    "train": (records, train, (300, 1_000, 3_000, 10_000), "files"),
    "predict": (media, predict, (300, 1_000, 3_000, 10_000), "files"),
    "criteria": (nothing, criteria, (10_000, 100_000, 1_000_000, 10_000_000), "scores"),
    "bootstrap": (nothing, bootstrap, (10_000, 100_000, 1_000_000), "scores"),
    "page": (nothing, page, (1_000, 10_000, 100_000, 1_000_000), "scores"),
    "devices": (lambda folder, count: records(folder, 300), devices, (1, 2, 4, 8), "devices"),
    "spread": (nothing, spread, (1, 2, 4, 8), "devices"),
}


def child(what: str, name: str, folder: pathlib.Path, count: int) -> None:
    """Makes what the work needs; or does it once and prints what it cost."""
    from dfjax.runtime import process

    if what == "make":
        SERIES[name][0](folder, count)
        return
    if SERIES[name][3] != "devices":
        process.use_all_cores()
    work = SERIES[name][1](folder, count)
    before, began, used = _peak(), time.perf_counter(), _processor()
    found = work()
    facts = {"seconds": time.perf_counter() - began, "cpu": _processor() - used, "peak": _peak(), "before": before}
    print(json.dumps(facts | (found if isinstance(found, dict) and "bytes" in found else {})))


def _peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure(name: str, count: int) -> dict:
    """What one size costs. What is made is made by a child, too: a process has at least the peak of its parent."""
    environment = os.environ | ({"JAX_NUM_CPU_DEVICES": str(count)} if SERIES[name][3] == "devices" else {})
    with tempfile.TemporaryDirectory() as folder:

        def run(what: str) -> str:
            words = [sys.executable, "-m", "tests.benchmarks.growth", what, name, folder, str(count)]
            return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout

        run("make")
        return json.loads(run("work").splitlines()[-1])


def draw(found: dict[str, dict[int, dict]], path: pathlib.Path) -> None:
    """Time above, memory below; a column for each thing that grows."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    units = ("files", "scores", "devices")
    figure, axes = plt.subplots(2, len(units), figsize=(11, 6), layout="constrained")
    for column, unit in zip(axes.T, units, strict=True):
        for name in (name for name in found if SERIES[name][3] == unit):
            sizes = list(found[name])
            costs = [found[name][size] for size in sizes]
            if "bytes" not in costs[0]:
                column[0].plot(sizes, [cost["seconds"] for cost in costs], "o-", label=name)
                column[1].plot(sizes, [cost["peak"] for cost in costs], "o-", label=name)
            else:
                column[1].plot(sizes, [cost["bytes"] / 2**20 for cost in costs], "s--", label=f"{name} (its size)")
        for axis, what in zip(column, ("seconds", "MiB at the most"), strict=True):
            axis.set(xlabel=unit, ylabel=what)
            axis.set_xscale("log", base=2 if unit == "devices" else 10)
            if (unit, what) in (("devices", "seconds"), ("files", "MiB at the most")):  # flat, to be seen as such
                axis.set_ylim(0, 1.4 * max((max(line.get_ydata()) for line in axis.lines), default=1))
            else:
                axis.set_yscale("log")
            axis.grid(alpha=0.3)
            if axis.lines:
                axis.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Prints two rows for each size, and draws them."""
    if len(sys.argv) > 1 and sys.argv[1] in ("make", "work"):
        child(*sys.argv[1:3], pathlib.Path(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", type=pathlib.Path, help="a file for the plots")
    parser.add_argument("--only", nargs="+", choices=SERIES, default=list(SERIES), help="these alone")
    parser.add_argument("--small", action="store_true", help="the two smallest sizes of each")
    args = parser.parse_args()
    found = {name: {} for name in args.only}
    for name, costs in found.items():
        _, _, sizes, unit = SERIES[name]
        for count in sizes[:2] if args.small else sizes:
            costs[count] = cost = measure(name, count)
            if "bytes" in cost:
                rows.show(f"{name}, {count:,} {unit}", cost["bytes"] / 2**20, "MiB")
                continue
            rows.show(f"{name}, {count:,} {unit}", cost["seconds"], "s", cpu_seconds=cost["cpu"])
            rows.show(f"{name}, {count:,} {unit}, memory", cost["peak"], "MiB", before_work=cost["before"])
    if args.figure:
        draw(found, args.figure)


if __name__ == "__main__":
    main()
