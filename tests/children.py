"""Other processes that tests start."""

import os


def compiling_alike(**more) -> dict[str, str]:
    """The environment of a process whose numbers are to be those of this one, to the bit."""
    return os.environ | {"XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false"} | more


def quickly_compiling(**more) -> dict[str, str]:
    """As a test of conftest's COMPILED_PLAINLY compiles; others' numbers are not compared with such a process's."""
    return compiling_alike(JAX_DISABLE_MOST_OPTIMIZATIONS="true", **more)
