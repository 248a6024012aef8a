import gzip
import json
import math
import pathlib

import numpy as np
import pytest
import sklearn.metrics

from dfjax.decide import metrics, redrawn

DATA = pathlib.Path(__file__).resolve().parents[2] / "../shared/data/metrics"


def lines(name):
    if not DATA.is_dir():
        pytest.skip("the ASVspoof 2019 score files are not beside this checkout")
    with gzip.open(DATA / name, "rt") as file:
        return [line.split() for line in file]


@pytest.fixture(scope="module")
def published():
    """(scores in our sign, labels, attacks, expected figures) of RawGAT-ST on ASVspoof 2019 LA evaluation."""
    rows = lines("asvspoof2019_la_eval_rawgat_st_mul_scores.txt.gz")
    score = -np.array([float(row[-1]) for row in rows])
    label = np.array([row[2] == "spoof" for row in rows]).astype(int)
    attack = np.array([row[1] for row in rows])
    expected = json.loads((DATA / "expected.json").read_text())
    return score, label, attack, expected


@pytest.fixture(scope="module")
def verification():
    rows = lines("asvspoof2019_la_eval_asv_scores.txt.gz")
    kind = np.array([row[1] for row in rows])
    score = np.array([float(row[2]) for row in rows])
    return {"asv_" + name: score[kind == name] for name in ("target", "nontarget", "spoof")}


def test_published_equal_error_rate(published):
    score, label, attack, expected = published
    want = expected["scores"][0]
    rate, threshold = metrics.eer(score, label)
    assert abs(100 * rate - want["eer_pct"]) < 1e-9 and abs(-threshold - want["eer_threshold"]) < 1e-9
    rows = metrics.by_method(score, label, attack, threshold)
    assert {row["method"]: round(100 * row["eer"], 4) for row in rows} == want["eer_by_attack_pct"]
    assert sum(row["fakes"] for row in rows) == want["n"][1] and rows[0]["reals"] == want["n"][0]


def test_published_costs(published, verification):
    score, label, _, expected = published
    want = expected["scores"][0]
    got = {
        "min_tdcf_2019_v1": metrics.min_tdcf(score, label, **verification),
        "min_tdcf_2021_v2": metrics.min_tdcf(score, label, **verification, version="2021"),
        "minDCF_asvspoof5": metrics.min_dcf(score, label),
        "actDCF_asvspoof5": metrics.act_dcf(score, label),
        "Cllr": metrics.cllr(score, label),
    }
    for name, value in got.items():
        assert abs(value - want[name]) < 1e-9, name


def test_speaker_verification_operating_point(published, verification):
    want = published[3]["asv"]
    trials = np.concatenate([verification["asv_target"], verification["asv_nontarget"]])
    rate, threshold = metrics.eer(-trials, np.arange(len(trials)) >= len(verification["asv_target"]))
    assert abs(rate - want["eer"]) < 1e-9 and -threshold == want["th"]


def test_perfect_detector_reaches_zero_in_2019_and_the_floor_in_2021(published, verification):
    label = published[1]
    assert metrics.min_tdcf(label.astype(float), label, **verification) == 0
    assert 0.0626 < metrics.min_tdcf(label.astype(float), label, **verification, version="2021") < 0.0628


def test_verification_scores_that_say_nothing_of_a_kind_are_nan_and_nan_ones_raise():
    score, label = np.array([0.0, 1.0]), np.array([0, 1])
    asv = {"asv_target": np.arange(1.0, 4), "asv_nontarget": np.arange(-1.0, 1), "asv_spoof": np.arange(1.0, 3)}
    assert metrics.min_tdcf(score, label, **asv) == 0
    for kind in asv:
        for version in ("2019", "2021"):
            assert math.isnan(metrics.min_tdcf(score, label, **asv | {kind: np.zeros(0)}, version=version)), kind
            with pytest.raises(ValueError, match="NaN"):
                metrics.min_tdcf(score, label, **asv | {kind: np.array([1.0, np.nan])}, version=version)
    none_accepted = asv | {"asv_spoof": np.arange(-6.0, -4)}
    assert math.isnan(metrics.min_tdcf(score, label, **none_accepted))  # nothing is left to be detected
    assert metrics.min_tdcf(score, label, **none_accepted, version="2021") == 1


def official_det(bona_fide, spoof):
    """The definition, written out: a stable sort with the bona fide trials first."""
    everything = np.concatenate([bona_fide, spoof])
    is_bona_fide = np.arange(len(everything)) < len(bona_fide)
    order = np.argsort(everything, kind="stable")
    rejected = np.cumsum(is_bona_fide[order])
    accepted = len(spoof) - (np.arange(1, len(everything) + 1) - rejected)
    thresholds = np.concatenate([[everything.min() - 0.001], everything[order]])
    return np.append(0, rejected / len(bona_fide)), np.append(1, accepted / len(spoof)), thresholds


