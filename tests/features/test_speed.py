"""A sound at another speed: higher by the ratio of lengths, as loud, and nothing folded down."""

import jax.numpy as jnp
import numpy as np
import pytest

from dfjax.features import speed


def tone(hertz: float, samples: int = 48_000) -> jnp.ndarray:
    return jnp.asarray(np.sin(2 * np.pi * hertz * np.arange(samples) / 16_000)[None], jnp.float32)


@pytest.mark.parametrize(("factor", "length"), [(0.95, 50_640), (1.05, 45_600), (1.3, 36_960)])
def test_a_tone_is_higher_by_the_ratio_of_lengths_and_begun_again(factor, length):
    x = tone(1000.0)
    y = speed.played(x, factor)
    assert y.shape == x.shape and length % speed.STEP == 0 and x.shape[1] / length == pytest.approx(factor, abs=0.003)
    once = tone(1000.0 * x.shape[1] / length, length)  # whole periods: nothing rings
    np.testing.assert_allclose(y, jnp.tile(once, 2)[:, : x.shape[1]], atol=1e-5)


def test_what_is_above_the_new_rate_is_lost_and_not_folded_down():
    assert float(jnp.abs(speed.played(tone(7900.0), 1.05)).max()) < 1e-3
    assert float(jnp.abs(speed.played(tone(7900.0), 0.95)).max()) > 0.9


def test_at_its_own_speed_a_sound_is_itself():
    x = tone(1000.0)
    assert speed.played(x, 1.0) is x and speed.played(x, 1) is x
