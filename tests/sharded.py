"""Trains a small transformer with its state replicated and spread over all devices: python -m tests.sharded FOLDER."""

import functools
import json
import sys

import jax
import numpy as np
import optax

from dfjax.models import vit
from dfjax.runtime import checkpoint, devices
from dfjax.training import losses, train_step

STEPS, BATCH = 4, 16


class Small(vit.ViTBase):
    size, width, depth, n_heads, patch = 32, 256, 2, 4, 8


def start(place):
    """(graphdef, state, tx) with the state where `place` says."""
    tx = optax.adamw(1e-4)
    build = lambda rngs: Small(rngs=rngs)
    return *train_step.create(build, tx, jax.random.key(0), ema=True, sharding=place), tx


def run(place, mesh):
    """(losses of a few steps, state after them, the compiled step)."""
    graphdef, state, tx = start(place)
    rng = np.random.default_rng(0)
    data = rng.random((BATCH, 32, 32, 3), np.float32), rng.integers(0, 2, BATCH)
    data = devices.put(data, devices.split_batch(mesh))
    bce = losses.build("binary_cross_entropy")

    def one_step(state, data, key):
        return train_step.update(
            state,
            *data,
            key,
            graphdef=graphdef,
            tx=tx,
            loss=lambda z, y, step: bce(z, y),
            ema=0.9,
            seen=functools.partial(devices.gather, mesh) if isinstance(place, functools.partial) else lambda p: p,
        )

    placed = jax.tree.map(lambda leaf: leaf.sharding, state), devices.replicated(mesh)
    step = train_step.compile_steps(one_step, 1, placed).lower(state, data, jax.random.key(1)).compile()
    values = []
    for _ in range(STEPS):
        state, metrics = step(state, data, jax.random.key(1))
        values.append(float(metrics["loss"][0]))
    return values, state, step


def bytes_each(state):
    """Bytes of the state on the fullest device."""
    held = dict.fromkeys(jax.devices(), 0)
    for leaf in jax.tree.leaves(state):
        for shard in leaf.addressable_shards:
            held[shard.device] += shard.data.nbytes
    return max(held.values())


def reloaded(folder, state, place):
    """Whether a checkpoint of `state` comes back bit for bit to where `place` says."""
    words = {"ema": True, "sharding": place, "shapes_only": True}
    _, like = train_step.create(lambda rngs: Small(rngs=rngs), optax.adamw(1e-3), jax.random.key(0), **words)
    with checkpoint.manager(folder) as checkpoints:
        checkpoint.save(checkpoints, state, {"average_precision": 0.5})
        back = checkpoint.restore(checkpoints, STEPS, like)
    pairs = list(zip(jax.tree.leaves(state), jax.tree.leaves(back), jax.tree.leaves(like), strict=True))
    return all(b.sharding == c.sharding and np.array_equal(a, b) for a, b, c in pairs)


def main(folder):
    mesh = devices.make_mesh(BATCH)
    whole, part = devices.replicated(mesh), functools.partial(devices.part_of, mesh)
    (one, together, step), (other, apart, step_apart) = run(whole, mesh), run(part, mesh)
    print(
        json.dumps(
            {
                "devices": mesh.size,
                "losses": [one, other],
                "bytes": [bytes_each(together), bytes_each(apart)],
                "temporary": [s.memory_analysis().temp_size_in_bytes for s in (step, step_apart)],
                "reloaded": [reloaded(f"{folder}/apart", apart, whole), reloaded(f"{folder}/together", together, part)],
            }
        )
    )
    return step_apart


if __name__ == "__main__":
    main(sys.argv[1])
