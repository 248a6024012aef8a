"""Figures are drawn, hold what they should, and leave nothing behind."""

import io

import numpy as np
import pytest
from PIL import Image

from dfjax.decide.score_file import Scores
from dfjax.reporting import figures

CALIBRATION = {"before": {"bins": [{"probability": 0.1, "share": 0.0, "clips": 9}]}, "after": None}


def make_scores(n=330, seed=0, split="test"):
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % 11 == 0).astype(np.int32)
    names = np.arange(n).astype(str)
    score = rng.normal(np.where(label == 1, -0.7, -3.0), 1.2)
    return Scores(names, names, names, label, np.where(label == 1, "g", ""), score, header={"split": split})


def test_curve_never_cuts_ties():
    scores = np.array([1.0, 1.0, 0.0, -1.0, -1.0], np.float32)
    thresholds, tp, fp = figures.curve(scores, np.array([1, 0, 1, 0, 0], np.int32))
    assert thresholds.tolist() == [np.inf, 1, 0, -1]
    assert tp.tolist() == [0, 1, 2, 2] and fp.tolist() == [0, 1, 1, 3]


def test_files_are_pngs_of_the_stated_size_and_the_same_each_time():
    import matplotlib.pyplot as plt

    args = make_scores(split="validation"), make_scores(seed=1), -1.4, CALIBRATION
    first = figures.draw(*args)
    widths = {}
    for name, drawing in first.items():
        with Image.open(io.BytesIO(drawing)) as image:
            widths[name] = image.size[0]
    assert widths["scores"] == widths["thresholds"] == 1400 and widths["roc"] == 940
    assert figures.draw(*args) == first
    assert not plt.get_fignums()


@pytest.mark.parametrize("tuned", [None, -1.4, 0.0])
def test_every_figure_with_and_without_a_threshold(tuned):
    validation, test = make_scores(split="validation"), make_scores(seed=1)
    for figure in (
        figures.histogram(test, tuned),
        figures.thresholds(test, tuned),
        figures.roc(validation, test, tuned),
        figures.precision_recall(validation, test, tuned),
        figures.det(validation, test, tuned),
    ):
        assert figure.axes[0].get_title(loc="left") or figure.axes[0].get_title()


def test_infinite_and_perfect_scores_are_drawn():
    label = np.array([0, 0, 0, 1, 1], np.int32)
    score = np.array([-np.inf, -3, -2, 4, np.inf], np.float32)
    names = np.arange(5).astype(str)
    scores = Scores(names, names, names, label, np.where(label == 1, "g", ""), score)
    figures.draw(scores, scores, 1.0, CALIBRATION)
