"""The report says what the scores say: hand-made counts, closed forms, and refusals."""

import dataclasses
import errno
import json
import math

import numpy as np
import pytest

from dfjax.decide import metrics, operating_points, redrawn, score_file
from dfjax.decide.decision import decide
from dfjax.decide.score_file import Scores
from dfjax.records import InputError
from dfjax.reporting import markdown, report


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch):
    monkeypatch.setattr(operating_points, "replicates", lambda clips: 200)


def make_scores(split="test", n=1100, seed=0, methods=("griffin_lim", "lpc"), groups=None):
    """Normal scores, ten real clips per fake one."""
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % 11 == 0).astype(np.int32)
    names = np.array([f"{split}/{i:05d}.wav" for i in range(n)])
    method = np.where(label == 1, np.array(methods)[np.arange(n) // 11 % len(methods)], "")
    score = rng.normal(np.where(label == 1, -0.7, -3.0), 1.2)
    group = names if groups is None else np.array([f"speaker_{i % groups}" for i in range(n)])
    header = {"split": split, "dataset": "demo"}
    return Scores(names, names, group, label, method, score, header=header)


def decided(value=-1.5, **more):
    return {"threshold": value, "status": "ok", "criterion": "f1", "split": "validation", "dataset": "demo"} | more


def build(**more):
    given = {
        "validation": make_scores("validation", seed=1),
        "test": make_scores(),
        "decision": decided(),
        "train_counts": {"real": 5000, "fake": 500},
        "run": {"name": "trial", "dataset": "demo"},
    }
    return report.build(**(given | more))


def test_counts_and_metrics_of_a_hand_made_split():
    label = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], np.int32)
    score = np.array([2.0, -1, -1, -3, 1, -1, -2, -2, -2, -2], np.float32)
    names = np.arange(10).astype(str)
    scores = Scores(names, names, names, label, np.where(label == 1, "g", ""), score)
    (half, tuned), (change,) = operating_points.points(scores, [0.0, -1.0], n=50)
    assert [half[k] for k in ("tp", "fp", "fn", "tn")] == [1, 1, 3, 5]
    assert [tuned[k] for k in ("tp", "fp", "fn", "tn")] == [3, 2, 1, 4]  # a score equal to the threshold is fake
    assert half["precision"]["value"] == 0.5 and tuned["recall"]["value"] == 0.75
    assert tuned["f1"]["value"] == pytest.approx(6 / 9) and half["f1"]["value"] == pytest.approx(2 / 6)
    assert change["f1"]["value"] == pytest.approx(6 / 9 - 2 / 6)


def test_operating_points_equal_the_metrics_module():
    scores = make_scores()
    (side,), _ = operating_points.points(scores, [-1.25], n=20)
    for name in operating_points.NAMES:
        assert side[name]["value"] == pytest.approx(getattr(metrics, name)(scores.score, scores.label, -1.25))
    real = score_file.select(scores, np.flatnonzero(scores.label == 0))
    (side,), _ = operating_points.points(real, [-3.0], n=20)
    assert side["fp"] and np.isnan(side["f1"]["value"]) and math.isnan(metrics.f1(real.score, real.label, -3.0))


def test_count_bootstrap_agrees_with_redrawing_clips():
    scores = make_scores(n=2200)
    (side,), _ = operating_points.points(scores, [-1.5], n=2000)
    rng, values = np.random.default_rng(5), []
    for _ in range(2000):
        rows = rng.integers(0, len(scores), len(scores))
        values.append(metrics.f1(scores.score[rows], scores.label[rows], -1.5))
    low, high = np.quantile(values, (0.025, 0.975))
    assert side["f1"]["low"] == pytest.approx(low, abs=0.012)
    assert side["f1"]["high"] == pytest.approx(high, abs=0.012)


@pytest.mark.parametrize("grouped", [False, True])
def test_ranking_is_the_bootstrap_of_each_metric_on_the_same_draws(monkeypatch, grouped):
    monkeypatch.setattr(redrawn, "CELLS", 30 * 400)  # in pieces
    scores = make_scores(n=400, groups=50)
    scores = dataclasses.replace(scores, score=scores.score.round(1))  # ties
    groups = scores.group if grouped else None
    found = operating_points.ranking(scores, groups, n=100, seed=3)
    for name, metric in zip(found, (metrics.roc_auc, metrics.average_precision, metrics.eer), strict=True):
        wanted = metrics.bootstrap(metric, scores.score, scores.label, groups, n=100, seed=3)
        np.testing.assert_allclose(list(found[name].values()), wanted, rtol=1e-12)


