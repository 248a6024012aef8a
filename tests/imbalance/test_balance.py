import json

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from dfjax.imbalance import balance
from dfjax.imbalance.ledger import Ledger
from dfjax.records import FAKE, REAL, InputError
from dfjax.training import losses, recipe

COUNTS = {(0, ""): 1000, (1, "griffin-lim"): 75, (1, "wavenet"): 25}
NATURAL = np.log(0.1)  # log-odds of a fake under COUNTS


def minimiser(plan, eta):
    """The score that minimises the expected loss of a run under `plan` where a fake has natural probability
    eta."""
    loss = losses.build(plan.loss, **plan.loss_kwargs)
    drawn = np.array([(1 - eta) * plan.rates[0] / (10 / 11), eta * plan.rates[1] / (1 / 11)], np.float64)
    z = np.linspace(-9, 9, 60_001, dtype=np.float32)
    expected = drawn[0] * np.float64(loss(z, np.zeros(len(z)))) + drawn[1] * np.float64(loss(z, np.ones(len(z))))
    return float(z[np.argmin(expected)])


def test_balanced_weights_average_one_and_make_classes_weigh_the_same():
    weights = balance.class_weights((1000, 100))
    np.testing.assert_allclose(np.dot([1000, 100], weights) / 1100, 1)
    np.testing.assert_allclose(1000 * weights[0], 100 * weights[1])
    assert balance.class_weights((1000, 100), "none") == (1, 1)


def test_effective_number_runs_from_equal_weights_to_balanced():
    for beta, ratio in ((0.0, 1), (0.99, 1.00), (0.999, 1.58), (0.9999, 6.64)):
        real, fake = balance.class_weights((10_000, 1000), "effective_number", beta=beta)
        assert abs(fake / real - ratio) < 0.005 and abs(real + fake - 2) < 1e-12
    real, fake = balance.class_weights((10_000, 1000), "effective_number", beta=1 - 1e-12)
    assert abs(fake / real - 10) < 1e-6


def test_margins_fall_with_the_fourth_root_of_the_count():
    real, fake = balance.ldam_margins((1600, 100), max_margin=0.5)
    assert fake == 0.5 and abs(fake / real - 2) < 1e-12


def test_one_class_is_no_training_set():
    for call in (balance.class_weights, balance.ldam_margins, balance.sampling_rates, balance.plan):
        with pytest.raises(InputError, match="both classes, got 10 real and 0 fake"):
            call((10, 0))


PLANS = [
    {},
    {"sampling": "balanced"},
    {"sampling": "sqrt"},
    {"loss": "weighted"},
    {"loss": "class_balanced", "loss_kwargs": {"beta": 0.999}},
    {"loss": "focal", "loss_kwargs": {"gamma": 2.0}},
    {"loss": "focal", "loss_kwargs": {"gamma": 0.5, "alpha": 0.25}},
    {"loss": "focal", "loss_kwargs": {"gamma": 2.0, "alpha": "balanced"}},
    {"loss": "focal", "loss_kwargs": {"gamma": 5.0}, "sampling": "balanced"},
    {"loss": "weighted", "loss_kwargs": {"gamma": 1.0}},
    {"loss": "logit_adjusted", "loss_kwargs": {"tau": 0.5}},
    {"loss": "balanced_softmax"},
    {"loss": "ldam", "loss_kwargs": {"weights": "balanced"}},
    {"loss": "am_softmax", "loss_kwargs": {"scale": 2.0, "margin": 0.4}},
    {"loss": "oc_softmax", "loss_kwargs": {"scale": 3.0}},
    {"loss": "weighted", "sampling": "balanced", "allow_stacking": True},
]


@pytest.mark.parametrize("words", PLANS, ids=str)
def test_the_ledger_takes_every_optimal_score_back_to_the_posterior(words):
    plan = balance.plan((1000, 100), **words)
    for eta in (0.02, 1 / 11, 0.4, 0.7):
        corrected = plan.ledger.correct(np.array([minimiser(plan, eta)]))[0]
        assert abs(corrected - np.log(eta / (1 - eta))) < 5e-3
    assert abs(plan.initial_bias - minimiser(plan, 1 / 11)) < 5e-3


