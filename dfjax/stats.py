"""Real and fake, counted before and after preparation: splits, methods, ratio, independent groups, shortcuts.

python -m dfjax.stats DATASETS --out counts                    # all that is in a folder, whatever it is called
python -m dfjax.stats asvspoof2019_la --source ~/LA
python -m dfjax.stats ~/tensorflow_datasets --plot counts.png  # after preparation

The unit is a clip: one file of the user. Frames and windows are counted as records, which are more of the
same. Of a folder: datasets are found at most four levels down, by their layout; what cannot be used is a line each,
and the exit code is 1 then.
"""

import argparse
import json
import sys

from etils import epath

import data_builders
from dfjax.records import InputError
from dfjax.reporting.audit import AUDITED
from dfjax.runtime import cli, files


def parser() -> cli.Parser:
    """The command line."""
    result = cli.Parser(prog="python -m dfjax.stats", description="Count real and fake.")
    result.add_argument("what", help=f"a folder with datasets, or one of {', '.join(sorted(data_builders.DATASETS))}")
    result.add_argument("--source", help="folder with the media, to count before preparation")
    result.add_argument("--data_dir", help="where prepared datasets lie (default ~/tensorflow_datasets)")
    result.add_argument("--config_name", help="protocol or variant")
    result.add_argument(
        "--audit", type=int, default=AUDITED, help="clips read by the shortcut audit (default 1000; 0: none)"
    )
    result.add_argument("--out", help="of a folder: write stats.json, stats.md and stats.html, with bars, here")
    result.add_argument("--plot", help="write a bar chart to this PNG file")
    result.add_argument("--json", action="store_true", help="print one JSON object per dataset")
    return result


def main() -> None:
    """Counts and prints."""
    flags = parser().parse_args()
    if flags.audit < 0:
        raise InputError(f"--audit {flags.audit} is no number of clips; give 0 for no audit, or more")
    import absl.logging  # of the extra `train`, as is what counts: --help does without

    from dfjax.planning import survey
    from dfjax.reporting import stats_view

    absl.logging.set_verbosity(absl.logging.ERROR)  # TFDS's own lines; ours say what is going on
    folder = epath.Path(flags.what).expanduser()
    one = flags.what in data_builders.DATASETS
    for option in ("out",) if one else ("source", "data_dir", "config_name"):
        if getattr(flags, option):
            raise InputError(f"--{option} is of {'a folder' if one else 'one dataset, by its name'}; got {flags.what}")
    if not one and folder.is_dir() and not files.remote(folder):
        _main_folder(flags, folder)
        return
    found = survey.collect(flags.what, flags.source, flags.data_dir, flags.config_name, flags.audit)
    for facts in found:
        print(json.dumps(facts, allow_nan=False) if flags.json else stats_view.describe(facts) + "\n")
    if flags.plot:
        stats_view.write(found, flags.plot)


def _main_folder(flags: argparse.Namespace, folder: epath.Path) -> None:
    """A line per dataset as JSON and a last one for the rest, or all in words; exit code 1 where something is wrong."""
    from data_builders import finding
    from dfjax.planning import survey
    from dfjax.reporting import stats_view, survey_view

    found = survey.of_folder(folder, flags.audit)
    if flags.out:
        survey_view.write(found, flags.out)
    if flags.plot and found["datasets"]:
        stats_view.write(found["datasets"], flags.plot)
    if flags.json:
        for facts in found["datasets"]:
            print(json.dumps(facts, allow_nan=False))
        print(json.dumps({key: found[key] for key in ("root", "archives", "problems")}, allow_nan=False))
    elif any(found[part] for part in ("datasets", "archives", "problems")):
        print(survey_view.markdown(found))
    if not found["datasets"]:
        raise InputError(
            f"{folder} holds no dataset at most {finding.DEPTH} levels down; known are "
            f"{sorted(data_builders.DATASETS)}, and your own {{real,fake}}"
        )
    if found["problems"]:
        sys.exit(1)


if __name__ == "__main__":
    cli.main(main)
