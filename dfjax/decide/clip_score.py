"""From windows, frames and faces to the one score of a clip. NumPy only; training, tuning and predicting share it."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dfjax.records import InputError

RULES = re.compile(r"mean|median|top[1-9]\d*")


def check_rule(rule: str) -> str:
    """The rule itself, if it is one that `clip_scores` knows; another raises InputError."""
    if not RULES.fullmatch(str(rule)):
        raise InputError(f"Unknown clip score {rule!r}; expected 'mean', 'median' or 'top3' (or another number)")
    return rule


def rule_of(said: Mapping[str, Any]) -> str:
    """The rule that a decision or the header of a score file names, or 'mean', the only one there was."""
    return said.get("clip_score", "mean")


def clip_scores(
    score: Float[np.ndarray, " rows"],
    frame: Int[np.ndarray, " rows"],
    clip: Int[np.ndarray, " rows"],
    rule: str = "mean",
) -> Float[np.ndarray, " clips"]:
    """One float32 score per clip: of a frame's faces the highest, then the mean, median or best of its frames.

    Several people may be in a frame of which one is fake, so the most suspicious face speaks for it.

    Args:
      score: of every window, or face of a frame.
      frame: number of each row's frame (or window), each number from 0 on used; a frame is of one clip.
      clip: number of each row's clip, likewise.
      rule: 'mean', 'median', or 'top3' (any number): the mean of the three highest, of all where there are fewer.

    Returns:
      The scores in the order of the clips' numbers; sums are in float64. NaN where infinities cancel.

    Raises:
      InputError: an unknown rule.
    """
    check_rule(rule)
    highest = np.full(frame.max(initial=-1) + 1, -np.inf)
    np.maximum.at(highest, frame, score)
    owner = np.zeros(len(highest), np.int64)
    owner[frame] = clip
    kept = slice(None) if rule == "mean" else _kept(highest, owner, rule)
    with np.errstate(invalid="ignore"):
        total = np.bincount(owner[kept], highest[kept])
        return (total / np.bincount(owner[kept])).astype(np.float32)


def _kept(score, clip, rule):
    """Which frames a rule other than the mean takes the mean of."""
    count = np.bincount(clip)
    rank = np.empty(len(score), np.int64)  # in its clip, the highest score first
    rank[np.lexsort((-score, clip))] = np.arange(len(score)) - np.repeat(np.cumsum(count) - count, count)
    if rule == "median":
        last = count[clip] - 1
        return (last // 2 <= rank) & (rank <= (last + 1) // 2)
    return rank < int(rule.removeprefix("top"))