def test_copies_of_a_clip_in_one_group_do_not_narrow_the_interval():
    once = make_scores(n=550)
    rows = np.repeat(np.arange(550), 4)
    names = np.arange(len(rows)).astype(str)
    many = Scores(names, names, once.group[rows], once.label[rows], once.method[rows], once.score[rows])
    width = {}
    for name, scores, groups in (("once", once, None), ("by group", many, many.group), ("by clip", many, None)):
        (side,), _ = operating_points.points(scores, [-1.5], groups)
        width[name] = side["recall"]["high"] - side["recall"]["low"]
    assert width["by group"] == pytest.approx(width["once"], rel=0.15)
    assert width["by clip"] == pytest.approx(width["once"] / 2, rel=0.15)


def test_same_threshold_differs_by_nothing():
    _, (change,) = operating_points.points(make_scores(), [-1.0, -1.0], n=50)
    assert all(change[name] == {"value": 0, "low": 0, "high": 0} for name in operating_points.NAMES)


def test_wilson_at_the_ends_and_in_the_middle():
    assert operating_points.wilson(0, 10)["low"] == 0 and 0.2 < operating_points.wilson(0, 10)["high"] < 0.35
    assert operating_points.wilson(10, 10)["high"] == pytest.approx(1)
    for n in range(1, 200):  # a rounding of the ends left out the share itself
        assert operating_points.wilson(n, n)["high"] == 1 and operating_points.wilson(0, n)["low"] == 0
    # closed form at hits = n / 2: 1/2 -+ z / (2 sqrt(n + z^2))
    z = 1.959964
    assert operating_points.wilson(50, 100)["low"] == pytest.approx(0.5 - z / (2 * np.sqrt(100 + z * z)))
    assert operating_points.wilson(0, 0)["value"] is None


@pytest.mark.parametrize("grouped", [False, True])
def test_what_is_perfect_is_not_certain(grouped):
    """Of ten clips that are ranked without a fault AUC was 1.000 (1.000 to 1.000)."""
    label = np.repeat([1, 0], [10, 40])
    score, names = np.where(label == 1, 2.0, -2.0) + np.linspace(0, 1, 50), np.arange(50).astype(str)
    perfect = Scores(id=names, clip=names, group=names, label=label, method=np.full(50, ""), score=score)
    groups = np.arange(50) // 2 if grouped else None
    few, fakes = (5, 5) if grouped else (10, 10)
    ranks = operating_points.ranking(perfect, groups, n=100)
    (side, wrong), _ = operating_points.points(perfect, [0.0, 9.0], groups, n=100)
    low, all_of = operating_points.wilson(few, few)["low"], operating_points.wilson(fakes, fakes)
    assert ranks["auc"] == all_of and all_of["high"] == pytest.approx(1) and 0.5 < low < 0.8
    assert ranks["eer"] == {"value": 0.0, "low": 0.0, "high": pytest.approx(1 - low)}
    assert side["recall"] == side["precision"] == side["f1"] == all_of and side["accuracy"]["low"] > low
    assert wrong["recall"]["high"] == pytest.approx(1 - low) and np.isnan(wrong["precision"]["low"])
    assert 0 < wrong["accuracy"]["low"] < wrong["accuracy"]["value"] == 0.8


def test_of_fakes_alone_f1_is_as_uncertain_as_recall():
    """Of two fakes and no real clip evaluate said recall 100 % (34.2 to 100.0) and F1 100 % (100.0 to 100.0)."""
    names = np.arange(2).astype(str)
    fakes = Scores(names, names, names, np.ones(2, np.int64), np.full(2, ""), np.ones(2))
    ((side,), _) = operating_points.points(fakes, [0.0], n=100)
    assert side["f1"] == side["recall"] == operating_points.wilson(2, 2) and side["f1"]["low"] < 0.5


def test_units_are_groups_where_groups_hold_clips():
    assert operating_points.units(make_scores())[0] is None
    assert operating_points.units(make_scores(groups=40))[1] == "40 groups of clips"
    groups, words = operating_points.units(make_scores(groups=3))
    assert groups is None and "too few" in words


def test_report_is_strict_json_and_complete():
    made = build(test=make_scores(methods=("griffin_lim", "new")), train_methods={"griffin_lim", "lpc"})
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert made["counts"]["train"] | {"ratio": 10.0, "majority": "real"} == made["counts"]["train"]
    assert made["counts"]["test"]["methods"] == {"griffin_lim": 50, "new": 50}
    assert {m["method"]: m["unseen"] for m in made["methods"]["test"]} == {"griffin_lim": False, "new": True}
    test = make_scores(methods=("griffin_lim", "new"))
    assert made["ranking"]["test"]["auc"]["value"] == metrics.roc_auc(test.score, test.label)
    assert made["ranking"]["validation"]["eer"]["low"] <= made["ranking"]["validation"]["eer"]["value"]


