r"""Several experiments and seeds on the same test clips: what each is worth beyond noise.

    python -m dfjax.compare --configs experiments/audio_baseline.py,experiments/audio_focal.py --seeds 3 \
        --workdir runs/compare
    python -m dfjax.compare --configs experiments/imbalance_study.py:folder_audio --seeds 3 \
        --workdir runs/study --source RECORDINGS

A file that declares ARMS stands for all of them unless one is named (FILE.py:ARM or FILE.py:DATASET+ARM). The
first experiment is the one that the others are compared with. Finished runs are not run again, so the same
command continues, and more seeds or experiments may be added later.
"""

import argparse
import functools
import json
import pathlib
import runpy
import time
from collections.abc import Callable
from typing import Any

import jax
import ml_collections

from dfjax import rebalance
from dfjax.decide import score_file
from dfjax.imbalance.ledger import Ledger
from dfjax.records import InputError
from dfjax.reporting import comparison
from dfjax.run import main_job
from dfjax.runtime import cli, files, pages, process
from dfjax.training import options


def load(spec: str) -> list[tuple[str, Callable[[], ml_collections.ConfigDict]]]:
    """[(name, get_config)] of 'FILE.py' or 'FILE.py:ARGUMENT'; all arms of a file that declares ARMS.

    Raises:
      InputError: there is no such file, or it is no experiment.
    """
    path, _, argument = cli.experiment_file(spec).partition(":")
    stem = pathlib.Path(path).stem
    try:
        module = runpy.run_path(path)
    except MemoryError:
        raise
    except Exception as error:  # whatever it does
        failed = cli.failed_experiment(path, error)
        raise failed or InputError(f"--configs: {path} is no experiment file ({error})") from error
    if "get_config" not in module:
        raise InputError(f"--configs: {path} is no experiment file (it has no get_config)")
    get_config = module["get_config"]
    arms = list(module.get("ARMS", ()))
    named = "+" in argument or argument in arms
    if not arms or named:
        suffix = argument.rpartition("+")[2] if named else argument
        arguments = [argument] if argument else []
        return [(f"{stem}-{suffix}" if suffix else stem, functools.partial(get_config, *arguments))]
    prefix = f"{argument}+" if argument else ""
    return [(arm, functools.partial(get_config, prefix + arm)) for arm in arms]


def experiments(specs: list[str]) -> dict[str, ml_collections.ConfigDict]:
    """Name -> experiment, in the order of `specs`, which `load` takes.

    Raises:
      InputError: see `load`; or two have one name, or an experiment cannot be made.
    """
    found = {}
    for spec in specs:
        for name, make in load(spec):
            if name in found:
                raise InputError(f"--configs names {name!r} twice; expected different experiments")
            try:
                found[name] = make()
            except MemoryError:
                raise
            except Exception as error:  # whatever it does
                failed = cli.failed_experiment(cli.experiment_file(spec).partition(":")[0], error)
                raise failed or InputError(f"--configs: {spec}: {error}") from error
            if not isinstance(found[name], ml_collections.ConfigDict):
                raise InputError(cli.no_config(spec, found[name]))
    return found


def run_one(name: str, configs: dict[str, ml_collections.ConfigDict], seed: int, folder: pathlib.Path, **words) -> dict:
    """What report.json of one experiment and seed holds; run now unless it is finished.

    Args:
      name: of the experiment.
      configs: name -> experiment of all that are compared, among which the backbone of one with `balance.head` may be.
      seed: of the run.
      folder: the run lies in NAME-seedSEED below it.
      **words: as `main_job.run` and `rebalance.finish` take them: data_dir, source, progress.

    Raises:
      InputError: see these two.
    """
    config = configs[name].copy_and_resolve_references()
    config.seed = seed
    if not config.balance.get("head"):
        return main_job.run(config, folder / f"{name}-seed{seed}", name=name, **words)
    plain = next((other for other in configs if _is_backbone(configs[other], config)), None)
    if plain is not None:
        run_one(plain, configs, seed, folder, **words)
    backbone = None if plain is None else folder / f"{plain}-seed{seed}"
    return rebalance.finish(config, folder / f"{name}-seed{seed}", name=name, backbone=backbone, **words)


