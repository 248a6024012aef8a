"""What holds on a GPU or TPU too; skipped where there is none: python -m pytest -m gpu"""

import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import dfjax
from dfjax import export, models
from dfjax.inference import bundle, trained
from dfjax.models import depthwise
from tests import job, prepared

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(jax.default_backend() == "cpu", reason="no accelerator here"),
]
JUDGED = """
import json, sys, numpy as np, dfjax
rng, detector = np.random.default_rng(0), dfjax.load()
clips = [(3000 * rng.standard_normal(48_000)).astype(np.int16) for _ in range(4)]
print(json.dumps([detector(clip)["score"] for clip in clips]))
"""


@pytest.mark.parametrize("name", ["texture", "aasist", "cnn_small", "efficientnet_b0", "convnext_tiny", "vit_base"])
def test_a_network_has_the_logits_that_it_has_on_a_cpu(name):
    model = models.build(name, rngs=nnx.Rngs(0))
    model = nnx.view(model, deterministic=True, use_running_average=True, raise_if_not_found=False)
    shape = (16_000,) if model.modality == "audio" else (model.size, model.size, 3)
    x = np.random.default_rng(0).uniform(size=(4, *shape)).astype(np.float32)
    graphdef, state = nnx.split(model)
    found = []
    for device in (jax.devices()[0], jax.devices("cpu")[0]):
        with jax.default_matmul_precision("highest"):
            found.append(jax.jit(lambda state, x: nnx.merge(graphdef, state)(x))(*jax.device_put((state, x), device)))
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("side", "channels", "k"), [(28, 96, 7), (19, 728, 3), (7, 768, 7)])
def test_depthwise_kernels_are_the_convolution_and_so_are_their_gradients(side, channels, k):
    keys = jax.random.split(jax.random.key(0), 3)
    x, dy = (jax.random.normal(key, (16, side, side, channels), jnp.bfloat16) for key in keys[:2])
    taps = jax.random.normal(keys[2], (k, k, 1, channels), jnp.bfloat16)

    def all_of(function, x, taps, dy):
        y, back = jax.vjp(function, x, taps)
        return y, *back(dy)

    plain = functools.partial(depthwise._convolution, stride=1)
    found = [jax.jit(functools.partial(all_of, function))(x, taps, dy) for function in (depthwise.depthwise, plain)]
    for ours, theirs in zip(*(jax.tree.map(lambda y: np.asarray(y, np.float32), y) for y in found), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2**-8 * np.abs(theirs).max())


def test_the_shipped_detector_says_what_it_says_on_a_cpu():
    found = []
    for more in ({}, {"JAX_PLATFORMS": "cpu"}):
        command = [sys.executable, "-c", JUDGED]
        found.append(json.loads(subprocess.check_output(command, env=os.environ | more, text=True)))
    np.testing.assert_allclose(*found, rtol=0, atol=1e-2)


def test_two_trainings_are_the_same_to_the_bit(tmp_path):
    directory, found = prepared.make(tmp_path / "prepared"), []
    for name in ("one", "other"):
        job.job(tmp_path / name, directory, **{"data.feed": "resident"})
        found.append(job.results(tmp_path / name))
    assert found[0] == found[1]


def test_a_bundle_gives_the_logits_of_the_detector(tmp_path):
    export.export(bundle.SPEECH, tmp_path / "detector.zip")
    clips = [np.random.default_rng(i).integers(-9000, 9000, 48_000).astype(np.int16) for i in range(3)]
    pairs = [
        [detector(clip)["score"] for clip in clips]
        for detector in (trained.load(bundle.SPEECH), dfjax.load(tmp_path / "detector.zip"))
    ]
    np.testing.assert_allclose(*pairs, rtol=0, atol=1e-6)
