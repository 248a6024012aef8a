r"""Every dataset below a folder: found, prepared, trained on, compared; one report.

    python -m dfjax.benchmark --root DATASETS --workdir runs/benchmark --dry_run    # what will be done, and how long
    python -m dfjax.benchmark --root DATASETS --workdir runs/benchmark --strategies focal,class_weights --seeds 3

Killed, the same command goes on where it was, to the same bits. Several processes or machines that see the same disk
share the work: give them the same command (see "Many machines" in experiments/README.md). WORKDIR/datasets.json
overrules what was found: {"NAME" or "NAME/CONFIG": FOLDER or null}. The exit code is 1 where anything was left out; the
report says what.
"""

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import absl.logging

from data_builders import finding
from dfjax.benchmark import forecast, plan, results, work
from dfjax.benchmark.jobs import DONE, Board
from dfjax.benchmark.plan import Job
from dfjax.benchmark.work import Workshop
from dfjax.planning import advice, counting
from dfjax.records import InputError
from dfjax.reporting import benchmark_view
from dfjax.run import main_job
from dfjax.runtime import cli, files, process
from dfjax.training import options

SHOWN = 5  # problems, and archives, that an error names
PLAN = "plan.json"  # what the work is done with, in its folder


class Planned(NamedTuple):
    """What takes part, and what is to be said of the rest."""

    shop: Workshop
    problems: list[str]  # a line for everything that does not take part
    notes: list[str]  # a line for what may be as the user wants it, see `finding.notes_of`
    facts: dict[str, dict[str, Any]]  # dataset's key -> what `counting.of_source` counted


def prepare_plan(
    root: str,
    workdir: pathlib.Path,
    data_dir: pathlib.Path | None = None,
    changes: Mapping[str, str] | None = None,
    *,
    measured: bool = False,
    identified: bool = False,
) -> Planned:
    """Finds and counts what lies below a folder.

    Args:
      root: the folder with all datasets.
      workdir: where runs and reports go, and where datasets.json may overrule what is found.
      data_dir: where prepared datasets go; default WORKDIR/prepared.
      changes: options of every experiment, by dotted name, as text.
      measured: whether some files of each are prepared, for `forecast`.
      identified: whether `same_plan` is to be asked.

    Raises:
      InputError: the root is no folder, or holds nothing that can be used; the workdir or datasets.json is wrong.
    """
    check_folders(workdir, data_dir)
    before = found = finding.find(root)
    if (workdir / "datasets.json").exists():
        found = finding.overrule(found, workdir / "datasets.json")
    named: list[str] = []  # what is wrong with datasets that the user named comes first
    problems, counted = list(found.problems), []
    for one in found.usable:
        of_configs, wrong = counting.of_found(one, 0, measured=measured, identified=identified)
        (problems if one in before.found else named).extend(wrong)
        counted.append({config: of for config, of in of_configs.items() if _both(of["splits"]["all"])})
    problems = named + problems
    prepared = _prepared(found, data_dir or workdir / "prepared")
    if not any(counted):
        why = _some("", problems) + _some("unpack first: ", [command for _, command in finding.packed(found)])
        why += _some("", prepared)
        raise InputError(f"{root} holds no dataset that can be used, at most {finding.DEPTH} levels down{why}")
    datasets = plan.datasets_of(found.usable, counted)
    shop = Workshop(workdir, data_dir or workdir / "prepared", list(datasets), changes or {})
    return Planned(shop, problems, finding.notes_of(found) + prepared, {d.key: of for d, of in datasets.items()})


def _prepared(found: finding.Finding, data_dir: pathlib.Path) -> list[str]:
    """A line for the prepared datasets below the root, if there are any but those that this command makes itself."""
    own = os.path.realpath(data_dir)
    folders = [path for path in found.prepared if not pathlib.Path(os.path.realpath(path)).is_relative_to(own)]
    if not folders:
        return []
    more = f" and {len(folders) - SHOWN} more" if len(folders) > SHOWN else ""
    return [
        f"prepared datasets take no part, as all begins with media: {', '.join(folders[:SHOWN])}{more}; put "
        "their media below --root, or judge a run on them: "
        "python -m dfjax.evaluate --workdir RUN --datasets NAME --data_dir DIR"
    ]


