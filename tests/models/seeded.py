"""Weights and inputs that any program can make again: what the golden numbers were computed from."""

import zlib
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from flax import nnx


def weights(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """One array per name, float32, drawn from a generator seeded with the CRC-32 of the name.

    Matrices and kernels have standard deviation 1 / sqrt(fan in), variances lie above 1, scales near 1, all
    else is small.
    """
    drawn = {}
    for name, shape in shapes.items():
        value = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
        if name.endswith("running_var"):
            value = 1 + np.abs(value)
        elif len(shape) > 1:
            value = value / np.sqrt(np.prod(shape[1:]))
        else:
            value = 0.1 * value + (name.endswith("weight"))
        drawn[name] = value.astype(np.float32)
    return drawn


def model(build: Callable[[], nnx.Module]) -> nnx.Module:
    """The module that `build` describes with such weights; to compile its own initialisers takes up to 20 s."""
    graph, state = nnx.split(nnx.eval_shape(build))
    filled = []
    for path, variable in nnx.to_flat_state(state):
        value = np.random.default_rng(zlib.crc32("/".join(map(str, path)).encode())).standard_normal(variable.shape)
        if path[-1] == "var":
            value = 1 + np.abs(value)
        elif value.ndim > 1:
            value = value / np.sqrt(np.prod(value.shape[:-1]))
        else:
            value = 0.1 * value + (path[-1] == "scale")
        filled.append((path, variable.replace(jnp.asarray(value, variable.dtype))))
    return nnx.merge(graph, nnx.from_flat_state(filled))


def waveforms(samples: int) -> np.ndarray:
    """(2, samples) float32: a decaying 150 Hz square wave, and noise from seed 0."""
    t = np.arange(samples) / 16_000
    square = 0.2 * np.sign(np.sin(2 * np.pi * 150 * t)) * np.exp(-t)
    noise = 0.1 * np.random.default_rng(0).standard_normal(samples)
    return np.stack([square, noise]).astype(np.float32)
