"""Class imbalance on the host: class weights, the plan of a run, and what to recommend. NumPy only.

Sampling rates, class weights, focal alpha and logit adjustment all do one thing to a well-fitted score: they
add a constant to its log-odds. `plan` turns an experiment's words into numbers and keeps those constants in a
`Ledger`, so that a score can be moved back to the natural prior of the training split, and a threshold on it
read as a threshold on the true posterior. More than one of them at once is refused unless allowed.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from dfjax.imbalance.ledger import Ledger
from dfjax.imbalance.rates import Counts, Mode, Pair, class_counts, oversample, sampling_rates, undersample
from dfjax.records import FAKE, REAL, InputError

__all__ = [
    "Ledger",
    "Plan",
    "auto",
    "class_counts",
    "class_weights",
    "ldam_margins",
    "log_odds",
    "oversample",
    "plan",
    "recommend",
    "sampling_rates",
    "undersample",
]

SCHEMES = ("none", "balanced", "effective_number")


def log_odds(rate: float) -> float:
    """Ln(rate / (1 - rate)) of a rate strictly between 0 and 1; another raises InputError."""
    if not 0 < rate < 1:
        raise InputError(f"a rate must be between 0 and 1 to have log-odds, got {rate}")
    return float(np.log(rate) - np.log1p(-rate))


def class_weights(counts: Counts, scheme: str = "balanced", *, beta: float | int = 0.9999) -> Pair:
    """Weights (real, fake) of the loss.

    'balanced' is n / (2 n_c), which averages 1 over the examples. 'effective_number' is proportional to
    (1 - beta) / (1 - beta^n_c) and sums to 2: beta 0 weighs both alike, beta towards 1 tends to 'balanced'
    (Cui et al. 2019, https://arxiv.org/abs/1901.05555). 'none' is 1 for both.

    Raises:
      InputError: an unknown scheme, a beta outside [0, 1), or a class without examples.
    """
    n = np.array(class_counts(counts), np.float64)
    if scheme == "none":
        return 1.0, 1.0
    if scheme == "balanced":
        weights = n.sum() / (2 * n)
    elif scheme == "effective_number":
        if not 0 <= beta < 1:
            raise InputError(f"beta must be in [0, 1), got {beta}")
        # beta^n through logarithms: 1 - 0.9999999^n would lose most of its digits
        effective = -np.expm1(n * np.log1p(-(1 - beta))) / (1 - beta) if beta > 0 else np.ones(2)
        weights = 2 / effective / (1 / effective).sum()
    else:
        raise InputError(f"Unknown class weight scheme {scheme!r}; expected one of {list(SCHEMES)}")
    return float(weights[REAL]), float(weights[FAKE])


def ldam_margins(counts: Counts, *, max_margin: float = 0.5) -> Pair:
    """Margins (real, fake) of LDAM, proportional to n_c^(-1/4), the larger one being `max_margin`.

    Cao et al. 2019, https://arxiv.org/abs/1906.07413. A class without examples raises InputError.
    """
    margins = np.array(class_counts(counts), np.float64) ** -0.25
    margins *= max_margin / margins.max()
    return float(margins[REAL]), float(margins[FAKE])


# From an experiment's words to numbers


@dataclasses.dataclass(frozen=True)
class Plan:
    """What training needs to know; pairs are (real, fake)."""

    sampling: Mode  # how rows are drawn, see `rates.draws`; never 'auto'
    rates: Pair  # share of each class in a batch
    loss: str
    loss_kwargs: dict[str, Any]
    ledger: Ledger
    initial_bias: float  # of the head
    deferred_weights: Pair | None = None  # class weights once the fraction `reweight_from` of the run is done
    reweight_from: float = 0.0

    def switch(self, steps: int) -> int:
        """The update of a run of `steps`, counted from 0, from which on the deferred weights apply."""
        return int(self.reweight_from * steps)

    def ledger_after(self, updates: int, steps: int) -> Ledger:
        """What is added to the log-odds after some updates of a run of `steps`: deferred weights, once they apply."""
        waiting = self.deferred_weights is not None and updates <= self.switch(steps)
        return dataclasses.replace(self.ledger, class_weights=0.0) if waiting else self.ledger


def plan(
    counts: Counts,
    *,
    sampling: Mode = "natural",
    loss: str = "binary_cross_entropy",
    loss_kwargs: Mapping[str, Any] | None = None,
    allow_stacking: bool = False,
    minority_groups: int | None = None,
) -> Plan:
    """Fills in what depends on the data: class weights, alpha, prior, margins; and keeps the ledger.

    Args:
      counts: of the training split.
      sampling: as `rates.draws` takes it; or 'auto', what `recommend` would choose.
      loss: a key of `losses.LOSSES`.
      loss_kwargs: its numbers. They may say weights='balanced' or 'effective_number' (with beta), alpha='balanced',
        leave out `prior` and `margins`, and for 'ldam' add `reweight_from`, the fraction of the run after which its
        weights apply.
      allow_stacking: whether more than one of them may move the log-odds.
      minority_groups: independent sources of the smaller class, for 'auto'; None counts as few.

    Raises:
      InputError: a class without examples, an unknown mode, scheme or alpha, a rate outside (0, 1), a time for weights
        that there are none of, or more than one correction unless allowed.
    """
    real, fake = class_counts(counts)
    kwargs = dict(loss_kwargs or {})
    if sampling == "auto":
        sampling = STRATEGIES[auto(real, fake, minority_groups)]["sampling"]
    rates = sampling_rates(counts, sampling)
    natural = np.log(fake / real)
    terms: dict[str, Any] = {"sampling": float(np.log(rates[FAKE] / rates[REAL]) - natural)}
    deferred, reweight_from = None, 0.0
    if loss in ("weighted", "class_balanced", "ldam"):
        scheme = {"weighted": "balanced", "class_balanced": "effective_number", "ldam": "none"}[loss]
        weights = kwargs.pop("weights", scheme)
        beta = kwargs.pop("beta", 0.9999)
        if kwargs.get("reweight_from", 0.0) > 0 and weights == "none":
            raise InputError(
                f"config.loss.kwargs.reweight_from={kwargs['reweight_from']} says when weights apply, and there are "
                "none; set config.loss.kwargs.weights='balanced' or 'effective_number'"
            )
        if isinstance(weights, str):
            weights = class_weights(counts, weights, beta=beta)
        kwargs["weights"] = tuple(float(w) for w in weights)
        terms["class_weights"] = float(np.log(kwargs["weights"][FAKE] / kwargs["weights"][REAL]))
    if loss == "ldam":
        max_margin = kwargs.pop("max_margin", 0.5)
        kwargs.setdefault("margins", ldam_margins(counts, max_margin=max_margin))
        terms |= {"margins": kwargs["margins"], "scale": float(kwargs.get("scale", 1.0))}
        reweight_from = kwargs.pop("reweight_from", 0.0)
        if reweight_from > 0:
            deferred, kwargs["weights"] = kwargs["weights"], (1.0, 1.0)
    if loss in ("logit_adjusted", "balanced_softmax"):
        kwargs.setdefault("prior", rates[FAKE])
        terms["logit_adjustment"] = -float(kwargs.get("tau", 1.0)) * log_odds(kwargs["prior"])
    if kwargs.get("alpha") == "balanced":
        kwargs["alpha"] = real / (real + fake)
    if isinstance(kwargs.get("alpha"), str):
        raise InputError(f"Unknown alpha {kwargs['alpha']!r}; expected 'balanced', a number or None")
    if kwargs.get("alpha") is not None:
        terms["alpha"] = log_odds(kwargs["alpha"])
    if loss == "oc_softmax":
        margins = kwargs.get("margin_real", 0.9), -kwargs.get("margin_fake", 0.2)
        terms |= {"margins": margins, "scale": float(kwargs.get("scale", 20.0))}
    if loss == "am_softmax":
        terms |= {"margins": (kwargs.get("margin", 0.9),) * 2, "scale": float(kwargs.get("scale", 20.0))}
    ledger = Ledger(**terms, gamma=float(kwargs.get("gamma", 0.0)))
    ledger.check_stacking(allow_stacking)
    start = ledger if deferred is None else dataclasses.replace(ledger, class_weights=0.0)
    return Plan(sampling, rates, loss, kwargs, ledger, start.initial_bias(counts), deferred, reweight_from)


# What to recommend

FEW_GROUPS = 30  # below about this, not even "recall >= 0.9" can be certified at 95 % (it takes 29)
CUSTOM = {  # what is usually advised at each tier, for comparison
    "mild": "class weights",
    "moderate": "a weighted sampler or focal loss",
    "severe": "focal loss, a weighted sampler and SMOTE together, with a promise of 30-50 % better",
}
STRATEGIES: dict[str, dict[str, Any]] = {  # strategy -> what `plan` takes
    "natural": {"sampling": "natural", "loss": "binary_cross_entropy", "loss_kwargs": {}},
    "balanced_sampling": {"sampling": "balanced", "loss": "binary_cross_entropy", "loss_kwargs": {}},
}
ADVICE = {
    "natural": "Train with plain cross-entropy on the natural prior, start the output bias at the log-odds, "
    "and tune the threshold on validation data: that gives what balancing is usually credited with.",
    "balanced_sampling": "Try balanced sampling with plain cross-entropy and nothing else, correct the score "
    "back to the natural prior, and tune the threshold on validation data. For it: oversampling to balance "
    "was best in convolutional networks trained end to end (Buda et al. 2018, on MNIST, CIFAR and ImageNet, "
    "not on deepfakes). Against it: on features that are good already no balancing raised average precision "
    "beyond the noise between seeds.",
}
ADD = {  # modality -> datasets to add when the smaller class has too few sources, with what they hold
    "audio": {
        "asvspoof2019_la": "asvspoof2019_la (2,580 real and 22,800 fake clips of 20 speakers to train on)",
        "wavefake": "wavefake",
    },
    "image": {"faces_140k": "faces_140k (70,000 real, 70,000 fake faces)"},
    "video": {
        "faceforensics": "faceforensics (1,000 real and 5,000 fake videos)",
        "celeb_df_v2": "celeb_df_v2 (890 real and 5,639 fake videos)",
    },
    "av": {"fakeavceleb": "fakeavceleb (500 real and 21,044 fake videos of 500 people)"},
    "": {"": "faces_140k for images, asvspoof2019_la or wavefake for audio"},
}


def worth_adding(modality: str, without: Collection[str] = ()) -> str:
    """Datasets of a modality to add, in words, without those of these names."""
    found = [words for name, words in ADD[modality].items() if name not in without]
    return " or ".join(found) or "clips of other people, places and generators"


def tier(n_real: int, n_fake: int) -> str:
    """How unequal two classes are: 'mild' (larger over smaller below 2), 'moderate' (to 5), 'severe' or 'one class'."""
    small, large = sorted((n_real, n_fake))
    if small == 0:
        return "one class"
    return "mild" if large < 2 * small else "moderate" if large <= 5 * small else "severe"


def auto(n_real: int, n_fake: int, minority_groups: int | None) -> str:
    """A key of STRATEGIES: balanced sampling if severe and of FEW_GROUPS sources or more, else natural."""
    enough = minority_groups is not None and minority_groups >= FEW_GROUPS
    return "balanced_sampling" if tier(n_real, n_fake) == "severe" and enough else "natural"


def recommend(
    n_real: int,
    n_fake: int,
    minority_groups: int | None,
    *,
    modality: str = "",
    without: Collection[str] = (),
) -> dict[str, Any]:
    """One strategy, in words that say what evidence there is for it and what there is not.

    Args:
      n_real: real training examples.
      n_fake: fake training examples.
      minority_groups: independent sources (speakers, identities, videos) of the smaller class, or None.
      modality: 'audio', 'image', 'video' or 'av', to name datasets worth adding; '' names some of two.
      without: datasets that are not worth adding, such as the one that is counted.

    Returns:
      tier, ratio, strategy (a key of STRATEGIES, what `balance = 'auto'` uses; None without both classes),
      add_data, text.
    """
    of = tier(n_real, n_fake)
    if of == "one class":
        missing = "fake" if n_fake == 0 else "real"
        text = f"There is no {missing} example: nothing can be learnt. Add {worth_adding(modality, without)}."
        return {"tier": of, "ratio": None, "strategy": None, "add_data": True, "text": text}
    small, large = sorted((n_real, n_fake))
    strategy = auto(n_real, n_fake, minority_groups)
    few = minority_groups is not None and minority_groups < FEW_GROUPS
    sources = "" if minority_groups is None else f" from {minority_groups:,} independent sources"
    words = [
        f"Imbalance {large / small:.1f}:1, {of}.",
        f"The smaller class is {'fake' if n_fake <= n_real else 'real'}: {small:,} examples{sources}.",
        ADVICE[strategy],
        f"Usual at this ratio: {CUSTOM[of]}: no evidence that it does more than move the threshold.",
    ]
    if few:
        words.append(f"Fewer than {FEW_GROUPS} sources: more of them help more than any strategy.")
        words.append(f"Add {worth_adding(modality, without)}.")
    elif minority_groups is None:
        words.append("The number of independent sources is unknown; it matters more than the ratio.")
    text = " ".join(words)
    return {"tier": of, "ratio": large / small, "strategy": strategy, "add_data": few, "text": text}
