"""Per-example losses of a binary detector; the caller reduces.

Every loss takes `logits` (higher = fake) and `labels` (1 fake, 0 real), two arrays of one shape, and returns
the loss of each example in that shape, in float32 or wider: bfloat16 and float16 logits are widened first.
Hyperparameters are keyword-only.

Two rules hold for all of them:

* Labels are hard. A label other than 0 or 1 raises ValueError where its value is known; inside `jax.jit` it
  gives NaN, so that training stops instead of learning from it. `label_smoothing` is the expectation over
  labels, (1 - e/2) loss(y) + (e/2) loss(1 - y). Putting a soft label into p_t = y p + (1 - y)(1 - p) instead,
  as some focal losses do, is another loss: at gamma 2, y = 0.9 its minimiser is p = 0.986, that of the
  expectation is p = 0.694.
* Nothing is clipped. Values and gradients are right for logits of any size; an infinite logit on the right
  side costs 0, on the wrong side infinity with gradient -1 or +1 (times the weight, and the scale where there is one).

What a loss does to the meaning of a score, and how to undo it, is in `imbalance.ledger`.
"""

import functools
import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Shaped

from dfjax.records import InputError

Number = float | int
ClassWeights = Shaped[ArrayLike, "2"] | tuple[Number, Number]  # (real, fake)


def binary_cross_entropy(
    logits: Shaped[ArrayLike, "..."], labels: Shaped[ArrayLike, "..."], *, label_smoothing: Number = 0.0
) -> Float[Array, "..."]:
    """Cross-entropy of logit z and label y, softplus(-u) with u = (2y - 1) z.

    It is `focal` at gamma 0, takes the same otherwise and raises the same.
    """
    return focal(logits, labels, gamma=0.0, label_smoothing=label_smoothing)


def focal(
    logits: Shaped[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "..."],
    *,
    gamma: Number,
    alpha: Number | None = None,
    label_smoothing: Number = 0.0,
) -> Float[Array, "..."]:
    """Focal loss, w_y (1 - p_t)^gamma (-ln p_t).

    In the sign form, with u = (2y - 1) z: w_y exp(-gamma softplus(u)) softplus(-u), exact for hard labels and
    free of overflow.

    Args:
      logits: any shape.
      labels: 0 or 1, the shape of `logits`.
      gamma: focusing exponent, 0 or more; 0 is cross-entropy.
      alpha: weight of fakes, reals get 1 - alpha; None weighs both 1 (not -1, as elsewhere).
      label_smoothing: e in [0, 1), the expectation over labels (see the module).

    Raises:
      TypeError: logits are not floating point.
      ValueError: shapes differ, labels are not 0/1, or a hyperparameter is out of range.

    References:
      Lin et al., Focal Loss for Dense Object Detection, 2017, https://arxiv.org/abs/1708.02002
    """
    if alpha is not None and not 0 <= alpha <= 1:
        raise ValueError(f"alpha is the weight of fakes, in [0, 1], or None for no weights; got {alpha}")
    weights = (1.0, 1.0) if alpha is None else (1 - alpha, alpha)
    return weighted(logits, labels, weights=weights, gamma=gamma, label_smoothing=label_smoothing)


def weighted(
    logits: Shaped[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "..."],
    *,
    weights: ClassWeights,
    gamma: Number = 0.0,
    label_smoothing: Number = 0.0,
) -> Float[Array, "..."]:
    """Cross-entropy, or focal loss with gamma > 0, with one weight per class.

    `weights` is (real, fake), from `balance.class_weights`: 'balanced' gives the usual class weights,
    'effective_number' the class-balanced loss of Cui et al. 2019, https://arxiv.org/abs/1901.05555. Take the
    plain mean over the batch. All else is as in `focal`.

    Raises:
      TypeError, ValueError: as `focal`.
    """
    if not gamma >= 0:
        raise ValueError(f"gamma must be 0 or more, got {gamma}")
    logits, fake = _checked(logits, labels)
    return _expected(lambda u, _: _focal_of_margin(u, gamma), logits, fake, weights, label_smoothing)


