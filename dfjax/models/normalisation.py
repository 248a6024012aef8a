"""Batch norms with the constants that their place needs."""

from flax import nnx


def standardise(features: int, *, momentum: float, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """(..., features) -> zero mean and unit variance over all leading axes; running statistics in evaluation.

    For statistics of a front end, whose levels are far above their spread. The variance is the mean square of
    deviations, in two passes. Flax's default is the mean of squares less the square of the mean: where the level is
    ten times the spread that loses two digits of a float32, and which ones depends on the order of the sum, so that
    a batch on one device and on eight would train apart.
    """
    return nnx.BatchNorm(
        features, momentum=momentum, use_bias=False, use_scale=False, use_fast_variance=False, rngs=rngs
    )


def like_pytorch(features: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """Batch norm with PyTorch's constants, for networks whose weights were released from there."""
    return nnx.BatchNorm(features, momentum=0.9, epsilon=1e-5, rngs=rngs)
