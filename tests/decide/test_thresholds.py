import dataclasses
import fractions
import itertools
import json
import math
import pathlib
import types

import numpy as np
import pytest
import sklearn.metrics

from dfjax.decide import certify, cuts, optimism, thresholds
from dfjax.records import InputError

CASES = pathlib.Path(__file__).resolve().parents[2] / "../shared/data/thresholds/cases.json"
Fraction = fractions.Fraction
NAMES = {
    "f1": ("f1", {}),
    "f2": ("f_beta", {"beta": 2}),
    "f0.5": ("f_beta", {"beta": 0.5}),
    "youden_j": ("youden", {}),
    "balanced_accuracy": ("balanced_accuracy", {}),
    "mcc": ("mcc", {}),
    "accuracy": ("accuracy", {}),
    "cost_fp1_fn10": ("cost", {"c_fp": 1, "c_fn": 10}),
    "max_recall_at_precision>=9/10": ("recall_at_precision", {"min_precision": 0.9}),
    "max_precision_at_recall>=9/10": ("precision_at_recall", {"min_recall": 0.9}),
    "max_tpr_at_fpr<=1/100": ("recall_at_fpr", {"max_fpr": 0.01}),
    "break_even": ("break_even", {}),
    "eer_discrete": ("eer", {}),
}


def number(text):
    return None if text is None else float.fromhex(text) if "x" in text else float(text)


def cases():
    return json.loads(CASES.read_text())["cases"] if CASES.exists() else []


@pytest.mark.parametrize("case", cases() or [pytest.param(None, marks=pytest.mark.skip("cases.json is not here"))])
def test_published_cases(case):
    scores = np.array([number(s) for s in case["scores"]], case["dtype"])
    labels, weights = np.array(case["labels"]), case["weights"] and [Fraction(w) for w in case["weights"]]
    if case["expect"]["error"]:
        for name, constraint in NAMES.values():
            with pytest.raises(ValueError, match="NaN"):
                thresholds.search(scores, labels, name, weights=weights, **constraint)
        return
    every = case["expect"]["cuts"]
    for key, want in case["expect"]["criteria"].items():
        if key not in NAMES:  # the interpolated EER has no cut
            continue
        name, constraint = NAMES[key]
        found = thresholds.search(scores, labels, name, weights=weights, **constraint)
        assert found.status == want["status"], key
        if want["status"] != "ok":
            continue
        counts = [{k: Fraction(cut[k]) for k in ("tp", "fp", "fn", "tn")} for cut in every]
        index = counts.index({k: Fraction(getattr(found, k)) for k in ("tp", "fp", "fn", "tn")})
        cut = every[index]
        assert index in want["optimal_cuts"], key
        assert found.interval == (number(cut["largest_negative"]), number(cut["smallest_positive"]))
        assert found.value == number(cut["threshold_midpoint"] or cut["threshold_at_score"])
        value = float(Fraction(want["value"]))
        if name == "mcc":
            assert found.score * abs(found.score) == pytest.approx(value, abs=1e-15)
        elif name not in ("eer", "break_even"):
            assert found.score == value, key
        heavy = np.array([weights is None or w > 0 for w in weights or scores])
        assert found.predict(scores[heavy]).sum() == cut["n_pred_pos"]


def every_cut(scores, labels, weights):
    """(p, n, [(tp, fp), ...]) of every distinct finite threshold from the highest down, in exact numbers."""
    samples = [(float(s), y, w) for s, y, w in zip(scores, labels, weights, strict=True) if w]
    p, n = (sum((w for _, y, w in samples if y == k), Fraction(0)) for k in (1, 0))
    points, tp, fp = [(Fraction(0), Fraction(0))], Fraction(0), Fraction(0)
    for level in sorted({s for s, _, _ in samples}, reverse=True):
        tp += sum(w for s, y, w in samples if s == level and y == 1)
        fp += sum(w for s, y, w in samples if s == level and y == 0)
        points.append((tp, fp))
    unreachable = any(s == math.inf for s, _, _ in samples)
    return p, n, points[unreachable:]