def test_windows_are_averaged_to_clips():
    clips = make_scores()
    rows = np.repeat(np.arange(len(clips)), 3)
    shift = np.tile([-1.0, 0.0, 1.0], len(clips)).astype(np.float32)
    columns = (column[rows] for column in (clips.clip, clips.group, clips.label, clips.method))
    windows = Scores(np.arange(len(rows)).astype(str), *columns, clips.score[rows] + shift, header=clips.header)
    a, b = build(), build(test=windows)
    assert a["counts"]["test"] == b["counts"]["test"]
    assert a["operating"]["test"]["tuned"]["f1"]["value"] == b["operating"]["test"]["tuned"]["f1"]["value"]


def test_threshold_from_the_reported_split_is_refused():
    with pytest.raises(InputError, match="tuned on the split 'test'"):
        build(decision=decided(split="test"))
    build(decision=decided(split="test", dataset="another"))  # another corpus's test split is other data


def test_one_class_is_refused():
    scores = make_scores()
    real = scores.label == 0
    from dfjax.decide.score_file import select

    with pytest.raises(InputError, match="1000 real and 0 fake"):
        build(test=select(scores, real))


@pytest.mark.parametrize("criterion", ["f1", "eer", "recall_at_precision"])
def test_decisions_of_tune_are_understood(criterion):
    constraint = {"min_precision": 0.999} if criterion == "recall_at_precision" else {}
    validation = make_scores("validation", seed=1)
    decision = decide(validation, criterion, **constraint)
    made = build(validation=validation, decision=decision)
    counts = made["operating"]["validation"]["tuned"]
    assert {k: counts[k] for k in ("tp", "fp", "fn", "tn")} == decision["counts"]
    assert made["threshold"]["value"] == decision["threshold"]
    if criterion == "f1":
        assert any(f"{decision['corrected_value']:.3f}" in line for line in made["verdict"])
    assert made["calibration"]["after"]["log_loss"] < made["calibration"]["before"]["log_loss"]
    assert report.markdown(made)


def test_a_constraint_is_told_as_new_data_will_meet_it():
    decision = decide(make_scores("validation", seed=1), "recall_at_precision", min_precision=0.5)
    held = decision["constrained"]
    line = f"Its precision there, {held['value']:.3f}, becomes {held['corrected']:.3f}."
    assert held["value"] >= 0.5 and held["corrected"] < held["value"]
    assert line in " ".join(build(decision=decision)["verdict"])


def test_no_tuned_threshold_is_said():
    made = build(decision=decided(None, status="undefined", message="f1 is undefined"))
    assert made["operating"]["test"]["tuned"] is None
    assert any("undefined" in line for line in made["verdict"])
    assert "| Recall (fake) |" in report.markdown(made)


def test_verdict_states_recall_at_both_thresholds():
    made = build()
    sides = made["operating"]["test"]
    for side in (sides["half"], sides["tuned"]):
        assert f"{100 * side['recall']['value']:.1f} %" in made["verdict"][0]


def test_verdict_tells_of_the_band_that_figures_do_not_know():
    """After `tune --abstain` the report was renewed without a word on the files that are called uncertain."""
    band = {"rate": 0.01, "real_below": -2.0, "fake_from": 0.25, "undecided": 0.125}
    words = "From -2 to 0.25 a file is called uncertain: 12.5 % of the clips of validation."
    assert any(line.startswith(words) for line in build(decision=decided(band=band))["verdict"])
    for none in (None, band | {"real_below": 0.25}):
        assert not any("uncertain" in line for line in build(decision=decided(band=none))["verdict"])


def test_verdict_says_when_a_difference_is_within_its_interval():
    assert any("no difference" in line for line in build(decision=decided(0.001))["verdict"])
    assert not any("no difference" in line for line in build()["verdict"])


def test_verdict_warns_of_shortcuts_and_unseen_generators():
    audit = {"features": {}, "all": {"auc": 0.83, "error": 0.02}, "warnings": [], "notes": []}
    words = " ".join(build(audit=audit, train_methods={"griffin_lim"})["verdict"])
    assert "AUC 0.83" in words and "never saw (1)" in words


