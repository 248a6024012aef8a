"""Decoupled training: a run's backbone with a head fitted again on resampled embeddings, as a run of its own.

    python -m dfjax.rebalance --workdir runs/audio_baseline --method smote --out runs/audio_baseline-smote

The result is a run like any other: tune, predict and evaluate take it. Only the training split is resampled;
validation and test keep their natural prior.
"""

import argparse
import json
import pathlib
import time
from collections.abc import Mapping

import ml_collections
import numpy as np
from etils import epath

from dfjax import models, prepare
from dfjax.data import sources
from dfjax.decide import typicality
from dfjax.decide.decision import decide, write_decision
from dfjax.decide.score_file import Scores
from dfjax.imbalance import rates, smote
from dfjax.imbalance.ledger import Ledger
from dfjax.inference import bundle, scorers, trained
from dfjax.models import functional, heads
from dfjax.records import InputError
from dfjax.reporting import report
from dfjax.run import main_job
from dfjax.runtime import checkpoint, cli, devices, files, process, workdir
from dfjax.training import linear_head, options, recipe


def rebalance(
    config: ml_collections.ConfigDict, folder: epath.PathLike, backbone: epath.PathLike, directory: sources.Directory
) -> smote.Resampled:
    """Writes the checkpoint with the new head into `folder`; see `imbalance.smote` for where this is from.

    Args:
      config: the experiment of the backbone, with `balance.head` one of `smote.METHODS`.
      folder: where the checkpoint goes.
      backbone: the workdir of the trained backbone.
      directory: the prepared dataset, or name -> folder of several.

    Returns:
      What resampling made of the training embeddings, with its ledger and notes.

    Raises:
      InputError: the resampler refuses.
    """
    network = trained.restore(backbone)
    split = sources.open_data(config.data, directory, "train")
    mesh = devices.make_mesh()
    embed = scorers.make_embedder(network.graphdef, mesh)
    embeddings = scorers.score_split(embed, network, split, mesh)
    rows = sources.known_rows(split)
    resampled = smote.resample(embeddings[rows], split.label[rows], config.balance.head, seed=config.seed)
    head = linear_head.fit(resampled.embeddings, resampled.labels)
    head = heads.shared_out(head, network.params["head"])
    params = network.params | {"head": devices.put(head, devices.replicated(mesh))}
    average = params if config.optim.ema > 0 else None
    state = checkpoint.State(np.int32(network.step), params, network.model_state, None, average)
    if process.first_process():  # what a call that was stopped has left is made again, the same
        (epath.Path(folder) / "checkpoints").rmtree(missing_ok=True)
    process.barrier("cleared")
    with checkpoint.manager(folder) as checkpoints:
        checkpoint.save(checkpoints, state, {"average_precision": None})
    return resampled


def finish(
    config: ml_collections.ConfigDict,
    folder: epath.PathLike,
    *,
    name: str,
    backbone: epath.PathLike | None = None,
    data_dir: epath.PathLike | None = None,
    source: epath.PathLike | None = None,
    progress: bool = True,
) -> dict:
    """All of an experiment with `balance.head`, from backbone to report, continuing where it stopped.

    Args:
      config: the experiment.
      folder: the workdir of the result.
      name: of the experiment, for the report.
      backbone: the workdir of its backbone, trained there if it is not yet; `folder`/backbone if None.
      data_dir: where prepared datasets lie.
      source: the user's media.
      progress: whether to print and draw progress.

    Returns:
      What report.json holds.

    Raises:
      InputError: see `main_job.run` and `rebalance`; or there is no `balance.head`, the head is not linear, another run
        is in `folder`, other data than it or the backbone began on are given, or there is nothing to resample.
    """
    options.check(config)
    if not config.balance.get("head"):
        raise InputError("config.balance.head says how to resample embeddings; it is missing")
    main_job.check(without_head(config))
    check_head(config)
    progress = progress and process.first_process()
    folder = epath.Path(folder)
    backbone = epath.Path(backbone or folder / "backbone")
    dataset = config.data.dataset
    workdir.check(folder, config)
    finished = (folder / "report.json").exists()
    if source is not None or not finished:  # a finished run needs its data only to see whether they are those given
        directory = prepare.prepare_data(config.data, source, data_dir, progress=progress)
        facts = main_job.dataset_facts(dataset, directory)
        for each in (folder, backbone):
            main_job.check_data(each, facts)
    if finished:
        return json.loads((folder / "report.json").read_text())
    if (backbone / "config.json").exists():
        plain = workdir.read_config(backbone)
    else:
        plain = without_head(config)
    main_job.check_splits(config.data, directory)
    split = sources.open_data(config.data, directory, "train")
    counts, _ = recipe.tally(split)
    smote.check(rates.class_counts(counts), config.balance.head)
    sources.check_media(split, models.input_of(config.model.name, config.model.kwargs).modality)
    with workdir.lock(folder):
        workdir.claim(folder, config)
        words = {"name": name, "data_dir": data_dir, "source": source}
        before = main_job.run(plain, backbone, **words, progress=progress and not (backbone / "report.json").exists())
        began = time.perf_counter()
        workdir.write_json(folder / "environment.json", workdir.environment(facts))
        resampled = rebalance(config, folder, backbone, directory)
        validation, test = (
            _score(config, folder, directory, split, resampled.ledger) for split in ("validation", "test")
        )
        splits = {split: sources.open_data(config.data, directory, split) for split in ("train", "validation", "test")}
        keep_typicality(folder, backbone, splits, seed=config.seed)
        decision = decide(validation, config.decision.criterion)
        if process.first_process():
            write_decision(folder / "decision.json", decision)
        train_split, test_split = splits["train"], splits["test"]
        seconds = before["run"]["seconds"] + time.perf_counter() - began
        result = report.build(
            validation=validation,
            test=test,
            decision=decision,
            train_counts=sources.clip_counts(train_split),
            ledger=resampled.ledger.to_json(),
            audit=before["audit"],
            run=before["run"] | {"name": name, "seconds": round(seconds, 1)},
            train_methods=set(train_split.method.tolist()) - {""},
            subgroups=sources.subgroups_of_clips(test_split),
        )
        if process.first_process():
            report.write(folder, result, validation, test, sources.subgroups_of_clips(test_split))
        process.barrier("reported")  # nobody goes on before the first process has written
        for note in resampled.notes if progress else ():
            print(note)
        return result


