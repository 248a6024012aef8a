"""A small convolutional network for faces, whose filters are fixed and whose weights per region are trained.

What is put into a picture has been turned and scaled to fit, and interpolation takes the finest detail out of
it. How much detail skin has differs from face to face; how fast it falls off towards fine scales belongs to
the camera and the file, and is the same inside and outside a face unless one was put in. So the first layer is
a fixed bank of 64 filters, the 8x8 cosines, at every fourth pixel of the picture as it comes (shrinking it
first would remove what is to be found). The responses' magnitudes are averaged over rings of spatial frequency
and over the regions of a grid, and the logarithms of neighbouring rings are subtracted: that is the fall-off,
ring by ring and region by region. Its level and spread over a picture are the camera's and are divided out; what
is left is where regions disagree. Two trained layers weigh it. With few fakes there is little to overfit.

Traces of resampling: Popescu and Farid, "Exposing digital forgeries by detecting traces of resampling", 2005.
Cosine spectra of whole pictures: Frank et al., "Leveraging frequency analysis for deep fake image recognition",
ICML 2020. The grid is what finds a part that disagrees with the rest.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from dfjax.features import jpeg_like, pixels, turns
from dfjax.models import heads, normalisation

SIDE, STRIDE = 8, 4  # pixels, of the filters
RINGS = (0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 12.0)  # edges, in half periods per SIDE pixels
FLOOR = 0.15  # grey levels of 255: below, a response is rounding, not detail
GRID = 14  # regions across and down


def ring_weights() -> np.ndarray:
    """(64, rings): the mean over the filters whose frequency lies in each ring."""
    row, column = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(row, column).reshape(-1, 1)
    inside = ((radius >= RINGS[:-1]) & (radius < RINGS[1:])).astype(np.float32)
    return inside / inside.sum(axis=0)


_product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def _windows(x: Float[Array, "... n"]) -> Float[Array, "... m 8"]:
    """Cosine transforms of the windows along the last axis: two matrix products, one per half of a window."""
    halves = x[..., : x.shape[-1] // STRIDE * STRIDE]
    halves = halves.reshape(*x.shape[:-1], -1, STRIDE)
    dct = jpeg_like.dct_matrix().T
    return _product(halves[..., :-1, :], dct[:STRIDE]) + _product(halves[..., 1:, :], dct[STRIDE:])


def magnitudes(x: Float[Array, "batch height width 3"]) -> Float[Array, "batch h w rings"]:
    """Mean magnitude of the cosine responses in each ring at every fourth pixel, in grey levels of 255."""
    grey = 255 * _product(x, pixels.GREY)
    both = _windows(_windows(grey).transpose(0, 2, 3, 1))  # (batch, across, horizontal, down, vertical)
    both = jnp.abs(both).transpose(0, 3, 1, 4, 2)
    return _product(both.reshape(*both.shape[:3], -1), ring_weights())


def shares(n: int, regions: int) -> np.ndarray:
    """(regions, n): the part of each of n samples in each region, rows summing to one; any n makes any number."""
    edges = np.linspace(0, n, regions + 1)
    covered = np.minimum(edges[1:, None], np.arange(1, n + 1)) - np.maximum(edges[:-1, None], np.arange(n))
    covered = np.maximum(covered, 0)
    return (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)


def fall_off(x: Float[Array, "batch height width 3"]) -> Float[Array, "batch rows columns steps"]:
    """Log ratios of the magnitudes of neighbouring rings, the finer over the coarser, in each of GRID x GRID regions.

    On CPU one picture a device at a time: its responses stay in the cache, which is nearly 3 times as fast.
    """

    def some(x):
        rings = magnitudes(x)
        down, across = (shares(n, GRID) for n in rings.shape[1:3])
        return jnp.diff(jnp.log(jnp.einsum("yh,xw,bhwr->byxr", down, across, rings) + FLOOR), axis=-1)

    return turns.few_at_a_time(some, x, each=1)


def within(maps: Float[Array, "batch rows columns steps"]) -> Float[Array, "batch rows columns steps"]:
    """Each step of the fall-off against its own mean and spread over the regions of the picture."""
    centred = maps - maps.mean(axis=(1, 2), keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(axis=(1, 2), keepdims=True) + 1e-6)


class CNNSmall(nnx.Module):
    """Fall-off of detail by region -> normalisation, dropout -> embedding -> logit.

    Args:
      size: side of the images that the model is to be given, in pixels; any size is understood.
      window: side of the central square that is looked at; 0 for all of the image.
      width: of the embedding.
      dropout: share of the fall-off that is hidden while training.
    """

    modality = "image"
    size = 128

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        size: int = 128,
        window: int = 0,
        width: int = 64,
        dropout: float = 0.3,
        dtype=jnp.float32,
    ):
        self.size, self.window, self.dtype = size, window, dtype
        inputs = GRID * GRID * (len(RINGS) - 2)
        self.norm = normalisation.standardise(inputs, momentum=0.95, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.embedding = nnx.Linear(inputs, width, dtype=dtype, rngs=rngs)
        self.head = heads.Linear(width, rngs=rngs)

    def features(self, x: Float[Array, "batch height width 3"]) -> Float[Array, "batch rows columns steps"]:
        """The fall-off of detail by region, against its mean and spread over training, then over the picture."""
        if 0 < self.window < min(x.shape[1:3]):
            x = pixels.centre_crop(x, size=self.window)
        y = jax.lax.stop_gradient(fall_off(x.astype(jnp.float32)))  # nothing is trained before it
        return within(self.norm(y.reshape(y.shape[0], -1)).reshape(y.shape))

    def pool(self, maps: Float[Array, "batch h w c"], *, rngs=None) -> Float[Array, "batch dim"]:
        """The embedding of feature maps: dropout, and a layer that weighs each region for itself."""
        h = self.dropout(maps.reshape(maps.shape[0], -1), rngs=rngs)
        return jax.nn.gelu(self.embedding(h).astype(jnp.float32))

    def embed(self, x: Float[Array, "batch height width 3"], *, rngs=None) -> Float[Array, "batch dim"]:
        """The embedding of images in [0, 1]."""
        return self.pool(self.features(x), rngs=rngs)

    def __call__(self, x: Float[Array, "batch height width 3"], *, rngs=None) -> Float[Array, " batch"]:
        """The logit of "fake" of images in [0, 1]."""
        return self.head(self.embed(x, rngs=rngs))
