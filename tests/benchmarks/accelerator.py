"""What a training on an accelerator is measured by: python -m tests.benchmarks.accelerator ceilings|feed|profile [MODEL]

  ceilings   the rates of a large matrix product in bfloat16 and of a copy, which reads and writes
  feed       AASIST in bfloat16: a step on clips that are drawn and cut from a split in the device's memory, many steps
             a dispatch as in `dfjax.run`, by the same step on a batch that stays as it is
  profile    the kernels that a training step of MODEL spends its time in, the longest first, with their share

Sizes are meant for a card of 80 GB. The networks themselves are in image_models and aasist.
"""

import argparse
import collections
import pathlib
import statistics
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from dfjax import models
from dfjax.data import audio, sampling
from dfjax.records import MAX_SAMPLES
from dfjax.runtime import devices
from dfjax.training import losses, train, train_step
from tests.benchmarks import rows

SIDE, LENGTH = 8192, 2**30
CLIPS, LONGER, BATCHES, REPEATS = 4096, 4 / 3, (24, 128), 5
PROFILED, LISTED = 64, 12  # images or clips a batch, kernels shown


def seconds(call, *args) -> float:
    """Median of REPEATS; the first call is not counted."""
    jax.block_until_ready(call(*args))
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(call(*args))
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def ceilings() -> None:
    """Two rows."""
    a = jax.random.normal(jax.random.key(0), (SIDE, SIDE), jnp.bfloat16)
    x = jax.random.normal(jax.random.key(1), (LENGTH,), jnp.float32)
    many = jax.jit(lambda a: jax.lax.fori_loop(0, 10, lambda i, b: (a @ b) / 100, a))
    rows.show("matrix product", 10 * 2 * SIDE**3 / seconds(many, a) / 1e12, "TFLOP/s")
    rows.show("copy", 8 * LENGTH / seconds(jax.jit(lambda x: x + 1), x) / 1e9, "GB/s")


def stepper(name: str, batch: int, drawn: bool):
    """(compiled steps of a training in bfloat16, their arguments): `train.SCAN` steps on drawn or on fixed clips."""
    mesh = devices.make_mesh(batch)
    everywhere, root = devices.replicated(mesh), jax.random.key(0)
    tx = optax.adam(1e-4)
    build = lambda rngs: models.build(name, rngs=rngs, dtype=jnp.bfloat16)
    graphdef, state = train_step.create(build, tx, root, ema=False, sharding=everywhere)
    rng = np.random.default_rng(0)
    stored = int(MAX_SAMPLES * LONGER)
    clips = (3000 * rng.standard_normal((CLIPS, stored), np.float32)).astype(np.int16)
    labels = (np.arange(CLIPS) % 10 == 9).astype(np.int32)
    data = {
        "audio": clips,
        "length": np.full(CLIPS, stored, np.int32),
        "label": labels,
        "strata": sampling.strata(labels, {0: 0.5, 1: 0.5}),
    }
    data = jax.device_put(data, everywhere)

    def one_step(state, data, key):
        keys = jax.random.split(key, 3)
        if drawn:
            taken = sampling.draw(keys[0], data["strata"], batch)
            x = audio.random_cut(keys[1], data["audio"][taken], data["length"][taken], MAX_SAMPLES)
            y = data["label"][taken]
        else:
            x, y = data["audio"][:batch, :MAX_SAMPLES].astype(jnp.float32) / 32768, data["label"][:batch]
        loss = lambda logits, y, step: losses.focal(logits, y, gamma=2.0)
        return train_step.update(state, x, y, keys[2], graphdef=graphdef, tx=tx, loss=loss)

    return train_step.compile_steps(one_step, train.SCAN, everywhere), (state, data, root)


def feed() -> None:
    """A row for each size of batch."""
    for batch in BATCHES:
        rates = {}
        for drawn in (False, True):
            run, (state, data, root) = stepper("aasist", batch, drawn)
            times = []
            for _ in range(REPEATS + 1):
                began = time.perf_counter()
                state, _ = jax.block_until_ready(run(state, data, root))
                times.append(time.perf_counter() - began)
            rates[drawn] = batch * train.SCAN / statistics.median(times[1:])
        rows.show(f"aasist, resident feed, {batch} clips", rates[True], "clips/s", rates[True] / rates[False])


def profile(name: str) -> None:
    """A row for each of the longest kernels of a training step in bfloat16."""
    model = models.build(name, rngs=nnx.Rngs(0), dtype=jnp.bfloat16)
    shape = (MAX_SAMPLES,) if model.modality == "audio" else (model.size, model.size, 3)
    x = jax.random.uniform(jax.random.key(0), (PROFILED, *shape))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def step(params):
        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            mode = {"deterministic": False, "use_running_average": False}
            logits = nnx.view(model, **mode, raise_if_not_found=False)(x, rngs=nnx.Rngs(dropout=0))
            return optax.sigmoid_binary_cross_entropy(logits, jnp.arange(PROFILED) % 2).mean()

        return jax.grad(loss)(params)

    jax.block_until_ready(step(params))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready([step(params) for _ in range(REPEATS)])
        traced = jax.profiler.ProfileData.from_file(str(next(pathlib.Path(folder).rglob("*.xplane.pb"))))
    spent = collections.Counter()
    for plane in traced.planes:
        if "GPU" in plane.name:
            for line in plane.lines:
                if line.name.startswith("Stream"):
                    for event in line.events:
                        spent[event.name] += event.duration_ns
    total = sum(spent.values())
    rows.show(f"{name}, kernels of a step", total / REPEATS / 1e6, "ms")
    for kernel, taken in spent.most_common(LISTED):
        rows.show(f"{name}: {kernel[:90]}", taken / REPEATS / 1e6, "ms", share=taken / total)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["ceilings", "feed", "profile"])
    parser.add_argument("model", nargs="?", default="aasist")
    args = parser.parse_args()
    {"ceilings": ceilings, "feed": feed, "profile": lambda: profile(args.model)}[args.what]()


if __name__ == "__main__":
    main()