def brute_force(p, n, points, name, constraint):
    """(status, the cuts that are best), in fractions."""
    needs_real = name in ("youden", "balanced_accuracy", "mcc", "recall_at_fpr", "eer")
    if not p + n or (needs_real and not n) or (name not in ("accuracy", "cost") and not p):
        return "undefined", []
    given = {key: Fraction(str(value)) for key, value in constraint.items()}
    values = {point: exact(name, *point, p, n, given) for point in points}
    allowed = {point: v for point, v in values.items() if v is not None}
    if not allowed:
        return "infeasible", []
    best = max(allowed.values())
    return "ok", [point for point in points if allowed.get(point) == best]


def exact(name, tp, fp, p, n, c):
    """The value to maximise at one cut; None where the cut is not allowed."""
    fn, tn = p - tp, n - fp
    if name in ("f1", "f_beta"):
        b2 = c.get("beta", Fraction(1)) ** 2
        return (1 + b2) * tp / ((1 + b2) * tp + b2 * fn + fp) if tp else Fraction(0)
    if name == "mcc":
        margins = (tp + fp) * (fn + tn) * p * n
        covariance = tp * tn - fp * fn
        return covariance * abs(covariance) / margins if margins else Fraction(0)
    if name in ("recall_at_precision", "precision_at_recall", "break_even") and not tp + fp:
        return None
    return {
        "youden": lambda: tp / p - fp / n,
        "balanced_accuracy": lambda: (tp / p + tn / n) / 2,
        "accuracy": lambda: (tp + tn) / (p + n),
        "cost": lambda: -(c["c_fp"] * fp + c["c_fn"] * fn),
        "recall_at_precision": lambda: tp / p if tp / (tp + fp) >= c["min_precision"] else None,
        "precision_at_recall": lambda: tp / (tp + fp) if tp / p >= c["min_recall"] else None,
        "recall_at_fpr": lambda: tp / p if fp / n <= c["max_fpr"] else None,
        "break_even": lambda: -abs(tp / (tp + fp) - tp / p),
        "eer": lambda: -abs(fp / n - fn / p),
    }[name]()


def random_case(rng):
    """Few samples, many ties, neighbours, infinities and both zeros; weights of every kind."""
    size = int(rng.integers(1, 10))
    dtype = rng.choice(["float32", "float64"])
    pool = np.array([-np.inf, -1, -0.0, 0.0, 1e-45, 0.1, 0.3, 0.3, 0.5, 2, np.inf]).astype(dtype)
    pool = np.append(pool, np.nextafter(pool[8], pool[9]))
    scores = rng.choice(pool, size) if rng.random() < 0.7 else rng.normal(size=size).astype(dtype).round(1)
    labels = rng.integers(0, 2, size)
    kind = rng.integers(4)
    if kind == 0:
        weights = None
    elif kind == 1:
        weights = rng.choice([0, 1, 2, 2**24], size)
    elif kind == 2:
        weights = rng.choice([0.0, 0.1, 0.7, 1.0, 1e-3], size)
    else:
        weights = [
            Fraction(int(a), int(b)) for a, b in zip(rng.integers(0, 5, size), rng.integers(1, 7, size), strict=True)
        ]
    rate = lambda: float(rng.choice([0, 0.1, 0.25, 0.3, 0.5, 2 / 3, 0.9, 1]))  # noqa: E731
    criteria = {
        name: {key: rate() * (1 if high == 1 else 3) for key, (_, high) in rule.parameters.items()}
        for name, rule in thresholds.CRITERIA.items()
    }
    if not any(criteria["cost"].values()):  # refused
        criteria["cost"]["c_fn"] = 1.0
    return scores, labels, weights, criteria


def check_random(rng, count):
    for _ in range(count):
        scores, labels, weights, criteria = random_case(rng)
        given = [1] * len(scores) if weights is None else weights
        given = [Fraction(w) for w in (given.tolist() if isinstance(given, np.ndarray) else given)]
        p, n, points = every_cut(scores, labels, given)
        for name, found in thresholds.search_all(scores, labels, criteria, weights=weights).items():
            context = (name, criteria[name], scores.tolist(), labels.tolist(), weights)
            status, optimal = brute_force(p, n, points, name, criteria[name])
            assert found.status == status, context
            if found.value is None:
                continue
            called = (scores >= scores.dtype.type(found.value)).tolist()
            tp, fp = (sum(w for w, c, y in zip(given, called, labels, strict=True) if c and y == k) for k in (1, 0))
            assert (float(tp), float(fp)) == (found.tp, found.fp), context
            if status == "ok":
                assert (tp, fp) in optimal, context
                if criteria[name].get("beta") == 0:  # precision alone: recall is free, and taken
                    continue
                if name == "precision_at_recall":
                    assert (tp, fp) == optimal[-1], context
                elif name == "break_even":
                    assert tp == max(t for t, _ in optimal), context
                else:
                    assert (tp, fp) == optimal[0], context
        assert thresholds.Threshold.from_json(found.to_json()) == found


