"""Random streams for a model that is built or run while JAX traces."""

import jax
from flax import nnx


class Stream(nnx.RngStream):
    """A stream that counts without asking where its counter lies."""

    def __call__(self) -> jax.Array:
        key = jax.random.fold_in(self.key[...], self.count[...])
        self.count.set_value(self.count[...] + 1)
        return key


class Rngs(nnx.Rngs):
    """`nnx.Rngs`, with the same keys, in time that grows with the number of draws and not with its square.

    A counter of Flax 0.12 compares its old place with its new one. While tracing there is neither, and JAX writes an
    error message instead, for which it goes through the whole program so far.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name, stream in list(self.items()):
            setattr(self, name, Stream(stream.key[...], tag=name))
