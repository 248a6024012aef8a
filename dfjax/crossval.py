"""Leave one source out: how a detector does where it has never been, and a decision made for such places.

    python -m dfjax.crossval --config experiments/audio_focal.py:folder_audio --source RECORDINGS --by domain
    python -m dfjax.crossval --config experiments/image_focal.py:folder_image --source PICTURES --by method --seeds 3

Trains once without each domain (or method, or dataset) and scores what was left out; then once on everything. Where a
domain is left out, so are the records of its groups (speakers, people) in others. The threshold, the calibration and
what is said of new sources come from the scores of what was left out. Killed, the same command goes on with the
training that it was at.

Test clips of what was left out are scored, too, in a file of their own (`left_out_test.csv`): they choose nothing and
are in no figure of this command.
"""

import dataclasses
import hashlib
import json
import re
import sys
from typing import Any

import ml_collections
import numpy as np
import tqdm
from absl import flags
from etils import epath

from dfjax import prepare
from dfjax.data import precomputed, sources
from dfjax.decide import domains_summary, score_file
from dfjax.decide.decision import decide, read_decision, write_decision
from dfjax.decide.score_file import Scores
from dfjax.imbalance import rates
from dfjax.inference import trained
from dfjax.inference.scorers import Network
from dfjax.records import REAL, SPLITS, InputError
from dfjax.reporting import domains_view, report
from dfjax.run import command, main_job
from dfjax.runtime import cli, files, pages, process, workdir
from dfjax.training import recipe, train

LEFT_OUT = "left_out"  # the split that these scores are of, and the name of their file
TESTED = "left_out_test"  # the file of those of test clips
SPLIT_OF = {LEFT_OUT: LEFT_OUT, TESTED: "test"}  # as their headers say it: nothing is chosen on the second


def crossval(
    config: ml_collections.ConfigDict,
    folder: epath.PathLike,
    *,
    name: str,
    by: str = "domain",
    seeds: int = 1,
    data_dir: epath.PathLike | None = None,
    source: prepare.Source | None = None,
    progress: bool = True,
    whole: bool = True,
) -> dict[str, Any]:
    """Trains without each part in turn and judges what was left out; then trains on everything.

    Args:
      config: the experiment.
      folder: the workdir of the detector that is trained on everything; the others lie in its `folds/`.
      name: of the experiment, for the report.
      by: what is left out: 'domain', 'method' or 'dataset'.
      seeds: trainings of each; the first has the experiment's seed.
      data_dir: where prepared datasets lie.
      source: the user's media, see `prepare.prepare_data`.
      progress: whether to print and draw progress.
      whole: whether to train on everything in the end.

    Returns:
      What crossval.json holds, see `decide.domains_summary.summary`.

    Raises:
      InputError: the data hold fewer than two parts, or training cannot do without one; or the folder was begun on
        other data, or by leaving out something else.
    """
    folder, progress = epath.Path(folder), progress and process.first_process()
    main_job.check(config)
    workdir.check(folder, config)
    _check_by(folder, by)
    directories = prepare.prepare_data(config.data, source, data_dir, progress=progress)
    held_back = {split: sources.open_data(config.data, directories, split) for split in _splits(directories)}
    known = [split for split in held_back.values() if split.name != "test"]
    parts = sorted({value for split in known for value in sources.values_of(split, by).tolist()} - {""})
    if len(parts) < 2:
        raise InputError(
            f"{name} holds one {by} ({', '.join(parts) or 'unnamed'}), so none can be left out; "
            "say where files come from in a column 'domain' of metadata.csv, or train on several datasets"
        )
    facts = main_job.dataset_facts(config.data.dataset, directories)
    main_job.check_data(folder, facts)
    main_job.check_splits(config.data, directories, ("validation", "test") if whole else ("validation",))
    plan = recipe.make_plan(config, *recipe.tally(held_back["train"]))
    balanced = as_planned(config, plan.sampling)
    _check_folds(balanced, by, parts, directories)
    if any(before["balance"]["sampling"] == "auto" for before in _begun(folder)):  # by an earlier version
        if (meant := _check_folds(config, by, parts, directories)) != {plan.sampling}:
            raise InputError(
                f"{folder} was begun by a version for which config.balance.sampling='auto' meant {sorted(meant)} in "
                f"trainings without a {by} and {plan.sampling!r} in that on everything; give another --workdir"
            )
        balanced = config
    for line in main_job.in_common(held_back["train"]) if progress else ():
        print(line)
    header = {"clip_score": recipe.clip_rule(config), "ledger": plan.ledger.to_json(), "left_out_by": by}
    each: dict[str, list[Scores]] = {LEFT_OUT: [], TESTED: []}  # of each seed
    with workdir.lock(folder):
        workdir.claim(folder, config)
        workdir.write_json(folder / "environment.json", workdir.environment(facts))
        memory = precomputed.Memory()
        words = {"desc": f"without one {by}", "unit": "training", "disable": not progress}
        with tqdm.tqdm(total=seeds * len(parts), **words) as bar:
            for seed in range(config.seed, config.seed + seeds):
                found: dict[str, list[Scores]] = {LEFT_OUT: [], TESTED: []}  # of each part
                for part in parts:
                    bar.set_postfix_str(part)
                    fold = without(balanced, by, part, seed)
                    at = folder / "folds" / f"seed{seed}" / _slug(part)
                    for stem, scores in _left_out(fold, at, directories, held_back, memory).items():
                        found[stem].append(scores)
                    bar.update()
                if seed != config.seed:
                    memory.forget(seed)  # only the first is needed again, for the training on everything
                of = header | {"dataset": config.data.dataset, "seed": seed}
                for stem in (stem for stem in each if found[stem]):
                    each[stem].append(_together(found[stem], of | {"split": SPLIT_OF[stem]}))
                _write(folder / "scores" / f"{LEFT_OUT}.seed{seed}.csv", each[LEFT_OUT][-1])
        means = {stem: _mean(scores) for stem, scores in each.items() if scores}
        for stem, scores in means.items():
            _write(folder / "scores" / f"{stem}.csv", scores)
        together = means[LEFT_OUT]
        result = domains_summary.summary(each[LEFT_OUT]) | {"by": by, "name": name}
        workdir.write_json(folder / "crossval.json", result)
        if process.first_process():
            files.write(folder / "crossval.md", domains_view.markdown(result))
    if whole:
        words = {"data_dir": data_dir, "source": source, "progress": progress}
        main_job.run(config, folder, name=name, left_out=together, memory=memory, **words)
        _decide_again(config, folder, together)
    return result


