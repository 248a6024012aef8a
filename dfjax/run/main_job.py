"""The main job: prepare if needed, train, score, tune the threshold, report.

What `python -m dfjax.run` does once its command line is read.
"""

import itertools
import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections
from etils import epath
from flax import nnx

import data_builders
from data_builders import sharing
from dfjax import models, prepare
from dfjax.data import feeds, precomputed, sources
from dfjax.decide.decision import decide, write_decision
from dfjax.decide.score_file import Scores
from dfjax.imbalance import balance, rates
from dfjax.inference import trained
from dfjax.models.streams import Rngs
from dfjax.records import InputError
from dfjax.reporting import audit, report
from dfjax.runtime import devices, process, workdir
from dfjax.runtime.progress import check_board
from dfjax.training import options, pretrained, recipe, train

HELD = {"audio": ("audio",), "image": ("image",), "video": ("image",), "av": ("image", "audio"), "index": ()}
SYNTHETIC = ("demo_speech", "demo_faces")  # prove that the pipeline works, nothing about real deepfakes


def run(
    config: ml_collections.ConfigDict,
    folder: epath.PathLike,
    *,
    name: str,
    data_dir: epath.PathLike | None = None,
    source: prepare.Source | None = None,
    progress: bool = True,
    profile: bool = False,
    tensorboard: bool = False,
    left_out: Scores | None = None,
    memory: precomputed.Memory | None = None,
) -> dict:
    """Everything from media to report, continuing wherever an earlier call stopped.

    Args:
      config: the experiment.
      folder: the workdir.
      name: of the experiment, for the report.
      data_dir: where prepared datasets lie.
      source: the user's media, see `prepare.prepare_data`.
      progress: whether to print and draw progress.
      profile: whether to leave a trace of training steps in the workdir, ten if there are as many after the first.
      tensorboard: whether to show training on TensorBoard, from the workdir's folder of that name.
      left_out: scores of domains by trainings without them (`dfjax.crossval`); the threshold is chosen on them then,
        not on validation data.
      memory: statistics of the training clips that trainings on parts of them have made already.

    Returns:
      What report.json holds.

    Raises:
      InputError: an option is wrong, the folder holds another run, or the data cannot be prepared or trained on.
      FloatingPointError: training diverged.
    """
    folder = epath.Path(folder)
    progress = progress and process.first_process()  # all processes compute the same; the first prints and writes
    say = print if progress else lambda *_: None
    check(config)
    dataset = config.data.dataset
    if tensorboard:
        check_board(folder)
    workdir.check(folder, config)
    note = (
        " (synthetic: it shows that the pipeline works and proves nothing about real deepfakes)"
        if dataset in SYNTHETIC
        else ""
    )
    say(f"{name} on {dataset}{note}; results in {folder}")
    finished = (folder / "report.json").exists()
    if source is not None or not finished:  # a finished run needs its data only to see whether they are those given
        directories = prepare.prepare_data(config.data, source, data_dir, progress=progress)
        facts = dataset_facts(dataset, directories)
        check_data(folder, facts)
    if finished:
        say(
            f"finished run; see {folder / 'report.md'}. Re-tune with: python -m dfjax.tune --workdir {folder} "
            "--criterion youden"
        )
        return json.loads((folder / "report.json").read_text())

    # all that a user can get wrong comes before the workdir is made
    check_splits(config.data, directories)
    train_split = sources.open_data(config.data, directories, "train")
    for words in in_common(train_split):
        say(words)
    plan = recipe.make_plan(config, *recipe.tally(train_split))
    sources.check_media(train_split, models.input_of(config.model.name, config.model.kwargs).modality)
    recipe.make_strata(config, plan, train_split)
    devices.make_mesh(recipe.part_size(config))
    with workdir.lock(folder):
        workdir.claim(folder, config)
        workdir.write_json(folder / "environment.json", workdir.environment(facts))

        began = time.perf_counter()
        summary = train.train(
            config,
            folder,
            directories,
            progress=progress,
            profile=profile,
            tensorboard=tensorboard,
            memory=memory,
        )
        splits = {name: sources.open_data(config.data, directories, name) for name in ("train", "validation", "test")}
        ledger = plan.ledger_after(summary["best_step"], config.train.steps).to_json()
        header = {"clip_score": recipe.clip_rule(config), "ledger": ledger}
        validation, test = (trained.score(folder, splits[name], header) for name in ("validation", "test"))
        if few := trained.learn_typicality(folder, splits, seed=config.seed).too_few():
            say(few)
        decision = decide(validation if left_out is None else left_out, config.decision.criterion)
        if process.first_process():
            write_decision(folder / "decision.json", decision)
        seconds = summary["seconds_before"] + time.perf_counter() - began
        shown, about = splits["test"], {"name": name, "dataset": dataset, "synthetic": dataset in SYNTHETIC}
        hardware = f"{jax.device_count()} x {jax.devices()[0].device_kind}, {os.cpu_count()} cores"
        result = report.build(
            validation=validation,
            test=test,
            decision=decision,
            train_counts=sources.clip_counts(splits["train"]),
            ledger=ledger,
            audit=audit.audit_records(shown.records, shown.label, shown.clip, shown.group),
            run=about | {"steps": summary["steps"], "seconds": round(seconds, 1), "hardware": hardware},
            train_methods=set(splits["train"].method.tolist()) - {""},
            subgroups=sources.subgroups_of_clips(shown),
        )
        records = {name: len(split) for name, split in splits.items()}
        took = {"seconds": round(time.perf_counter() - began, 2), "training": summary, "records": records}
        workdir.write_json(folder / "timing.json", took)
        if process.first_process():  # last: its report.json says that the run is finished
            report.write(folder, result, validation, test, sources.subgroups_of_clips(shown))
        say(report.markdown(result))
        here = f", {max(summary['steps'] - first, 0)} of them now" if (first := summary["resumed_from"]) else ""
        say(
            f"{summary['steps']} steps{here}, {summary['examples']} examples in {summary['seconds']:.0f} s "
            f"({summary['examples_per_second']} per second, {100 * summary['waiting']:.1f} % of the time waiting "
            f"for data), {summary['peak_memory'] / 2**30:.2f} GiB at most; report in {folder / 'report.html'}"
        )
        process.barrier("reported")  # nobody leaves before the first process has written
        return result