def _both(clips: Mapping[str, Any]) -> bool:
    return bool(clips["real"] and clips["fake"])


def _some(title: str, lines: Sequence[str]) -> str:
    """The first few lines as a part of an error's line."""
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return f"; {title}{'; '.join([*lines[:SHOWN], *more])}" if lines else ""


def check_folders(workdir: pathlib.Path, data_dir: pathlib.Path | None) -> None:
    """Whether the folders that everything goes to can be written to, or made.

    Args:
      workdir: of `--workdir`.
      data_dir: of `--data_dir`, if it is given.

    Raises:
      InputError: one is a file or lies below one, or may not be written to.
    """
    for option, folder in (("workdir", workdir), ("data_dir", data_dir)):
        if folder is None:
            continue
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.exists(path))
        if not there.is_dir():
            raise InputError(f"--{option} {folder}: {there} is a file; give a folder, or a name that is not taken")
        if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
            raise InputError(f"--{option} {folder}: {there} may not be written to; give a folder that may")


def benchmark(
    root: str,
    workdir: pathlib.Path,
    *,
    data_dir: pathlib.Path | None = None,
    strategies: Sequence[str] = (),
    seeds: int = 1,
    changes: dict[str, str] | None = None,
    progress: bool = True,
    timed: bool = False,
) -> dict[str, Any]:
    """Does what is left to do, then writes report.json, report.md and report.html into the workdir.

    Args:
      root: the folder with all datasets.
      workdir: where runs and reports go.
      data_dir: where prepared datasets go; default WORKDIR/prepared.
      strategies: of `experiments/benchmark.py`, beside plain and what is advised.
      seeds: trainings of each.
      changes: options of every experiment, by dotted name, as text.
      progress: whether to say what is being done.
      timed: whether to foretell what each job takes, and to compare afterwards, in WORKDIR/times.md and times.json.

    Returns:
      What report.json holds, see `results.collect`.

    Raises:
      InputError: nothing can be used, or an option is wrong.
    """
    check(strategies)
    planned = prepare_plan(root, workdir, data_dir, changes, measured=timed, identified=True)
    shop, say = planned.shop, _say if progress else _say_nothing
    board = Board(workdir, plan.jobs_of(list(shop.datasets.values()), strategies, seeds))
    if not (workdir / PLAN).exists():  # earlier versions began with options that not every experiment has
        check_experiments(shop, board.jobs)
    same_plan(shop, board, {key: of["digest"] for key, of in planned.facts.items()})
    told = foretold(shop, board, planned.facts, say) if timed else {}
    for line in planned.notes:
        say(f"note: {line}")
    for line in planned.problems:
        say(f"left out: {line}")
    board.reopen(lambda job: shop.made(job, board))
    work.work(shop, board, say)
    if timed:
        rows = forecast.times(board, told)
        files.write(workdir / "times.json", json.dumps(rows, indent=1, allow_nan=False) + "\n")
        files.write(workdir / "times.md", forecast.markdown(shop, told, rows, planned.problems, planned.notes))
    return report(planned, board, root, strategies, seeds)


def check_experiments(shop: Workshop, jobs: Sequence[Job]) -> None:
    """Makes sure that every experiment can be run, before anything is written: all of them get the same options.

    Args:
      shop: the datasets, with the options of every experiment.
      jobs: all of them.

    Raises:
      InputError: an option is wrong, or one of the experiments does not have it.
    """
    for job in jobs:
        if job.kind not in ("train", "joint") or job.seed:
            continue  # the experiment of a left-out job is that of the joint one, and seeds differ in nothing else
        every = [d for d in shop.datasets.values() if d.modality == job.modality]
        try:
            main_job.check(shop.config(job, [shop.datasets[job.dataset]] if job.dataset else every))
        except InputError as error:
            raise InputError(
                f"{error} ({job.id}; every experiment gets the options: give values that all of them can have)"
            ) from error


