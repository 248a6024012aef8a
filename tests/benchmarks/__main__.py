"""All benchmarks that need no data but their own, one after another: python -m tests.benchmarks [--out DIR]

Each runs in a process of its own, as its module's docstring says; those whose peer is missing print their own rows alone or say
what they need. Let nothing else run beside. Not among them, for they need a clone, videos or many minutes: aasist,
prepare, survey, kills, predict_kills, predict_memory and the larger sizes of growth.

With --out all rows go into one table there, DATE.json and DATE.md, beside each row's last value in that folder. Compare only runs
of one machine.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys

from tests.benchmarks import rows

BENCHMARKS = (  # module, words
    ("startup", "3"),
    ("front_end",),
    ("loader",),
    ("waiting",),
    ("train_epoch", "160"),
    ("image_models", "--models", "efficientnet_b0", "convnext_tiny", "xception", "vit_base"),
    ("convolutions",),
    ("augmentation",),
    ("losses",),
    ("thresholds",),
    ("memory",),
    ("indexing",),
    ("growth", "--small"),
    ("predict", "3000"),
    ("service", "--seconds", "60"),
)
VERSIONS = ("jax", "numpy", "grain", "opencv-python-headless", "torch", "timm", "scikit-learn", "librosa")


def main() -> None:
    """Runs each and shows what it prints, then the table; the last exit code that is not 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, help="folder of the tables, this one and those before")
    parser.add_argument("--only", nargs="+", choices=[name for name, *_ in BENCHMARKS], help="these alone")
    args = parser.parse_args()
    worst, found = 0, []
    for module, *words in BENCHMARKS:
        if args.only and module not in args.only:
            continue
        print(f"== {' '.join([module, *words])}", flush=True)
        command, lines = [sys.executable, "-m", f"tests.benchmarks.{module}", *words], []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            for line in running.stdout:
                print(line, end="", flush=True)
                lines.append(line)
        worst = running.returncode or worst
        found += rows.read(lines, module)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        found = rows.compare(found, rows.kept(args.out))
        table, date = rows.markdown(found), f"{datetime.datetime.now():%Y-%m-%dT%H%M%S}"
        (args.out / f"{date}.json").write_text(json.dumps(_setting() | {"rows": found}, indent=1) + "\n")
        (args.out / f"{date}.md").write_text(table)
        print(table, end="")
    sys.exit(worst)


def _setting() -> dict:
    """Cores and versions that the rows were measured with."""
    installed = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    versions = {name: installed[name] for name in VERSIONS if name in installed}
    return {"cores": os.cpu_count(), "machine": platform.machine(), "versions": versions}


if __name__ == "__main__":
    main()
