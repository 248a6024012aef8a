"""The mean of one effect over datasets that differ: DerSimonian and Laird's random effects. NumPy and SciPy.

DerSimonian and Laird, Controlled Clinical Trials 7, 1986. The interval is Hartung and Knapp's (Statistics in Medicine
20, 2001), by Student's t with one degree of freedom less than datasets: honest also of few, where the normal one is too
narrow; its standard error is never below that of the normal one here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

METHOD = "random effects by DerSimonian and Laird, intervals by Hartung and Knapp"


def pool(effects: Sequence[float], errors: Sequence[float]) -> dict[str, Any]:
    """The mean effect, its 95 % interval, and how far the datasets differ beyond their errors.

    Args:
      effects: one per dataset.
      errors: their standard errors, above 0.

    Returns:
      datasets, value, low, high (None of a single dataset), tau (standard deviation of the true effects), i2 (the share
      of the variance that is between datasets). value and all that follow are None without any dataset.

    Raises:
      ValueError: an error is not above 0, or a number is not finite.
    """
    y, v = np.asarray(effects, np.float64), np.asarray(errors, np.float64) ** 2
    if not (np.isfinite(y).all() and np.isfinite(v).all() and (v > 0).all()):
        raise ValueError(f"effects must be finite and their errors above 0, got {list(effects)} and {list(errors)}")
    k = len(y)
    if k == 0:
        return {"datasets": 0, **dict.fromkeys(("value", "low", "high", "tau", "i2"))}
    fixed = 1 / v
    q = float((fixed * (y - (fixed * y).sum() / fixed.sum()) ** 2).sum())
    others = [np.delete(fixed, i).sum() for i in range(k)]  # not a difference: beside one great weight it would be 0
    scale = float((fixed * others).sum() / fixed.sum())
    tau2 = max(0.0, (q - (k - 1)) / scale) if k > 1 else 0.0
    weights = 1 / (v + tau2)
    mean = float((weights * y).sum() / weights.sum())
    found: dict[str, Any] = {"datasets": k, "value": mean, "low": None, "high": None, "tau": float(np.sqrt(tau2))}
    found["i2"] = max(0.0, 1 - (k - 1) / q) if k > 1 and q > 0 else 0.0
    if k > 1:
        from scipy import stats  # slow to import, wanted by few runs

        spread = (weights * (y - mean) ** 2).sum() / (k - 1) / weights.sum()
        error = float(np.sqrt(max(spread, 1 / weights.sum())))
        half = float(stats.t.ppf(0.975, k - 1)) * error
        found |= {"low": mean - half, "high": mean + half}
    return found