def logit_adjusted(
    logits: Shaped[ArrayLike, "..."], labels: Shaped[ArrayLike, "..."], *, prior: Number, tau: Number = 1.0
) -> Float[Array, "..."]:
    """Cross-entropy of z + tau ln(prior / (1 - prior)); the output z is then the balanced score.

    `prior` is the rate of fakes among the examples the loss sees; `tau` = 1 is the balanced softmax of Ren et
    al. 2020, https://arxiv.org/abs/2007.10740.

    Raises:
      TypeError, ValueError: as `focal`; ValueError also for a prior outside (0, 1).

    References:
      Menon et al., Long-tail learning via logit adjustment, 2021, https://arxiv.org/abs/2007.07314
    """
    if not 0 < prior < 1:
        raise ValueError(f"prior is the rate of fakes, between 0 and 1, got {prior}")
    logits, fake = _checked(logits, labels)
    return _expected(_cross_entropy, logits + tau * np.log(prior / (1 - prior)), fake)


balanced_softmax = functools.partial(logit_adjusted, tau=1.0)


def ldam(
    logits: Shaped[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "..."],
    *,
    margins: tuple[Number, Number],
    scale: Number = 1.0,
    weights: ClassWeights = (1.0, 1.0),
) -> Float[Array, "..."]:
    """Label-distribution-aware margin loss, w_y softplus(-scale (u - margin_y)).

    `margins` and `weights` are (real, fake), from `balance.ldam_margins` and `balance.class_weights`. `weights` may be
    traced: deferred re-weighting is `weights=jnp.where(step < start, 1.0, class_weights)` in the training step.

    Raises:
      TypeError, ValueError: as `focal`; ValueError also for a scale that is not above 0.

    References:
      Cao et al., Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss, 2019,
      https://arxiv.org/abs/1906.07413
    """
    if not scale > 0:
        raise ValueError(f"scale must be positive, got {scale}")
    logits, fake = _checked(logits, labels)
    margin = jnp.asarray(margins, logits.dtype)
    return _expected(lambda u, y: jax.nn.softplus(-scale * (u - _by_class(y, margin))), logits, fake, weights)


def am_softmax(
    logits: Shaped[ArrayLike, "..."], labels: Shaped[ArrayLike, "..."], *, scale: Number = 20.0, margin: Number = 0.9
) -> Float[Array, "..."]:
    """Additive-margin softmax over two class directions.

    `logits` is the cosine to the fake direction minus the cosine to the real one, in [-2, 2]. It is `ldam` with the
    same margin for both classes, and raises the same.

    References:
      Wang et al., Additive Margin Softmax for Face Verification, 2018, https://arxiv.org/abs/1801.05599
    """
    return ldam(logits, labels, margins=(margin, margin), scale=scale)


def oc_softmax(
    logits: Shaped[ArrayLike, "..."],
    labels: Shaped[ArrayLike, "..."],
    *,
    scale: Number = 20.0,
    margin_real: Number = 0.9,
    margin_fake: Number = 0.2,
) -> Float[Array, "..."]:
    """One-class softmax: reals are drawn into a cone around one direction, fakes kept out of a wider one.

    `logits` is minus the cosine to that direction (higher = fake, in [-1, 1]), so the paper's softplus(scale
    (m_real - cos)) of reals is softplus(scale (m_real + z)) here, and softplus(scale (cos - m_fake)) of fakes
    is softplus(-scale (z + m_fake)). It is `ldam` with these margins, and raises the same.

    References:
      Zhang et al., One-class Learning Towards Synthetic Voice Spoofing Detection, 2021,
      https://arxiv.org/abs/2010.13995
    """
    return ldam(logits, labels, margins=(margin_real, -margin_fake), scale=scale)


LOSSES: dict[str, Callable] = {
    "binary_cross_entropy": binary_cross_entropy,
    "weighted": weighted,
    "focal": focal,
    "class_balanced": weighted,  # weights by the effective number of samples
    "logit_adjusted": logit_adjusted,
    "balanced_softmax": balanced_softmax,
    "ldam": ldam,
    "am_softmax": am_softmax,
    "oc_softmax": oc_softmax,
}


def build(name: str, **kwargs) -> Callable:
    """The loss `(logits, labels) -> per-example` of that name with its hyperparameters bound.

    Raises:
      InputError: unknown name, or hyperparameters missing or unknown to this loss.
    """
    if name not in LOSSES:
        raise InputError(f"Unknown loss {name!r}; expected one of {sorted(LOSSES)}")
    signature = inspect.signature(LOSSES[name])
    try:
        signature.bind(None, None, **kwargs)
    except TypeError as error:
        takes = list(signature.parameters)[2:]
        raise InputError(f"loss {name!r}: {error}; it takes {takes}, got {sorted(kwargs)}") from error
    return functools.partial(LOSSES[name], **kwargs)