def _check_by(folder: epath.Path, by: str) -> None:
    """Makes sure that a folder that is gone on with left out the same before: its scores would be of two kinds."""
    for experiment in _begun(folder):
        if (before := experiment["data"]["leave_out"]["by"]) != by:
            raise InputError(f"{folder} leaves each {before} out, not each {by}; give another --workdir")


def _begun(folder: epath.Path) -> list[dict[str, Any]]:
    """The experiments of the folds that lie in a folder."""
    return [json.loads(path.read_text()) for path in sorted((folder / "folds").glob("*/*/config.json"))]


def _check_folds(config, by: str, parts: list[str], directories) -> set[rates.Mode]:
    """Makes sure, before the first training, that each can do without its part; returns how they draw the classes."""
    found = set()
    for part in parts:
        fold = without(config, by, part, config.seed)
        try:
            plan = recipe.make_plan(fold, *recipe.tally(sources.open_data(fold.data, directories, "train")))
            found.add(plan.sampling)
        except InputError as error:
            need = f"clips of another {by}" + ", of groups (speakers, people) that it has alone" * (by != "method")
            raise InputError(f"without the {by} {part!r} {error}; each class needs {need}") from error
    return found


def _parts(held_back: dict[str, sources.Split], by: str, value: str) -> dict[str, list[sources.Split]]:
    """LEFT_OUT, TESTED -> what of each split is judged where `value` is left out; without what there is none of.

    Beside a method stand real records that no training has learnt from: those of validation, and of test those of test.
    """
    found: dict[str, list[sources.Split]] = {}
    for split in held_back.values():
        rows = sources.values_of(split, by) == value
        if by == "method" and split.name != "train":
            rows |= split.label == REAL
        if rows.any():
            found.setdefault(TESTED if split.name == "test" else LEFT_OUT, []).append(sources.select(split, rows))
    return found


def _decide_again(config, folder: epath.Path, scores: Scores) -> None:
    """The decision and report of a finished run, made again where what it was chosen on was less or more.

    That is the seeds, or the clips: earlier versions left test clips among them.

    What dfjax.tune put into the decision beside its criterion stays: a band, the share of fakes in use.
    """
    decision, clips = read_decision(folder / "decision.json"), score_file.by_clip(score_file.known(scores))
    same = decision.get("seeds") == scores.header["seeds"] and sum(decision["clips"].values()) == len(clips)
    if not process.first_process() or same:
        return
    choose = f"python -m dfjax.tune --workdir {folder} --split {LEFT_OUT}"
    if "seeds" not in decision:
        if decision.get("split") != LEFT_OUT:
            print(
                f"{folder / 'decision.json'} is of {decision.get('split')} scores; for the left-out ones: {choose}",
                file=sys.stderr,
            )
        return
    if decision["criterion"] != config.decision.criterion:
        words = f"is of {decision['criterion']} on the scores of before; tune it again"
        print(f"{folder / 'decision.json'} {words}: {choose}", file=sys.stderr)
        return
    kept = {"abstain": (decision["band"] or {}).get("rate"), "deploy_prior": decision["calibration"]["deploy_prior"]}
    decision = decide(scores, config.decision.criterion, **kept)
    write_decision(folder / "decision.json", decision)
    each = (score_file.read(folder / "scores" / f"{config.data.dataset}.{name}.csv") for name in ("validation", "test"))
    report.refresh(folder, decision, *each)


