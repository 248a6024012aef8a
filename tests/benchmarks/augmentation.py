"""What each augmentation of sound costs: milliseconds of processor time per clip.

    python -m tests.benchmarks.augmentation [batch]

Clips of 2 s, one virtual CPU device, medians of 5 after compiling. Beside them the training step of `texture`, which they
should not outweigh. Codecs run on the host, on 3 s.
"""

import functools
import statistics
import sys
import time

import jax

jax.config.update("jax_num_cpu_devices", 1)

import jax.numpy as jnp
import numpy as np

from dfjax.data import audio, channel, rawboost, vocode
from dfjax.media import codecs
from dfjax.models import build
from dfjax.training import losses, optim, train_step
from tests.benchmarks import rows

REPEATS = 5
SAMPLES = 32_000


def cost(work) -> float:
    """Median processor seconds of one call, compiled before."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def row(name: str, seconds: float, clips: int) -> None:
    """Prints one line."""
    rows.show(name, 1e3 * seconds / clips, "ms/clip")


def training_step(x: jax.Array):
    """One update of `texture` on the batch, as a call."""
    tx, _ = optim.build(total_steps=10, learning_rate=1e-3)
    graphdef, state = train_step.create(lambda rngs: build("texture", rngs=rngs), tx, jax.random.key(0), ema=True)
    loss = losses.build("focal", gamma=2.0)
    labels = jnp.arange(len(x)) % 2
    step = jax.jit(
        lambda state, x, key: train_step.update(
            state, x, labels, key, graphdef=graphdef, tx=tx, loss=lambda a, b, _: loss(a, b), ema=0.99
        )
    )
    return lambda: jax.block_until_ready(step(state, x, jax.random.key(1)))


def main() -> None:
    """Prints the table."""
    batch = int(sys.argv[1]) if len(sys.argv) > 1 else 32
    key, rng = jax.random.key(0), np.random.default_rng(0)
    x = jnp.asarray(0.1 * rng.standard_normal((batch, SAMPLES)), jnp.float32)
    raw = jnp.asarray(3000 * rng.standard_normal((batch, 48_000)), jnp.int16)
    length = jnp.full((batch,), 48_000, jnp.int32)
    steps = {
        "gain and noise": lambda k, x: audio.gain_and_noise(k, x, gain_db=6.0, noise_db=(0.0, 30.0), rate=0.5),
        "pause before the voice": lambda k, x: channel.lead(k, x, seconds=0.3),
        "room": channel.reverb,
        "telephone": channel.telephone,
        "gaps in time and frequency": lambda k, x: channel.hide(k, x, seconds=0.1, hertz=400.0),
        **{f"RawBoost {n}": functools.partial(rawboost.rawboost, algorithm=n) for n in rawboost.ALGORITHMS},
    }
    for name, step in steps.items():
        compiled = jax.jit(step)
        row(name, cost(lambda f=compiled: jax.block_until_ready(f(key, x))), batch)
    cuts = {"cut": {}, "cut, trimmed": {"trim_rate": 1.0}, "cut, other speed": {"speed_rate": 1.0}}
    for name, words in cuts.items():
        compiled = jax.jit(functools.partial(audio.take, samples=SAMPLES, **words))
        row(name, cost(lambda f=compiled: jax.block_until_ready(f(key, raw, length))), batch)
    row("training step, texture", cost(training_step(x)), batch)
    for name in codecs.available():
        clips, bits = np.asarray(raw[:8]), codecs.CODECS[name][-1][1]
        row(
            f"{name}, {bits / 1000:g} kb/s (host)",
            cost(lambda c=name, b=bits, v=clips: [codecs.recode(a, c, b) for a in v]),
            8,
        )
    few = x[: max(batch // 4, 1)]
    compiled = jax.jit(vocode.resynthesise)
    row("self-vocoded", cost(lambda: jax.block_until_ready(compiled(key, few))), len(few))


if __name__ == "__main__":
    main()