def keep_typicality(
    folder: epath.PathLike, backbone: epath.PathLike, splits: Mapping[str, sources.Split], *, seed: int
) -> None:
    """Leaves in `folder` what is typical of the training data: the backbone's, since a new head moves no embedding.

    Of a backbone that did not learn it, it is learnt here.

    Args:
      folder: the workdir of the result, with its checkpoint.
      backbone: the workdir of the trained backbone.
      splits: as `reference.fit_typicality` takes them.
      seed: likewise.

    Raises:
      InputError: see `trained.learn_typicality`.
    """
    known = epath.Path(backbone) / typicality.TYPICALITY
    if not known.exists():
        trained.learn_typicality(folder, splits, seed=seed)
    elif process.first_process():
        files.write(epath.Path(folder) / typicality.TYPICALITY, known.read_bytes())


def check_head(config: ml_collections.ConfigDict) -> None:
    """Raises InputError unless the detector of an experiment has a linear head, which alone can be fitted again."""
    params, _ = functional.shapes(recipe.make_builder(config), devices.replicated(devices.make_mesh()))
    if params["head"].keys() != {"out"}:
        raise InputError(
            f"the head of {config.model.name} with loss {config.loss.name!r} is not linear; only a linear head can be "
            "fitted again"
        )


def without_head(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The experiment of the backbone."""
    plain = config.copy_and_resolve_references()
    if plain.balance.get("head"):
        plain.balance.head = ""
    return plain


def _score(config, folder, directory, split: str, ledger: Ledger) -> Scores:
    """Scores a split with the new head; the header carries the head's own ledger."""
    header = {"clip_score": recipe.clip_rule(config), "ledger": ledger.to_json()}
    return trained.score(folder, sources.open_data(config.data, directory, split), header)


def _named(folder: pathlib.Path) -> pathlib.Path:
    """The folder by a path that ends in its name, which '.' and '..' do not."""
    return folder.resolve() if folder.name in ("", "..") else folder


def parser() -> cli.Parser:
    """The command line."""
    parser = cli.Parser(
        prog="python -m dfjax.rebalance", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--workdir", type=cli.local_folder, required=True, help="a finished run, whose backbone is kept"
    )
    parser.add_argument("--method", choices=smote.METHODS, required=True, help="how to resample the embeddings")
    parser.add_argument("--out", type=cli.local_folder, help="workdir of the result (default WORKDIR-METHOD)")
    parser.add_argument("--data_dir", help="where prepared datasets lie")
    parser.add_argument("--source", help="folder with your media, as the run was given it")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON line and nothing else")
    return parser


def main() -> None:
    """Arguments, then one call."""
    args = parser().parse_args()
    process.use_all_cores()
    process.connect()
    if bundle.is_bundle(str(args.workdir)):
        raise InputError(f"{args.workdir} is a bundle, which stays as it was sealed; give the run that it was made of")
    config = workdir.read_config(args.workdir)
    if "balance" not in config:
        raise InputError(
            f"{args.workdir} holds imported weights, which come without training data; train on yours first"
        )
    with config.unlocked():
        config.balance.head = args.method
    run = _named(args.workdir)
    out = args.out or run.with_name(f"{run.name}-{args.method}")
    words = {"data_dir": args.data_dir, "source": args.source, "progress": not args.json}
    result = finish(config, out, name=_named(out).name, backbone=args.workdir, **words)
    if process.first_process():
        print(json.dumps(result, allow_nan=False) if args.json else f"report in {out / 'report.html'}")


if __name__ == "__main__":
    cli.main(main)
