"""A detector's functions as StableHLO programs of any batch, for CPU, CUDA and TPU alike; all that a bundle holds."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath
from flax import nnx, traverse_util
from jax import export
from jaxtyping import PyTree

import dfjax
from dfjax.decide import typicality
from dfjax.inference import bundle, heatmap, scorers, scoring, trained, weights
from dfjax.models import functional
from dfjax.records import MAX_SAMPLES, SAMPLE_RATE, Input, InputError
from dfjax.runtime.strict_json import plain

BATCH = "2*b"  # an even number, so that a CPU can take two clips at a time; any other is padded


def members(folder: str | pathlib.Path) -> dict[str, bytes]:
    """The members of a run's bundle, but for the model card.

    Args:
      folder: the workdir, or the folder of a detector that comes with dfjax.

    Raises:
      InputError: the run is not finished or has no usable threshold, or its detector cannot be lowered.
    """
    run, folder = trained.read(folder), epath.Path(folder)
    network, known = run.network, folder / typicality.TYPICALITY
    about = {
        "dfjax": dfjax.__version__,
        "jax": jax.__version__,
        "model": run.config.model.name,
        "dataset": run.config.data.dataset,
        "step": network.step,
        "weights": weights.digest(network.params, network.model_state),
        "parameters": sum(x.size for x in jax.tree.leaves(network.params)),
        "input": {"modality": network.takes.modality, "size": network.takes.size, "samples": network.takes.samples},
        "shapes": scoring.shapes(network.takes),
        "media": run.media,
        "sample_rate": SAMPLE_RATE,
        "window": MAX_SAMPLES,
        "platforms": bundle.PLATFORMS,
    }
    found = {
        bundle.ABOUT: json.dumps(plain(about), indent=2, allow_nan=False).encode(),
        bundle.DECISION: (folder / bundle.DECISION).read_bytes(),
        bundle.WEIGHTS: bundle.pack(weights.arrays(network.params, network.model_state)),
    }
    if known.exists():
        found[typicality.TYPICALITY] = known.read_bytes()
    return found | programs(
        network.graphdef, network.params, network.model_state, network.takes, embedding=known.exists()
    )


def programs(
    graphdef: nnx.GraphDef, params: PyTree, model_state: PyTree, takes: Input, *, embedding: bool
) -> dict[str, bytes]:
    """The members of a bundle that hold programs: one for each shape of the input, and one that draws heat maps.

    A program takes the arrays of `weights.flatten` by name and a batch in compact form, {'audio', 'length'}, {'image'}
    or {'image', 'audio'}, and gives {'score': (batch,) logits}, 'embedding', (batch, dim), if that is asked for, and of
    picture and sound together 'parts', (batch, 2) logits of each.

    Args:
      graphdef: static part of the detector.
      params: its parameters, or their shapes.
      model_state: its running statistics, or their shapes.
      takes: what it is given.
      embedding: whether typicality is known.

    Raises:
      InputError: the detector cannot be lowered for all platforms, or calls something outside of XLA.
    """
    named = weights.flatten(params, model_state)

    def whole(arrays: Mapping[str, Any]) -> nnx.Module:
        tree = traverse_util.unflatten_dict({named[name][0]: value for name, value in arrays.items()})
        return functional.evaluation_model(graphdef, tree.get("params", {}), tree.get("model_state", {}))

    def score(arrays: Mapping[str, Any], batch: dict) -> dict[str, Any]:
        return scorers.judged(whole(arrays), batch, embedding=embedding)

    def heat(arrays: Mapping[str, Any], x: Any) -> Any:
        model = whole(arrays)
        return heatmap.heat_map(model.picture if takes.modality == "av" else model, x)

    arrays = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, (_, x) in named.items()}
    (batch,) = export.symbolic_shape(BATCH)
    shapes = scoring.shapes(takes)
    found = {bundle.program_name(shape): _lower(score, arrays, _example(takes, batch, shape)) for shape in shapes}
    if takes.size is not None:
        picture = jax.ShapeDtypeStruct((1, takes.size, takes.size, 3), jnp.float32)
        try:
            found[bundle.HEAT] = _lower(heat, arrays, picture)
        except InputError:  # of a detector that has none
            pass
    return found


def _example(takes: Input, batch: Any, shape: int) -> dict[str, jax.ShapeDtypeStruct]:
    struct = jax.ShapeDtypeStruct
    if takes.modality == "audio":
        return {"audio": struct((batch, shape), jnp.int16), "length": struct((batch,), jnp.int32)}
    picture = {"image": struct((batch, shape, shape, 3), jnp.uint8)}
    return picture | ({"audio": struct((batch, SAMPLE_RATE), jnp.int16)} if takes.modality == "av" else {})


def _lower(function, *shapes) -> bytes:
    # where in which file an operation was written is nobody's business
    before = jax.config.jax_traceback_in_locations_limit
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        program = export.export(jax.jit(function), platforms=bundle.PLATFORMS)(*shapes)
        if calls := bundle.outside_calls(program):
            raise InputError(f"the detector calls {calls} outside of XLA; a bundle holds none of that")
        return bytes(program.serialize())
    except NotImplementedError as error:
        words = " ".join(str(error).split())[:200]
        raise InputError(f"the detector cannot be lowered for {', '.join(bundle.PLATFORMS)}: {words}") from error
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)
