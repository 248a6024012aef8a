"""Validation while a run trains: what the parameters of a moment are worth on a split that they never see."""

from collections.abc import Callable

import ml_collections
import numpy as np
from jax.sharding import Mesh
from jaxtyping import PyTree

from dfjax import models
from dfjax.data import sources
from dfjax.decide import metrics
from dfjax.decide.score_file import by_clip, known
from dfjax.inference import scorers, scoring
from dfjax.models import functional

Values = dict[str, float | None]


def make_validation(
    config: ml_collections.ConfigDict, split: sources.Split, mesh: Mesh
) -> Callable[[PyTree, PyTree], Values]:
    """(params, model_state) -> average_precision, auc and eer of the split's clips; None where one is undefined.

    Args:
      config: the experiment.
      split: of known and unknown labels; only known ones are judged.
      mesh: the devices that score.

    What is returned raises FloatingPointError where a score is not finite.
    """
    takes = models.input_of(config.model.name, config.model.kwargs)
    scorer = scorers.make_scorer(functional.graph(functional.make_builder(config)), takes.modality)
    rule = {"clip_score": scoring.clip_rule(config)}

    def validate(params: PyTree, model_state: PyTree) -> Values:
        scores = scorers.score_split(
            scorer, params, model_state, split, model=takes, batch=config.train.batch, mesh=mesh
        )
        if not np.isfinite(scores).all():
            raise FloatingPointError("scores of the validation split are not finite")
        if not len(sources.known_rows(split)):  # as where a whole source is left out
            return dict.fromkeys(("average_precision", "auc", "eer"))
        clips = by_clip(known(sources.as_scores(split, scores, rule)))
        values = {
            "average_precision": metrics.average_precision(clips.score, clips.label),
            "auc": metrics.roc_auc(clips.score, clips.label),
            "eer": metrics.eer(clips.score, clips.label)[0],
        }
        return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}

    return validate