def dataset_facts(name: str, directories: Mapping[str, epath.Path]) -> dict[str, Any]:
    """What environment.json says of the data: of a single dataset, or of several that hold the same media.

    Args:
      name: of the data, where there are several datasets.
      directories: name -> folder of each prepared dataset.

    Raises:
      InputError: they hold media of different kinds, or faces cut out in different ways.
    """
    each = {
        part: {
            "name": part,
            "directory": directory.name,
            "version": str(directory.name),
            "hash": sources.content_hash(directory),
            **{
                field: prepare.summary(directory).get(field) for field in ("modality", "crops", "face_model")
            },  # for predict
        }
        for part, directory in directories.items()
    }
    # pictures taken as they are have no crops; wherever there are crops they must have been cut out alike
    first = next((facts for facts in each.values() if facts["crops"]), next(iter(each.values())))
    for part, facts in each.items():
        kinds = (
            {"image", "video"} if {facts["modality"], first["modality"]} <= {"image", "video"} else {first["modality"]}
        )
        finders = {facts["face_model"], first["face_model"]} - {None}
        if facts["modality"] not in kinds or facts["crops"] not in (None, first["crops"]) or len(finders) > 1:
            raise InputError(f"{part} and {first['name']} hold media of another kind, or faces cut out in another way")
    return (
        {"dataset": first} if len(each) == 1 else {"dataset": first | {"name": name}, "datasets": list(each.values())}
    )


def in_common(split: sources.Split) -> list[str]:
    """A sentence for each two of several datasets in a split that are made of the same recordings."""
    told = {name: set(split.domain[split.of == name].tolist()) for name in sorted(set(split.of.tolist()))}
    found = []
    for one, other in itertools.combinations(told, 2):
        names = (name.partition("/")[0] for name in (one, other))
        if shared := sharing.shared(*names, (told[one], told[other])):
            found.append(
                f"{one} and {other} are both made of {' and '.join(shared)}: what one has for training the other may "
                "have for validation or test, and what is measured there is too good"
            )
    return found


