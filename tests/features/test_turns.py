"""Devices that share a batch each work on their own part of it, and nothing else changes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxlib import version

from dfjax.features import spectrum, turns
from dfjax.runtime import devices


@pytest.fixture(scope="module")
def mesh():
    return devices.make_mesh(8)


def through(x):
    """A transform, a few clips at a time and all at once, and back."""
    real, imaginary = turns.few_at_a_time(lambda few: jnp.stack(spectrum.stft(few, 512, 128), 1), x, each=2).swapaxes(
        0, 1
    )
    return spectrum.irfft(spectrum.rfft(x)) + spectrum.istft(jax.lax.complex(real, imaginary), 512, x.shape[1])


@pytest.mark.parametrize("batch", [8, 7])
def test_a_shared_batch_gives_what_a_whole_one_gives_and_so_do_its_gradients(mesh, batch):
    x = jax.random.normal(jax.random.key(0), (batch, 1600))
    place = devices.split_batch(mesh) if batch % mesh.size == 0 else devices.replicated(mesh)
    both = lambda x: (through(x), jax.grad(lambda x: (through(x) ** 2).sum())(x))
    whole, shared = jax.jit(both)(x), jax.jit(devices.shared_by(mesh)(both))(jax.device_put(x, place))
    for one, other in zip(whole, shared, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)
    assert np.abs(np.asarray(whole[0]) - 2 * np.asarray(x))[:, 256:-256].max() < 1e-4


@pytest.mark.parametrize("mark", [devices.shared_by, lambda mesh: lambda function: devices.each_alone(function, mesh)])
def test_no_device_transforms_what_another_has(mesh, mark):
    """Left alone the compiler of jaxlib 0.10 gathers the frames of all on each; that of 0.12 no longer does."""
    x = jax.device_put(jnp.ones((8, 1600)), devices.split_batch(mesh))
    text = jax.jit(mark(mesh)(through)).lower(x).compile().as_text()
    assert not re.search(r"all-gather|all-to-all|collective-permute", text) and "fft" in text
    if version.__version_info__ < (0, 11):
        assert "all-gather" in jax.jit(through).lower(x).compile().as_text()
