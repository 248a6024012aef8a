"""Self-blended images: fakes made on the device from real faces alone.

After Shiohara and Yamasaki, "Detecting deepfakes with self-blended images", CVPR 2022, section 3: two copies
of one face are made to differ slightly in colour, sharpness, scale and place, and one is blended into the
other under a deformed face mask. The result has what every face swap has (a blending boundary, and statistics
that disagree across it) and no generator's own marks. With `swap`, the source is another real face, aligned
and matched in tone, as in Li et al., "Face X-ray for more general face forgery detection", CVPR 2020.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from dfjax.data import augment_image

ELASTIC = (6, 6)  # nodes of the deformation of a mask
TONE = (10, 10)  # pixels that carry the tone of a crop
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)  # of the source in the blend, section 3.4


def face_ellipse(points: Float[Array, "b 5 2"]) -> Float[Array, "b 5"]:
    """The ellipse of a face from its eyes, nose and mouth corners, (x, y) in pixels.

    The distance from the eyes to the mouth is the unit of size: it hardly changes as a head turns sideways.

    Returns:
      Centre (x, y), half axes across and along, angle in radians.
    """
    eyes, mouth = points[:, :2].mean(axis=1), points[:, 3:].mean(axis=1)
    down = mouth - eyes
    unit = jnp.linalg.norm(down, axis=1)
    centre = eyes + 0.55 * down
    angle = jnp.arctan2(-down[:, 0], down[:, 1])
    return jnp.stack([centre[:, 0], centre[:, 1], unit, 1.4 * unit, angle], axis=1)


def crop_ellipse(batch: int, size: int, margin: float = 1.3) -> Float[Array, "batch 5"]:
    """The ellipse (see `face_ellipse`) of an upright face in a square crop of `size` pixels, the same for the batch.

    `margin` is the side of the crop over that of the face's box.
    """
    across, along, below = 0.35 / margin, 0.49 / margin, 0.08 / margin  # of the side of the crop
    ellipse = np.array([0.5, 0.5 + below, across, along, 0], np.float32) * np.array([size] * 4 + [1], np.float32)
    return jnp.broadcast_to(ellipse[None], (batch, 5))


def masks(key: Key[Array, ""], ellipse: Float[Array, "b 5"], *, size: int) -> Float[Array, "b size size"]:
    """Soft face masks in [0, 1]: ellipses resized, elastically deformed, with an edge of random width.

    Args:
      key: of the draws.
      ellipse: from `face_ellipse`.
      size: side of the masks in pixels.
    """
    b = len(ellipse)
    key_size, key_field, key_width = jax.random.split(key, 3)
    half = ellipse[:, 2:4] * jax.random.uniform(key_size, (b, 2), minval=0.75, maxval=1.15)
    field = jax.random.normal(key_field, (2, b, *ELASTIC))  # enlarged: a smooth displacement
    field = jax.image.resize(field, (2, b, size, size), "cubic")
    field *= 0.08 * half.mean(axis=1)[None, :, None, None]
    cx, cy, cos, sin, across, along = (
        v[:, None, None] for v in (*ellipse[:, :2].T, jnp.cos(ellipse[:, 4]), jnp.sin(ellipse[:, 4]), *half.T)
    )
    y, x = jnp.mgrid[:size, :size][:, None] + field - jnp.stack([cy, cx])
    radius = jnp.sqrt(((cos * x + sin * y) / across) ** 2 + ((cos * y - sin * x) / along) ** 2)
    # The paper blurs a binary mask twice; a sigmoid of the distance to the edge has the same profile.
    width = jnp.exp(jax.random.uniform(key_width, (b, 1, 1), minval=np.log(0.01), maxval=np.log(0.12)))
    return jax.nn.sigmoid((1 - radius) / width)


def _shift_scale(key: Key[Array, ""], ellipse: Float[Array, "b 5"], size: int) -> Float[Array, "b 5"]:
    """Ellipses whose axes differ by up to 5 %, moved by up to 3 % of the crop (across) and 1.5 % (down)."""
    scale, shift = jax.random.uniform(key, (2, len(ellipse), 2), minval=-1, maxval=1)
    shift *= size * np.array([[0.03, 0.015]], np.float32)
    return jnp.concatenate([ellipse[:, :2] + shift, ellipse[:, 2:4] * (1 + 0.05 * scale), ellipse[:, 4:]], 1)


def align(images: Float[Array, "b s s 3"], at: Float[Array, "b 5"], to: Float[Array, "b 5"]) -> Float[Array, "b s s 3"]:
    """Moves and scales each axis of the images so that the ellipse `at` comes to lie on `to`; no rotation."""
    pixels = jnp.arange(images.shape[1])[None]
    columns, rows = (
        (pixels - to[:, i, None]) * (at[:, i + 2, None] / to[:, i + 2, None]) + at[:, i, None] for i in (0, 1)
    )
    return augment_image.resample(images, rows, columns)


def _tone(images: Float[Array, "b s s 3"]) -> Float[Array, "b s s 3"]:
    """The images without detail: what a Poisson blend takes over from its surroundings."""
    b, size = images.shape[:2]
    return jax.image.resize(jax.image.resize(images, (b, *TONE, 3), "linear"), (b, size, size, 3), "cubic")


def _sharpen(images: Float[Array, "b s s 3"]) -> Float[Array, "b s s 3"]:
    """Adds the difference from the mean of a pixel and its four neighbours."""
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    around = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] + padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2]
    return jnp.clip(images + 0.5 * (images - (images + around) / 5), 0, 1)


def blend(
    key: Key[Array, ""],
    images: Float[Array, "b s s 3"],
    ellipse: Float[Array, "b 5"] | None = None,
    *,
    margin: float = 1.3,
    swap: float = 0.0,
    colour: float = 0.1,
    downscale: float = 2.0,
) -> tuple[Float[Array, "b s s 3"], Float[Array, "b s s"]]:
    """Fakes from real faces: of each face and a changed copy of itself or, for a share, of another face.

    Compression comes after blending: pass the fakes and the real faces alike through `augment_image.jpeg`, or
    the fakes lack the block grid of the real ones and are told apart by that.

    Args:
      key: random key; the same key gives the same fakes.
      images: square crops of real faces, RGB in [0, 1].
      ellipse: where the faces are, from `face_ellipse`; may reach over the border. None: in the middle.
      margin: side of the crops over that of the face's box, where no ellipse is given.
      swap: share that gets the face of another image of the batch.
      colour: strength of the colour difference between the copies, of the range.
      downscale: largest factor by which one copy loses resolution.

    Returns:
      The fakes, and the share of the source in each pixel.
    """
    b, size = images.shape[:2]
    keys = jax.random.split(key, 9)
    if ellipse is None:
        ellipse = crop_ellipse(b, size, margin)

    # One of the two copies changes in colour, and in sharpness.
    changed = augment_image.colour(
        keys[0], images, brightness=colour, contrast=colour, saturation=3 * colour, tint=colour
    )
    softer = augment_image.downscale(keys[1], changed, factor=downscale)
    kind = jax.random.randint(keys[2], (b, 1, 1, 1), 0, 3)
    changed = jnp.where(kind == 0, softer, jnp.where(kind == 1, _sharpen(changed), changed))
    first = jax.random.bernoulli(keys[3], 0.5, (b, 1, 1, 1))
    source, target = jnp.where(first, images, changed), jnp.where(first, changed, images)

    # The source is the copy, or the next face of the batch; it lands where the target is, but not quite.
    other = jax.random.bernoulli(keys[4], swap, (b, 1))
    source = jnp.where(other[..., None, None], jnp.roll(source, 1, axis=0), source)
    at = jnp.where(other, jnp.roll(ellipse, 1, axis=0), ellipse)
    source = align(source, at, _shift_scale(keys[5], ellipse, size))
    # Another face takes over the target's tone, as in a Poisson blend; so do some of the copies.
    toned = other[..., None, None] | jax.random.bernoulli(keys[6], 0.25, (b, 1, 1, 1))
    source = jnp.where(toned, jnp.clip(source + _tone(target) - _tone(source), 0, 1), source)

    ratio = jax.random.choice(keys[7], np.array(RATIOS, np.float32), (b, 1, 1))
    ratio = jnp.where(other[..., None], 1.0, ratio)  # two faces at once would be a double exposure
    share = ratio * masks(keys[8], ellipse, size=size)
    return target + share[..., None] * (source - target), share