def same_plan(shop: Workshop, board: Board, data: Mapping[str, str]) -> None:
    """Keeps in WORKDIR/plan.json what the work is done with: what is done already was done with the same.

    Datasets and strategies may be added later, and a dataset that is not prepared yet may change. What was begun before
    there was such a file is taken as it is.

    Args:
      shop: the datasets, with the options of every experiment.
      board: the jobs.
      data: dataset's key -> digest of its files.

    Raises:
      InputError: other options, or other files of a dataset that is prepared.
    """
    workdir, now = shop.workdir, shop.changes
    path = workdir / PLAN
    before = json.loads(path.read_text()) if path.exists() else {"changes": now, "data": {}}
    if before["changes"] != now:
        other = [name for name in sorted(before["changes"] | now) if before["changes"].get(name) != now.get(name)]
        told = (
            f"config.{n} {before['changes'].get(n, 'not given')} there, {now.get(n, 'not given')} here" for n in other
        )
        raise InputError(
            f"--workdir {workdir} was begun with other options ({'; '.join(told)}); give another --workdir"
        )
    changed = sorted(key for key, digest in data.items() if before["data"].get(key, digest) != digest)
    if others := [key for key in changed if board.state(f"prepare/{key}") == DONE]:
        names = (shop.datasets[key].name for key in others)
        gone = dict.fromkeys(str(shop.data_dir / name) for name in names if not name.startswith("folder_"))
        first = f" after deleting {', '.join(gone)}" if gone else ""
        raise InputError(
            f"--workdir {workdir} was begun with other files of {', '.join(others)}; give another --workdir, which has "
            f"to prepare only these again with --data_dir {shop.data_dir}{first}; or the files of before"
        )
    known = before["data"] | dict(data)
    if known != before["data"] or not path.exists():
        files.write(path, json.dumps({"changes": now, "data": known}, indent=1) + "\n")


def foretold(shop: Workshop, board: Board, facts: dict[str, dict[str, Any]], say: work.Say) -> dict[str, Any]:
    """Job's id -> what it is expected to take; measured once for a workdir and host, kept in machine.HOST.json there.

    Args:
      shop: the datasets.
      board: the jobs.
      facts: from `prepare_plan`, measured.
      say: told what is measured.

    Returns:
      As `forecast.forecast`.
    """
    path = shop.workdir / f"machine.{os.uname().nodename}.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"machine": {}}
    if known.get("changes") != shop.changes:
        known = {"changes": shop.changes, "machine": {}}
    for kind in dict.fromkeys(forecast.KINDS[d.modality] for d in shop.datasets.values()):
        if kind not in known["machine"]:
            say(f"measuring this machine: {kind}")
            known["machine"][kind] = forecast.measure(kind, shop.changes)
            files.write(path, json.dumps(known, indent=1, allow_nan=False) + "\n")
    return forecast.forecast(shop, board.jobs, facts, known["machine"])


def dry_run(
    root: str,
    workdir: pathlib.Path,
    *,
    data_dir: pathlib.Path | None,
    strategies: Sequence[str],
    seeds: int,
    changes: dict,
    timed: bool = True,
) -> tuple[str, list[str]]:
    """The plan with times, as Markdown, and a line for everything left out; nothing is prepared or trained.

    It takes what `benchmark` takes, and says on stderr what is measured.

    Raises:
      InputError: see `benchmark`.
    """
    check(strategies)
    planned = prepare_plan(root, workdir, data_dir, changes, measured=timed)
    shop = planned.shop
    board = Board(workdir, plan.jobs_of(list(shop.datasets.values()), strategies, seeds))
    check_experiments(shop, board.jobs)
    told = foretold(shop, board, planned.facts, _say_aside) if timed else {}
    rows = forecast.times(board, told)
    return forecast.markdown(shop, told, rows, planned.problems, planned.notes), planned.problems


