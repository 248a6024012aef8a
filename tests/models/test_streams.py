"""Random streams: Flax's keys and Flax's programs, and no question about places while tracing."""

import jax
import numpy as np
import pytest
from flax import nnx

from dfjax import models
from dfjax.models.streams import Rngs


def test_keys_are_those_of_flax():
    ours, flax = (cls(3, dropout=jax.random.key(5)) for cls in (Rngs, nnx.Rngs))
    for draw in [lambda r: r(), lambda r: r.params(), lambda r: r.dropout(), lambda r: r["dropout"]()] * 2:
        np.testing.assert_array_equal(*(jax.random.key_data(draw(rngs)) for rngs in (ours, flax)))


@pytest.mark.parametrize("name", ["resnet_small", "two_stream"])
def test_a_model_is_the_same_program(name):
    made = lambda cls: str(jax.make_jaxpr(lambda: nnx.state(models.build(name, rngs=cls(0)), nnx.Param))())
    assert made(Rngs) == made(nnx.Rngs)


def test_nobody_asks_where_a_traced_counter_lies(monkeypatch):
    asked = []
    monkeypatch.setattr(jax.core.Tracer, "sharding", property(asked.append))
    nnx.eval_shape(lambda: models.build("resnet_small", rngs=Rngs(0)))
    assert not asked
    nnx.eval_shape(lambda: models.build("resnet_small", rngs=nnx.Rngs(0)))
    assert asked