def _is_backbone(other: ml_collections.ConfigDict, config: ml_collections.ConfigDict) -> bool:
    """Whether `other` is the same experiment without a head of its own."""
    plain = rebalance.without_head(config)
    plain.seed = other.seed
    return json.loads(plain.to_json()) == json.loads(other.to_json())


def collect(report: dict, folder: pathlib.Path) -> comparison.Run:
    """What a comparison needs of a finished run: clips, threshold, ledger, seconds.

    Args:
      report: what its report.json holds.
      folder: its workdir.

    Raises:
      InputError: its test scores are gone or cannot be read.
    """
    path = folder / "scores" / f"{report['run']['dataset']}.test.csv"  # dfjax.evaluate may have left others
    clips = score_file.by_clip(score_file.known(score_file.read(path)))
    ledger = Ledger.from_json(report["ledger"] or {})
    return comparison.Run(clips, report["threshold"]["value"], ledger, float(report["run"]["seconds"] or 0))


def compare(
    configs: dict[str, ml_collections.ConfigDict],
    seeds: int,
    workdir: pathlib.Path,
    *,
    progress: bool = True,
    **words: Any,
) -> dict:
    """Runs what is unfinished, then compares; of several processes the first prints and writes.

    Args:
      configs: name -> experiment; the first is the one that the others are compared with.
      seeds: 0 to seeds - 1, of each.
      workdir: of all runs, and of compare.json and compare.md.
      progress: whether to say what is being done.
      **words: data_dir and source, as `main_job.run` takes them.

    Returns:
      What compare.json holds, see `reporting.comparison.compare`.

    Raises:
      InputError: an option is wrong, see `main_job.run`; or the runs were tested on different clips.
    """
    for config in configs.values():
        options.check(config)
        main_job.check(rebalance.without_head(config))
        if config.balance.get("head"):
            rebalance.check_head(config)
    progress = progress and process.first_process()
    runs: dict[str, list[comparison.Run]] = {name: [] for name in configs}
    say = functools.partial(print, flush=True) if progress else lambda *_: None
    for seed in range(seeds):  # seeds outermost: stopped early, every experiment has as many
        for i, name in enumerate(configs):
            began = time.perf_counter()
            say(f"[{seed * len(configs) + i + 1}/{seeds * len(configs)}] {name}, seed {seed}")
            report = run_one(name, configs, seed, workdir, progress=False, **words)
            runs[name].append(collect(report, workdir / f"{name}-seed{seed}"))
            jax.clear_caches()  # the next experiment compiles its own steps
            precision = report["ranking"][report["split"]]["average_precision"]["value"]
            say(f"  average precision {precision:.3f}, {time.perf_counter() - began:.0f} s")
    result = comparison.compare(runs)
    if process.first_process():
        files.write(workdir / "compare.json", json.dumps(result, indent=2, allow_nan=False) + "\n")
        files.write(workdir / "compare.md", comparison.markdown(result))
    return result


def parser() -> cli.Parser:
    """The command line."""
    parser = cli.Parser(
        prog="python -m dfjax.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configs", required=True, help="FILE.py[:ARGUMENT],...; the first is the baseline")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to N-1 of each (default 3)")
    parser.add_argument("--workdir", type=cli.local_folder, required=True, help="one folder per run goes below it")
    parser.add_argument("--data_dir", help="where prepared datasets lie")
    parser.add_argument("--source", help="folder with your media; needed once, to prepare")
    parser.add_argument("--json", action="store_true", help="print compare.json on one line and nothing else")
    return parser


def main() -> None:
    """Arguments, then one call."""
    args = parser().parse_args()
    if args.seeds < 1:
        raise InputError(f"--seeds must be at least 1, got {args.seeds}")
    configs = experiments(args.configs.split(","))
    pages.ask_for_large(*configs.values())
    process.use_all_cores()
    process.connect()
    words = {"data_dir": args.data_dir, "source": args.source, "progress": not args.json}
    result = compare(configs, args.seeds, args.workdir, **words)
    if process.first_process():
        print(json.dumps(result, allow_nan=False) if args.json else comparison.markdown(result))


if __name__ == "__main__":
    cli.main(main)