def report(planned: Planned, board: Board, root: str, strategies: Sequence[str], seeds: int) -> dict[str, Any]:
    """Writes the report of what is done; the same files give the same bytes.

    Args:
      planned: the datasets, and what was left out.
      board: the jobs.
      root: the folder with all datasets, for the report.
      strategies: that were asked for.
      seeds: trainings of each.

    Returns:
      What report.json holds, see `results.collect`.
    """
    shop = planned.shop
    told = list(dict.fromkeys(("plain", *(d.strategy for d in shop.datasets.values()), *strategies)))
    about = {"root": root, "seeds": seeds, "strategies": told, "changes": shop.changes}
    result = results.collect(shop, board, about, planned.problems, planned.notes)
    files.write(shop.workdir / "report.json", json.dumps(result, indent=2, allow_nan=False) + "\n")
    files.write(shop.workdir / "report.md", benchmark_view.markdown(result))
    files.write(shop.workdir / "report.html", benchmark_view.page(result))
    return result


def check(strategies: Sequence[str]) -> None:
    """Raises InputError for a strategy that does not exist."""
    for name in strategies:
        if name not in (known := advice.strategies()):
            raise InputError(f"--strategies: unknown {name!r}; expected some of {known}")


def _say(line: str) -> None:
    print(line, flush=True)


def _say_aside(line: str) -> None:
    """On stderr, beside a plan or report on stdout."""
    print(line, file=sys.stderr, flush=True)


def _say_nothing(line: str) -> None:
    del line


def parser() -> cli.Parser:
    """The command line."""
    result = cli.Parser(
        prog="python -m dfjax.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--root", required=True, help="folder with all datasets, at most four levels down")
    result.add_argument("--workdir", type=cli.local_folder, required=True, help="where everything goes")
    result.add_argument("--data_dir", type=cli.local_folder, help="of prepared datasets (default WORKDIR/prepared)")
    result.add_argument(
        "--strategies", default="", help=f"beside plain and the advised: {','.join(advice.strategies())}"
    )
    result.add_argument("--seeds", type=int, default=1, help="trainings of each (default 1)")
    result.add_argument("--dry_run", action="store_true", help="print the plan with times and do nothing")
    result.add_argument("--untimed", action="store_true", help="foretell no times: nothing is measured before")
    result.add_argument("--json", action="store_true", help="print report.json on one line and nothing else")
    return result


def main() -> None:
    """Arguments, then one call; --config.NAME=VALUE changes an option of every experiment."""
    words, changes = options.split(sys.argv[1:])
    args = parser().parse_args(words)
    strategies = [word.strip() for word in args.strategies.split(",") if word.strip()]
    if args.seeds < 1:
        raise InputError(f"--seeds must be at least 1, got {args.seeds}")
    check(strategies)
    process.check_alone("dfjax.benchmark")
    process.use_all_cores()
    process.keep_compilations()
    absl.logging.set_verbosity(absl.logging.ERROR)
    words_of = {"data_dir": args.data_dir, "strategies": strategies, "seeds": args.seeds, "changes": dict(changes)}
    if args.dry_run:
        text, problems = dry_run(args.root, args.workdir, **words_of, timed=not args.untimed)
        print(text, end="")
        sys.exit(1 if problems else 0)
    result = benchmark(args.root, args.workdir, **words_of, progress=not args.json, timed=not args.untimed)
    if args.json:
        print(json.dumps(result, allow_nan=False))
    else:
        print(benchmark_view.markdown(result))
        written = ["report.html", "report.md", "report.json"] + ([] if args.untimed else ["times.md"])
        print(f"written to {args.workdir}: {', '.join(written)}")
    if result["problems"]:
        sys.exit(1)


if __name__ == "__main__":
    cli.main(main)
