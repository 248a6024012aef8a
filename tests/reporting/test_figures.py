"""Figures are drawn, hold what they should, and leave nothing behind."""

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


def test_files_are_pngs_of_the_stated_size_and_the_same_each_time(tmp_path):
    import matplotlib.pyplot as plt

    args = make_scores(split="validation"), make_scores(seed=1), -1.4, CALIBRATION
    paths = figures.write(tmp_path, *args)
    first = [path.read_bytes() for path in paths]
    widths = {}
    for path in paths:
        with Image.open(path) as image:
            widths[path.stem] = image.size[0]
    assert widths["scores"] == widths["thresholds"] == 1400 and widths["roc"] == 940
    assert [path.read_bytes() for path in figures.write(tmp_path, *args)] == first
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in paths)
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


def test_infinite_and_perfect_scores_are_drawn(tmp_path):
    label = np.array([0, 0, 0, 1, 1], np.int32)
    score = np.array([-np.inf, -3, -2, 4, np.inf], np.float32)
    names = np.arange(5).astype(str)
    scores = Scores(names, names, names, label, np.where(label == 1, "g", ""), score)
    figures.write(tmp_path, scores, scores, 1.0, CALIBRATION)
