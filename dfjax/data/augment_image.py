"""Augmentation of images on the device: pure functions from (key, images) to images, all shapes static.

Images are float32 (batch, height, width, 3) RGB in [0, 1] (`to_float` makes them from uint8). Every function
draws one set of numbers per image from `key`, and with its strength at zero returns its input. Nothing here
looks at labels: both classes pass through the same chain, so that augmentation cannot give the class away.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from dfjax.features import jpeg_like, pixels, turns


def to_float(images: UInt8[Array, "*b h w 3"] | Float[Array, "*b h w 3"]) -> Float[Array, "*b h w 3"]:
    """Images in [0, 1] as float32; uint8 is divided by 255."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images.astype(jnp.float32)


def _uniform(key, images, low, high, *shape):
    """One draw per image, broadcastable against it."""
    shape = (len(images), *(shape or (1, 1, 1)))
    return jax.random.uniform(key, shape, minval=low, maxval=high)


def _choose(key, rate, new, old):
    """`new` for a share `rate` of the images, `old` for the rest."""
    chosen = jax.random.bernoulli(key, rate, (len(old), 1, 1, 1))
    return jnp.where(chosen, new, old)


def flip(key: Key[Array, ""], images: Float[Array, "b h w c"], *, rate: float = 0.5) -> Float[Array, "b h w c"]:
    """Mirrors a share `rate` of the images left to right."""
    return _choose(key, rate, images[:, :, ::-1], images)


def crop(key: Key[Array, ""], images: Array, *, size: int, step: int = 1) -> Array:
    """A random window of size x size pixels, without resampling: the pixels keep their noise.

    Its corner lies at multiples of `step`; with 8 the blocks of JPEG files stay where they are.
    """

    def one(key, image):
        room = (jnp.array(image.shape[:2]) - size) // step
        top, left = step * jax.random.randint(key, (2,), 0, room + 1)
        return jax.lax.dynamic_slice(image, (top, left, 0), (size, size, image.shape[2]))

    return jax.vmap(one)(jax.random.split(key, len(images)), images)


def sample(image: Float[Array, "h w c"], rows: Float[Array, "n m"], columns: Float[Array, "n m"]) -> Array:
    """The image (n, m, c) at fractional pixel positions, bilinear; positions outside take the nearest edge."""
    at = [rows, columns]
    return jnp.stack(
        [jax.scipy.ndimage.map_coordinates(image[..., c], at, order=1, mode="nearest") for c in range(image.shape[2])],
        axis=-1,
    )


def affine(
    key: Key[Array, ""], images: Float[Array, "b h w c"], *, degrees: float = 0.0, zoom: float = 0.0, shift: float = 0.0
) -> Float[Array, "b h w c"]:
    """Rotates by up to `degrees` either way, scales by up to 1 +- `zoom`, moves by up to `shift` of the side; bilinear.

    Resampling smooths every image the same way, which hides the resampling of a pasted face: leave it at zero
    for detectors that live on noise.
    """
    if not (degrees or zoom or shift):
        return images
    height, width = images.shape[1:3]
    middle = jnp.array([height - 1, width - 1])[:, None, None] / 2
    key_angle, key_zoom, key_shift = jax.random.split(key, 3)
    angle = jnp.deg2rad(_uniform(key_angle, images, -degrees, degrees, 1, 1))
    factor = _uniform(key_zoom, images, 1 - zoom, 1 + zoom, 1, 1)
    move = _uniform(key_shift, images, -shift, shift, 2, 1, 1) * jnp.array([height, width])[None, :, None, None]
    y, x = (jnp.mgrid[:height, :width] - middle)[:, None] / factor[None]
    rows = jnp.cos(angle) * y - jnp.sin(angle) * x + middle[:1] + move[:, 0]
    columns = jnp.sin(angle) * y + jnp.cos(angle) * x + middle[1:] + move[:, 1]
    return jax.vmap(sample)(images, rows, columns)


def colour(
    key: Key[Array, ""],
    images: Float[Array, "b h w 3"],
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    tint: float = 0.0,
) -> Float[Array, "b h w 3"]:
    """Scales contrast and saturation by 1 +- theirs, adds up to +- `brightness` to all and +- `tint` to each channel.

    These two are shares of the range [0, 1], to which the result is clipped.
    """
    if not (brightness or contrast or saturation or tint):
        return images
    keys = jax.random.split(key, 4)
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    images = mean + (images - mean) * _uniform(keys[0], images, 1 - contrast, 1 + contrast)
    grey = (images @ pixels.GREY)[..., None]
    images = grey + (images - grey) * _uniform(keys[1], images, 1 - saturation, 1 + saturation)
    images += _uniform(keys[2], images, -brightness, brightness) + _uniform(keys[3], images, -tint, tint, 1, 1, 3)
    return jnp.clip(images, 0, 1)


