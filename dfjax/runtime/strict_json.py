"""Values for strict JSON, which knows no NaN, no infinity, no array and no fraction."""

import fractions
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(value: Any, *, name_infinities: bool = False) -> Any:
    """Nested dicts and lists of Python numbers and text; NaN becomes None, sets sorted lists, fractions text.

    Args:
      value: any nesting of mappings, sequences, arrays and numbers.
      name_infinities: whether an infinity becomes the text 'Infinity' or '-Infinity', to be restored; None otherwise.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item, name_infinities=name_infinities) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        value = sorted(value)
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(item, name_infinities=name_infinities) for item in value]
    if isinstance(value, fractions.Fraction):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, float) or math.isfinite(value):
        return value
    if math.isnan(value) or not name_infinities:
        return None
    return "Infinity" if value > 0 else "-Infinity"
