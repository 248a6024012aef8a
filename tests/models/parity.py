"""What the tests of all published image models share.

`python -m tests.models.parity` prints their table in experiments/README.md.
"""

import functools
import pathlib
import tempfile

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from dfjax import models
from dfjax.models import convnext, efficientnet, vit, xception
from dfjax.models.streams import Rngs
from dfjax.records import InputError
from tests.models import reference

TOLERANCE = 1e-4  # on logits, absolute and relative to their spread


def _small(load, name: str):
    return functools.partial(load, size=reference.SIZES[name])


MODELS = {  # name -> loader, the reference's classifier, what it is applied to
    "xception": (xception.load, "fc", "embed"),
    "efficientnet_b0": (efficientnet.load_b0, "classifier", "embed"),
    "efficientnet_b4": (efficientnet.load_b4, "classifier", "embed"),
    "convnext_tiny": (convnext.load, "head.fc", "embed"),
    "vit_base": (_small(vit.load_vit_base, "vit_base"), "classifier", "embed"),
    "clip_base": (_small(vit.load_clip_base, "clip_base"), "visual_projection", "pooled"),
    "clip_large": (_small(vit.load_clip_large, "clip_large"), "visual_projection", "pooled"),
}


def parameters(build) -> int:
    """The number of parameters apart from our head."""
    model = nnx.eval_shape(build)
    count = lambda tree: sum(v.size for v in jax.tree.leaves(nnx.state(tree, nnx.Param)))  # noqa: E731
    return count(model) - count(model.head)


def compare(name: str, folder) -> tuple[np.ndarray, np.ndarray]:
    """Logits of our embedding under the reference's classifier, and the reference's, at seeded random weights."""
    load, classifier, embed = MODELS[name]
    shapes, expected = reference.read_golden(name)
    weights = reference.random_weights(shapes)
    path = folder / "model.safetensors"
    safetensors.numpy.save_file(weights, path)
    model = nnx.view(load(folder), deterministic=True, use_running_average=True, raise_if_not_found=False)
    graphdef, state = nnx.split(model)

    @jax.jit
    def run(state, x):
        model = nnx.merge(graphdef, state)
        return getattr(model, embed)(x), model(x)

    embeddings, ours = run(state, reference.images(name))
    assert ours.shape == (2,) and ours.dtype == np.float32 and np.isfinite(ours).all()
    logits = embeddings @ weights[f"{classifier}.weight"].T
    if f"{classifier}.bias" in weights:
        logits += weights[f"{classifier}.bias"][None]
    return np.asarray(logits), expected


def check(name: str, folder):
    """Our embedding under the reference's classifier gives the reference's logits."""
    logits, expected = compare(name, folder)
    assert expected.std() > 0.1
    np.testing.assert_allclose(logits, expected, rtol=0, atol=TOLERANCE * min(1, expected.std()))


def check_errors(name: str, folder):
    """Every name and shape is checked, and a missing file says where to get it."""
    load = MODELS[name][0]
    with pytest.raises(InputError, match="no such file: .*; download the weights from https://huggingface.co/"):
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


def main() -> None:
    """Prints a row of that table per model."""
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            logits, expected = compare(name, pathlib.Path(folder))
        count = parameters(lambda name=name: models.build(name, rngs=Rngs(0)))
        print(f"| `{name}` | {count:,} | {abs(logits - expected).max():.1e} | {expected.std():.2f} |", flush=True)


if __name__ == "__main__":
    main()
