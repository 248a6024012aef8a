"""What the tests of all published image models share."""

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from dfjax.records import InputError
from tests.models import reference

TOLERANCE = 1e-4  # on logits, absolute and relative to their spread


def parameters(build) -> int:
    """The number of parameters apart from our head."""
    model = nnx.eval_shape(build)
    count = lambda tree: sum(v.size for v in jax.tree.leaves(nnx.state(tree, nnx.Param)))  # noqa: E731
    return count(model) - count(model.head)


def check(name: str, load, classifier: str, folder, embed: str = "embed"):
    """Our embedding under the reference's classifier gives the reference's logits."""
    shapes, expected = reference.read_golden(name)
    weights = reference.random_weights(shapes)
    path = folder / "model.safetensors"
    safetensors.numpy.save_file(weights, path)
    model = nnx.view(
        load(folder), deterministic=True, use_running_average=True, raise_if_not_found=False
    )
    graphdef, state = nnx.split(model)

    @jax.jit
    def run(state, x):
        model = nnx.merge(graphdef, state)
        return getattr(model, embed)(x), model(x)

    embeddings, ours = run(state, reference.images(name))
    logits = embeddings @ weights[f"{classifier}.weight"].T
    if f"{classifier}.bias" in weights:
        logits += weights[f"{classifier}.bias"][None]
    assert expected.std() > 0.1
    np.testing.assert_allclose(logits, expected, rtol=0, atol=TOLERANCE * min(1, expected.std()))
    assert ours.shape == (2,) and ours.dtype == np.float32 and np.isfinite(ours).all()


def check_errors(name: str, load, folder):
    """Every name and shape is checked, and a missing file says where to get it."""
    with pytest.raises(
        InputError, match="no such file: .*; download the weights from https://huggingface.co/"
    ):
        load(folder / "none.safetensors")
    shapes, _ = reference.read_golden(name)
    zeros = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    path = folder / "w.safetensors"
    first = next(key for key in zeros if not key.startswith("classifier."))
    safetensors.numpy.save_file({k: v for k, v in zeros.items() if k != first}, path)
    with pytest.raises(InputError, match="lacks 1 tensors"):
        load(path)
    safetensors.numpy.save_file(zeros | {"another": zeros[first]}, path)
    with pytest.raises(InputError, match="1 tensors that the model lacks, first 'another'"):
        load(path)
    safetensors.numpy.save_file(zeros | {first: zeros[first][..., None]}, path)
    with pytest.raises(InputError, match="has shape"):
        load(path)
    path.write_bytes(b"not weights")
    with pytest.raises(InputError, match="not a safetensors file"):
        load(path)


def check_live(name: str):
    """The golden file is what the reference gives today."""
    if not reference.available():
        pytest.skip("needs torch, timm and transformers (the extra 'parity')")
    shapes, logits = reference.compute(name)
    golden_shapes, golden = reference.read_golden(name)
    assert shapes == golden_shapes
    np.testing.assert_allclose(logits, golden, rtol=0, atol=1e-5)
