"""A run's best checkpoint: restored, its splits scored, what is typical of its data learnt, ready to judge files."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping

import jax
import ml_collections
import numpy as np
from etils import epath
from flax import nnx
from jaxtyping import Array, PyTree

from dfjax import models
from dfjax.data import sources
from dfjax.decide import score_file, typicality
from dfjax.decide.decision import read_decision
from dfjax.inference import bundle, heatmap, reference, scorers, scoring, weights
from dfjax.inference.detector import Detector, with_face_model
from dfjax.inference.scorers import Network
from dfjax.models import functional
from dfjax.records import Input, InputError
from dfjax.runtime import devices, process, workdir


def restore(folder: epath.PathLike, step: int | None = None) -> Network:
    """The network of a run's checkpoint, ready to evaluate.

    Args:
      folder: the workdir, or the folder of a detector that comes with dfjax, which has one checkpoint and no other.
      step: of the checkpoint; None is the best one.

    Raises:
      InputError: there is no run, no complete checkpoint, or one of another model.
    """
    if (epath.Path(folder) / bundle.WEIGHTS).exists():
        return _shipped(pathlib.Path(folder))
    from dfjax.runtime import checkpoint  # with orbax, which a detector that comes with dfjax does without

    config, build, takes = _experiment(folder)
    params, model_state = functional.shapes(build, devices.replicated(devices.make_mesh()))
    averaged = config.optim.ema > 0
    like = checkpoint.State(
        step=jax.ShapeDtypeStruct((), np.int32, sharding=devices.replicated(devices.make_mesh())),
        params=params,
        model_state=model_state,
        opt_state=None,
        average=params if averaged else None,
    )
    with checkpoint.manager(folder, reading=True) as checkpoints:
        if checkpoint.latest_step(checkpoints) is None:
            raise InputError(f"{folder} has no complete checkpoint; run the experiment first")
        step = checkpoint.best_step(checkpoints) if step is None else step
        parts = ("average" if averaged else "params", "model_state")
        state = checkpoint.restore(checkpoints, step, like, parts=parts)
    return Network(
        functional.graph(build),
        checkpoint.eval_params(state),
        state.model_state,
        takes=takes,
        batch=config.train.batch,
        step=step,
    )


def _shipped(folder: pathlib.Path) -> Network:
    """The network of a detector that comes with dfjax, from its plain arrays."""
    config, build, takes = _experiment(folder)
    arrays = weights.restore(build, folder)
    return Network(functional.graph(build), *arrays, takes=takes, batch=config.train.batch)


def _experiment(folder: epath.PathLike) -> tuple[ml_collections.ConfigDict, Callable[[nnx.Rngs], nnx.Module], Input]:
    """An experiment, what builds its detector to score, in float32 whatever it was trained in, and its input."""
    config = workdir.read_config(folder)
    name, kwargs = config.model.name, config.model.kwargs.to_dict()
    return config, functional.make_builder(name, kwargs, config.loss.name), models.input_of(name, kwargs)


def score_split(network: Network, split: sources.Split, header: dict) -> score_file.Scores:
    """Scores of all records of a split; a damaged one raises InputError.

    Args:
      network: what `restore` returned.
      split: an opened split.
      header: what the score file is to say beside the checkpoint's step.
    """
    mesh = devices.make_mesh()
    scorer = scorers.make_scorer(network.graphdef, mesh)
    values = scorers.score_split(scorer, network, split, mesh)
    return sources.as_scores(split, values, {"step": network.step, **header})


def score(folder: epath.PathLike, split: sources.Split, header: dict) -> score_file.Scores:
    """Scores a split with the best checkpoint of a workdir and leaves the score file there.

    Args:
      folder: the workdir.
      split: an opened split.
      header: as `score_split` takes it.

    Raises:
      InputError: see `restore`; or a record is damaged.
      ValueError: a score is NaN.
    """
    scores = score_split(restore(folder), split, header)
    if process.first_process():
        score_file.write(epath.Path(folder) / "scores" / f"{split.dataset}.{split.name}.csv", scores)
    return scores


def learn_typicality(
    folder: epath.PathLike,
    splits: Mapping[str, sources.Split],
    *,
    seed: int = 0,
) -> typicality.Typicality:
    """Leaves in the workdir what is typical of the training data to the best checkpoint, and returns it.

    Args:
      folder: the workdir.
      splits: as `reference.fit_typicality` takes them.
      seed: likewise.

    Raises:
      InputError: there is no complete checkpoint, or fewer than two clips to train on.
    """
    learnt = reference.fit_typicality(restore(folder), splits, seed=seed)
    if process.first_process():
        learnt.save(epath.Path(folder) / typicality.TYPICALITY)
    return learnt


@dataclasses.dataclass(frozen=True)
class Trained:
    """A finished run, as judging and exporting take it."""

    config: ml_collections.ConfigDict
    decision: dict
    media: tuple[str, dict]  # modality and crop options, as `media.decoding` takes them
    network: Network


def read(folder: str | pathlib.Path) -> Trained:
    """The best checkpoint and the decision of a run.

    Args:
      folder: the workdir, or the folder of a detector that comes with dfjax.

    Raises:
      InputError: the folder holds no finished run, one without a usable threshold, or one that does not tell how its
        pictures were cut out.
    """
    config = workdir.read_config(folder)
    decision = read_decision(epath.Path(folder) / "decision.json")
    if decision["threshold"] is None:
        raise InputError(
            f"{folder} has no usable threshold ({decision['status']}); "
            f"tune one: python -m dfjax.tune --workdir {folder}"
        )
    network = restore(folder)
    media = ("audio", {}) if network.takes.modality == "audio" else _media(epath.Path(folder))
    return Trained(config, decision, media, network)


def _media(folder: epath.Path) -> tuple[str, dict]:
    """How pictures were cut out for training: of a detector that comes with dfjax, sealed; of a run, what it noted."""
    about = folder / bundle.ABOUT
    if about.exists():
        modality, options = json.loads(about.read_text())["media"]
        return modality, options
    path = folder / "environment.json"
    try:
        facts = json.loads(path.read_text())["dataset"]
        # runs of earlier versions have none
        known = {"face_model": facts["face_model"]} if facts.get("face_model") else {}
        return facts["modality"], (facts["crops"] or {}) | known
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} does not tell how the pictures of the training data were cut out; give the whole folder of the run"
        ) from error


def load(folder: str | pathlib.Path, face_model: str | None = None) -> Detector:
    """The best checkpoint and the decision of a run, ready to judge files.

    Args:
      folder: the workdir, or the folder of a detector that comes with dfjax.
      face_model: YuNet's ONNX file, for a run whose training faces were found by it.

    Raises:
      InputError: the folder holds no finished run, or the face model is missing.
    """
    run, mesh = read(folder), devices.make_mesh()
    network, sharding = run.network, devices.split_batch(mesh)
    modality, arrays = network.takes.modality, (network.params, network.model_state)
    each = scoring.EACH_OF_FILES if jax.default_backend() == "cpu" else scoring.EACH
    known, card = epath.Path(folder) / typicality.TYPICALITY, epath.Path(folder) / bundle.CARD
    judge = scorers.make_judge(network.graphdef, mesh, embedding=known.exists())

    def outputs(examples: list[dict]) -> Mapping[str, Array]:
        batch = devices.put(scoring.stack(examples, each * mesh.size), sharding)
        return judge(*arrays, batch)

    @jax.jit
    def heat(params, model_state, x):
        whole = functional.evaluation_model(network.graphdef, params, model_state)
        return heatmap.heat_map(whole.picture if modality == "av" else whole, x)

    return Detector(
        architecture=run.config.model.name,
        outputs=outputs,
        decision=run.decision,
        model=network.takes,
        heat=functools.partial(heat, *arrays),
        media=with_face_model(run.media, face_model),
        batch=each * mesh.size,
        card=card.read_text() if card.exists() else None,
        hashes=functools.cache(functools.partial(_hashes, folder, *arrays)),
        typicality=typicality.load(known) if known.exists() else None,
    )


def _hashes(folder: str | pathlib.Path, params: PyTree, model_state: PyTree) -> dict[str, str]:
    found = {"weights": weights.digest(params, model_state)}
    for name in ("decision.json", typicality.TYPICALITY):
        if (path := epath.Path(folder) / name).exists():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