def test_focal_minimisers_of_the_literature():
    for gamma, q in ((0, 0.0909), (1, 0.2155), (2, 0.2975), (5, 0.3981)):
        bias = Ledger(gamma=float(gamma)).initial_bias((10, 1))
        assert abs(1 / (1 + np.exp(-bias)) - q) < 5e-5


def test_correction_is_increasing_and_finite_wherever_the_score_is():
    z = np.concatenate([-np.logspace(4, -8, 400), [0.0], np.logspace(-8, 4, 400)])
    for ledger in (Ledger(), Ledger(sampling=2.3), Ledger(gamma=0.5, alpha=-1.0), Ledger(gamma=5.0)):
        corrected = ledger.correct(z)
        assert np.isfinite(corrected).all() and (np.diff(corrected) > 0).all()
        assert ledger.correct(np.array([-np.inf, np.inf])).tolist() == [-np.inf, np.inf]


def test_half_on_a_balanced_score_is_the_natural_prior_in_truth():
    assert abs(balance.plan(COUNTS, sampling="balanced").ledger.implied_threshold - 1 / 11) < 1e-12
    assert Ledger(gamma=2.0).implied_threshold == 0.5  # focal alone moves no threshold


def test_stacking_is_refused_by_name_and_accounted_for_when_allowed():
    words = {"sampling": "balanced", "loss": "focal", "loss_kwargs": {"gamma": 2.0, "alpha": 0.25}}
    with pytest.raises(InputError, match=r"sampling \+2.30, alpha -1.10; \+1.20 .* 0.231 in truth.*allow_stacking"):
        balance.plan(COUNTS, **words)
    both = balance.plan(COUNTS, **words, allow_stacking=True).ledger
    assert both.active() == ["sampling", "alpha"]
    triple = Ledger(sampling=np.log(10.0), class_weights=np.log(10.0), alpha=np.log(10.0))
    assert abs(1 / (1 + np.exp(-(NATURAL + triple.total))) - 0.990) < 5e-4
    balance.plan((100, 100), sampling="balanced", loss="weighted")  # nothing to correct, so nothing stacks


def test_a_ledger_survives_strict_json():
    ledger = balance.plan(COUNTS, loss="ldam", loss_kwargs={"weights": "balanced"}).ledger
    text = json.dumps(ledger.to_json(), allow_nan=False)
    assert Ledger.from_json(text) == ledger == Ledger.from_json(json.loads(text))


def test_deferred_weights_wait():
    plan = balance.plan(COUNTS, loss="ldam", loss_kwargs={"weights": "balanced", "reweight_from": 0.8})
    assert plan.loss_kwargs["weights"] == (1, 1) and plan.reweight_from == 0.8
    assert plan.deferred_weights == balance.class_weights(COUNTS)
    # an untrained head starts where the loss without them is least: it began ln 10 beside that at 10:1
    assert plan.initial_bias == balance.plan(COUNTS, loss="ldam").initial_bias


def test_a_time_for_weights_that_there_are_none_of_is_refused():
    with pytest.raises(InputError, match="reweight_from=0.8 says when weights apply, and there are none"):
        balance.plan(COUNTS, loss="ldam", loss_kwargs={"reweight_from": 0.8})
    balance.plan((5, 5), loss="ldam", loss_kwargs={"reweight_from": 0.8, "weights": "balanced"})  # all alike by chance


def test_the_ledger_of_a_checkpoint_counts_deferred_weights_once_an_update_had_them():
    """The report gave the weights to scores of a best checkpoint from before they applied."""
    plan = balance.plan(COUNTS, loss="ldam", loss_kwargs={"weights": "balanced", "reweight_from": 0.8})
    loss, counted = recipe.make_loss(plan, 10), []
    for update in range(10):  # the checkpoint after it is that of step `update` + 1
        real, fake = loss(jnp.zeros(2), jnp.array([REAL, FAKE]), jnp.int32(update))
        plain = losses.ldam(jnp.zeros(2), jnp.array([REAL, FAKE]), margins=plan.loss_kwargs["margins"])
        weighted = abs(float(np.log(fake / real) - np.log(plain[1] / plain[0]))) > 0.1
        counted.append(plan.ledger_after(update + 1, 10).class_weights)
        assert (counted[-1] == plan.ledger.class_weights) is weighted and plan.ledger.class_weights != 0
    assert counted[:8] == [0.0] * 8 and 0.0 not in counted[8:]
    at_once = balance.plan(COUNTS, loss="ldam", loss_kwargs={"weights": "balanced"})
    assert at_once.ledger_after(0, 10) == at_once.ledger


