"""A decision beside files known to be real: equivariance, guarantees, what is told of it, and what is refused."""

import copy
import dataclasses
import json

import numpy as np
import pytest

from dfjax.decide import calibration, decision, known_real, operating_points, places, score_file
from dfjax.records import InputError
from dfjax.reporting import report_text
from tests.decide.test_places import decided, make


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch):
    monkeypatch.setattr(operating_points, "replicates", lambda clips: 200)


def test_a_decision_moves_as_its_scores_do():
    """Where sources differ much more than clips, a constant that all scores of a place have is taken off whole."""
    found = decided(between=200.0, gap=6.0)
    scores = np.random.default_rng(5).normal(0, 1, 10)
    here, there = (known_real.adapt(found, scores + shift) for shift in (0.0, 30.0))
    assert there["threshold"] - here["threshold"] == pytest.approx(30, abs=0.05)
    x = np.array([-1.0, 0.0, 2.0])
    p = [calibration.apply(x + shift, each["calibration"]) for shift, each in ((0.0, here), (30.0, there))]
    np.testing.assert_allclose(p[0], p[1], atol=0.02)


def test_threshold_band_and_calibration_move_together():
    found = decided(abstain=0.02)
    files = np.array([-3.0, -2.0, -2.5, 0.1, -1.0, -2.2])
    adapted = known_real.adapt(found, files)
    row = found["known_real"]["rows"][2]
    assert row["files"] == 5
    of_all = found["calibration"] | row["calibration"]
    for here, there in (
        (adapted["threshold"], row["threshold"]),
        (adapted["band"]["real_below"], row["band"]["real_below"]),
        (adapted["band"]["fake_from"], row["band"]["fake_from"]),
    ):
        p = calibration.apply(np.array([here]), adapted["calibration"])
        assert p == pytest.approx(calibration.apply(np.array([there]), of_all), abs=1e-6)
    assert adapted["domains"]["words"] == row["words"] and adapted["domains"]["certificate"] is None
    given = known_real.given(adapted)
    assert given == {"files": 6, "mean_score": pytest.approx(files.mean()), "without": found["threshold"]}
    assert "6 files known to be real" in known_real.told(adapted) and known_real.told(found) is None


def test_a_real_file_of_the_place_has_a_small_p_value_seldom():
    """Distribution-free: of 10 known scores and one more, drawn alike, the new one is the highest once in 11 times."""
    found, rng = decided(), np.random.default_rng(6)
    p = []
    for _ in range(400):
        scores = rng.standard_cauchy(11).astype(np.float32)
        p.append(known_real.p_value(known_real.adapt(found, scores[:10]), float(scores[10])))
    assert set(np.round(np.array(p) * 11, 9)) == set(range(1, 12))
    for level in (1 / 11, 3 / 11):
        assert np.mean(np.array(p) <= level + 1e-9) == pytest.approx(level, abs=0.05)
    same = known_real.adapt(found, np.zeros(4, np.float32))
    assert known_real.p_value(same, 0.0) == 1 and known_real.p_value(same, 0.1) == 0.2


def test_what_was_adapted_can_be_undone_and_is_plain_json():
    found = decided()
    adapted = known_real.adapt(found, np.zeros(3))
    assert adapted["threshold"] != found["threshold"]
    undone = known_real.plain(adapted)
    assert {key: undone[key] for key in found if key != "known_real"} == {
        key: found[key] for key in found if key != "known_real"
    }
    assert known_real.plain(found) is found
    assert json.loads(json.dumps(adapted, allow_nan=False)) == adapted


@pytest.mark.parametrize("words", [{"certified": 0.9, "max_fpr": 0.1}, {"criterion": "f1"}])
def test_a_decision_that_knows_nothing_of_places_is_refused(words):
    scores = make()
    if "certified" not in words:
        scores = dataclasses.replace(scores, header=scores.header | {"split": "validation"}, domain=None)
    with pytest.raises(InputError, match=r"three sources left out or more .* not be certified"):
        known_real.adapt(decision.decide(scores, **words), np.zeros(3))


def test_too_few_files_or_sources():
    found = decided()
    with pytest.raises(InputError, match="0 files known to be real are given; expected 1 or more"):
        known_real.adapt(found, np.zeros(0))
    assert decided(count=2)["known_real"] is None
    few = decided(clips=12)["known_real"]["rows"]  # six real clips of each
    assert [row["files"] for row in few] == [1, 2]


