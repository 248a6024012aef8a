"""Convolutions of the image networks, layer by layer: XLA's, ours and PyTorch's, forward and both gradients.

    python -m tests.benchmarks.convolutions
    python -m tests.benchmarks.convolutions --repeats 10 --layers "xception 3x3"

A row per layer and what is computed: milliseconds of `dfjax.models.convolution`, how many times as fast as PyTorch it is
(oneDNN, channels last), and `xla_times`, how many times as fast as PyTorch XLA's own convolution is. Least CPU time of
`--repeats` calls on one core, which other work on the machine moves least. Where both ratios stand below 1 the limit is
XLA's: ours calls its convolution there, or adds up nine of its products.
"""

import argparse
import importlib.util
import os
import time

from tests.benchmarks import rows

LAYERS = {  # batch of 8: side, channels in and out, kernel, stride; not padded
    "xception 3x3 3-32 by 2": (299, 3, 32, 3, 2),
    "xception 3x3 32-64": (149, 32, 64, 3, 1),
    "xception 1x1 128-128": (147, 128, 128, 1, 1),
    "xception 1x1 728-728": (19, 728, 728, 1, 1),
    "xception 1x1 256-728 by 2": (37, 256, 728, 1, 2),
    "efficientnet 1x1 16-96": (112, 16, 96, 1, 1),
    "efficientnet 1x1 480-80": (14, 480, 80, 1, 1),
    "convnext 2x2 96-192 by 2": (56, 96, 192, 2, 2),
    "vit 16x16 3-768 by 16": (224, 3, 768, 16, 16),
}
BATCH = 8


def least(call, repeats: int) -> float:
    """Milliseconds of CPU of the fastest call after the first."""
    call()
    took = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        took.append(time.process_time() - began)
    return 1e3 * min(took)


def run_jax(function, side: int, inputs: int, outputs: int, k: int, stride: int, repeats: int) -> list[float]:
    """Milliseconds forward, to the picture, to the kernel."""
    import jax
    import jax.numpy as jnp

    def conv(x, kernel):
        return function(x, kernel, (stride, stride), "VALID")

    x, kernel = jnp.ones((BATCH, side, side, inputs)), jnp.ones((k, k, inputs, outputs))
    dy = jnp.ones(jax.eval_shape(conv, x, kernel).shape)
    jobs = (
        lambda x, kernel, dy: conv(x, kernel),
        lambda x, kernel, dy: jax.vjp(lambda x: conv(x, kernel), x)[1](dy),
        lambda x, kernel, dy: jax.vjp(lambda kernel: conv(x, kernel), kernel)[1](dy),
    )
    compiled = [jax.jit(job).lower(x, kernel, dy).compile() for job in jobs]
    return [least(lambda: jax.block_until_ready(job(x, kernel, dy)), repeats) for job in compiled]


def run_torch(side: int, inputs: int, outputs: int, k: int, stride: int, repeats: int) -> list[float]:
    """The same."""
    import torch

    torch.set_num_threads(1)
    x = torch.ones(BATCH, inputs, side, side).to(memory_format=torch.channels_last).requires_grad_()
    kernel = torch.ones(outputs, inputs, k, k).to(memory_format=torch.channels_last).requires_grad_()
    y = torch.nn.functional.conv2d(x, kernel, stride=stride)
    dy = torch.ones_like(y)

    def forward():
        with torch.inference_mode():
            torch.nn.functional.conv2d(x, kernel, stride=stride)

    slopes = (lambda of=of: torch.autograd.grad(y, of, dy, retain_graph=True) for of in (x, kernel))
    return [least(job, repeats) for job in (forward, *slopes)]


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", default="", help="only those whose name holds this")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before jax counts the cores

    import functools

    import jax

    from dfjax.models import convolution

    plain = functools.partial(jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    peer = importlib.util.find_spec("torch") is not None
    for name, layer in LAYERS.items():
        if args.layers not in name:
            continue
        theirs, ours = (run_jax(function, *layer, args.repeats) for function in (plain, convolution.convolution))
        torchs = run_torch(*layer, args.repeats) if peer else [None] * 3
        for job, xla, own, torch in zip(
            ("forward", "to the picture", "to the kernel"), theirs, ours, torchs, strict=True
        ):
            ratios = {} if torch is None else {"times": torch / own, "xla_times": torch / xla}
            rows.show(f"{name}, {job}", own, "ms", **ratios)


if __name__ == "__main__":
    main()