def as_planned(config: ml_collections.ConfigDict, sampling: rates.Mode) -> ml_collections.ConfigDict:
    """The experiment with what 'auto' means for all data: of less it may mean something else, and scores would move."""
    settled = config.copy_and_resolve_references()
    if settled.balance.sampling == "auto":
        settled.balance.sampling = sampling
    return settled


def without(config: ml_collections.ConfigDict, by: str, value: str, seed: int) -> ml_collections.ConfigDict:
    """The experiment of one fold: with another seed, and without the records that have `value` for `by`."""
    fold = config.copy_and_resolve_references()
    with fold.unlocked():
        fold.seed = seed
        fold.data.leave_out = ml_collections.ConfigDict({"by": by, "value": value})
    return fold


def _splits(directories: dict[str, epath.Path]) -> list[str]:
    there = {name for directory in directories.values() for name in sources.split_names(directory)}
    return [name for name in SPLITS if name in there]


def _left_out(config, folder: epath.Path, directories, held_back, memory) -> dict[str, Scores]:
    """Scores of what the fold was trained without, by file; trained and scored now where that was not done before."""
    parts = _parts(held_back, config.data.leave_out.by, config.data.leave_out.value)
    paths = {stem: folder / "scores" / f"{stem}.csv" for stem in parts}
    workdir.check(folder, config)
    if not all(path.exists() for path in paths.values()):
        with workdir.lock(folder):
            workdir.claim(folder, config)
            train.train(config, folder, directories, progress=False, memory=memory)
            network = trained.restore(folder)
            for stem, of in parts.items():
                _write(paths[stem], _score(network, of, config.data.leave_out))
    return {stem: score_file.read(path) for stem, path in paths.items()}


def _score(network: Network, parts: list[sources.Split], left_out) -> Scores:
    found = []
    for part in parts:
        of = np.full(len(part), left_out.value) if left_out.by == "method" else sources.values_of(part, left_out.by)
        found.append(dataclasses.replace(trained.score_split(network, part, {}), domain=of))
    scores = _together(found, {"step": network.step, "split": LEFT_OUT})
    if left_out.by == "method":  # each method has the same reals beside it: names must tell them apart
        names = {field: np.char.add(f"{left_out.value}: ", getattr(scores, field)) for field in ("id", "clip")}
        scores = dataclasses.replace(scores, **names)
    return scores


def _together(parts: list[Scores], header: dict[str, Any]) -> Scores:
    columns = {field: np.concatenate([getattr(part, field) for part in parts]) for field in score_file.COLUMNS}
    domain = np.concatenate([part.domain for part in parts])
    return Scores(**columns, domain=domain, header=header)


def _mean(each: list[Scores]) -> Scores:
    """The mean scores of several seeds, whose header names them all."""
    mean = np.mean([scores.score for scores in each], axis=0, dtype=np.float64).astype(np.float32)
    header = {key: value for key, value in each[0].header.items() if key != "seed"}
    return dataclasses.replace(each[0], score=mean, header=header | {"seeds": [s.header["seed"] for s in each]})


def _write(path: epath.Path, scores: Scores) -> None:
    if process.first_process():
        score_file.write(path, scores)
    process.barrier("left out")


def _slug(part: str) -> str:
    """A folder's name for a part; two parts never share one."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", part)
    return (
        plain
        if plain == part and plain.strip(".")
        else f"{plain}-{hashlib.blake2b(part.encode(), digest_size=3).hexdigest()}"
    )


_BY = flags.DEFINE_enum("by", "domain", sorted(sources.BY), "what is left out, one after another")
_SEEDS = flags.DEFINE_integer("seeds", 1, "trainings of each fold", lower_bound=1)
_FOLDS_ONLY = flags.DEFINE_bool("folds_only", False, "do not train on everything in the end")


def main() -> None:
    """Flags, then one call; those of dfjax.run are understood too, but for --profile and --tensorboard."""
    config, name = command.parse(sys.argv, sys.modules[__name__])
    for option in ("profile", "tensorboard"):
        if flags.FLAGS[option].value:
            raise InputError(f"--{option} is of dfjax.run, which trains once; this command trains many times")
    pages.ask_for_large(config)
    process.use_all_cores()
    process.connect()
    process.keep_compilations()
    values = flags.FLAGS
    result = crossval(
        config,
        values.workdir or f"runs/{name}-without-{_BY.value}",
        name=name,
        by=_BY.value,
        seeds=_SEEDS.value,
        data_dir=values.data_dir,
        source=values.source,
        progress=not values.json,
        whole=not _FOLDS_ONLY.value,
    )
    if process.first_process():
        print(json.dumps(result, allow_nan=False) if values.json else domains_view.markdown(result))


if __name__ == "__main__":
    cli.main(main)
