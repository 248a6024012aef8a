"""Other processes that tests start."""

import os

from jaxlib import version

# A module compiles faster in one piece than in 32, and in less than half the time with XLA's older emitters, which end
# with jaxlib 0.10: later ones end the process at a flag that they do not know.
OLDER_EMITTERS = " --xla_cpu_use_fusion_emitters=false" if version.__version_info__ < (0, 11) else ""
FLAGS = "--xla_cpu_parallel_codegen_split_count=1" + OLDER_EMITTERS


def compiling_alike(**more) -> dict[str, str]:
    """The environment of a process whose numbers are to be those of this one, to the bit."""
    return os.environ | {"XLA_FLAGS": FLAGS} | more


def quickly_compiling(**more) -> dict[str, str]:
    """As a test of conftest's COMPILED_PLAINLY compiles; others' numbers are not compared with such a process's."""
    return compiling_alike(JAX_DISABLE_MOST_OPTIMIZATIONS="true", **more)