def _checked(logits, labels) -> tuple[jax.Array, jax.Array]:
    """Logits in float32 or wider (NaN where a traced label is not 0 or 1), and labels as booleans."""
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"logits must be floating point, got {logits.dtype}")
    if logits.shape != labels.shape:
        raise ValueError(f"logits and labels must have one shape, got {logits.shape} and {labels.shape}")
    hard = (labels == 0) | (labels == 1)
    if not isinstance(hard, jax.core.Tracer) and not hard.all():
        wrong = np.asarray(labels)[~np.asarray(hard)].flat[0]
        raise ValueError(f"labels must be 0 (real) or 1 (fake), got {wrong}")
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return jnp.where(hard, logits, jnp.nan), labels == 1


def _by_class(fake: jax.Array, values) -> jax.Array:
    """values[0] where real, values[1] where fake."""
    return jnp.where(fake, values[1], values[0])


def _expected(loss_of_margin, logits, fake, weights=(1.0, 1.0), label_smoothing: Number = 0.0) -> jax.Array:
    """The weighted loss of each example, in expectation over the labels that smoothing allows."""
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    weights = jnp.asarray(weights, logits.dtype)

    def of(fake):
        return _by_class(fake, weights) * loss_of_margin(jnp.where(fake, logits, -logits), fake)

    if label_smoothing == 0:  # without this, 0 times the infinite loss of the other label would be NaN
        return of(fake)
    return (1 - label_smoothing / 2) * of(fake) + label_smoothing / 2 * of(~fake)


def _cross_entropy(u, _):
    return _focal_of_margin(u, 0.0)


def _softpluses(u):
    """U >= 0, exp(-|u|), softplus(u) and softplus(-u); one branch at 0, so every derivative holds."""
    right = u >= 0
    e = jnp.exp(jnp.where(right, -u, u))
    log = jnp.log1p(e)
    return right, e, jnp.where(right, u, 0.0) + log, jnp.where(right, 0.0, -u) + log


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _focal_of_margin(u: jax.Array, gamma: Number) -> jax.Array:
    """Exp(-gamma softplus(u)) softplus(-u); neither it nor its derivative subtracts close numbers."""
    _, _, softplus, loss = _softpluses(u)
    return loss if gamma == 0 else jnp.exp(-gamma * softplus) * loss  # exp(-0 * inf) would be NaN


@_focal_of_margin.defjvp
def _focal_of_margin_jvp(gamma, primals, tangents):
    (u,), (du,) = primals, tangents
    right, e, softplus, loss = _softpluses(u)
    p, q = jnp.where(right, 1.0, e) / (1 + e), jnp.where(right, e, 1.0) / (1 + e)  # sigmoid of u and -u
    if gamma == 0:
        return loss, -q * du
    focus = gamma * jnp.where(jnp.isneginf(u), 0.0, p * loss)  # the limit, not 0 * inf
    weight = jnp.exp(-gamma * softplus)
    return weight * loss, -weight * (focus + q) * du


def uniformity_alignment(
    embeddings: Float[Array, "batch dim"], labels: Int[Array, " batch"] | Float[Array, " batch"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Uniformity and alignment of unit embeddings (Wang and Isola, ICML 2020), with classes as in GenD.

    Uniformity is the log of the mean of exp(-2 d^2) over all pairs, alignment the mean of d^2 over pairs of
    one class, where d is the distance. Both are per batch and to be minimised. A batch with no such pair has
    alignment 0.

    Returns:
      (uniformity, alignment).
    """
    squares = jnp.sum(embeddings**2, axis=-1, keepdims=True)
    embeddings = embeddings * jax.lax.rsqrt(squares + 1e-12)  # 0, as dropout leaves of a narrow one, stays 0
    alike = jnp.matmul(embeddings, embeddings.T, precision=jax.lax.Precision.HIGHEST)
    squared = jax.nn.relu(2 - 2 * alike)
    pair: Bool[Array, "batch batch"] = jnp.triu(jnp.ones_like(squared, bool), k=1)
    same = pair & (labels[:, None] == labels[None, :])
    n = len(embeddings)
    log_mean = jax.nn.logsumexp(-2 * squared, where=pair) - np.log(max(n * (n - 1) / 2, 1))
    alignment = jnp.sum(squared, where=same) / jnp.where(same.any(), same.sum(), 1)
    return log_mean, alignment