def test_it_is_told_in_a_sentence_for_each_number_of_files():
    told = known_real.summary(decided())
    assert len(told) == 4 and told[0].startswith("with one file of a source known to be real false alarms ")
    assert told[2].startswith("with 5 files") and told[2].endswith("without), on the mean")
    assert known_real.summary({}) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda known: known.pop("within"),
        lambda known: known.update(freedom=0),
        lambda known: known.update(rows=[]),
        lambda known: known.update(rows=3),
        lambda known: known["rows"][0].update(threshold="low"),
        lambda known: known["rows"][0].update(files=0),
        lambda known: known["rows"][1].update(calibration=None),
        lambda known: known["rows"][1]["calibration"].update(slope=True),
        lambda known: known["rows"][1].update(band={"real_below": 1.0}),
        lambda known: known["rows"][1]["calibration"].update(clips="all"),
        lambda known: known["rows"][0].pop("words"),
        lambda known: known["rows"][0].pop("without"),
        lambda known: known["rows"][0]["without"].pop("misses"),
        lambda known: known["rows"][0]["without"].update(misses=None),
        lambda known: known["rows"][2].update(false_alarms=0.1),
        lambda known: known["rows"][2]["misses"].update(mean="few"),
        lambda known: known["rows"][2]["misses"].pop("mean"),
        lambda known: known.update(given=True),
        lambda known: known.update(given={"files": 3, "mean_score": 0.5, "without": {"threshold": 1.0}}),
    ],
)
def test_a_damaged_one_is_no_usable_decision(change):
    found = copy.deepcopy(decided())
    assert decision.parse(json.dumps(found), "decision.json") == found
    change(found["known_real"])
    with pytest.raises(InputError, match="no usable decision: what it knows of real files"):
        decision.parse(json.dumps(found), "decision.json")


def test_a_decision_is_adapted_as_its_thresholds_were_chosen():
    """A source with too few real clips for ten is of the family all the same, which is one for every number."""
    scores = make(5)
    few = np.flatnonzero((scores.domain == "source_0") & (scores.label == 0))[3:]
    far = np.where(scores.domain == "source_0", 50, 0)
    scores = dataclasses.replace(scores, score=scores.score + far)
    scores = score_file.select(scores, np.setdiff1d(np.arange(len(scores)), few))
    found = decision.decide(scores, "recall_at_fpr", max_fpr=0.1)
    row = found["known_real"]["rows"][-1]
    assert row["files"] == 10 and row["false_alarms"]["domains"] == 4
    alarms, rng = [], np.random.default_rng([0, 10])  # the draws of which the threshold was chosen
    for name in np.unique(scores.domain)[1:]:
        judged, drawn = places.draws(scores, name, 10, rng)
        for known in np.unique(drawn, axis=0):
            real = judged.score[(judged.label == 0) & (drawn == known).all(axis=1)]
            alarms.append(float((real >= known_real.adapt(found, known)["threshold"]).mean()))
    assert 0.09 < np.mean(alarms) <= 0.1  # cuts lie at fakes


def test_one_that_was_adapted_and_kept_is_read_as_it_is():
    adapted = known_real.adapt(decided(), np.zeros(3))
    assert decision.parse(json.dumps(adapted), "decision.json") == adapted
    damaged = copy.deepcopy(adapted)
    del damaged["known_real"]["given"]["scores"]
    with pytest.raises(InputError, match="no usable decision: what it knows of real files lacks their scores"):
        decision.parse(json.dumps(damaged), "decision.json")
    for name in ("scale", "offset"):
        damaged = adapted | {"calibration": adapted["calibration"] | {name: "wide"}}
        with pytest.raises(InputError, match=f"its calibration has the {name} 'wide', expected a finite number"):
            decision.parse(json.dumps(damaged), "decision.json")


def test_rows_in_another_order_are_the_same():
    found = decided()
    turned = found | {"known_real": found["known_real"] | {"rows": found["known_real"]["rows"][::-1]}}
    assert known_real.adapt(turned, np.zeros(6))["threshold"] == known_real.adapt(found, np.zeros(6))["threshold"]


@pytest.mark.parametrize("name", ["calibration", "domains"])
def test_a_decision_that_lacks_what_it_is_adapted_by_is_refused(name):
    found = copy.deepcopy(decided()) | {name: None}
    with pytest.raises(
        InputError, match=r"three sources left out .* dfjax\.tune --split left_out, again if an earlier"
    ):
        known_real.adapt(decision.parse(json.dumps(found), "decision.json"), np.zeros(3))
    found["known_real"]["rows"] = []
    with pytest.raises(InputError, match="no usable decision: what it knows of real files has no rows"):
        decision.parse(json.dumps(found), "decision.json")


def test_errors_are_told_of_the_number_of_files_that_they_were_counted_with():
    found = decided()
    for count, words in ((1, "one file known"), (3, "2 files known"), (30, "10 files known")):
        adapted = known_real.adapt(found, np.linspace(-1, 1, count))
        assert known_real.such(adapted) == f"{words} to be real"
        assert (
            known_real.worth(adapted)
            == f"on sources left out, with {words} to be real: " + (adapted["domains"]["words"])
        )
    assert known_real.such(found) is None and known_real.worth(found) is None


def test_a_calibration_says_of_which_clips_it_is():
    """One source of six has too few real clips for five and for ten files, so those rows are of the five others."""
    scores = make(6, 40)
    few = np.flatnonzero((scores.domain == "source_0") & (scores.label == 0))[5:]
    scores = score_file.select(scores, np.setdiff1d(np.arange(len(scores)), few))
    found = decision.decide(scores, "recall_at_fpr", max_fpr=0.1)
    fitted = {row["files"]: row["calibration"] for row in found["known_real"]["rows"]}
    assert {count: (each["domains"], each["clips"]) for count, each in fitted.items()} == {
        1: (6, 225),
        2: (6, 225),
        5: (5, 200),
        10: (5, 200),
    }
    adapted = known_real.adapt(found, np.zeros(10))
    assert "on the 200 clips of the 5 sources with both classes" in report_text.formula(adapted["calibration"])
