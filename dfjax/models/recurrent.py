"""GRU and LSTM layers with PyTorch's equations, gate order and initial values, as one scan over time.

The products with the input do not depend on the state, so they are one large matrix product before the scan; the
gradient to the kernel of the state is one after the scan back. Added up within it, as by JAX's own rule, that gradient
is read and written in every frame, in which devices that share a batch wait for each other, too.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

Carry = tuple[Float[Array, "b hidden"], ...]  # what a frame hands on to the next, its state first


class Gates(nnx.Module):
    """The affine maps of `gates` gates from input and state, drawn from U(-1, 1) / sqrt(hidden)."""

    def __init__(self, inputs: int, hidden: int, gates: int, *, dtype, rngs: nnx.Rngs):
        def draw(key, shape, dtype=jnp.float32):
            return jax.random.uniform(key, shape, dtype, -(hidden**-0.5), hidden**-0.5)

        kwargs = {"kernel_init": draw, "bias_init": draw, "dtype": dtype, "rngs": rngs}
        self.of_input = nnx.Linear(inputs, gates * hidden, **kwargs)
        self.of_state = nnx.Linear(hidden, gates * hidden, **kwargs)

    def run(
        self, cell: Callable, x: Float[Array, "b t inputs"], carried: int, *, reverse: bool = False
    ) -> Float[Array, "b t hidden"]:
        """The `states` of all frames, from zeros; `carried` is how many arrays `cell` hands on."""
        of_input = jnp.swapaxes(self.of_input(x), 0, 1)
        kernel, bias = (part[...].astype(of_input.dtype) for part in (self.of_state.kernel, self.of_state.bias))
        start = (jnp.zeros((x.shape[0], len(kernel)), of_input.dtype),) * carried
        return jnp.swapaxes(states(cell, reverse, start, of_input, kernel, bias), 0, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def states(
    cell: Callable[[Carry, Array, Array], Carry],
    reverse: bool,
    start: Carry,
    of_input: Float[Array, "t b gates"],
    kernel: Float[Array, "hidden gates"],
    bias: Float[Array, " gates"],
) -> Float[Array, "t b hidden"]:
    """The state of each frame.

    Args:
      cell: (carry, gates of the input, gates of the state) -> carry.
      reverse: whether time runs backwards.
      start: the carry before the first frame.
      of_input: gates of the input.
      kernel: from the state to its gates.
      bias: of those.
    """
    return _forward(cell, reverse, start, of_input, kernel, bias)[0]


def _forward(cell, reverse, start, of_input, kernel, bias):
    def frame(carry, x):
        after = cell(carry, x, carry[0] @ kernel + bias[None])
        return after, (after[0], carry)

    _, (found, before) = jax.lax.scan(frame, start, of_input, reverse=reverse)
    return found, (before, of_input, kernel, bias)


def _backward(cell, reverse, saved, slopes):
    before, of_input, kernel, bias = saved
    of_state = jnp.einsum("tbh,hg->tbg", before[0], kernel) + bias[None, None]

    def frame(slope, at):
        *inputs, slope_of_state = at
        _, pull = jax.vjp(cell, *inputs)
        (to_state, *others), to_input, to_gates = pull((slope[0] + slope_of_state, *slope[1:]))
        return (to_state + to_gates @ kernel.T, *others), (to_input, to_gates)

    nothing = jax.tree.map(lambda part: jnp.zeros_like(part[0]), before)
    backwards = (before, of_input, of_state, slopes)
    to_start, (to_input, to_gates) = jax.lax.scan(frame, nothing, backwards, reverse=not reverse)
    return to_start, to_input, jnp.einsum("tbh,tbg->hg", before[0], to_gates), to_gates.sum((0, 1))


states.defvjp(_forward, _backward)


def _gru(carry: Carry, of_input: Float[Array, "b gates"], of_state: Float[Array, "b gates"]) -> Carry:
    (state,) = carry
    reset_x, update_x, new_x = jnp.split(of_input, 3, axis=-1)
    reset_h, update_h, new_h = jnp.split(of_state, 3, axis=-1)
    reset, update = jax.nn.sigmoid(reset_x + reset_h), jax.nn.sigmoid(update_x + update_h)
    new = jnp.tanh(new_x + reset * new_h)
    return ((1 - update) * new + update * state,)


def _lstm(carry: Carry, of_input: Float[Array, "b gates"], of_state: Float[Array, "b gates"]) -> Carry:
    _, cell = carry
    write, keep, new, read = jnp.split(of_input + of_state, 4, axis=-1)
    cell = jax.nn.sigmoid(keep) * cell + jax.nn.sigmoid(write) * jnp.tanh(new)
    return jax.nn.sigmoid(read) * jnp.tanh(cell), cell


class GRU(nnx.Module):
    """Gated recurrent unit; gates in the order reset, update, new."""

    def __init__(self, inputs: int, hidden: int, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.gates = Gates(inputs, hidden, 3, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b t inputs"]) -> Float[Array, "b t hidden"]:
        return self.gates.run(_gru, x, 1)


class LSTM(nnx.Module):
    """Long short-term memory; gates in the order input, forget, cell, output."""

    def __init__(self, inputs: int, hidden: int, *, reverse: bool = False, dtype=jnp.float32, rngs: nnx.Rngs):
        self.reverse = reverse
        self.gates = Gates(inputs, hidden, 4, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b t inputs"]) -> Float[Array, "b t hidden"]:
        return self.gates.run(_lstm, x, 2, reverse=self.reverse)


class BLSTM(nnx.Module):
    """Two LSTMs, one against time; their states side by side, `outputs` in all."""

    def __init__(self, inputs: int, outputs: int, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.forward = LSTM(inputs, outputs // 2, dtype=dtype, rngs=rngs)
        self.backward = LSTM(inputs, outputs // 2, reverse=True, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b t inputs"]) -> Float[Array, "b t outputs"]:
        return jnp.concatenate([self.forward(x), self.backward(x)], axis=-1)


def torch_names(prefix: str, layer: str, reverse: bool = False) -> dict[str, str]:
    """PyTorch's names of a recurrent layer's arrays -> names below `prefix`; matrices are transposed."""
    tail = layer + ("_reverse" if reverse else "")
    return {
        f"weight_ih_{tail}": f"{prefix}.gates.of_input.kernel",
        f"weight_hh_{tail}": f"{prefix}.gates.of_state.kernel",
        f"bias_ih_{tail}": f"{prefix}.gates.of_input.bias",
        f"bias_hh_{tail}": f"{prefix}.gates.of_state.bias",
    }
