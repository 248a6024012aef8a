"""Images per second of the image detectors, beside timm's and transformers' PyTorch models where those are installed.

    python -m tests.benchmarks.image_models --models efficientnet_b0 convnext_tiny --batch 8
    python -m tests.benchmarks.image_models --dtype bfloat16 --batch 128 --compile --peak 989   # on an H100

A row for each model, job and framework: images per second when scoring or training (forward, backward, SGD step), `times`
PyTorch's, the CPU seconds of each, which other work on the machine moves less, with `--peak` (dense TFLOP/s of the
device at this precision) the share of it that scoring reaches, and on a GPU the memory that each job takes: ours as
XLA lays it out, PyTorch's as its allocator counts it. On CPU ours runs as `dfjax.run` runs it, the batch spread over one
virtual device per core, in large pages of memory where Linux gives them. Random weights; the input lies on the device;
the first call is not timed; medians of `--repeats` are printed. Each side has a process of its own.
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from dfjax import models
from dfjax.runtime import devices, pages, process
from tests.benchmarks import rows
from tests.models import reference

TIMM = {
    "xception": "legacy_xception",
    "efficientnet_b0": "tf_efficientnet_b0",
    "efficientnet_b4": "tf_efficientnet_b4",
    "convnext_tiny": "convnext_tiny",
    "vit_base": "vit_base_patch16_224",
    "clip_base": "vit_base_patch16_clip_quickgelu_224",
    "clip_large": "vit_large_patch14_clip_quickgelu_224",
}


def measure(job: str, call, batch: int, repeats: int) -> dict[str, float]:
    """Images and CPU seconds of one call, which must return only when the work is done."""
    call()
    wall, cpu = [], []
    for _ in range(repeats):
        began = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.process_time() - began[1])
    return {job: batch / statistics.median(wall), f"{job}_cpu_seconds": statistics.median(cpu) / batch}


def run_jax(name: str, batch: int, dtype: str, repeats: int) -> dict:
    """Rates of our model, and the operations of one scoring call as XLA counts them."""
    mesh = devices.make_mesh(batch)
    everywhere, spread = devices.replicated(mesh), devices.split_batch(mesh)
    model = models.build(name, rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    params, rest = jax.device_put((params, rest), everywhere)
    x = jax.random.uniform(jax.random.key(0), (batch, model.size, model.size, 3))
    x, labels = jax.device_put((x, jnp.arange(batch) % 2), spread)

    def score(params, x):
        model = nnx.merge(graphdef, params, rest, copy=True)
        mode = {"deterministic": True, "use_running_average": True}
        return nnx.view(model, **mode, raise_if_not_found=False)(x)

    def train(params, rest, x):
        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            mode = {"deterministic": False, "use_running_average": False}
            model = nnx.view(model, **mode, raise_if_not_found=False)
            logits = model(x, rngs=nnx.Rngs(dropout=0))
            statistics = nnx.state(model, nnx.Not(nnx.Param))
            return optax.sigmoid_binary_cross_entropy(logits, labels).mean(), statistics

        (_, rest), slopes = jax.value_and_grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 1e-3 * g, params, slopes), rest

    operations = rows.operations(score, params, x)
    score = jax.jit(score).lower(params, x).compile()
    train = jax.jit(devices.shared_by(mesh)(train), donate_argnums=0, out_shardings=everywhere)
    train = train.lower(params, rest, x).compile()
    trained = [params]

    def step():  # in place, as a run's steps and PyTorch's
        after, seen = train(trained.pop(), rest, x)
        trained.append(after)
        jax.block_until_ready((after, seen))

    return {
        "framework": f"jax {jax.__version__}",
        "device": jax.devices()[0].device_kind,
        **({} if jax.default_backend() == "cpu" else {"score_gib": rows.gib(score), "train_gib": rows.gib(train)}),
        **measure("score", lambda: jax.block_until_ready(score(params, x)), batch, repeats),
        **measure("train", step, batch, repeats),  # after scoring: it takes the parameters
        "gflop": operations / batch / 1e9,
    }


def run_torch(name: str, batch: int, dtype: str, repeats: int, compiled: bool) -> dict:
    """Rates of timm's model with one output, channels last on a GPU."""
    timm = reference.import_timm()
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = timm.create_model(TIMM[name], num_classes=1).to(device, memory_format=torch.channels_last)
    size = models.model_class(name).size
    x = torch.rand(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
    labels = (torch.arange(batch, device=device) % 2).float()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    call = torch.compile(model) if compiled else model
    low = dtype == "bfloat16"
    precision = torch.autocast(device, torch.bfloat16) if low else contextlib.nullcontext()
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def score():
        with torch.inference_mode(), precision:
            call(x)
        wait()

    def train():
        optimiser.zero_grad()
        with precision:
            logits = call(x)[:, 0]
        torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), labels).backward()
        optimiser.step()
        wait()

    found = {"framework": f"torch {torch.__version__}" + (" compiled" if compiled else "")}
    for job, call_job, mode in (("score", score, model.eval), ("train", train, model.train)):
        mode()
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        found |= measure(job, call_job, batch, repeats)
        if device == "cuda":
            found[f"{job}_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return found


def one_side(side: str, name: str, args) -> dict:
    """Rates of a model by one framework, in this process."""
    if side == "dfjax":
        return run_jax(name, args.batch, args.dtype, args.repeats)
    return run_torch(name, args.batch, args.dtype, args.repeats, args.compile)


def started_alone(side: str, name: str) -> dict:
    """The same in a process of its own; that of dfjax has large pages where `dfjax.run` takes them for pictures."""
    words = [sys.executable, "-m", "tests.benchmarks.image_models", *sys.argv[1:], "--models", name, "--side", side]
    environment = os.environ | (pages.variables() if side == "dfjax" else {})
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(TIMM), default=["efficientnet_b0", "convnext_tiny"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="torch.compile for the PyTorch side")
    parser.add_argument("--side", choices=["dfjax", "torch"], help="measure this one alone, as one JSON line")
    parser.add_argument("--peak", type=float, default=None, help="TFLOP/s of the device at this precision")
    args = parser.parse_args()

    if args.side:
        process.use_all_cores()
        print(json.dumps(one_side(args.side, *args.models, args)))
        return
    for name in args.models:
        found = {"dfjax": started_alone("dfjax", name)}
        if all(importlib.util.find_spec(package) for package in ("torch", "timm")):
            found["torch"] = started_alone("torch", name)
        for (side, one), job in itertools.product(found.items(), ("score", "train")):
            more = {
                "framework": one["framework"],
                "batch": args.batch,
                "dtype": args.dtype,
                "device": found["dfjax"]["device"],
            }
            more["cpu_seconds"] = one[f"{job}_cpu_seconds"]
            if f"{job}_gib" in one:
                more["gib"] = one[f"{job}_gib"]
            if args.peak and job == "score":
                more["share_of_peak"] = one[job] * found["dfjax"]["gflop"] / 1e3 / args.peak
            times = one[job] / found["torch"][job] if "torch" in found else None
            rows.show(f"{name}, {job}, {side}", one[job], "images/s", times, **more)


if __name__ == "__main__":
    main()
