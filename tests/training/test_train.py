"""Parts of the train file without a run."""

import pytest

from dfjax.runtime import checkpoint, progress
from dfjax.training import train


def test_scores_that_are_not_finite_name_the_step():
    def validate(params, model_state):
        raise FloatingPointError("scores of the validation split are not finite")

    state, notes = checkpoint.State(0, {}, {}, None, None), object.__new__(progress.Journal)
    with pytest.raises(FloatingPointError, match="diverged at step 7: scores .* not finite; lower config.optim.learn"):
        train.judge(state, 7, validate, None, notes, snapshot=False, about=dict)
