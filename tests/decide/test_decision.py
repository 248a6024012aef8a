"""A decision on scores of left-out domains; what it is on validation scores stands in tests/test_tune.py."""

import dataclasses
import json
import math

import numpy as np
import pytest

from dfjax import tune
from dfjax.decide import (
    calibration,
    certify_domains,
    domains,
    leave_one_out,
    metrics,
    operating_points,
    score_file,
    thresholds,
)
from dfjax.decide.decision import decide, parse, read_decision, write_decision
from dfjax.inference import verdict
from dfjax.records import InputError


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch):
    monkeypatch.setattr(operating_points, "replicates", lambda clips: 100)


def make(count=7, clips=120, *, sd=1.0, seed=0, **header):
    """Two windows per clip; the clips of a domain share a shift, and its share of fakes is its own."""
    rng = np.random.default_rng(seed)
    n = count * clips
    of = np.arange(n) // clips
    label = (rng.random(n) < rng.uniform(0.2, 0.8, count)[of]).astype(np.int32)
    score = 3.0 * label + sd * rng.normal(size=count)[of] + rng.normal(size=n)
    rows, names = np.repeat(np.arange(n), 2), np.array([f"source_{k}" for k in of])
    clip = np.array([f"{name}/{i}" for i, name in enumerate(names)])
    return score_file.Scores(
        id=np.char.add(clip[rows], np.tile(["#0", "#1"], n)),
        clip=clip[rows],
        group=clip[rows],
        label=label[rows],
        method=np.where(label, "g", "")[rows],
        score=score[rows] + np.tile([-0.5, 0.5], n),
        header={"split": "left_out", "dataset": "demo", "left_out_by": "domain"} | header,
        domain=names[rows],
    )


def test_a_threshold_of_left_out_domains_weighs_them_alike_and_says_what_a_new_one_may_expect(tmp_path):
    scores = make()
    decision = decide(scores)
    write_decision(tmp_path / "decision.json", decision)
    assert read_decision(tmp_path / "decision.json") == decision == json.loads(json.dumps(decision, allow_nan=False))
    clips = score_file.by_clip(scores)
    chosen = thresholds.search(clips.score, clips.label, "balanced_accuracy", weights=domains.equal_weights(clips))
    assert (decision["criterion"], decision["split"]) == ("balanced_accuracy", "left_out")
    assert decision["threshold"] == chosen.value and decision["value"] == chosen.score
    at = metrics.at_threshold(clips.score, clips.label, chosen.value)
    assert decision["counts"] == {name: at[name] for name in ("tp", "fp", "fn", "tn")}  # clips as they are
    found = decision["domains"]
    assert found["count"] == 7 and [row["domain"] for row in found["rows"]] == [f"source_{k}" for k in range(7)]
    alarms = [row["false_alarms"]["value"] for row in found["rows"]]
    assert found["false_alarms"]["mean"] == pytest.approx(np.mean(alarms))
    assert (found["false_alarms"]["low"], found["false_alarms"]["high"]) == (min(alarms), max(alarms))
    assert found["words"] == domains.words(found["rows"], "sources") and "over seven sources" in found["words"]
    balanced = 1 - (found["false_alarms"]["mean"] + found["misses"]["mean"]) / 2
    assert decision["value"] == pytest.approx(balanced)  # the mean over domains is what was maximised
    worth = leave_one_out.judge(clips, "balanced_accuracy", n=100)
    assert decision["corrected_value"] == pytest.approx(worth.corrected) and worth.corrected < decision["value"]
    assert "7 sources and, within them, 840 clips" in decision["bootstrap"]["unit"]
    assert {row["domain"]: row["threshold_without"] for row in found["rows"]} == worth.thresholds
    certificate = certify_domains.certify(clips, threshold=worth.thresholds)
    assert found["certificate"] == certificate.to_json() and certificate.max_fpr > max(alarms)
    certificate = decide(scores, "recall_at_fpr", max_fpr=0.1)["domains"]["certificate"]
    assert certificate["mean_fpr"] == pytest.approx((7 * 0.1 + 1) / 8)
    assert certificate["statement"].endswith(
        "drawn as the seven were, is called fake with a probability of at most 21.3 %"
    )


def test_the_calibration_knows_how_domains_differ():
    near, far = decide(make(sd=0.0))["calibration"], decide(make(sd=2.0))["calibration"]
    assert near["domain_sd"] < 0.5 < far["domain_sd"] and far["domains"] == 7
    llr = np.array([3.0])
    even = [
        calibration.logits(llr, {"slope": 1.0, "intercept": 0.0, "prior": 0.5, "domain_sd": c["domain_sd"]})
        for c in (near, far)
    ]
    assert 0 < even[1][0] < even[0][0] <= 3.0
    assert "domain_sd" not in decide(dataclasses.replace(make(), header={"split": "validation"}))["calibration"]


