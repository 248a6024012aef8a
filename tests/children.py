"""Other processes that tests start."""

import os

# XLA's older emitters compile in less than half the time, and a module in one piece faster than in 32
FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def compiling_alike(**more) -> dict[str, str]:
    """The environment of a process whose numbers are to be those of this one, to the bit."""
    return os.environ | {"XLA_FLAGS": FLAGS} | more


def quickly_compiling(**more) -> dict[str, str]:
    """As a test of conftest's COMPILED_PLAINLY compiles; others' numbers are not compared with such a process's."""
    return compiling_alike(JAX_DISABLE_MOST_OPTIMIZATIONS="true", **more)
