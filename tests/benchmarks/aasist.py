"""AASIST against the PyTorch original: seconds per clip when scoring and when training, in one run.

    git clone https://github.com/clovaai/aasist
    python -m tests.benchmarks.aasist --reference aasist --variant full --batch 8
    python -m tests.benchmarks.aasist --reference aasist --weights AASIST.pth --batch 16 --jobs score
    python -m tests.benchmarks.aasist --reference aasist --batch 24 --dtype bfloat16 --compile        # on a GPU

needs PyTorch (the extra 'parity'); without `--reference` only ours is measured. On CPU ours runs as `dfjax.run`
runs it, the batch spread over one virtual device per core, and PyTorch on as many threads. The two take turns,
so that whatever else the machine does falls on both. Printed are the median of the seconds per clip and, because
other work moves those, of the process's CPU seconds. Clips have 64,600 samples; a training step is forward,
backward and Adam. With `--weights` a bundle of the released file scores the same clips as `dfjax.load` runs it, the
original has the same weights, and their largest difference in logits is printed; it takes 8 clips a core at once, so give
so many. `plain` is our training step with XLA's own convolutions, see `dfjax.models.winograd`.

The line `floor` says what a clip costs at least: the operations of the plain program, at the rate of a large matrix
product that is measured beside it, and the bytes that the first block's feature maps have, each written once and
read once, at the rate of a copy. Where other work runs beside, PyTorch's threads wait by spinning: its CPU seconds grow too.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import pathlib
import statistics
import tempfile
import time
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import dfjax
from dfjax import export, import_weights
from dfjax.inference import scoring
from dfjax.models import aasist, graph_attention
from dfjax.records import MAX_SAMPLES
from dfjax.runtime import devices, process
from tests.benchmarks import rows

CONFIG = {"full": "AASIST.conf", "light": "AASIST-L.conf"}


def ours(variant: str, x: np.ndarray, labels: np.ndarray, plain: bool, dtype: str = "float32") -> dict:
    """Name of the job -> a call that returns when it is done; NAME_cost and NAME_gib what its program costs."""
    mesh = devices.make_mesh(len(x))
    everywhere = devices.replicated(mesh)
    graph, params, rest = nnx.split(
        jax.jit(
            lambda: aasist.AASIST(rngs=nnx.Rngs(0), variant=variant, dtype=jnp.dtype(dtype)), out_shardings=everywhere
        )(),
        nnx.Param,
        ...,
    )
    tx = optax.adam(1e-4)
    x, labels = jax.device_put((x, labels), devices.split_batch(mesh))
    state = [params, rest, jax.jit(tx.init, out_shardings=everywhere)(params)]

    def score(params, rest, x):
        model = nnx.merge(graph, params, rest, copy=True)
        return nnx.view(model, deterministic=True, use_running_average=True)(x)

    def step(params, rest, moments, x, labels):
        def loss(params):
            model = nnx.merge(graph, params, rest, copy=True)
            model = nnx.view(model, deterministic=False, use_running_average=False)
            logits = model(x, rngs=nnx.Rngs(dropout=0))
            return optax.sigmoid_binary_cross_entropy(logits, labels).mean(), nnx.state(model, nnx.Not(nnx.Param))

        slopes, rest_after = jax.grad(loss, has_aux=True)(params)
        updates, moments = tx.update(slopes, moments, params)
        return optax.apply_updates(params, updates), rest_after, moments

    score = jax.jit(score)
    step = jax.jit(devices.shared_by(mesh)(step), out_shardings=everywhere, donate_argnums=(0, 1, 2))

    def train():
        state[:] = jax.block_until_ready(step(*state, x, labels))

    calls = {"score": lambda: jax.block_until_ready(score(*state[:2], x)), "train": train}

    def switched(call):
        def run():
            with mock.patch.object(graph_attention.Block, "by_winograd", not plain):
                return call()

        return run

    calls["score_cost"] = lambda: rows.operations(score, *state[:2], x)
    calls["train_cost"] = lambda: rows.operations(step, *state, x, labels)
    calls["score_gib"] = lambda: rows.gib(score.lower(*state[:2], x).compile())
    calls["train_gib"] = lambda: rows.gib(step.lower(*state, x, labels).compile())
    return {name: switched(call) for name, call in calls.items()}


def rates() -> tuple[float, float]:
    """Operations and bytes per second of all cores: of a matrix product, and of a copy, which reads and writes."""
    side, length, cores = 2048, 2**26, jax.device_count()  # on CPU a virtual device per core
    spread = devices.split_batch(devices.make_mesh(cores))
    a = jax.device_put(np.ones((cores, side, side), np.float32), spread)
    x = jax.device_put(np.ones((cores, length), np.float32), spread)

    def fastest(call, x):
        call(x).block_until_ready()
        times = []
        for _ in range(5):
            began = time.perf_counter()
            call(x).block_until_ready()
            times.append(time.perf_counter() - began)
        return min(times)

    product, copy = jax.jit(lambda a: a @ a), jax.jit(lambda x: x + 1)
    return 2 * cores * side**3 / fastest(product, a), 8 * cores * length / fastest(copy, x)


def floor(costs: dict, clips: int) -> dict[str, tuple[float, str]]:
    """What a clip takes at least, by arithmetic and by memory: name -> (value, unit)."""
    operations, moved = rates()
    maps = 2 * 4 * 32 * 23 * (MAX_SAMPLES // 3)  # bytes: 32 channels, 23 rows, float32, written and read
    found = {"product": (operations / 1e9, "GFLOP/s"), "copy": (moved / 1e9, "GB/s")}
    for job, cost in costs.items():
        each = cost() / clips
        found |= {f"{job}, operations": (each / 1e9, "GFLOP"), f"{job}, time": (each / operations, "s a clip")}
    return found | {"maps, bytes": (maps / 1e9, "GB"), "maps, time": (maps / moved, "s a clip")}


def bundled(weights: pathlib.Path, x: np.ndarray) -> dict:
    """As `ours`, for a bundle of the released weights, on clips as decoders give them; scoring returns the logits."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        import_weights.import_weights("aasist", weights, folder / "run")
        export.export(folder / "run", folder / "aasist.zip")
        detector = dfjax.load(folder / "aasist.zip")
    examples = [scoring.audio_example(clip, detector.model.samples) for clip in (32768 * x).astype(np.int16)]
    groups = [examples[k : k + detector.batch] for k in range(0, len(examples), detector.batch)]

    def score():
        return np.concatenate([np.asarray(detector.outputs(group)["score"])[: len(group)] for group in groups])

    return {"score": score}


