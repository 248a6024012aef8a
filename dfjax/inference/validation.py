"""Validation while a run trains: what the parameters of a moment are worth on a split that they never see."""

from collections.abc import Callable

import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import PyTree

from dfjax.data import sources
from dfjax.decide import metrics
from dfjax.decide.score_file import by_clip, known
from dfjax.inference import scorers
from dfjax.records import Input

Values = dict[str, float | None]


def make_validation(
    graphdef: nnx.GraphDef, split: sources.Split, mesh: Mesh, *, takes: Input, batch: int, rule: str
) -> Callable[[PyTree, PyTree], Values]:
    """(params, model_state) -> average_precision, auc and eer of the split's clips; None where one is undefined.

    Args:
      graphdef: static part of the detector that scores.
      split: of known and unknown labels; only known ones are judged.
      mesh: the devices that score.
      takes: what the detector is given.
      batch: of training.
      rule: how a clip's score is made, see `clip_score.clip_scores`.

    What is returned raises FloatingPointError where a score is not finite.
    """
    scorer = scorers.make_scorer(graphdef, mesh)

    def validate(params: PyTree, model_state: PyTree) -> Values:
        network = scorers.Network(graphdef, params, model_state, takes=takes, batch=batch)
        scores = scorers.score_split(scorer, network, split, mesh)
        if not np.isfinite(scores).all():
            raise FloatingPointError("scores of the validation split are not finite")
        if not len(sources.known_rows(split)):  # as where a whole source is left out
            return dict.fromkeys(("average_precision", "auc", "eer"))
        clips = by_clip(known(sources.as_scores(split, scores, {"clip_score": rule})))
        values = {
            "average_precision": metrics.average_precision(clips.score, clips.label),
            "auc": metrics.roc_auc(clips.score, clips.label),
            "eer": metrics.eer(clips.score, clips.label)[0],
        }
        return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}

    return validate