def test_fakes_of_no_named_generator_are_neither_seen_nor_unseen():
    scores = make_scores(methods=("", "new", "old"))
    rows = {row["method"]: row for row in report.by_method(scores, -1.5, {"old"})}
    assert [rows[name]["unseen"] for name in ("", "new", "old")] == [False, True, False]
    line = next(text for text in build(test=scores, train_methods={"old"})["verdict"] if "never saw" in text)
    found = {name: f"{100 * rows[name]['recall']['value']:.1f} %" for name in ("new", "old")}
    expected = f"(1): {found['new']} of their clips are found; of those it saw, {found['old']}."
    assert line.endswith(expected)


def test_markdown_of_a_synthetic_corpus_says_so():
    made = build(run={"name": "trial", "synthetic": True})
    assert "prove nothing about real deepfakes" in report.markdown(made)
    assert "prove nothing" not in report.markdown(build())


def test_markdown_tables_are_rectangular_and_names_cannot_break_them():
    evil = "a|b<script>[x](y)`"
    ledger = {"sampling": 2.3, "class_weights": 0.0, "total": 2.3, "implied_threshold": 0.0909}
    made = build(test=make_scores(methods=(evil, "lpc")), ledger=ledger, run={"name": "n\n# fake heading"})
    text = report.markdown(made)
    assert "<script>" not in text and "\n# fake heading" not in text
    for block in text.split("\n\n"):
        rows = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1
    assert "9.1 % of true probability" in text


def test_subgroups():
    test = make_scores()
    gender = {clip: ("female", "male")[i % 2] for i, clip in enumerate(test.clip.tolist())}
    rows = {row["value"]: row for row in build(subgroups={"gender": gender})["subgroups"]["gender"]}
    called = test.score >= -1.5
    odd = np.arange(len(test)) % 2 == 1
    assert rows["male"]["recall"]["value"] == pytest.approx(called[odd & (test.label == 1)].mean())
    assert rows["female"]["real"] + rows["male"]["real"] == 1000


def test_true_probabilities_are_calibrated():
    rng = np.random.default_rng(0)
    logits = rng.normal(-2, 1.5, 20_000)
    label = (rng.random(20_000) < 1 / (1 + np.exp(-logits))).astype(np.int32)
    names = np.arange(20_000).astype(str)
    scores = Scores(names, names, names, label, np.where(label == 1, "g", ""), (logits - 1) / 2)
    result = report.reliability(scores, {"method": "platt", "slope": 2.0, "intercept": 1.0})
    assert result["after"]["ece"] < 0.012 < result["before"]["ece"]
    assert result["after"]["log_loss"] < result["before"]["log_loss"]
    assert all(abs(b["probability"] - b["share"]) < 0.03 for b in result["after"]["bins"])


def test_plain_numbers_only():
    value = {"a": np.float32(0.5), "b": [np.nan, np.inf, np.int64(3)], "c": {"z", "y"}, "d": np.array([True])}
    assert report.plain(value) == {"a": 0.5, "b": [None, None, 3], "c": ["y", "z"], "d": [True]}


def test_percent_of_nothing():
    assert markdown.percent({"value": None, "low": None, "high": None}) == "undefined"


def test_everything_is_written(tmp_path):
    made = build()
    paths = report.write(tmp_path, made, make_scores("validation", seed=1), make_scores())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figures", "report.html", "report.json", "report.md"]
    assert all(path.stat().length > 1000 for path in paths) and len(paths) == 9
    assert json.loads((tmp_path / "report.json").read_text()) == made
    for path in (tmp_path / "figures").iterdir():
        assert f"figures/{path.name}" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("last", ["report.html", "figures/"])
def test_a_report_that_a_full_disk_cut_off_is_none(tmp_path, monkeypatch, last):
    """report.json was there first, and the same command took the run for finished."""
    written = []

    def full(path, content):
        if last in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path.name)

    monkeypatch.setattr(report.files, "write", full)
    with pytest.raises(OSError, match="No space left"):
        report.write(tmp_path, build(), make_scores("validation", seed=1), make_scores())
    assert written and "report.json" not in written


def test_what_is_undefined_is_said_so_and_never_nan():
    low = make_scores()
    low = dataclasses.replace(low, score=low.score - 20)  # nothing reaches 0.5: precision there is undefined
    validation = dataclasses.replace(make_scores("validation", seed=1), score=low.score)
    made = build(test=low, validation=validation, decision=decided(-21.5))
    assert made["operating"]["test"]["half"]["precision"]["value"] is None
    assert "at precision undefined" in made["verdict"][0]
    assert "nan" not in report.markdown(made).lower()
