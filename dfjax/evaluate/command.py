"""One detector on many datasets: the cross-dataset table, at the threshold that the run decided on.

    python -m dfjax.evaluate --workdir runs/audio_focal --datasets asvspoof2019_la,fake_or_real

Thresholds and calibration rarely travel as well as ranking does; the table shows both. With `--split validation`
the scores can be tuned on: python -m dfjax.tune --workdir runs/audio_focal --dataset fake_or_real

    python -m dfjax.evaluate --workdir runs/audio_focal --datasets fake_or_real --corruptions all

The robustness table: the same clips after codecs, telephone lines, noise, rooms (or JPEG, H.264, blur, ...). The
detector that comes with dfjax is sealed, and nothing is written into its folder: `--out DIR` takes tables and scores.
"""

import argparse
import json
import sys

from etils import epath

from dfjax.evaluate import corrupted, table
from dfjax.records import InputError
from dfjax.runtime import cli, process


def parser() -> cli.Parser:
    """The command line."""
    result = cli.Parser(prog="python -m dfjax.evaluate", description="One detector on many datasets.")
    result.add_argument(
        "--workdir", required=True, help="a finished run, or the folder of the detector that comes with dfjax"
    )
    result.add_argument("--out", help="of that detector, which is sealed: the folder for tables and scores")
    result.add_argument("--datasets", required=True, help="names, or name/config, separated by commas")
    result.add_argument("--data_dir", help="where prepared datasets lie (default ~/tensorflow_datasets)")
    result.add_argument(
        "--split", default="test", choices=("test", "validation"), help="of each dataset (default test)"
    )
    result.add_argument("--corruptions", help="make the robustness table: all, or kinds separated by commas")
    result.add_argument("--strengths", help="of the corruptions (default 1,2,3,4,5)")
    result.add_argument(
        "--clips",
        type=int,
        help="how many of each dataset are corrupted, half of them fake if there are "
        f"(default {corrupted.CLIPS}; 0 for all)",
    )
    result.add_argument("--json", action="store_true", help="print one JSON line per dataset")
    return result


def main() -> None:
    """Evaluates and prints the table."""
    flags = parser().parse_args()
    process.use_all_cores()
    process.connect()
    names = _words(flags.datasets)
    if not names:
        raise InputError("--datasets names nothing; give names separated by commas")
    if flags.corruptions is None and (flags.strengths is not None or flags.clips is not None):
        raise InputError(
            f"--{'clips' if flags.strengths is None else 'strengths'} is of --corruptions; name some, or all"
        )
    if flags.corruptions is not None:
        _robustness(flags, names)
        return
    words = {"out": flags.out, "data_dir": flags.data_dir, "split": flags.split, "progress": not flags.json}
    rows = table.make(flags.workdir, names, **words)
    if not process.first_process():
        return
    if flags.json:
        for line in rows:
            print(json.dumps(line, allow_nan=False))
    else:
        print((epath.Path(flags.out or flags.workdir) / "evaluation.md").read_bytes().decode(), end="")


def _robustness(flags: argparse.Namespace, names: list[str]) -> None:
    """Makes the robustness table and prints it."""
    strengths = _words("1,2,3,4,5" if flags.strengths is None else flags.strengths)
    if not strengths or not all(word.isdecimal() for word in strengths):
        raise InputError(f"--strengths {flags.strengths!r} are no numbers; expected some of 1,2,3,4,5")
    found = corrupted.make(
        flags.workdir,
        names,
        _words(flags.corruptions),
        strengths=[int(word) for word in strengths],
        clips=corrupted.CLIPS if flags.clips is None else flags.clips,
        out=flags.out,
        data_dir=flags.data_dir,
        split=flags.split,
        progress=not flags.json,
    )
    if not process.first_process():
        return
    for line in found["left_out"]:
        print(line, file=sys.stderr)
    if flags.json:
        about = {key: value for key, value in found.items() if key != "datasets"}
        for one in found["datasets"]:
            print(json.dumps(about | one | {"levels": found["kinds"]}, allow_nan=False))
    else:
        print((epath.Path(flags.out or flags.workdir) / "robustness.md").read_bytes().decode(), end="")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
