"""The robustness table: counts against those of metrics, the band without verdict, words and figure."""

import numpy as np
import pytest

from dfjax.decide import metrics
from dfjax.decide.score_file import Scores
from dfjax.records import InputError
from dfjax.reporting import cross_dataset, figures, robustness
from dfjax.runtime.strict_json import plain

DECISION = {"threshold": 0.5, "status": "ok", "criterion": "f1", "split": "validation", "dataset": "demo", "step": 4}


def make_scores(shift=2.0, n=200, split="test"):
    rng = np.random.default_rng(0)
    label = (np.arange(n) % 4 == 0).astype(np.int32)
    names = np.arange(n).astype(str)
    score = rng.normal(np.where(label == 1, shift, 0.0), 1.0)
    header = {"split": split, "dataset": "demo", "step": 4}
    return Scores(names, names, names, label, np.where(label == 1, "g", ""), score, header=header)


def test_a_cell_states_what_the_threshold_does():
    scores = make_scores()
    cell, truth = robustness.judge(scores, DECISION), metrics.at_threshold(scores.score, scores.label, 0.5)
    assert cell["real"] == 150 and cell["fake"] == 50
    assert cell["false_alarms"]["value"] == truth["fpr"] and cell["misses"]["value"] == truth["fn"] / 50
    assert cell["auc"]["low"] < cell["auc"]["value"] == metrics.roc_auc(scores.score, scores.label) < 1
    assert cell["uncertain"] is None and cell["wrong"] is None  # every clip gets a verdict


def test_clips_in_the_band_are_uncertain_and_not_wrong():
    scores = make_scores()
    cell = robustness.judge(scores, DECISION | {"band": {"real_below": -0.5, "fake_from": 1.5}})
    inside = (scores.score >= np.float32(-0.5)) & (scores.score < np.float32(1.5))
    assert cell["uncertain"]["value"] == inside.mean() > 0.2
    outside = (scores.score >= 1.5) & (scores.label == 0) | (scores.score < -0.5) & (scores.label == 1)
    assert cell["wrong"]["value"] == outside.mean()
    whole = robustness.judge(scores, DECISION | {"band": {"real_below": "-Infinity", "fake_from": "Infinity"}})
    assert whole["uncertain"]["value"] == 1 and whole["wrong"]["value"] == 0


def test_intervals_are_over_groups_of_clips_where_there_are_such():
    scores = make_scores()
    rows, band = np.repeat(np.arange(200), 9), {"band": {"real_below": -0.5, "fake_from": 1.5}}
    names = np.arange(len(rows)).astype(str)
    columns = scores.group[rows], scores.label[rows], scores.method[rows], scores.score[rows]
    once = robustness.judge(scores, DECISION | band)
    copies = robustness.judge(Scores(names, names, *columns, header=scores.header), DECISION | band)
    for name in ("auc", "false_alarms", "misses", "uncertain", "wrong"):
        width = [cell[name]["high"] - cell[name]["low"] for cell in (once, copies)]
        assert copies[name]["value"] == pytest.approx(once[name]["value"])
        assert width[1] == pytest.approx(width[0], rel=0.25), name  # copies of a clip tell nothing new


def test_untypical_clips_are_uncertain_too():
    scores = make_scores()
    scores.header["untypical"] = list(range(20))
    cell = robustness.judge(scores, DECISION)
    assert cell["uncertain"]["value"] == 0.1
    both = robustness.judge(scores, DECISION | {"band": {"real_below": -0.5, "fake_from": 1.5}})
    assert 0.2 < both["uncertain"]["value"] < 1 and both["wrong"]["value"] < cell["wrong"]["value"]
    scores.header["untypical"] = []
    assert robustness.judge(scores, DECISION)["uncertain"]["value"] == 0


def test_the_split_of_the_threshold_is_refused():
    with pytest.raises(InputError, match="tuned on the split"):
        robustness.judge(make_scores(split="validation"), DECISION)


def make_table(decision=DECISION):
    cells = {str(k): robustness.judge(make_scores(2.0 - 0.3 * k), decision) for k in (1, 3, 5)}
    levels = {str(k): f"{8 * k} | kbit/s" for k in (1, 3, 5)}
    one = {"dataset": "a|b", "trained": True, "clean": robustness.judge(make_scores(), decision)}
    other = one | {"dataset": "c", "trained": False}
    about = {"threshold": 0.5, "split": "test", "clips": 200, "left_out": ["opus is left out: no encoder"]}
    kinds = {"mp3": cells, "noise": cells}
    return plain(
        about | {"kinds": dict.fromkeys(kinds, levels), "datasets": [one | {"kinds": kinds}, other | {"kinds": kinds}]}
    )


def test_tables_have_kinds_as_rows_and_strengths_as_columns():
    text = robustness.markdown(make_table())
    assert text.count("| corruption | strength 1 | strength 3 | strength 5 |") == 7  # three measures twice, levels
    assert "uncertain" not in text and "opus is left out" in text and "## a\\|b (trained on)" in text
    value = metrics.roc_auc(make_scores(0.5).score, make_scores().label)
    assert f" {value:.3f} |" in next(line for line in text.splitlines() if line.startswith("| mp3 |"))
    with_band = robustness.markdown(make_table(DECISION | {"band": {"real_below": 0.0, "fake_from": 1.0}}))
    assert with_band.count("### Share of `uncertain`") == with_band.count("### Wrong verdicts") == 2


def test_the_figure_has_a_panel_per_measure_and_a_line_per_kind():
    figure = robustness.figure(make_table())
    assert len(figure.axes) == 6 and all(len(axes.lines) == 3 for axes in figure.axes)
    assert [axes.get_title(loc="left") or axes.get_title() for axes in figure.axes[:3]] == [
        "AUC",
        "false alarms, %",
        "misses, %",
    ]
    first = figures.png(lambda: robustness.figure(make_table()))
    assert first[:4] == b"\x89PNG" and first == figures.png(lambda: robustness.figure(make_table()))


def test_one_class_has_no_auc():
    scores = make_scores()
    real = robustness.score_file.select(scores, scores.label == 0)
    cell = plain(robustness.judge(real, DECISION))
    assert cell["auc"]["value"] is None and cell["misses"]["value"] is None and cell["false_alarms"]["value"] > 0
    table = make_table()
    table["datasets"][0]["clean"] = cell
    assert "undefined" in robustness.markdown(table)
    figures.png(lambda: robustness.figure(table))


def test_every_share_of_a_row_is_over_the_rows_groups():
    """Of few speakers of recordings beside many of fakes the false alarms alone were over clips: too sure."""
    label, speaker = np.repeat([0, 1], [40, 30]), np.concatenate([np.arange(40) // 8, 5 + np.arange(30)])
    names, group = np.arange(70).astype(str), speaker.astype(str)
    score = np.where((label == 1) | (speaker < 2), 1.0, -5.0) + np.linspace(0, 0.1, 70)
    scores = Scores(names, names, group, label, np.where(label, "g", ""), score, header={"split": "test"})
    cell = robustness.judge(scores, DECISION | {"threshold": 0.0})
    row = cross_dataset.row("x", scores, DECISION | {"threshold": 0.0}, trained=False)
    for found in (cell["false_alarms"], row["tuned"]["false_alarms"]):
        assert found["value"] == 0.4 and found["low"] == 0 and found["high"] >= 0.8


def test_an_auc_of_few_clips_that_are_parted_is_not_certain():
    scores = make_scores(shift=50.0, n=12)
    cell = robustness.judge(scores, DECISION)
    assert cell["auc"]["value"] == cell["auc"]["high"] == 1 and cell["auc"]["low"] < 0.7
