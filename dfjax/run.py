"""The main job: prepare if needed, train, score, tune the threshold, report.

    python -m dfjax.run --config experiments/audio_focal.py
    python -m dfjax.run --config experiments/audio_focal.py:folder_audio --source RECORDINGS --config.train.steps=800

The same command continues a run that was killed.
"""

import json
import os
import signal
import sys
import time

import jax
import ml_collections
from absl import flags
from etils import epath
from flax import nnx
from ml_collections import config_flags

import data_builders
from dfjax import prepare
from dfjax.data import feeds, sources
from dfjax.decide import clip_score, thresholds
from dfjax.decide.decision import decide, write_decision
from dfjax.imbalance import balance, rates
from dfjax.inference import detector, scoring
from dfjax.models import functional
from dfjax.records import InputError
from dfjax.reporting import audit, report
from dfjax.runtime import cli, process, workdir
from dfjax.runtime.progress import check_board
from dfjax.training import losses, pretrained, recipe, train

SYNTHETIC = ("demo_speech", "demo_faces")  # prove that the pipeline works, nothing about real deepfakes


def run(
    config: ml_collections.ConfigDict,
    folder: epath.PathLike,
    *,
    name: str,
    data_dir: epath.PathLike | None = None,
    source: epath.PathLike | None = None,
    progress: bool = True,
    profile: bool = False,
    tensorboard: bool = False,
) -> dict:
    """Everything from media to report, continuing wherever an earlier call stopped.

    Args:
      config: the experiment.
      folder: the workdir.
      name: of the experiment, for the report.
      data_dir: where prepared datasets lie.
      source: the user's media.
      progress: whether to print and draw progress.
      profile: whether to leave a trace of ten training steps in the workdir.
      tensorboard: whether to show training on TensorBoard, from the workdir's folder of that name.

    Returns:
      What report.json holds.
    """
    folder = epath.Path(folder)
    progress = progress and process.first_process()  # all processes compute the same; the first prints and writes
    say = print if progress else lambda *_: None
    dataset = config.data.dataset
    check(config)
    if tensorboard:
        check_board(folder)
    workdir.check(folder, config)
    note = (
        " (synthetic: it shows that the pipeline works and proves nothing about real deepfakes)"
        if dataset in SYNTHETIC
        else ""
    )
    say(f"{name} on {dataset}{note}; results in {folder}")
    if (folder / "report.json").exists():
        say(
            f"finished run; see {folder / 'report.md'}. Re-tune with: python -m dfjax.tune --workdir {folder} "
            "--criterion youden"
        )
        return json.loads((folder / "report.json").read_text())

    # all that a user can get wrong comes before the workdir is made
    words = (dataset, source, data_dir, config.data.config_name or None)
    directory = process.in_turn("prepared", lambda: prepare.prepare(*words, progress=progress))
    plan = recipe.make_plan(config, *recipe.tally(sources.open_split(directory, "train")))
    with workdir.lock(folder):
        workdir.claim(folder, config)
        facts = {
            "dataset": {
                "name": dataset,
                "directory": directory.name,
                "version": str(directory.name),
                "hash": sources.content_hash(directory),
                **{name: prepare.summary(directory)[name] for name in ("modality", "crops")},  # for predict
            }
        }
        workdir.write_json(folder / "environment.json", workdir.environment(facts))

        began = time.perf_counter()
        summary = train.train(config, folder, directory, progress=progress, profile=profile, tensorboard=tensorboard)
        splits = {name: sources.open_split(directory, name) for name in ("train", "validation", "test")}
        ledger = plan.ledger.to_json()
        validation, test = (detector.score(config, folder, splits[name], ledger) for name in ("validation", "test"))
        decision = decide(validation, config.decision.criterion)
        if process.first_process():
            write_decision(folder / "decision.json", decision)
        seconds = time.perf_counter() - began
        result = report.build(
            validation=validation,
            test=test,
            decision=decision,
            train_counts=sources.clip_counts(splits["train"]),
            ledger=ledger,
            audit=audit.audit_records(*(getattr(splits["test"], name) for name in ("records", "label", "clip", "group"))),
            run={
                "name": name, "dataset": dataset, "synthetic": dataset in SYNTHETIC, "steps": summary["steps"],
                "seconds": round(seconds, 1), "hardware": f"{jax.device_count()} x {jax.devices()[0].device_kind}, {os.cpu_count()} cores",
            },
            train_methods=set(splits["train"].method.tolist()) - {""},
            subgroups=sources.subgroups_of_clips(splits["test"]),
        )  # fmt: skip
        if process.first_process():
            report.write(folder, result, validation, test, sources.subgroups_of_clips(splits["test"]))
        say(report.markdown(result))
        say(
            f"{summary['steps']} steps, {summary['examples']} examples in {summary['seconds']:.0f} s "
            f"({summary['examples_per_second']:.0f} per second, {100 * summary['waiting']:.1f} % of the time "
            "waiting for data), "
            f"{summary['peak_memory'] / 2**30:.2f} GiB at most; report in {folder / 'report.html'}"
        )
        process.barrier("reported")  # nobody leaves before the first process has written
        return result


