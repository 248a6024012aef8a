"""Pictures: checked and passed on as they are, encoded and decoded."""

import contextlib
import io
import os
import pathlib
import tempfile
import threading
from collections.abc import Iterator, Sequence
from typing import IO

import cv2
import numpy as np
from etils import epath
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from dfjax.media import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES, MediaError
from dfjax.records import InputError

MAX_PIXELS = 1 << 28  # 16384 x 16384: larger is a damaged header
MIN_SIDE = 16  # pixels
# formats whose bytes are kept; others become PNG. MPO: a JPEG to which a phone appended more pictures, a depth map
KEPT = ("JPEG", "MPO", "PNG")
# Pillow's names of what is a picture by its bytes, too; it also knows the first bytes of some videos
STILL = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
SEVERAL = ("GIF", "PNG", "WEBP", "TIFF", "AVIF")  # formats of which a file may hold pictures of equal rank
HEIC = (b"heic", b"heix", b"heim", b"heis", b"mif1")  # brands that such files begin with, after b"ftyp"
OPENING = threading.Lock()  # held while Pillow's limit is another
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


@contextlib.contextmanager
def opened(data: bytes | IO[bytes], formats: Sequence[str] | None = None) -> Iterator[Image.Image]:
    """A picture in memory or an open file, its header read, its pixels not; raises as Pillow's open.

    But at no number of pixels: Pillow warns from 89 megapixels on and refuses 179, and phones take pictures of 200.
    """
    with OPENING:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = usual
    with image:
        yield image


def is_picture(path: epath.PathLike) -> bool:
    """Whether a file is a picture, and not a video: its ending says so, or its bytes where the ending says nothing.

    Raises:
      OSError: the file cannot be read.
    """
    name = os.fspath(path).lower()
    if name.endswith(IMAGE_SUFFIXES + VIDEO_SUFFIXES + AUDIO_SUFFIXES):
        return name.endswith(IMAGE_SUFFIXES)
    return still(path) is not None


def still(path: epath.PathLike) -> str | None:
    """What a file is by its bytes where they are a picture's, such as 'JPEG'; None of others.

    Raises:
      OSError: the file cannot be read.
    """
    try:
        with epath.Path(path).open("rb") as file:
            if _is_heic(file.read(12)):  # FFmpeg would show one of its tiles
                return "HEIC"
            file.seek(0)
            with opened(file, STILL) as image:
                return image.format
    except (UnidentifiedImageError, KeyError):  # KeyError: HEIF, which Pillow knows with a plugin only
        return None


def _is_heic(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in HEIC


def read(path: epath.PathLike) -> tuple[bytes, tuple[int, int]]:
    """The bytes of a picture that decodes without error, and its (height, width) as shown.

    JPEG, also with the further pictures that phones append, and PNG stay as they are, bit for bit; other formats are
    written anew as PNG, with 8 bits of each colour.

    Raises:
      MediaError: no picture, truncated, of a size that no picture has, or of numbers without a white.
      OSError: the file cannot be read.
    """
    data = epath.Path(path).read_bytes()
    try:
        with opened(data) as image:
            if min(image.size) < MIN_SIDE or image.width * image.height > MAX_PIXELS:
                raise MediaError(f"a picture of {image.width} x {image.height} pixels")
            if image.format == "PNG":  # which OpenCV refuses for a wrong checksum, and Pillow does not
                with opened(data) as again:
                    again.verify()
            image.load()
            upright = ImageOps.exif_transpose(image)
            if image.format not in KEPT:
                data = encode(_rgb(upright, image.format), "png")
            return data, (upright.height, upright.width)
    except UnidentifiedImageError as error:
        if _is_heic(data[:12]):
            raise MediaError("a HEIC picture, which Pillow does not read; save it as JPEG or PNG") from error
        raise MediaError("not a picture, nor named as a video, such as .mp4") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise MediaError(f"corrupt: {error}") from error
    except Image.DecompressionBombError as error:  # of TIFF, whose size Pillow looks at once more
        raise MediaError(f"too large: {error}") from error


def held(path: epath.PathLike) -> int:
    """How many pictures a file of pictures holds, of which `read` takes the first; raises as Pillow's open."""
    with epath.Path(path).open("rb") as file, opened(file) as image:
        return count(image)


def count(image: Image.Image) -> int:
    """How many pictures an opened one holds, of an animation or of pages; 1 where that cannot be told."""
    try:
        return getattr(image, "n_frames", 1) if image.format in SEVERAL else 1
    except Exception:  # damaged behind the first: Pillow raises KeyError and TypeError, too
        return 1


def _rgb(image: Image.Image, image_format: str | None) -> UInt8[np.ndarray, "height width 3"]:
    """The picture with 8 bits of each colour: of 16 the upper ones, as `decode` takes of a PNG; Pillow clips at 255."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image_format == "PPM"):  # which Pillow scales to 65535
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    if image.mode in ("I", "F"):
        raise MediaError("pixels of 32 bits, of which nobody says what is white; save it with 8 or 16 bits")
    return np.asarray(image.convert("RGB"))


def decode(data: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """RGB pixels of encoded bytes, upright (EXIF), without alpha.

    Raises:
      MediaError: OpenCV cannot decode them.
    """
    image = _decoded(data)
    if image is None:
        raise MediaError("OpenCV cannot decode the picture")
    return image


def _decoded(data: bytes) -> UInt8[np.ndarray, "height width 3"] | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # of a side of more than 2^20 pixels
        return None


def fitted(encoded: bytes, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """A stored picture as RGB of the detector's size; resized by area averaging when larger, cubic when smaller.

    Raises:
      InputError: OpenCV cannot decode it.
    """
    image = _decoded(encoded)
    if image is None:
        raise InputError("a prepared image cannot be decoded; prepare the dataset again")
    if image.shape[:2] != (size, size):
        larger = min(image.shape[:2]) > size
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if larger else cv2.INTER_CUBIC)
    return image


def encode(image: UInt8[np.ndarray, "height width 3"], image_format: str) -> bytes:
    """RGB pixels as 'jpeg' (quality 95, full colour resolution) or 'png'; another format raises ValueError."""
    if image_format not in ("jpeg", "png"):
        raise ValueError(f"Unknown image format {image_format!r}; expected one of ['jpeg', 'png']")
    suffix, options = (".jpg", JPEG) if image_format == "jpeg" else (".png", [])
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    assert done
    return data.tobytes()


@contextlib.contextmanager
def as_file(image: Shaped[np.ndarray, "..."]) -> Iterator[pathlib.Path]:
    """A picture in memory as a PNG file, for as long as the context lasts.

    Raises:
      InputError: not (height, width, 3) uint8.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            f"a picture of shape {image.shape} and type {image.dtype}; expected (height, width, 3) uint8, RGB"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "picture.png")
        path.write_bytes(encode(image, "png"))
        yield path