def original(
    folder: pathlib.Path,
    variant: str,
    weights: pathlib.Path | None,
    x: np.ndarray,
    labels: np.ndarray,
    dtype: str,
    compiled: bool,
) -> dict:
    """As `ours`, for the model in a clone of github.com/clovaai/aasist; scoring returns the logits."""
    import torch

    spec = importlib.util.spec_from_file_location("original_aasist", folder / "models" / "AASIST.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.set_num_threads(os.cpu_count())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = json.loads((folder / "config" / CONFIG[variant]).read_text())["model_config"]
    model = module.Model(config).to(device)
    if weights:
        model.load_state_dict(torch.load(weights, map_location=device, weights_only=True))
    x, labels = torch.tensor(x, device=device), torch.tensor(labels, device=device)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
    call = torch.compile(model) if compiled else model
    precision = torch.autocast(device, torch.bfloat16) if dtype == "bfloat16" else contextlib.nullcontext()
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def score():
        model.eval()
        with torch.inference_mode(), precision:
            _, found = call(x)
        wait()
        return (found[:, 0] - found[:, 1]).float().cpu().numpy()

    def train():
        model.train()
        optimiser.zero_grad()
        with precision:
            _, found = call(x)
        torch.nn.functional.cross_entropy(found.float(), labels).backward()
        optimiser.step()
        wait()

    def gib(job):
        torch.cuda.reset_peak_memory_stats()
        job()
        return torch.cuda.max_memory_allocated() / 2**30

    return {"score": score, "train": train, "score_gib": lambda: gib(score), "train_gib": lambda: gib(train)}


def in_turns(calls: dict, repeats: int) -> dict[str, tuple[float, float]]:
    """Median (wall, CPU) seconds of each call; the first is not counted."""
    taken = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {n: tuple(map(statistics.median, zip(*rows[1:], strict=True))) for n, rows in taken.items()}


def main():
    """Measures and prints one JSON line per framework and job."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--reference", type=pathlib.Path, help="a clone of github.com/clovaai/aasist")
    parser.add_argument("--weights", type=pathlib.Path, help="the released file, for a bundle of it")
    parser.add_argument("--variant", choices=list(CONFIG), default="full")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--plain", action="store_true", help="also our step with XLA's own convolutions")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--compile", action="store_true", help="torch.compile for the PyTorch side")
    parser.add_argument("--jobs", nargs="+", choices=["score", "train"], default=["score", "train"])
    args = parser.parse_args()
    process.use_all_cores()

    rng = np.random.default_rng(0)
    x = np.rint(32768 * rng.normal(0, 0.1, (args.batch, MAX_SAMPLES)).clip(-1, 0.9999)).astype(np.float32) / 32768
    labels = np.arange(args.batch) % 2
    sides = {"ours": ours(args.variant, x, labels, plain=False, dtype=args.dtype)}
    plain = ours(args.variant, x, labels, plain=True, dtype=args.dtype)
    if jax.default_backend() == "cpu" and "train" in args.jobs and args.plain:
        sides["plain"] = {"train": plain["train"]}
    if args.reference:
        sides["original"] = original(args.reference, args.variant, args.weights, x, labels, args.dtype, args.compile)
    if args.weights:
        sides["bundle"] = bundled(args.weights, x)
    if args.weights and args.reference:
        far = np.abs(sides["bundle"]["score"]() - sides["original"]["score"]()).max()
        print(json.dumps({"largest difference in logits": float(far)}), flush=True)
    setting = {
        "variant": args.variant,
        "batch": args.batch,
        "dtype": args.dtype,
        "device": jax.devices()[0].device_kind,
    }
    costs = {job: plain[f"{job}_cost"] for job in args.jobs}
    for name, (value, unit) in floor(costs, args.batch).items():
        rows.show(f"floor: {name}", value, unit, **setting)
    for job in args.jobs:
        found = in_turns({name: calls[job] for name, calls in sides.items() if job in calls}, args.repeats)
        for name, (wall, cpu) in found.items():
            more = {"cpu_seconds": cpu / args.batch}
            if "original" in found:
                more["times_less_cpu"] = found["original"][1] / cpu
            if jax.default_backend() != "cpu" and f"{job}_gib" in sides[name]:
                more["gib"] = sides[name][f"{job}_gib"]()
            times = found["original"][0] / wall if "original" in found else None
            rows.show(f"{job}, {name}", wall / args.batch, "s a clip", times, **more, **setting)


if __name__ == "__main__":
    main()