@pytest.mark.parametrize("missing", ["column", "split"])
def test_without_domains_or_another_split_the_decision_is_the_old_one(missing):
    scores = make()
    plain = dataclasses.replace(scores, domain=None, header=scores.header | {"split": "validation"})
    if missing == "column":
        scores = dataclasses.replace(scores, domain=None)
    else:
        scores = dataclasses.replace(scores, header=scores.header | {"split": "validation"})
    decision = decide(scores)
    assert decision | {"split": "validation"} == decide(plain) and "domains" not in decision
    assert decision["criterion"] == "f1"


@pytest.mark.parametrize("split", ["test", "train"])
def test_domains_do_not_open_the_test_split(split):
    with pytest.raises(InputError, match=f"split '{split}'"):
        decide(make(split=split))


@pytest.mark.parametrize(
    "criterion, constraint", [("f1", {}), ("cost", {"c_fp": 5, "c_fn": 1}), ("recall_at_fpr", {"max_fpr": 0.1})]
)
def test_every_criterion_travels(criterion, constraint):
    decision = decide(make(), criterion, **constraint)
    low, high = decision["confidence_interval"]
    assert decision["status"] == "ok" and low <= decision["corrected_value"] <= high
    if criterion == "recall_at_fpr":
        assert decision["domains"]["false_alarms"]["mean"] <= 0.1


@pytest.mark.parametrize("criterion, worst", [("f1", 0.0), ("youden", -1.0), ("eer", 0.0)])
def test_what_is_perfect_on_few_clips_or_domains_is_expected_with_their_interval(criterion, worst):
    """Twenty clips that a threshold parts are perfect in every draw: 1 [1, 1] was expected of new data."""
    apart = make(count=5, clips=40, sd=0.0)
    apart = dataclasses.replace(apart, score=np.where(apart.label == 1, 5, -5) + apart.score % 1)
    few = dataclasses.replace(score_file.select(apart, np.arange(40)), domain=None, header={"split": "validation"})
    fakes = int(few.label.sum()) // 2
    for scores, units in ((few, min(fakes, 20 - fakes)), (apart, 5)):
        decision = decide(scores, criterion)
        end = operating_points.wilson(units, units)
        low, high = worst + (1 - worst) * end["low"], 1.0
        if criterion == "eer":
            low, high = 0.0, 1 - end["low"]
        assert decision["corrected_value"] == (0 if criterion == "eer" else 1) and units > 3
        assert decision["confidence_interval"] == pytest.approx([low, high])


@pytest.mark.parametrize("reals, fakes", [(18, 2), (12, 500)])
@pytest.mark.parametrize("criterion", ["accuracy", "f1", "recall_at_fpr"])
def test_what_a_perfect_threshold_is_worth_is_what_the_report_says_of_it(criterion, reals, fakes):
    """Accuracy had no interval at all, and of recall it was the real clips' where the report's is the fakes'."""
    label = np.repeat([0, 1], [reals, fakes])
    names = np.arange(len(label)).astype(str)
    score = np.where(label, 5.0, -5.0) + np.linspace(0, 1, len(label))
    scores = score_file.Scores(names, names, names, label, np.where(label, "g", ""), score, {"split": "validation"})
    decision = decide(scores, criterion, **({"max_fpr": 0.1} if criterion == "recall_at_fpr" else {}))
    (side,), _ = operating_points.points(scores, [decision["threshold"]], None, n=100)
    told, (low, high) = side[criterion.partition("_at_")[0]], decision["confidence_interval"]
    luck = 1 - decision["corrected_value"]
    assert low == pytest.approx(told["low"] - luck) and high == pytest.approx(1 - luck) and low < high


def test_a_criterion_that_few_thresholds_meet_travels_too():
    hard = decide(make(sd=9.0), "recall_at_precision", min_precision=0.999)
    assert hard["status"] in ("ok", "infeasible") and json.dumps(hard, allow_nan=False)