@pytest.mark.parametrize("seed", range(50))
def test_det_curve_is_the_official_one_also_under_ties(seed):
    rng = np.random.default_rng(seed)
    size = rng.integers(2, 60)
    label = rng.permutation(np.arange(size) < rng.integers(1, size))
    score = rng.normal(size=size).round(rng.integers(0, 3))
    miss, false_alarm, thresholds = metrics.det_curve(score, label)
    want = official_det(-score[~label], -score[label])
    for ours, theirs in zip((miss, false_alarm, -thresholds), want, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    best = np.argmin(np.abs(want[0] - want[1]))
    assert metrics.eer(score, label) == ((want[0][best] + want[1][best]) / 2, -want[2][best])


def test_of_two_trials_as_near_the_equal_error_rate_of_many_draws_takes_that_of_one():
    """Where both errors differ by as much before a trial as after it, rounding decides, and for both alike."""
    rng = np.random.default_rng(0)
    for _ in range(1000):
        label = rng.permutation(np.arange(size := rng.integers(4, 60)) < rng.integers(1, size))
        score = rng.permutation(size).astype(np.float32)
        found = redrawn.ranking(score, label, np.ones((1, size), np.int64))
        assert found["eer"][0] == metrics.eer(score, label)[0]


@pytest.mark.parametrize("seed", range(30))
def test_curves_and_areas_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    size = rng.integers(2, 300)
    label = rng.permutation(np.arange(size) < rng.integers(1, size)).astype(int)
    score = (rng.normal(size=size) + label).round(rng.integers(0, 4)).astype([np.float32, np.float64][seed % 2])
    assert metrics.roc_auc(score, label) == pytest.approx(sklearn.metrics.roc_auc_score(label, score), abs=1e-12)
    want = sklearn.metrics.average_precision_score(label, score)
    assert metrics.average_precision(score, label) == pytest.approx(want, abs=1e-12)
    for ours, theirs in zip(
        metrics.roc_curve(score, label), sklearn.metrics.roc_curve(label, score, drop_intermediate=False), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(label, score)
    for ours, theirs in zip(
        metrics.precision_recall_curve(score, label), (precision[:-1], recall[:-1], thresholds), strict=True
    ):
        np.testing.assert_allclose(ours, theirs[::-1], atol=1e-12)
    p = metrics.probabilities(score)
    assert metrics.log_loss(score, label) == pytest.approx(sklearn.metrics.log_loss(label, p), abs=1e-6)
    assert metrics.brier(score, label) == pytest.approx(sklearn.metrics.brier_score_loss(label, p), abs=1e-12)
    found = metrics.at_threshold(score, label, 0.5)
    predicted = score >= 0.5
    assert found["accuracy"] == sklearn.metrics.accuracy_score(label, predicted)
    assert found["f1"] == pytest.approx(sklearn.metrics.f1_score(label, predicted), abs=1e-12)
    if size > 20:
        want = sklearn.metrics.balanced_accuracy_score(label, predicted)
        assert found["balanced_accuracy"] == pytest.approx(want, abs=1e-12)


def test_reversed_scores_give_the_complement():
    rng = np.random.default_rng(0)
    score, label = rng.normal(size=1000).round(1), rng.random(1000) < 0.1
    assert metrics.roc_auc(-score, label) == pytest.approx(1 - metrics.roc_auc(score, label), abs=1e-15)
    assert metrics.roc_auc(score, ~label) == pytest.approx(1 - metrics.roc_auc(score, label), abs=1e-15)


def test_an_uninformative_llr_costs_one_bit():
    label = np.arange(10) % 2
    assert metrics.cllr(np.zeros(10), label) == pytest.approx(1, abs=1e-15)
    assert metrics.cllr(np.where(label, 1e4, -1e4), label) == 0
    assert metrics.cllr(np.where(label, np.inf, -np.inf), label) == 0
    assert metrics.act_dcf(np.zeros(10), label) >= metrics.min_dcf(np.zeros(10), label) == 1


def test_actual_cost_is_the_minimum_for_calibrated_ratios_in_the_limit():
    rng = np.random.default_rng(1)
    label = rng.random(200_000) < 0.5
    score = rng.normal(size=len(label)) + np.where(label, 1, -1)  # unit normals 2 apart: LLR = 2x
    assert metrics.act_dcf(2 * score, label) == pytest.approx(metrics.min_dcf(2 * score, label), abs=0.01)


def test_one_class_alone_is_nan_where_two_are_needed():
    score, label = np.arange(5.0), np.ones(5, int)
    for metric in (metrics.roc_auc, metrics.min_dcf, metrics.act_dcf, metrics.cllr, metrics.balanced_accuracy):
        assert math.isnan(metric(score, label)), metric
    assert math.isnan(metrics.eer(score, label)[0])
    assert math.isnan(metrics.average_precision(score, 1 - label)) and metrics.average_precision(score, label) == 1
    assert math.isnan(metrics.precision(score, label, threshold=99)) and metrics.recall(score, label, 99) == 0
    for metric in (metrics.log_loss, metrics.brier, metrics.expected_calibration_error, metrics.accuracy):
        assert math.isnan(metric(np.zeros(0), np.zeros(0, int))), metric


@pytest.mark.parametrize(
    "name",
    "eer det_curve min_dcf act_dcf cllr roc_auc average_precision roc_curve precision_recall_curve accuracy "
    "balanced_accuracy log_loss brier expected_calibration_error reliability_curve".split(),
)
def test_nan_scores_and_foreign_labels_raise(name):
    metric = getattr(metrics, name)
    with pytest.raises(ValueError, match="NaN"):
        metric(np.array([0.0, np.nan, 1.0]), np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="labels must be 1"):
        metric(np.array([0.0, 0.5, 1.0]), np.array([0, 1, -1]))
    if name != "det_curve":  # one class is no excuse
        with pytest.raises(ValueError, match="NaN"):
            metric(np.array([np.nan, 1.0]), np.array([1, 1]))


def test_methods_are_one_per_score():
    with pytest.raises(ValueError, match="methods must be one per score"):
        metrics.by_method([0.0, 1.0], [0, 1], ["vits"])


def test_calibration_error_of_perfect_and_of_constant_predictions():
    label = np.arange(100) < 30
    assert metrics.expected_calibration_error(np.where(label, np.inf, -np.inf), label) == 0
    constant = np.full(100, np.log(0.3 / 0.7))
    assert metrics.expected_calibration_error(constant, label) == pytest.approx(0, abs=1e-12)
    assert metrics.expected_calibration_error(np.zeros(100), label) == pytest.approx(0.2, abs=1e-12)
    mean, share, count = metrics.reliability_curve(constant, label)
    assert (mean[0], share[0], count[0]) == (pytest.approx(0.3), 0.3, 100)
    assert metrics.log_loss(np.array([-np.inf]), np.array([1])) == math.inf


def test_bootstrap_interval_is_that_of_the_binomial():
    label, score = np.ones(400, int), np.repeat([1.0, -1.0], [320, 80])
    value, low, high = metrics.bootstrap(metrics.accuracy, score, label, n=2000)
    half = 1.96 * math.sqrt(0.8 * 0.2 / 400)
    assert value == 0.8 and abs(low - (0.8 - half)) < 0.006 and abs(high - (0.8 + half)) < 0.006
    assert (value, low, high) == metrics.bootstrap(metrics.accuracy, score, label, n=2000)  # seeded


def test_copies_within_a_group_do_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    label = np.arange(60) % 2
    score = rng.normal(size=60) + label
    alone = metrics.bootstrap(metrics.roc_auc, score, label, groups=np.arange(60), n=500)
    copies = np.repeat(np.arange(60), 20)
    copied = metrics.bootstrap(metrics.roc_auc, score[copies], label[copies], groups=copies, n=500)
    np.testing.assert_allclose(copied, alone, atol=1e-12)  # the same groups are drawn
    fooled = metrics.bootstrap(metrics.roc_auc, score[copies], label[copies], n=500)
    assert fooled[2] - fooled[1] < (alone[2] - alone[1]) / 3


def test_paired_differences_are_antisymmetric_and_vanish_for_equal_scores():
    rng = np.random.default_rng(0)
    label = rng.random(300) < 0.3
    a, b, group = rng.normal(size=300) + label, rng.normal(size=300) + 2 * label, rng.integers(0, 40, 300)
    assert metrics.paired_bootstrap(metrics.eer, a, a, label, group, n=50) == (0, 0, 0)
    one = metrics.paired_bootstrap(metrics.roc_auc, a, b, label, group, n=200)
    other = metrics.paired_bootstrap(metrics.roc_auc, b, a, label, group, n=200)
    np.testing.assert_allclose(one, [-other[0], -other[2], -other[1]], atol=1e-12)
    assert one[2] < 0


def test_replicates_without_a_class_are_left_out():
    value, low, high = metrics.bootstrap(metrics.roc_auc, np.array([0.0, 1.0, 2.0]), np.array([0, 0, 1]), n=100)
    assert (value, low, high) == (1, 1, 1)
    nothing = metrics.bootstrap(metrics.roc_auc, np.array([0.0, 1.0]), np.array([1, 1]), n=10)
    assert all(math.isnan(x) for x in nothing)


def test_an_interval_of_a_metric_that_is_infinite_in_some_replicates_ends_there():
    score, label = np.array([np.inf, 0.5, 1.0, -1.0]), np.array([0, 1, 1, 0])  # a real is called fake for sure
    value, low, high = metrics.bootstrap(metrics.log_loss, score, label, n=100)
    assert value == high == math.inf and 0 < low < 1
    assert metrics.bootstrap(metrics.log_loss, score[:1], label[:1], n=10) == (math.inf,) * 3
    assert metrics.paired_bootstrap(metrics.log_loss, score, np.zeros(4), label, n=100)[2] == math.inf
