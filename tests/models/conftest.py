"""Tests of detectors compile much and compute little: the compiler's optimisations cost more than they save here."""

import jax
import pytest


@pytest.fixture(autouse=True)
def quick_to_compile():
    """Programs of these tests are compiled without optimisation; runs in a process of their own are not."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