def check_splits(
    data: ml_collections.ConfigDict,
    directories: Mapping[str, epath.Path],
    needed: Sequence[str] = ("validation", "test"),
) -> None:
    """Makes sure, before any training, that there are clips to choose the threshold on and others to report.

    And that what `data.leave_out` names is there: left out would be nothing.

    Args:
      data: `config.data` of the experiment.
      directories: name -> folder of each prepared dataset.
      needed: names of the splits.

    Raises:
      InputError: a split is missing, or one of its classes is, or no record has what is to be left out.
    """
    there = {split for directory in directories.values() for split in sources.split_names(directory)}
    if left_out := data.get("leave_out"):
        whole = [sources.open_splits(directories, name, data.dataset) for name in sorted(there)]
        known = {value for split in whole for value in sources.values_of(split, left_out.by).tolist() if value}
        if left_out.value not in known:
            some = f"expected one, such as {', '.join(sorted(known)[:5])}" if known else "it tells of none"
            raise InputError(
                f"config.data.leave_out.value={left_out.value!r} is no {left_out.by} of {data.dataset}; {some}"
            )
    for name in needed:
        wanted = f"a run needs real and fake clips in its {name} split"
        if data.dataset.startswith("folder_"):
            wanted += "; add some, or put all files into real/ and fake/ alone, which are then split"
        if name not in there:
            raise InputError(f"{data.dataset} has no {name} split; {wanted}")
        found = sources.clip_counts(sources.open_data(data, directories, name))
        if not (found["real"] and found["fake"]):
            raise InputError(f"{data.dataset} has {found['real']} real and {found['fake']} fake {name} clips; {wanted}")


def check_data(folder: epath.PathLike, facts: dict[str, Any]) -> None:
    """Makes sure that a run that is gone on with finds the data that it began on.

    Args:
      folder: the workdir, which need not exist.
      facts: what `dataset_facts` says of the data now.

    Raises:
      InputError: the run began on other data, such as another version of a dataset.
    """
    path = epath.Path(folder) / "environment.json"
    if not path.exists():
        return
    before, now = (
        {one["name"]: one for one in each.get("datasets") or [each.get("dataset", {"name": None})]}
        for each in (json.loads(path.read_text()), facts)
    )
    for name, one in now.items():
        if name in before and before[name].get("hash", one["hash"]) != one["hash"]:
            raise InputError(
                f"{folder} began on {name} {before[name]['version']} ({before[name]['hash']}), now it is "
                f"{one['version']} ({one['hash']}); give another --workdir, or the data of before by --data_dir"
            )


def check(config: ml_collections.ConfigDict) -> None:
    """Makes sure, before anything is prepared or written, that nothing in an experiment stands against running it.

    Raises:
      InputError: an option is wrong, or several do not go together.
    """
    options.check(config)
    wanted = models.input_of(config.model.name, config.model.kwargs)
    for entry in config.data.get("datasets") or [config.data.dataset]:
        _check_kind(entry.partition("/")[0], wanted.modality)
    pretrained.check(config.model.name, config.model.get("weights", ""))
    recipe.make_optimizer(config)
    recipe.part_size(config)
    # stand-in counts, of enough groups for 'auto' to balance: corrections that stack are refused before preparation
    recipe.make_plan(config, rates.stand_in(config.balance.to_dict()["sampling"]), balance.FEW_GROUPS)
    if config.balance.get("head"):
        raise InputError(
            f"config.balance.head={config.balance.head!r} refits the head of a finished run; use python -m "
            "dfjax.rebalance or dfjax.compare"
        )
    recipe.check_input(config, wanted)
    feeds.check(config.data.feed, recipe.codec_rate(config), config.data.get("copies", 0))
    nnx.eval_shape(lambda: recipe.make_builder(config, training=True)(Rngs(0)))


def _check_kind(dataset: str, modality: str) -> None:
    """Raises InputError where no config of a dataset holds what a detector judges; demos tell it when opened."""
    cls = data_builders.load(dataset)
    if not hasattr(cls, "CONFIG_PER_SOURCE"):
        return
    wanted, held = sources.MEDIA[modality], [HELD[config.modality] for config in cls.BUILDER_CONFIGS]
    if not any(set(wanted) <= set(one) for one in held):
        missing = next(name for name in wanted if not any(name in one for one in held))
        raise InputError(f"{dataset} holds no {missing}, which is what this detector judges")