def fit(x, y, weight):
    """Weighted logistic regression; returns (slope, intercept)."""

    def objective(w):
        z = x * w[0] + w[1]
        slope = weight * (1 / (1 + np.exp(-z)) - y)
        return (weight * (np.logaddexp(0, z) - y * z)).mean(), np.array([(slope * x).mean(), slope.mean()])

    return optimize.minimize(objective, np.zeros(2), jac=True, tol=1e-10).x


@pytest.mark.parametrize("words", [{"loss": "weighted"}, {"sampling": "balanced"}, {"sampling": "sqrt"}], ids=str)
def test_corrected_log_loss_of_a_well_specified_model_equals_the_natural_models(words):
    rng = np.random.default_rng(1)
    y = (rng.random(60_000) < 1 / 11).astype(np.float64)
    x = rng.normal(2 * y, 1)  # equal variances: the true posterior is logistic in x
    train, test = slice(0, 20_000), slice(20_000, None)
    counts = (int((y[train] == 0).sum()), int(y[train].sum()))
    plan = balance.plan(counts, **words)
    weight = np.take(np.divide(plan.rates, counts), y[train].astype(int))
    weight = weight * np.take(plan.loss_kwargs.get("weights", (1, 1)), y[train].astype(int))

    def losses_of(weight, correct):
        slope, intercept = fit(x[train], y[train], weight)
        z = correct(x[test] * slope + intercept)
        return np.logaddexp(0, z) - y[test] * z

    natural = losses_of(np.ones(20_000), lambda z: z)
    raw, corrected = losses_of(weight, lambda z: z), losses_of(weight, plan.ledger.correct)
    difference = corrected - natural
    assert abs(difference.mean()) < 3 * difference.std() / 200 + 5e-4  # within noise
    assert raw.mean() > 1.1 * natural.mean()  # and there was something to correct


@pytest.mark.parametrize(
    ("n", "tier"),
    [
        ((100, 100), "mild"),
        ((199, 100), "mild"),
        ((200, 100), "moderate"),
        ((100, 500), "moderate"),
        ((501, 100), "severe"),
        ((0, 5), "one class"),
    ],
)
def test_tiers(n, tier):
    assert balance.tier(*n) == tier == balance.recommend(*n, None)["tier"]


def test_recommendation_follows_the_sources_not_only_the_ratio():
    few = balance.recommend(1413, 160, 12, modality="audio")
    assert few["strategy"] == "natural" and few["add_data"]
    assert "asvspoof2019_la" in few["text"] and "wavefake" in few["text"]
    many = balance.recommend(1413, 160, 400)
    assert many["strategy"] == "balanced_sampling" and not many["add_data"]
    unknown = balance.recommend(1413, 160, None)
    assert unknown["strategy"] == "natural" and "unknown" in unknown["text"]
    assert "faces_140k" in balance.recommend(5, 0, 0, modality="image")["text"]
    assert "wavefake" not in balance.recommend(1413, 160, 12, modality="audio", without=["wavefake"])["text"]
    assert balance.plan((1413, 160), sampling="auto", minority_groups=12).rates[1] < 0.2
    assert balance.plan((1413, 160), sampling="auto", minority_groups=400).rates == (0.5, 0.5)
    for strategy in balance.STRATEGIES.values():
        balance.plan((1000, 100), **strategy)


def test_auto_draws_as_recommended_and_says_what_it_resolved_to():
    assert balance.plan((1413, 160), sampling="auto", minority_groups=400).sampling == "balanced"
    assert balance.plan((1413, 160), sampling="auto", minority_groups=12).sampling == "natural"
    assert balance.plan((300, 160), sampling="auto", minority_groups=400).sampling == "natural"