@pytest.mark.parametrize(
    "criterion, constraint, name",
    [
        ("recall_at_precision", {"min_precision": 0.95}, "precision"),
        ("precision_at_recall", {"min_recall": 0.9}, "recall"),
        ("recall_at_fpr", {"max_fpr": 0.02}, "FPR"),
    ],
)
def test_a_constraint_is_met_more_narrowly_on_new_data_and_the_decision_says_how(criterion, constraint, name):
    """It was worked out and kept to itself: a precision of 0.96 by the clips that chose it was expected for good."""
    plain = dataclasses.replace(make(clips=40), domain=None, header={"split": "validation"})
    clips = score_file.by_clip(plain)
    x, y = clips.score, clips.label
    decision = decide(plain, criterion, **constraint)
    held, at = decision["constrained"], decision["tuned"]
    assert held["name"] == name and held["value"] == pytest.approx(at[name.lower()])
    rng, loss = np.random.default_rng(1), []
    for _ in range(300):
        drawn = rng.integers(0, len(x), len(x))
        value = thresholds.search(x[drawn], y[drawn], criterion, **constraint).value
        both = [metrics.at_threshold(x[rows], y[rows], value)[name.lower()] for rows in (drawn, slice(None))]
        loss.append(both[0] - both[1])
    assert held["corrected"] == pytest.approx(held["value"] - np.nanmean(loss), abs=0.01)
    assert (held["corrected"] > held["value"]) is (name == "FPR")
    assert f"{name} {held['value']:.4f} here; on new data expect {held['corrected']:.4f}" in tune.table(decision)
    assert decide(plain, "f1")["constrained"] is None


def test_on_a_new_domain_the_constraint_is_that_of_thresholds_chosen_without_it():
    decision, scores = decide(make(), "recall_at_fpr", max_fpr=0.1), score_file.by_clip(make())
    without = {row["domain"]: row["threshold_without"] for row in decision["domains"]["rows"]}
    real = scores.label == 0
    alarms = [(scores.score[real & (scores.domain == d)] >= np.float32(t)).mean() for d, t in without.items()]
    held = decision["constrained"]
    assert held["value"] == pytest.approx(decision["domains"]["false_alarms"]["mean"]) and held["value"] <= 0.1
    assert held["corrected"] == pytest.approx(np.mean(alarms))
    assert f"FPR {held['value']:.4f} here; on a new source expect {held['corrected']:.4f}" in tune.table(decision)


@pytest.mark.parametrize(
    ("criterion", "constraint"),
    [
        ("f1", {}),
        ("cost", {"c_fp": 1, "c_fn": 20}),
        ("cost", {"c_fp": 20, "c_fn": 1}),
        ("recall_at_fpr", {"max_fpr": 0.5}),
    ],
)
def test_the_band_without_a_verdict_reaches_to_the_threshold(criterion, constraint):
    """A threshold below the band called fake what lay on its real side: fake, then uncertain, then fake again."""
    scores = make(sd=0.0)
    decision = decide(scores, criterion, abstain=0.05, **constraint)
    clips = score_file.by_clip(scores)
    band, threshold = decision["band"], decision["threshold"]
    assert band["real_below"] <= threshold <= band["fake_from"]
    order = np.argsort(clips.score, kind="stable")
    found = np.array([verdict.of_scores(decision, clips.score[i : i + 1], np.zeros(1, int))["verdict"] for i in order])
    place = {"real": 0, "uncertain": 1, "fake": 2}
    assert np.all(np.diff([place[word] for word in found]) >= 0)
    for label, word in ((0, "fake"), (1, "real")):
        assert np.mean(found[clips.label[order] == label] == word) <= 0.05
    assert decision["band"]["undecided"] == np.mean(found == "uncertain")


def test_the_band_is_no_wider_than_it_must_be():
    """Where one threshold met both bounds the band began there, with fewer misses than were allowed."""
    scores = make(sd=0.0)
    clips = score_file.by_clip(scores)
    decision = decide(scores, "recall_at_fpr", abstain=0.1, max_fpr=0.01)
    low, high = decision["band"]["real_below"], decision["band"]["fake_from"]
    fakes = np.sort(clips.score[clips.label == 1])
    assert high == decision["threshold"] and (fakes < low).mean() <= 0.1 < (fakes <= low).mean()
    nothing = decide(scores, "recall_at_fpr", abstain=0.9, max_fpr=0.01)  # the threshold alone misses fewer
    assert nothing["band"]["real_below"] == nothing["band"]["fake_from"] == decision["threshold"]


def test_the_band_of_left_out_domains_keeps_the_mean_of_their_rates():
    """A domain of many clips had the say alone."""
    scores = make(sd=3.0)
    many = np.flatnonzero(scores.domain == scores.domain[0])
    again = [score_file.select(scores, np.arange(len(scores)))] + [
        dataclasses.replace(
            score_file.select(scores, many),
            **{name: np.char.add(f"{k} ", getattr(scores, name)[many]) for name in ("id", "clip", "group")},
        )
        for k in range(20)
    ]
    columns = {name: np.concatenate([getattr(part, name) for part in again]) for name in scores.columns}
    few, lots = (
        decide(each, "recall_at_fpr", abstain=0.3, max_fpr=0.1)["band"]
        for each in (scores, dataclasses.replace(scores, **columns))
    )
    assert lots["real_below"] == few["real_below"] and lots["undecided"] != few["undecided"]