def lines(array: Float[Array, "n ..."], positions: Float[Array, " m"]) -> Float[Array, "m ..."]:
    """The array at fractional positions along its first axis, linear; positions outside take the nearest end."""
    positions = jnp.clip(positions, 0, len(array) - 1)
    low = jnp.floor(positions)
    share = (positions - low).reshape(-1, *(1,) * (array.ndim - 1))
    low = low.astype(jnp.int32)
    return (1 - share) * array[low] + share * array[jnp.minimum(low + 1, len(array) - 1)]


def resample(
    images: Float[Array, "b h w c"], rows: Float[Array, "b h2"], columns: Float[Array, "b w2"]
) -> Float[Array, "b h2 w2 c"]:
    """Each image at its own fractional rows and columns, linear; positions outside take the nearest edge."""

    def one(image, rows, columns):
        return lines(lines(image, rows).swapaxes(0, 1), columns).swapaxes(0, 1)

    return jax.vmap(one)(images, rows, columns)


def blur_matrix(sigma: Float[Array, " b"], n: int) -> Float[Array, "b n n"]:
    """Matrices that blur n pixels by a Gaussian of sigma[i] pixels (0 is the identity); rows always sum to one."""
    distance = jnp.arange(n)[:, None] - jnp.arange(n)[None, :]
    kernel = jnp.exp(-0.5 * (distance[None] / jnp.maximum(sigma, 1e-3)[:, None, None]) ** 2)
    return kernel / kernel.sum(axis=-1, keepdims=True)  # sums to one where the edge cuts it, too


def gaussian_blur(images: Float[Array, "b h w c"], sigma: Float[Array, " b"]) -> Float[Array, "b h w c"]:
    """Blurs image i with sigma[i] pixels.

    A dense matrix costs more multiplications than a short kernel, but a matrix product compiles in no time and
    runs at the machine's peak.
    """
    return _along_both(*(blur_matrix(sigma, n) for n in images.shape[1:3]), images)


def _along_both(
    rows: Float[Array, "b h2 h"], columns: Float[Array, "b w2 w"], images: Float[Array, "b h w c"]
) -> Float[Array, "b h2 w2 c"]:
    """A matrix along each axis of each image."""
    product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    return product("bjw,biwc->bijc", columns, product("bih,bhwc->biwc", rows, images))


def blur(
    key: Key[Array, ""], images: Float[Array, "b h w c"], *, sigma: float = 0.0, rate: float = 1.0
) -> Float[Array, "b h w c"]:
    """Gaussian blur of up to `sigma` pixels on a share `rate` of the images."""
    if not sigma:
        return images
    key_sigma, key_choice = jax.random.split(key)
    drawn = jax.random.uniform(key_sigma, (len(images),), maxval=sigma)
    return _choose(key_choice, rate, gaussian_blur(images, drawn), images)


def noise(
    key: Key[Array, ""], images: Float[Array, "b h w c"], *, std: float = 0.0, rate: float = 1.0
) -> Float[Array, "b h w c"]:
    """Adds white Gaussian noise of standard deviation up to `std`, of [0, 1], to a share `rate` of the images."""
    key_std, key_noise, key_choice = jax.random.split(key, 3)
    noisy = images + _uniform(key_std, images, 0, std) * jax.random.normal(key_noise, images.shape)
    return _choose(key_choice, rate if std else 0.0, jnp.clip(noisy, 0, 1), images)


def downscale(
    key: Key[Array, ""], images: Float[Array, "b h w c"], *, factor: float = 1.0, rate: float = 1.0
) -> Float[Array, "b h w c"]:
    """Reduces a share `rate` of the images by up to `factor` and enlarges them back: the detail is gone."""
    if factor <= 1:
        return images
    key_factor, key_choice = jax.random.split(key)
    by = jax.random.uniform(key_factor, (len(images),), minval=1, maxval=factor)
    softer = turns.few_at_a_time(lambda pair: _softer(*pair), (images, by), each=1)
    return _choose(key_choice, rate, softer, images)


