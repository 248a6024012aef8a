import json
import math

import numpy as np
import pytest
import sklearn.linear_model

from dfjax.decide import calibration, metrics
from dfjax.imbalance.ledger import Ledger


def normals(n=20_000, prior=0.1, seed=0):
    """Unit normals 2 apart: the true log-odds are 2x + log-odds of the prior."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < prior).astype(int)
    x = rng.normal(size=n) + np.where(label, 1.0, -1.0)
    return x, label, 2 * x + math.log(prior / (1 - prior))


def test_fit_finds_the_true_slope_and_intercept():
    x, label, _ = normals(200_000)
    fitted = calibration.fit(x, label)
    assert fitted["slope"] == pytest.approx(2, abs=0.05)
    assert fitted["intercept"] == pytest.approx(math.log(0.1 / 0.9), abs=0.05)
    assert fitted["prior"] == label.mean()
    json.dumps(fitted, allow_nan=False)


def test_fit_is_the_maximum_likelihood_up_to_smoothing():
    x, label, _ = normals(20_000)
    reference = sklearn.linear_model.LogisticRegression(C=np.inf, tol=1e-10).fit(x[:, None], label)
    fitted = calibration.fit(x, label)
    assert fitted["slope"] == pytest.approx(reference.coef_[0, 0], rel=0.01)
    assert fitted["intercept"] == pytest.approx(reference.intercept_[0], rel=0.01)


def test_an_affine_map_of_scores_does_not_change_probabilities():
    x, label, _ = normals(2000)
    p = calibration.apply(x, calibration.fit(x, label))
    moved = 1e-3 * x - 5
    np.testing.assert_allclose(calibration.apply(moved, calibration.fit(moved, label)), p, atol=1e-9)


def test_calibrated_scores_are_left_alone():
    _, label, z = normals(200_000)
    fitted = calibration.fit(z, label)
    assert fitted["slope"] == pytest.approx(1, abs=0.03) and fitted["intercept"] == pytest.approx(0, abs=0.05)


def test_temperature_is_a_slope_alone_and_cannot_undo_a_shift():
    _, label, z = normals(50_000)
    warm = calibration.fit(3 * z, label, method="temperature")
    assert warm["slope"] == pytest.approx(1 / 3, rel=0.03) and warm["intercept"] == 0
    shifted = z + 2
    after = calibration.quality(shifted, label, calibration.fit(shifted, label, method="temperature"))["after"]
    platt = calibration.quality(shifted, label, calibration.fit(shifted, label))["after"]
    assert platt["log_loss"] < after["log_loss"] - 0.01 and platt["ece"] < after["ece"]


@pytest.mark.parametrize("scores", [[-1, -1, 1, 1], [-np.inf, -5, 5, np.inf], [-1e30, -1, 1, 1e30], [0, 0, 0, 0]])
@pytest.mark.parametrize("method", ["platt", "temperature"])
def test_separable_infinite_and_constant_scores_stay_finite(scores, method):
    fitted = calibration.fit(np.array(scores, np.float64), np.array([0, 0, 1, 1]), method=method)
    assert math.isfinite(fitted["slope"]) and math.isfinite(fitted["intercept"])
    p = calibration.apply(np.array(scores, np.float64), fitted)
    assert np.isfinite(p).all() and (np.diff(p) >= 0).all() and (0 <= p).all() and (p <= 1).all()


def test_scores_that_rank_the_wrong_way_say_no_more_than_the_prior():
    x, label, _ = normals(2000)
    fitted = calibration.fit(-x, label)
    assert fitted["slope"] == 0
    np.testing.assert_allclose(calibration.apply(-x, fitted), label.mean(), atol=1e-12)


def test_one_class_alone_is_left_as_it_is():
    fitted = calibration.fit(np.arange(3.0), np.ones(3, int))
    np.testing.assert_array_equal(calibration.logits(np.arange(3.0), fitted, deploy_prior=0.5), np.arange(3.0))


def test_prior_shift_is_the_odds_form_and_its_own_inverse():
    z = np.linspace(-5, 5, 11)
    there = calibration.shift_prior(z, 0.5, 1 / 11)
    np.testing.assert_allclose(there, z - math.log(10), atol=1e-14)
    np.testing.assert_allclose(calibration.shift_prior(there, 1 / 11, 0.5), z, atol=1e-14)
    # undersampling the reals by b: p = b p_s / (b p_s - p_s + 1), Dal Pozzolo et al. 2015
    p_s, b = metrics.probabilities(z), 0.1
    np.testing.assert_allclose(metrics.probabilities(there), b * p_s / (b * p_s - p_s + 1), atol=1e-15)
    for bad in (0, 1, -0.1, math.nan):
        with pytest.raises(ValueError, match="share of fakes"):
            calibration.shift_prior(z, 0.5, bad)


def test_deploy_prior_moves_scores_to_what_a_model_of_that_prior_says():
    x, label, _ = normals(100_000, prior=0.5)
    fitted = calibration.fit(x, label)
    rare, truth = normals(100_000, prior=0.01, seed=1)[0::2]
    np.testing.assert_allclose(calibration.logits(rare, fitted, deploy_prior=0.01), truth, atol=0.15)
    stored = calibration.apply(rare, fitted | {"deploy_prior": 0.01})
    np.testing.assert_array_equal(stored, calibration.apply(rare, fitted, deploy_prior=0.01))


def test_the_ledger_is_undone_before_the_fit():
    _, label, z = normals(100_000)
    ledger = Ledger(sampling=math.log(10), gamma=2.0).to_json()
    grid = np.linspace(-20, 20, 4001)
    raw = np.interp(z, Ledger.from_json(ledger).correct(grid), grid)  # what such a run would have put out
    fitted = calibration.fit(raw, label, ledger=ledger)
    assert fitted["slope"] == pytest.approx(1, abs=0.03) and fitted["intercept"] == pytest.approx(0, abs=0.1)
    assert metrics.log_loss(calibration.logits(raw, fitted), label) <= metrics.log_loss(z, label) + 1e-3
    assert json.loads(json.dumps(fitted)) == fitted


def test_what_cannot_be_calibrated_raises():
    with pytest.raises(ValueError, match="NaN"):
        calibration.fit(np.array([0.0, np.nan]), np.array([0, 1]))
    with pytest.raises(ValueError, match="expected one of"):
        calibration.fit(np.zeros(2), np.array([0, 1]), method="isotonic")
    np.testing.assert_array_equal(calibration.apply(np.zeros(2), None), [0.5, 0.5])


def of_domains(count, sd, *, n=400, spread=2.0, seed=0, shares=(0.2, 0.8)):
    """Log-likelihood ratios shifted by a normal number of each domain: (scores, labels, domains, its own prior)."""
    rng = np.random.default_rng(seed)
    domain = np.repeat(np.arange(count), n)
    share = rng.uniform(*shares, count)[domain]
    label = (rng.random(len(domain)) < share).astype(int)
    x = spread * rng.normal(size=len(domain)) + np.where(label, 1, -1) * spread**2 / 2
    return x - sd * rng.normal(size=count)[domain], label, domain, np.log(share / (1 - share))


@pytest.mark.parametrize("sd", [0.5, 1.0, 2.0])
def test_the_spread_over_domains_is_recovered(sd):
    x, label, domain, _ = of_domains(40, sd, seed=3)
    fitted = calibration.fit(x, label, domains=domain)
    assert fitted["domain_sd"] == pytest.approx(sd, rel=0.25) and fitted["domains"] == 40
    assert fitted["slope"] == pytest.approx(1, abs=0.08)  # within a domain; over all of them it looks flatter
    assert calibration.fit(x, label)["slope"] < fitted["slope"]
    assert json.loads(json.dumps(fitted, allow_nan=False)) == fitted


def test_both_counts_are_kept_where_domains_of_one_class_take_no_part():
    x, label, domain, _ = of_domains(5, 1.0)
    label[domain == 0] = 0
    fitted = calibration.fit(x, label, domains=domain)
    assert (fitted["clips"], fitted["prior_clips"], fitted["domains"]) == (1600, 2000, 4)
    assert fitted["prior"] == label.mean()
    few = calibration.fit(x, label, domains=np.minimum(domain, 1))
    assert few["domain_sd"] is None and few["clips"] == few["prior_clips"] == 2000  # fitted without domains


def test_the_marginal_likelihood_is_the_integral_over_each_domain():
    x, label, domain, _ = of_domains(4, 1.0, n=7)
    found = calibration._marginal(x, label, domain, 1.3, np.zeros(4))
    u = np.linspace(-12, 12, 20_001)
    total = 0.0
    for d in range(4):
        z = x[domain == d][:, None] + u
        log = (label[domain == d][:, None] * z - np.logaddexp(0, z)).sum(0)
        total += math.log(np.trapezoid(np.exp(log - u**2 / 2 / 1.3**2), u) / (1.3 * math.sqrt(2 * math.pi)))
    assert found == pytest.approx(total, rel=1e-4)


def test_an_intercept_that_was_tried_far_off_does_not_change_what_nearer_ones_are_worth():
    """A search that had gone too far found no way back, and ended at a third of the spread over domains."""
    x, label, domain, _ = of_domains(4, 1.0, n=30)
    mode = np.zeros(4)
    calibration._marginal(x + 400, label, domain, 40.0, mode)
    near = [calibration._marginal(x, label, domain, 1.0, start) for start in (mode, np.zeros(4))]
    assert near[0] == pytest.approx(near[1], rel=1e-9)


def test_domains_that_do_not_differ_leave_the_calibration_as_it_was():
    x, label, domain, _ = of_domains(30, 0.0, shares=(0.5, 0.5), n=1000)
    old, new = calibration.fit(x, label), calibration.fit(x, label, domains=domain)
    assert new["domain_sd"] < 0.1
    np.testing.assert_allclose(calibration.apply(x, new), calibration.apply(x, old), atol=0.01)
    for none in (0.0, None):
        np.testing.assert_array_equal(calibration.logits(x, old | {"domain_sd": none}), calibration.logits(x, old))


def test_the_less_is_known_of_a_domain_the_closer_to_the_prior():
    fitted = {"method": "platt", "slope": 1.5, "intercept": -1.0, "prior": 0.1, "deploy_prior": 0.02}
    x = np.linspace(-8, 8, 33)
    distance = [np.abs(calibration.apply(x, fitted | {"domain_sd": sd}) - 0.02) for sd in (0.0, 0.5, 1.0, 3.0, 1e6)]
    for nearer, farther in zip(distance[1:], distance, strict=False):
        assert (nearer <= farther + 1e-15).all()
    np.testing.assert_allclose(distance[-1], 0, atol=1e-6)
    assert (np.diff(calibration.logits(x, fitted | {"domain_sd": 2.0})) > 0).all()  # the ranking stays


def test_the_closed_form_is_the_expectation_over_domains():
    fitted = {"method": "platt", "slope": 1.0, "intercept": 0.0, "prior": 0.5}
    x, u = np.linspace(-6, 6, 13), np.random.default_rng(0).normal(size=200_000)
    for sd in (0.5, 1.0, 2.0):
        truth = [metrics.probabilities(z + sd * u).mean() for z in x]
        np.testing.assert_allclose(calibration.apply(x, fitted | {"domain_sd": sd}), truth, atol=0.02)


def test_unknown_domains_are_judged_better_with_the_spread_than_without():
    gain_on_none, gain_on_pooled = [], []
    for seed in range(5):
        x, label, domain, _ = of_domains(7, 2.5, spread=3.0, seed=seed)
        new, truth, _, prior = of_domains(300, 2.5, n=40, spread=3.0, seed=100 + seed)

        def loss(fitted, new=new, truth=truth, prior=prior):
            llr = calibration.logits(new, fitted) - math.log(fitted["prior"] / (1 - fitted["prior"]))
            return metrics.log_loss(llr + prior, truth)  # at each new domain's own share of fakes

        fitted = calibration.fit(x, label, domains=domain)
        gain_on_none.append(loss(fitted | {"domain_sd": None}) - loss(fitted))
        gain_on_pooled.append(loss(calibration.fit(x, label)) - loss(fitted))
    assert min(gain_on_none) > 0 and np.mean(gain_on_none) > 0.03
    assert np.mean(gain_on_pooled) > 0


def test_too_few_domains_and_domains_of_one_class_are_told():
    x, label, domain, _ = of_domains(5, 1.0)
    few = calibration.fit(x, label, domains=np.where(domain < 2, domain, 2 + label))
    assert few == calibration.fit(x, label) | {"domains": 2, "domain_sd": None}
    some = calibration.fit(x, label, domains=np.where(domain < 4, domain, 4 + label))
    assert some["domains"] == 4 and some["clips"] == 1600 and some["domain_sd"] > 0
    with pytest.raises(ValueError, match="one per score"):
        calibration.fit(x, label, domains=domain[1:].tolist())
    with pytest.raises(ValueError, match="has none"):
        calibration.fit(x, label, domains=domain, method="temperature")


@pytest.mark.parametrize("scores", [[-1, -1, 1, 1], [-np.inf, -5, 5, np.inf], [0, 0, 0, 0], [3, 2, 1, 0]])
def test_separable_infinite_and_constant_scores_of_domains_stay_finite(scores):
    x, label, domain = np.tile(np.array(scores, np.float64), 4), np.tile([0, 0, 1, 1], 4), np.repeat(range(4), 4)
    fitted = calibration.fit(x, label, domains=domain)
    assert all(math.isfinite(fitted[name]) for name in ("slope", "intercept", "domain_sd")) and fitted["slope"] >= 0
    assert np.isfinite(calibration.apply(x, fitted)).all()