@pytest.mark.parametrize("share", [2.0, -0.1, math.nan])
def test_a_share_that_is_none_is_told_by_its_name(share):
    with pytest.raises(InputError, match="abstain is the share of each class .* from 0 to 1; got"):
        decide(make(), abstain=share)


@pytest.mark.parametrize(("criterion", "needs"), [("f1", "fake clips"), ("youden", "clips of both classes")])
def test_an_undefined_criterion_says_what_it_needs(criterion, needs):
    scores = make()
    reals = decide(score_file.select(scores, scores.label == 0), criterion)
    assert reals["status"] == "undefined" and reals["message"] == f"{criterion} is undefined: it needs {needs}"


def test_values_that_weigh_sources_alike_are_told_from_those_of_the_clips():
    decision = decide(make(), "f1")
    assert decision["value"] != decision["tuned"]["f1"]
    assert f"f1 {decision['value']:.4f} here; on a new source expect" in tune.table(decision)
    assert "(all sources weigh alike, optimism removed" in tune.table(decision)


def test_a_threshold_is_certified_for_a_new_domain():
    decision = decide(make(clips=300), certified=0.8, by_domain=True, max_fpr=0.1)
    assert decision["criterion"] == "certified_domain_fpr" and decision["domains"]["false_alarms"]["high"] < 0.1
    assert "at most 10 % false alarms on a new source" in decision["message"]
    assert decision["domains"]["certificate"]["statement"] == decision["message"]
    short = decide(make(), certified=0.95, by_domain=True, max_fpr=0.1)
    assert short["threshold"] is None and short["status"] == "infeasible" and "needs 24 sources" in short["message"]
    assert short["domains"]["false_alarms"]["mean"] is None
    by_clip = decide(make(), certified=0.95, max_fpr=0.1)
    assert by_clip["criterion"] == "certified_fpr" and by_clip["domains"]["certificate"] is None


@pytest.mark.parametrize("how", [{}, {"certified": 0.8, "min_recall": 0.9}, {"certified": 0.8}])
def test_a_promise_for_new_domains_needs_what_it_needs(how):
    with pytest.raises(InputError, match="a guarantee for a new domain takes"):
        decide(make(), by_domain=True, **how)
    with pytest.raises(InputError, match="crossval"):
        decide(make(split="validation"), by_domain=True, certified=0.8, max_fpr=0.1)


def test_one_domain_and_methods_promise_nothing():
    alone = decide(make(1))
    assert alone["corrected_value"] is None and "needs 6 sources" in alone["domains"]["certificate"]["statement"]
    assert alone["calibration"]["domain_sd"] is None
    methods = decide(make(left_out_by="method"))
    assert methods["domains"]["certificate"] is None and "over seven methods" in methods["domains"]["words"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"threshold": math.nan}, "NaN is no number of JSON"),
        ({"threshold": math.inf}, "Infinity is no number of JSON"),
        ({"threshold": True}, "its threshold is True, expected a finite number"),
        ({"threshold": "0.5"}, "its threshold is '0.5'"),
        ({"criterion": 3}, "chosen for 3"),
        ({"constraint": {"max_fpr": "0.1"}}, "the max_fpr '0.1'"),
        ({"calibration": 3}, "its calibration is 3"),
        ({"calibration": {"slope": "x", "intercept": 0.0}}, "the slope 'x'"),
        ({"calibration": {"slope": 1.0}}, "the intercept None"),
        ({"calibration": {"slope": 1.0, "intercept": 0.0, "prior": 1}}, "the prior 1, expected a share"),
        ({"calibration": {"slope": 1.0, "intercept": 0.0, "domain_sd": -1}}, "the domain_sd -1"),
    ],
)
def test_a_decision_that_is_none_is_refused_in_one_line(change, words):
    good = {"threshold": 0.5, "status": "ok", "criterion": "f1"}
    with pytest.raises(InputError, match=words) as error:
        parse(json.dumps(good | change), "decision.json")
    assert "\n" not in str(error.value) and "decision.json" in str(error.value)
    assert parse(json.dumps(good), "") == good  # of earlier versions, without a calibration
    with pytest.raises(InputError, match="its threshold is inf"):
        parse(json.dumps(good).replace("0.5", "1e400"), "")
    for threshold in (None, "Infinity", 1):  # what a search may leave
        assert parse(json.dumps(good | {"threshold": threshold}), "")["threshold"] == threshold
