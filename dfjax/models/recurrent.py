"""GRU and LSTM layers with PyTorch's equations, gate order and initial values, as one scan over time.

The products with the input do not depend on the state, so they are one large matrix product before the scan.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


class Gates(nnx.Module):
    """The affine maps of `gates` gates from input and state, drawn from U(-1, 1) / sqrt(hidden)."""

    def __init__(self, inputs: int, hidden: int, gates: int, *, dtype, rngs: nnx.Rngs):
        def draw(key, shape, dtype=jnp.float32):
            return jax.random.uniform(key, shape, dtype, -(hidden**-0.5), hidden**-0.5)

        kwargs = {"kernel_init": draw, "bias_init": draw, "dtype": dtype, "rngs": rngs}
        self.of_input = nnx.Linear(inputs, gates * hidden, **kwargs)
        self.of_state = nnx.Linear(hidden, gates * hidden, **kwargs)


class GRU(nnx.Module):
    """Gated recurrent unit; gates in the order reset, update, new."""

    def __init__(self, inputs: int, hidden: int, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.hidden = hidden
        self.gates = Gates(inputs, hidden, 3, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b t inputs"]) -> Float[Array, "b t hidden"]:
        def step(state, of_input):
            reset_x, update_x, new_x = jnp.split(of_input, 3, axis=-1)
            reset_h, update_h, new_h = jnp.split(self.gates.of_state(state), 3, axis=-1)
            reset, update = jax.nn.sigmoid(reset_x + reset_h), jax.nn.sigmoid(update_x + update_h)
            new = jnp.tanh(new_x + reset * new_h)
            state = (1 - update) * new + update * state
            return state, state

        of_input = self.gates.of_input(x)
        start = jnp.zeros((x.shape[0], self.hidden), of_input.dtype)
        return jnp.swapaxes(jax.lax.scan(step, start, jnp.swapaxes(of_input, 0, 1))[1], 0, 1)


class LSTM(nnx.Module):
    """Long short-term memory; gates in the order input, forget, cell, output."""

    def __init__(self, inputs: int, hidden: int, *, reverse: bool = False, dtype=jnp.float32, rngs: nnx.Rngs):
        self.hidden, self.reverse = hidden, reverse
        self.gates = Gates(inputs, hidden, 4, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b t inputs"]) -> Float[Array, "b t hidden"]:
        def step(carry, of_input):
            state, cell = carry
            write, keep, new, read = jnp.split(of_input + self.gates.of_state(state), 4, axis=-1)
            cell = jax.nn.sigmoid(keep) * cell + jax.nn.sigmoid(write) * jnp.tanh(new)
            state = jax.nn.sigmoid(read) * jnp.tanh(cell)
            return (state, cell), state

        of_input = jnp.swapaxes(self.gates.of_input(x), 0, 1)
        start = jnp.zeros((x.shape[0], self.hidden), of_input.dtype)
        return jnp.swapaxes(jax.lax.scan(step, (start, start), of_input, reverse=self.reverse)[1], 0, 1)


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