def _softer(images: Float[Array, "b h w c"], by: Float[Array, " b"]) -> Float[Array, "b h w c"]:
    """Each image reduced by its factor and enlarged: along either axis one matrix for blur and both resamplings."""

    def matrix(by, n):
        at = jnp.arange(n, dtype=jnp.float32)
        sigma = 0.375 * jnp.sqrt(by**2 - 1)  # a Gaussian that halves the new Nyquist frequency
        small = lines(blur_matrix(sigma[None], n)[0], at * by)  # the first of the rows; the rest repeats the edge
        return lines(small, at / by)

    rows, columns = (jax.vmap(functools.partial(matrix, n=n))(by) for n in images.shape[1:3])
    return _along_both(rows, columns, images)


def cut_out(
    key: Key[Array, ""], images: Float[Array, "b h w c"], *, side: float = 0.0, rate: float = 1.0
) -> Float[Array, "b h w c"]:
    """Greys out a rectangle with sides of up to `side` of the image's, on a share `rate` of the images.

    After Zhong et al., "Random erasing data augmentation", AAAI 2020.
    """
    height, width = images.shape[1:3]
    key_centre, key_side, key_choice = jax.random.split(key, 3)
    centre = jax.random.uniform(key_centre, (2, len(images), 1, 1, 1))
    half = jax.random.uniform(key_side, (2, len(images), 1, 1, 1), maxval=side) / 2
    rows = jnp.arange(height)[None, :, None, None] / height
    columns = jnp.arange(width)[None, None, :, None] / width
    inside = (jnp.abs(rows - centre[0]) < half[0]) & (jnp.abs(columns - centre[1]) < half[1])
    return _choose(key_choice, rate, jnp.where(inside, 0.5, images), images)


def jpeg(
    key: Key[Array, ""],
    images: Float[Array, "b h w 3"],
    *,
    quality: tuple[float | int, float | int] = (60.0, 100.0),
    rate: float = 0.0,
) -> Float[Array, "b h w 3"]:
    """JPEG-like loss at a quality drawn between the two given, on a share `rate`; see `jpeg_like.py`."""
    if not rate:
        return images
    key_quality, key_choice = jax.random.split(key)
    drawn = jax.random.uniform(key_quality, (len(images),), minval=quality[0], maxval=quality[1])
    return _choose(key_choice, rate, jpeg_like.jpeg_like(images, jnp.round(drawn)), images)


def augment(
    key: Key[Array, ""],
    images: Float[Array, "b h w 3"],
    *,
    size: int = 0,
    size_step: int = 1,
    flip_rate: float = 0.5,
    degrees: float = 0.0,
    zoom: float = 0.0,
    shift: float = 0.0,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    tint: float = 0.0,
    blur_sigma: float = 0.0,
    blur_rate: float = 0.5,
    factor: float = 1.0,
    downscale_rate: float = 0.5,
    noise_std: float = 0.0,
    noise_rate: float = 0.5,
    jpeg_quality: tuple[float | int, float | int] = (60.0, 100.0),
    jpeg_rate: float = 0.0,
    cut_out_side: float = 0.0,
    cut_out_rate: float = 0.5,
) -> Float[Array, "b h2 w2 3"]:
    """All of the above in the order in which a picture meets them: scene, lens, sensor, file; then the cut.

    An argument is that of the function which it is named after: `blur_rate` is the `rate` of `blur`, `zoom` that of
    `affine`. `size` and `size_step` are those of `crop`; 0 cuts nothing. JPEG comes before the cut, so that its blocks
    lie where those of the file do.
    """
    keys = jax.random.split(key, 9)
    images = affine(keys[0], images, degrees=degrees, zoom=zoom, shift=shift)
    images = colour(keys[1], images, brightness=brightness, contrast=contrast, saturation=saturation, tint=tint)
    images = blur(keys[2], images, sigma=blur_sigma, rate=blur_rate)
    images = downscale(keys[3], images, factor=factor, rate=downscale_rate)
    if noise_std:
        images = noise(keys[4], images, std=noise_std, rate=noise_rate)
    images = jpeg(keys[5], images, quality=jpeg_quality, rate=jpeg_rate)
    if size:
        images = crop(keys[6], images, size=size, step=size_step)
    images = flip(keys[7], images, rate=flip_rate)
    return cut_out(keys[8], images, side=cut_out_side, rate=cut_out_rate) if cut_out_side else images
