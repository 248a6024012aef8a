"""A run that starts from released weights, `config.model.weights`; only its head and back end begin anew."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp

from dfjax import models
from dfjax.models import functional
from dfjax.records import InputError
from dfjax.runtime import checkpoint

# released weights hold none, or one that answers another question
NEW = {"head", "back_end", "layer_weights"}


def check(name: str, path: str) -> None:
    """Raises InputError if `path` does not exist, with where the weights of this model are published; reads nothing."""
    if path and (name not in models.PUBLISHED or not pathlib.Path(path).exists()):
        models.load_published(name, path)  # which says so


def start(state: checkpoint.State, name: str, path: str) -> checkpoint.State:
    """The fresh state of a run with released weights and running statistics in place of its own, but for what is NEW.

    Args:
      state: of a model that was built with the experiment's arguments.
      name: of the model.
      path: where its released weights lie.

    Raises:
      InputError: they cannot be read, or the arguments ask for another network than was released.
    """
    _, params, model_state = functional.split(models.load_published(name, path))
    wanted = {"params": state.params, "model_state": state.model_state}
    found = {"params": params, "model_state": model_state}
    found = {part: tree | {n: wanted[part][n] for n in NEW & wanted[part].keys()} for part, tree in found.items()}
    if (here := _shapes(found)) != (there := _shapes(wanted)):
        first = min(here.items() ^ there.items())[0]
        raise InputError(
            f"config.model.kwargs build another {name} than the one in {path}: they differ in {first}; "
            "leave out those that change its shape"
        )
    placed = jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), found, wanted)
    average = None if state.average is None else jax.tree.map(jnp.copy, placed["params"])
    return dataclasses.replace(state, average=average, **placed)


def _shapes(tree) -> dict[str, tuple[int, ...]]:
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
