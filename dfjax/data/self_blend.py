"""Self-blended images: fakes made on the device from real faces alone.

After Shiohara and Yamasaki, "Detecting deepfakes with self-blended images", CVPR 2022, section 3: two copies of one face are
made to differ slightly in colour, sharpness, scale and place, and one is blended into the other under a deformed face mask. The
result has what every face swap has (a blending boundary, and statistics that disagree across it) and no generator's own marks.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from dfjax.data import augment_image

RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)  # of the source in the blend, section 3.4


def face_ellipse(points: Float[Array, "b 5 2"]) -> Float[Array, "b 5"]:
    """An ellipse around a face, from eyes, nose and mouth corners (x, y) in pixels: centre (x, y), half axes, angle.

    The distance from the eyes to the mouth is taken as the unit of size: it hardly changes as a head turns sideways.
    """
    eyes, mouth = points[:, :2].mean(axis=1), points[:, 3:].mean(axis=1)
    down = mouth - eyes
    unit = jnp.linalg.norm(down, axis=1)
    centre = eyes + 0.55 * down
    angle = jnp.arctan2(-down[:, 0], down[:, 1])
    return jnp.stack([centre[:, 0], centre[:, 1], 1.0 * unit, 1.4 * unit, angle], axis=1)


def crop_ellipse(batch: int, size: int) -> Float[Array, "b 5"]:
    """The ellipse that a face fills in a square crop around it with a margin of 1.3, upright."""
    return jnp.broadcast_to(jnp.array([0.5, 0.52, 0.26, 0.35, 0.0]) * size, (batch, 5)).at[:, 4].set(0.0)


def _smooth_field(
    key: Key[Array, ""], size: int, coarse: int, channels: int
) -> Float[Array, "size size channels"]:
    """White noise on a coarse grid, enlarged: a smooth random field of unit variance at the nodes."""
    return jax.image.resize(
        jax.random.normal(key, (coarse, coarse, channels)), (size, size, channels), "cubic"
    )


def mask(key: Key[Array, ""], ellipse: Float[Array, " 5"], *, size: int) -> Float[Array, "size size"]:
    """A soft face mask in [0, 1]: ellipse, randomly resized, elastically deformed, edge of random place and width."""
    keys = jax.random.split(key, 4)
    half = ellipse[2:4] * jax.random.uniform(keys[0], (2,), minval=0.75, maxval=1.15)
    y, x = jnp.mgrid[:size, :size].astype(jnp.float32)
    y, x = jnp.moveaxis(0.08 * half.mean() * _smooth_field(keys[1], size, 6, 2), -1, 0) + jnp.stack([y, x])
    dx, dy = x - ellipse[0], y - ellipse[1]
    cos, sin = jnp.cos(ellipse[4]), jnp.sin(ellipse[4])
    radius = jnp.sqrt(((cos * dx + sin * dy) / half[0]) ** 2 + ((cos * dy - sin * dx) / half[1]) ** 2)
    # The paper blurs a binary mask twice; a sigmoid of the distance to the edge has the same profile and costs nothing.
    width = jnp.exp(jax.random.uniform(keys[2], (), minval=jnp.log(0.01), maxval=jnp.log(0.12)))
    return jax.nn.sigmoid((1 - radius) / width)


def _shift_scale(key: Key[Array, ""], images: Float[Array, "b s s 3"]) -> Float[Array, "b s s 3"]:
    """Scales each axis by up to 5 % and moves by up to 3 % (across) and 1.5 % (down), linear interpolation."""
    b, size = images.shape[:2]
    key_scale, key_shift = jax.random.split(key)
    scale = jax.random.uniform(key_scale, (2, b, 1), minval=0.95, maxval=1.05)
    shift = (
        jax.random.uniform(key_shift, (2, b, 1), minval=-1, maxval=1)
        * jnp.array([0.015, 0.03])[:, None, None]
    )
    middle = (size - 1) / 2
    rows, columns = (jnp.arange(size) - middle) / scale + middle + shift * size
    linear = augment_image.linear_matrix
    return augment_image.separable(images, linear(rows, size), linear(columns, size))


def self_blend(
    key: Key[Array, ""],
    images: Float[Array, "b s s 3"],
    ellipse: Float[Array, "b 5"] | None = None,
    *,
    colour: float = 0.1,
    downscale: float = 2.0,
) -> tuple[Float[Array, "b s s 3"], Float[Array, "b s s"]]:
    """Fakes from real faces.

    Args:
      key: random key; the same key gives the same fakes.
      images: square crops of real faces, RGB in [0, 1].
      ellipse: where the faces are (`face_ellipse`, or `crop_ellipse` if None).
      colour: strength of the colour difference between the copies, of the range.
      downscale: largest factor by which one copy loses resolution.

    Returns:
      The fakes and the blending masks (share of the source in each pixel).
    """
    b, size = images.shape[:2]
    keys = jax.random.split(key, 8)
    if ellipse is None:
        ellipse = crop_ellipse(b, size)

    changed = augment_image.colour(
        keys[0], images, brightness=colour, contrast=colour, saturation=3 * colour, tint=colour
    )
    softer = augment_image.downscale(keys[1], changed, factor=downscale)
    sharper = changed + 0.7 * (changed - augment_image.gaussian_blur(changed, jnp.ones(b)))
    kind = jax.random.randint(keys[2], (b, 1, 1, 1), 0, 3)
    changed = jnp.clip(jnp.where(kind == 0, softer, jnp.where(kind == 1, sharper, changed)), 0, 1)

    swap = jax.random.bernoulli(keys[3], 0.5, (b, 1, 1, 1))
    source, target = jnp.where(swap, images, changed), jnp.where(swap, changed, images)
    source = _shift_scale(keys[4], source)
    share = jax.vmap(lambda k, e: mask(k, e, size=size))(jax.random.split(keys[5], b), ellipse)
    share *= jax.random.choice(keys[6], np.array(RATIOS, np.float32), (b, 1, 1))
    return target + share[..., None] * (source - target), share