def test_random_cases_against_brute_force():
    check_random(np.random.default_rng(0), 500)


@pytest.mark.slow
def test_twenty_thousand_random_cases_against_brute_force():
    check_random(np.random.default_rng(1), 20_000)


def test_larger_random_cases_against_every_cut():
    rng = np.random.default_rng(0)
    for _ in range(8):
        n = int(rng.integers(100, 3000))
        label = (rng.random(n) < rng.random()).astype(int)
        score = (rng.normal(size=n) + label).round(2)
        level = np.unique(score)
        f1 = max(sklearn.metrics.f1_score(label, score >= t) for t in level[:: max(1, len(level) // 30)])
        found = thresholds.search(score, label, "f1")
        assert found.score >= f1 - 1e-12
        assert found.score == pytest.approx(sklearn.metrics.f1_score(label, found.predict(score)), abs=1e-12)
        found = thresholds.search(score, label, "mcc")
        assert found.score == pytest.approx(sklearn.metrics.matthews_corrcoef(label, found.predict(score)), abs=1e-12)


def test_sorting_in_threads_changes_nothing():
    rng = np.random.default_rng(0)
    n = cuts.THREADED + 1001
    label = rng.random(n) < 0.2
    score = (rng.normal(size=n) + label).astype(np.float32).round(3)
    both = cuts.classes(score, label)
    np.testing.assert_array_equal(both.fake, np.sort(score[label]))
    np.testing.assert_array_equal(both.real, np.sort(score[~label]))
    every, few = cuts.every(both), cuts.monotone(both)
    points = [set(zip(c.tp.tolist(), c.fp.tolist(), strict=True)) for c in (few, every)]
    assert points[0] <= points[1]
    with pytest.raises(ValueError, match="NaN"):
        cuts.classes(np.where(np.arange(n) == 5, np.nan, score), label)


def test_leaving_out_scores_far_from_the_optimum_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    rate = {"beta": 2, "c_fp": 3, "c_fn": 7, "min_precision": 0.8, "min_recall": 0.8, "max_fpr": 0.02}
    criteria = {
        name: {key: rate[key] for key in rule.parameters}
        for name, rule in thresholds.CRITERIA.items()
        if rule.cuts is cuts.monotone
    }
    kept = []
    for trial in range(42):
        n, dtype = int(rng.integers(300, 6000)), [np.float32, np.float64][trial % 2]
        label = rng.random(n) < rng.choice([0.01, 0.1, 0.5, 0.9])
        score = (rng.normal(size=n) + rng.choice([-1, 0, 1, 3]) * label).astype(dtype)
        if trial % 3 == 0:
            score = score.round(int(rng.integers(0, 3)))
        if trial % 5 == 0:
            score[rng.integers(0, n, 5)] = rng.choice([np.inf, -np.inf, 1e30, -1e38], 5)
        if trial % 7 == 0:
            score = 1 / (1 + np.exp(-9 * score.clip(-8, 8)))
        monkeypatch.setattr(cuts, "THREADED", 1 << 17)
        whole = thresholds.search_all(score, label, criteria)
        monkeypatch.setattr(cuts, "THREADED", 200)
        part = thresholds.search_all(score, label, criteria)
        assert part == whole, trial
        name = list(criteria)[trial % len(criteria)]  # alone it may leave out more
        assert thresholds.search(score, label, name, **criteria[name]) == whole[name], trial
        both = cuts.near_optima(score, label, lambda *c: thresholds._promising({"f1": {}}, c))
        kept.append((len(both.fake) + len(both.real)) / n)
    assert np.median(kept) < 0.3
    with pytest.raises(ValueError, match="NaN"):
        thresholds.search(np.where(np.arange(n) == 5, np.nan, score), label, "f1")


def test_integer_weights_are_repetitions():
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(2, 40))
        score, label, weight = rng.normal(size=n).round(1), rng.integers(0, 2, n), rng.integers(0, 4, n)
        for name in ("f1", "youden", "mcc", "eer", "accuracy"):
            repeated = thresholds.search(np.repeat(score, weight), np.repeat(label, weight), name)
            assert thresholds.search(score, label, name, weights=weight) == repeated


def test_monotone_maps_of_scores_keep_the_counts():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 500)
    score = rng.normal(size=500) + label
    for name, constraint in NAMES.values():
        one, other = (thresholds.search(s, label, name, **constraint) for s in (score, np.exp(score)))
        assert (one.tp, one.fp, one.score) == (other.tp, other.fp, other.score)


def test_a_reloaded_threshold_predicts_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    for dtype in (np.float16, np.float32, np.float64):
        score = (rng.normal(size=2000) * 1e-3 + 0.7).astype(dtype)
        label = rng.integers(0, 2, 2000)
        found = thresholds.search(score, label, "recall_at_fpr", max_fpr=0.3)
        (tmp_path / "t.json").write_text(found.to_json())
        back = thresholds.Threshold.from_json((tmp_path / "t.json").read_text())
        assert back == found
        np.testing.assert_array_equal(back.predict(score), found.predict(score))
        assert (back.predict(score) & (label == 1)).sum() == found.tp


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_midpoint_of_neighbours_is_the_fake(dtype):
    half = dtype(0.5)
    up = np.nextafter(half, dtype(1))
    assert thresholds.midpoint(float(half), float(up), dtype) == up
    assert thresholds.midpoint(-1.0, 2.0, dtype) == 0.5
    assert thresholds.midpoint(None, 2.0, dtype) == thresholds.midpoint(-math.inf, 2.0, dtype) == 2
    assert thresholds.midpoint(0.0, math.inf, dtype) == math.inf
    largest = float(np.finfo(dtype).max)
    assert thresholds.midpoint(-largest, largest, dtype) == 0 and thresholds.midpoint(largest, None, dtype) == math.inf


def test_infinite_thresholds_are_strict_json():
    found = thresholds.search(np.float32([np.inf, 0, -np.inf]), np.array([1, 0, 0]), "f1")
    assert found.value == math.inf and found.interval == (0.0, math.inf)
    assert "Infinity" not in json.dumps(json.loads(found.to_json())["tp"])
    json.loads(found.to_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert thresholds.Threshold.from_json(found.to_json()) == found


def test_a_float_constraint_is_the_decimal_it_prints_as():
    label = np.repeat([1, 0], [10, 10])
    score = np.concatenate([np.full(10, 0.5), np.repeat([0.9, 0.1], [3, 7])])
    assert thresholds.search(score, label, "recall_at_fpr", max_fpr=0.3).tp == 10  # 3/10 > float 0.3
    assert thresholds.search(score, label, "recall_at_fpr", max_fpr=Fraction(299, 1000)).tp == 0


def test_infeasible_names_the_nearest_point():
    score, label = np.array([3.0, 2.0, 1.0, 0.0]), np.array([0, 1, 1, 0])
    found = thresholds.search(score, label, "recall_at_precision", min_precision=0.9)
    assert (found.status, found.tp, found.fp) == ("infeasible", 2, 1)  # precision 2/3 is the best there is
    found = thresholds.search(np.array([np.inf, 1.0]), np.array([0, 1]), "recall_at_fpr", max_fpr=0.5)
    assert (found.status, found.tp, found.fp) == ("infeasible", 1, 1)


@pytest.mark.parametrize(
    "name, constraint, message",
    [
        ("f3", {}, "Unknown criterion 'f3'; expected one of"),
        ("f_beta", {}, "criterion 'f_beta' needs beta; give a number"),
        ("cost", {"c_fn": 1}, "criterion 'cost' needs c_fp; give a number"),
        ("f_beta", {"beta": 1, "c_fn": 1}, "takes beta alone; leave out c_fn"),
        ("f1", {"beta": 1}, "takes no number; leave out beta"),
        ("recall_at_fpr", {"max_fpr": 1.5}, "from 0 to 1, got 1.5"),
        ("recall_at_fpr", {"max_fpr": math.nan}, "from 0 to 1, got nan"),
        ("cost", {"c_fp": -1, "c_fn": 1}, "c_fp must be a number"),
        ("cost", {"c_fp": 0, "c_fn": 0.0}, "both 0, so every threshold costs the same"),
    ],
)
def test_wrong_questions_are_input_errors(name, constraint, message):
    with pytest.raises(InputError, match=message):
        thresholds.search(np.zeros(2), np.array([0, 1]), name, **constraint)


def test_precision_alone_takes_all_fakes_down_to_the_next_real():
    found = thresholds.search(np.array([-1.0, -2.0, 0.0]), np.array([1, 0, 1]), "f_beta", beta=0)
    assert (found.tp, found.fp, found.score, found.value) == (2, 0, 1.0, -1.5)


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0, math.nan], [1.0, math.inf], [Fraction(-1), Fraction(1)]])
def test_bad_weights_raise(weights):
    with pytest.raises(ValueError, match="weights must be finite and not negative"):
        thresholds.search(np.zeros(2), np.array([0, 1]), "f1", weights=weights)


