"""Other processes that tests start."""

import os


def quickly_compiling(**more) -> dict[str, str]:
    """The environment of a process whose numbers no test compares with another's: it compiles as tests do."""
    plain = {"XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false", "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    return os.environ | plain | more
