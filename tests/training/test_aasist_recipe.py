"""AASIST as published, as an experiment: its numbers, and that it trains."""

import numpy as np
import pytest

from dfjax.inference import trained
from dfjax.run import main_job
from dfjax.training import recipe, train
from experiments import asvspoof2019_la_aasist
from tests import job, prepared


def test_the_published_numbers():
    config = asvspoof2019_la_aasist.get_config()
    main_job.check(config)
    real, fake = config.loss.kwargs.weights
    assert real / fake == pytest.approx(9)
    assert (2580 * real + 22_800 * fake) / 25_380 == pytest.approx(1, abs=1e-3)
    _, rate = recipe.make_optimizer(config)
    assert [float(rate(step)) for step in (0, 105_700)] == pytest.approx([1e-4, 5e-6])
    assert asvspoof2019_la_aasist.get_config("folder_audio").loss.kwargs.weights == "balanced"


@pytest.mark.slow
def test_it_trains(tmp_path):
    directory = prepared.make(tmp_path, counts={split: (4, 4) for split in ("train", "validation")})
    config = asvspoof2019_la_aasist.get_config("made")
    config.model.kwargs.variant = "light"
    config.data.seconds = 0.5
    config.train.update({"batch": 4, "steps": 2, "eval_every": 1, "log_every": 1})
    job.claim(tmp_path / "run", config)
    summary = train.train(config, tmp_path / "run", directory, progress=False)
    assert summary["steps"] == 2 and summary["best_step"] in (1, 2, 3) and summary["parameters"] == 85_306
    model_state = trained.restore(tmp_path / "run", 3).model_state
    assert np.isfinite(np.asarray(model_state["first_bn"]["mean"])).all()
