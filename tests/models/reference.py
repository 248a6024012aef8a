"""Reference logits of timm and transformers at seeded random weights.

The weights follow from the names and shapes alone (`random_weights`), so the goldens hold names, shapes and
logits, and a test needs no PyTorch. Where torch, timm and transformers are installed,

    python -m tests.models.reference

writes the goldens again, and `test_*_live` tests compute them afresh.
"""

import enum
import importlib.abc
import importlib.machinery
import importlib.util
import json
import pathlib
import sys
import tempfile
import types

import numpy as np

GOLDEN = pathlib.Path(__file__).parent / "golden"
CLASSES = 16
SIZES = {  # pixels; the depth is as published
    "xception": 96,
    "efficientnet_b0": 64,
    "efficientnet_b4": 64,
    "convnext_tiny": 64,
    "vit_base": 64,
    "clip_base": 64,
    "clip_large": 56,
}


def random_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Weights that keep activations of order one, from a generator that runs over the names in order."""
    rng = np.random.default_rng(0)
    weights = {}
    for name in sorted(shapes):
        shape = tuple(shapes[name])
        if name.endswith("running_var"):
            weights[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
            continue
        weights[name] = rng.standard_normal(shape, np.float32)
        if len(shape) > 1 and "position" not in name and "cls_token" not in name:
            weights[name] *= np.sqrt(1.5 / np.prod(shape[1:]))  # by fan-in
        else:
            weights[name] *= 0.1
        if len(shape) == 1 and (name.endswith(("weight", "gamma"))) and "embedding" not in name:
            weights[name] += 0.7
    return weights


def images(model: str) -> np.ndarray:
    """Two images (2, size, size, 3) in [0, 1]."""
    return np.random.default_rng(1).random((2, SIZES[model], SIZES[model], 3), np.float32)


def read_golden(model: str) -> tuple[dict[str, tuple[int, ...]], np.ndarray]:
    """Names and shapes of the reference's tensors; its logits for `images`."""
    golden = json.loads((GOLDEN / f"{model}.json").read_text())
    return {k: tuple(v) for k, v in golden["shapes"].items()}, np.array(golden["logits"], np.float32)


def available() -> bool:
    """Whether the reference implementations are installed."""
    return all(importlib.util.find_spec(name) for name in ("torch", "timm", "transformers"))


class _NoTorchvision(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """timm imports torchvision for image reading only; an empty stand-in does where it is not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchvision":
            return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__ = []

        def attribute(name):
            if name.startswith("__"):
                raise AttributeError(name)
            if name == "InterpolationMode":
                modes = "nearest nearest_exact bilinear bicubic box hamming lanczos"
                return enum.Enum(name, {mode.upper(): mode for mode in modes.split()})
            return type(name, (), {})

        module.__getattr__ = attribute
        return module

    def exec_module(self, module):
        pass


def import_timm():
    """The module timm, with or without torchvision."""
    if "timm" not in sys.modules and not importlib.util.find_spec("torchvision"):
        stand_in = _NoTorchvision()
        sys.meta_path.append(stand_in)
        import timm

        sys.meta_path.remove(stand_in)  # transformers must not take it for the real one
        for module in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[module]
    import timm

    return timm


def _timm(name: str):
    """timm's shapes, and a function from weights to logits."""
    timm = import_timm()
    import torch

    model = timm.create_model(name, num_classes=CLASSES)
    state = model.state_dict()
    config = model.pretrained_cfg

    def logits(weights, x):
        model.load_state_dict({**state, **{name: torch.from_numpy(w) for name, w in weights.items()}})
        return model.eval()(x)

    shapes = {name: tuple(t.shape) for name, t in state.items() if t.is_floating_point()}
    return shapes, logits, config["mean"], config["std"]


def _transformers(cls: str, config, output: str, mean, std):
    """The same for transformers. It renames attributes now and then but not its files: go by the files."""
    import safetensors.numpy
    import transformers

    model = getattr(transformers, cls)(config)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, max_shard_size="100GB")
        tensors = safetensors.numpy.load_file(f"{folder}/model.safetensors")

    def logits(weights, x):
        with tempfile.TemporaryDirectory() as folder:
            config.save_pretrained(folder)
            safetensors.numpy.save_file(weights, f"{folder}/model.safetensors", {"format": "pt"})
            loaded, report = type(model).from_pretrained(folder, output_loading_info=True)
        assert not any(report.values()), report
        return getattr(loaded.eval()(x), output)

    return {name: t.shape for name, t in tensors.items()}, logits, mean, std


def _vit():
    import transformers

    config = transformers.ViTConfig(image_size=SIZES["vit_base"], num_labels=CLASSES)
    return _transformers("ViTForImageClassification", config, "logits", (0.5,) * 3, (0.5,) * 3)


def _clip(name: str, width: int, depth: int, heads: int, patch: int):
    import transformers
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    config = transformers.CLIPVisionConfig(
        image_size=SIZES[name],
        projection_dim=CLASSES,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        patch_size=patch,
    )
    cls = "CLIPVisionModelWithProjection"
    return _transformers(cls, config, "image_embeds", OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)


BUILDERS = {
    "xception": lambda: _timm("legacy_xception"),
    "efficientnet_b0": lambda: _timm("tf_efficientnet_b0"),
    "efficientnet_b4": lambda: _timm("tf_efficientnet_b4"),
    "convnext_tiny": lambda: _timm("convnext_tiny"),
    "vit_base": _vit,
    "clip_base": lambda: _clip("clip_base", 768, 12, 12, 16),
    "clip_large": lambda: _clip("clip_large", 1024, 24, 16, 14),
}


def compute(model: str) -> tuple[dict[str, tuple[int, ...]], np.ndarray]:
    """What `read_golden` returns, from the reference itself."""
    import torch

    shapes, logits, mean, std = BUILDERS[model]()
    x = (images(model) - np.float32(mean)) / np.float32(std)
    with torch.no_grad():
        x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
        return shapes, logits(random_weights(shapes), x).numpy()


def main():
    """Writes the goldens of the models named on the command line, or all."""
    for model in sys.argv[1:] or BUILDERS:
        shapes, logits = compute(model)
        text = json.dumps({"shapes": shapes, "logits": [[float(f"{z:.8g}") for z in row] for row in logits]})
        (GOLDEN / f"{model}.json").write_text(text.replace('], "', '],\n"') + "\n")
        print(f"{model}: {len(shapes)} tensors, logits of standard deviation {logits.std():.3g}")


if __name__ == "__main__":
    main()