def check(config: ml_collections.ConfigDict) -> None:
    """Raises InputError where an experiment names what does not exist, before anything is prepared or written."""
    data_builders.load(config.data.dataset)
    pretrained.check(config.model.name, config.model.get("weights", ""))
    recipe.make_optimizer(config)
    recipe.part_size(config)
    # any imbalance of enough groups: what is stacked shows
    plan = recipe.make_plan(config, rates.stand_in(config.balance.to_dict()["sampling"]), balance.FEW_GROUPS)
    losses.build(plan.loss, **plan.loss_kwargs)
    if config.balance.get("head"):
        raise InputError(
            f"config.balance.head={config.balance.head!r} refits the head of a finished run; use python -m "
            "dfjax.rebalance or dfjax.compare"
        )
    feeds.check(config.data.feed)
    clip_score.check_rule(scoring.clip_rule(config))
    if config.decision.criterion not in thresholds.CRITERIA:
        raise InputError(
            f"Unknown criterion {config.decision.criterion!r}; expected one of {sorted(thresholds.CRITERIA)}"
        )
    nnx.eval_shape(lambda: functional.make_builder(config, training=True)(nnx.Rngs(0)))


_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "experiment file, with :DATASET to train on another dataset", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "where results go (default runs/<experiment>)")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "where prepared datasets lie (default ~/tensorflow_datasets)")
_SOURCE = flags.DEFINE_string("source", None, "folder with your media; needed once, to prepare")
_TENSORBOARD = flags.DEFINE_bool(
    "tensorboard",
    False,
    "show training on TensorBoard, from WORKDIR/tensorboard (pip install 'dfjax[tensorboard]')",
)
_PROFILE = flags.DEFINE_bool("profile", False, "leave a trace of ten training steps in WORKDIR/profile")
_JSON = flags.DEFINE_bool("json", False, "print the report as one JSON line and nothing else")


def _parse(argv: list[str]) -> None:
    if {"-h", "--help", "-help"} & set(argv):
        print(__doc__, flags.FLAGS.module_help(sys.modules[__name__]), sep="\n")
        sys.exit(0)
    try:
        rest = flags.FLAGS(argv)
        if _CONFIG.value is None:
            raise InputError("--config is missing; give an experiment, such as --config experiments/audio_focal.py")
        _CONFIG.value.to_dict()  # the file is loaded here, and fails here
    except InputError:
        raise
    except (
        flags.Error,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        OSError,
        SyntaxError,
        ImportError,
    ) as error:
        raise InputError(f"cannot read the command line: {error}") from error
    if len(rest) > 1:
        raise InputError(f"unexpected argument {rest[1]!r}; options start with --, see --help")


def main() -> None:
    """Flags, then one call."""
    _parse(sys.argv)
    process.use_all_cores()
    process.connect()
    process.keep_compilations()
    if jax.process_count() == 1:  # of several, jax listens itself
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # training alone has something to save
    stem, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).rpartition("/")[2].partition(":")
    name = stem.removesuffix(".py") + (f"-{argument}" if argument else "")
    result = run(
        _CONFIG.value, _WORKDIR.value or f"runs/{name}", name=name, data_dir=_DATA_DIR.value,
        source=_SOURCE.value, progress=not _JSON.value, profile=_PROFILE.value, tensorboard=_TENSORBOARD.value
    )  # fmt: skip
    if _JSON.value and process.first_process():
        print(json.dumps(result, allow_nan=False))


if __name__ == "__main__":
    cli.main(main)