def test_bad_labels_shapes_and_nan_raise():
    for scores, labels, message in (
        (np.zeros(2), np.array([0, -1]), r"labels must be 1 \(fake\) or 0 \(real\), got \[-1\]"),
        (np.zeros(3), np.array([0, 1]), "one length"),
        (np.zeros((2, 1)), np.array([[0], [1]]), "one-axis"),
        (np.array([0, math.nan]), np.array([0, 1]), "NaN"),
    ):
        for weights in (None, [1] * len(scores)):
            with pytest.raises(ValueError, match=message):  # a jaxtyping error is a ValueError of another text
                cuts.classes(list(scores), list(labels), weights)
    undefined = thresholds.search(np.zeros(0), np.zeros(0, int), "accuracy")
    assert undefined.status == "undefined" and undefined.value is None
    with pytest.raises(ValueError, match="undefined"):
        undefined.predict(np.zeros(1))
    with pytest.raises(InputError, match="not the JSON of a threshold"):
        thresholds.Threshold.from_json("{}")


def test_thresholds_are_frozen():
    found = thresholds.search(np.arange(4.0), np.array([0, 0, 1, 1]), "f1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.value = 0.0


@pytest.mark.parametrize("wanted, needed", [(0.9, 29), (0.95, 59), (0.99, 299)])
def test_certified_recall_needs_what_wilks_says(wanted, needed):
    score, label = np.arange(needed, dtype=np.float64), np.ones(needed, int)
    found = certify.certify(score, label, min_recall=wanted)
    assert found.threshold.fn == 0 and found.needed == needed
    short = certify.certify(score[1:], label[1:], min_recall=wanted)
    assert short.threshold is None and "needs 1 more fake clips" in short.statement


@pytest.mark.parametrize("wanted, needed", [(0.01, 299), (0.001, 2995)])
def test_certified_false_positive_rate_needs_what_wilks_says(wanted, needed):
    score, label = np.arange(needed, dtype=np.float32), np.zeros(needed, int)
    found = certify.certify(score, label, max_fpr=wanted)
    assert found.threshold.fp == 0 and found.threshold.value == np.nextafter(np.float32(needed - 1), np.float32(np.inf))
    assert certify.certify(score[1:], label[1:], max_fpr=wanted).threshold is None


def test_the_guarantee_holds_in_nineteen_of_twenty_validation_sets():
    rng = np.random.default_rng(0)
    kept, repeats = [0, 0], 500
    for _ in range(repeats):
        score = rng.random(400)  # the true recall of a threshold t is 1 - t, its true FPR as well
        found = certify.certify(score, np.ones(400, int), min_recall=0.9).threshold
        kept[0] += 1 - found.value >= 0.9
        found = certify.certify(score, np.zeros(400, int), max_fpr=0.1).threshold
        kept[1] += 1 - found.value <= 0.1
    assert all(0.93 < k / repeats < 0.99 for k in kept)  # at least 0.95, and not wasteful


def test_clips_of_one_group_are_not_independent_and_the_guarantee_holds_for_them_too():
    rng = np.random.default_rng(0)
    kept, naive, repeats, groups = 0, 0, 300, 80
    of, fake = np.repeat(np.arange(groups), 5), np.ones(5 * groups, int)
    for _ in range(repeats):
        score = (rng.normal(size=groups)[of] + 0.3 * rng.normal(size=5 * groups)) / np.hypot(1, 0.3)  # standard normal
        for together in (of, None):
            found = certify.certify(score, fake, min_recall=0.9, groups=together)
            held = 0.5 * math.erfc(found.threshold.value / math.sqrt(2)) >= 0.9
            kept, naive = kept + (held and together is not None), naive + (held and together is None)
        assert "groups" not in found.statement
    assert kept / repeats >= 0.95 > 0.9 > naive / repeats  # clips taken for independent break the promise


def test_certified_groups_need_a_factor_e_more_and_single_ones_are_clips():
    score, label = np.arange(80.0), np.ones(80, int)
    found = certify.certify(score, label, min_recall=0.9, groups=np.arange(80) // 2)
    assert found.threshold.fn == 0 and (found.clips, found.needed) == (40, 38)  # ceil(log(.05 / e) / log(.9))
    assert "if groups of clips are independent" in found.statement
    few = certify.certify(score, label, min_recall=0.9, groups=np.arange(80) // 4)
    assert few.threshold is None and "needs 18 more groups of fake clips: 38 at least, 20 given" in few.statement
    assert certify.certify(score, label, min_recall=0.9, groups=np.arange(80)) == certify.certify(
        score, label, min_recall=0.9
    )


def test_certify_wants_one_promise():
    for given in ({}, {"min_recall": 0.9, "max_fpr": 0.1}, {"min_recall": 1.0}, {"max_fpr": 0}):
        with pytest.raises(InputError):
            certify.certify(np.zeros(2), np.array([0, 1]), **given)


def test_band_keeps_both_error_rates_and_is_empty_where_one_threshold_does():
    rng = np.random.default_rng(0)
    label = np.repeat([1, 0], [200, 800])
    score = rng.normal(size=1000) + 1.5 * label
    low, high = certify.band(score, label, max_fpr=0.05, max_fnr=0.05)
    assert low.value < high.value
    assert (score[label == 0] >= high.value).mean() <= 0.05 and (score[label == 1] < low.value).mean() <= 0.05
    tighter = certify.band(score, label, max_fpr=0.05, max_fnr=0.04)[0]
    assert tighter.value < low.value
    low, high = certify.band(score + 20 * label, label, max_fpr=0.05, max_fnr=0.05)
    assert low == high
    with pytest.raises(InputError, match="one class is missing"):
        certify.band(score, np.zeros(1000, int), max_fpr=0.1, max_fnr=0.1)


def test_a_band_of_weighed_clips_keeps_the_weighed_rates():
    rng = np.random.default_rng(1)
    label, score = np.tile([1, 0], 300), np.round(rng.normal(size=600), 1)  # many are tied
    ones = certify.band(score, label, max_fpr=0.1, max_fnr=0.2, weights=np.ones(600))
    plain = certify.band(score, label, max_fpr=0.1, max_fnr=0.2)
    assert [edge.value for edge in ones] == [edge.value for edge in plain]
    weights = np.where(np.arange(600) < 100, 9, 1)
    low, high = certify.band(score, label, max_fpr=0.1, max_fnr=0.2, weights=weights)
    assert (low.value, high.value) != tuple(edge.value for edge in plain)

    def missed(value):
        return weights[(label == 1) & (score < value)].sum() / weights[label == 1].sum()

    assert missed(low.value) <= 0.2 < missed(np.nextafter(low.value, np.inf))
    assert weights[(label == 0) & (score >= high.value)].sum() / weights[label == 0].sum() <= 0.1


def test_optimism_is_what_new_data_show():
    """Unit normals 2 apart, 10:1, 20 fakes: apparent F1 is near .65, the truth where it cuts near .58."""
    rng = np.random.default_rng(0)
    label = np.repeat([1, 0], [20, 200])
    apparent, corrected = [], []
    for seed in range(40):
        found = optimism.bootstrap(rng.normal(size=220) + 2 * label, label, "f1", n=40, seed=seed)
        apparent.append(found.apparent)
        corrected.append(found.corrected)
    assert 0.62 < np.mean(apparent) < 0.68 and 0.57 < np.mean(corrected) < 0.62


def test_cell_counts_have_the_law_of_the_bootstrap():
    """Against indices drawn one by one: the same mean and spread of the best value."""
    rng = np.random.default_rng(0)
    label = (rng.random(300) < 0.3).astype(int)
    score = (rng.normal(size=300) + label).round(1)
    values = []
    for _ in range(800):
        rows = rng.integers(0, 300, 300)
        values.append(thresholds.search(score[rows], label[rows], "youden").score)
    low, high = np.quantile(values, [0.025, 0.975])
    found = optimism.bootstrap(score, label, "youden", n=800)
    shift = found.apparent - found.corrected
    np.testing.assert_allclose([q + shift for q in found.interval], [low, high], atol=0.02)
    grouped = optimism.bootstrap(score, label, "youden", n=800, groups=np.arange(300))
    np.testing.assert_allclose(grouped.interval, found.interval, atol=0.02)


@pytest.mark.parametrize("name, constraint", NAMES.values())
def test_every_criterion_can_be_bootstrapped(name, constraint):
    rng = np.random.default_rng(0)
    label = np.repeat([1, 0], [30, 90])
    score = (rng.normal(size=120) + 2 * label).astype(np.float32)
    for groups in (None, np.arange(120) // 3):
        found = optimism.bootstrap(score, label, name, groups=groups, n=50, **constraint)
        assert found == optimism.bootstrap(score, label, name, groups=groups, n=50, **constraint)  # seeded
        assert found.interval[0] <= found.interval[1] and found.replicates == 50
        assert (found.constrained is None) == (thresholds.CRITERIA[name].nearest is None)
        chosen = thresholds.search(score, label, name, **constraint)
        assert found.apparent == chosen.score
        low, high = found.threshold_interval
        assert low <= high and np.float32(low) == low


@pytest.mark.parametrize("name, constraint", NAMES.values())
def test_what_new_data_may_show_ends_where_the_criterion_does(name, constraint):
    """Of few clips optimism is large: a recall of -3 % to 76 % was expected."""
    low, high = {"youden": (-1, 1), "mcc": (-1, 1), "cost": (0, math.inf)}.get(name, (0, 1))
    ends = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        label = np.repeat([1, 0], 5)
        found = optimism.bootstrap(rng.normal(size=10), label, name, n=30, **constraint)
        ends += [found.corrected, *found.interval, found.apparent]
        assert found.constrained_corrected is None or 0 <= found.constrained_corrected <= 1
    assert low <= min(ends) and max(ends) <= high


def test_undefined_searches_have_no_bootstrap():
    assert optimism.bootstrap(np.arange(5.0), np.zeros(5, int), "f1", n=5) is None
    perfect = optimism.bootstrap(np.arange(40.0), np.repeat([0, 1], 20), "f1", n=50)
    assert perfect.apparent == 1 and 0.9 < perfect.corrected <= 1


def test_multinomial_counts_add_up_and_have_the_right_means():
    rng = np.random.default_rng(0)
    sizes = np.array([1, 0, 5, 94])
    for total in (1, 7, 100):
        draws = np.array([optimism._multinomial(rng, sizes * total) for _ in range(2000)])
        assert (draws.sum(1) == 100 * total).all() and (draws[:, 1] == 0).all()
        error = np.abs(draws.mean(0) - sizes * total) / np.sqrt(sizes * total + 1)
        assert (error < 0.1).all()


def test_all_pairs_of_statuses_round_trip():
    for scores, labels in itertools.product(([0.0, 1.0], [1.0, 0.0], [np.inf, 1.0]), ([0, 1], [1, 1], [0, 0])):
        for name, constraint in NAMES.values():
            found = thresholds.search(np.float32(scores), np.array(labels), name, **constraint)
            assert thresholds.Threshold.from_json(json.loads(found.to_json())) == found


def test_integer_weights_are_multiples_of_one_unit_of_whatever_kind():
    """Each kind of weight is made a fraction once, however many clips have it."""
    third, two = fractions.Fraction(1, 3), fractions.Fraction(2, 5)
    for weights in ([third, two] * 3, [0.5, 0.1, -0.0, 0.1], [1e30, 1e-9, 1e30], [1, 2**70, 1], ["1/3", 0.5]):
        integers, unit = cuts.integer_weights(np.array(weights, object))
        assert [int(i) * unit for i in integers] == [fractions.Fraction(w) for w in weights]
        if all(isinstance(w, float) for w in weights):
            again, same = cuts.integer_weights(np.array(weights))
            assert again.tolist() == integers.tolist() and same == unit
    made = []
    counted = types.SimpleNamespace(Fraction=lambda *words: made.append(words) or fractions.Fraction(*words))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuts, "fractions", counted)
        cuts.integer_weights(np.tile([0.1, 0.7], 500))
        cuts.integer_weights(np.array([third, two] * 500, object))
    assert len(made) == 6  # two of each, and the two units
