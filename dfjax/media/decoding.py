"""One media file to the parts of its records that come from the media: the same for training and for judging."""

from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath

from dfjax.media import VIDEO_SUFFIXES, MediaError


def decode_item(path: epath.PathLike, modality: str, options: dict[str, Any]) -> dict[str, Any]:
    """One media file as {'records': [...]} with the fields that come from the media, in order.

    Args:
      path: of the file.
      modality: 'audio', 'image' (as they are; of a video the face crops), 'video' (face crops of either) or 'av'
        (face crops of a video, each with the second of sound around it).
      options: of the face crops, for `dfjax.media.faces.crop_records`.

    Returns:
      'records': of sound `position` (the first sample), `audio` and `duration` (seconds of the whole clip); of a
      picture `position` (0), `image` (bytes), `frame` (0) and `box` (x0, y0, x1, y1 in pixels); of face crops as
      `crop_records` says, of 'av' with `audio` and `duration` too. Of a picture also 'pictures': how many its file
      holds, of which the first is taken.

    Raises:
      MediaError: the file is unusable.
      OSError: it cannot be read.
    """
    path = epath.Path(path)
    if modality == "audio":
        from dfjax.media import audio  # each worker loads only the decoders it needs

        samples, info = audio.decode(path)
        seconds = np.float32(info.seconds)
        parts = audio.windows(samples)
        return {"records": [{"position": start, "audio": x, "duration": seconds} for start, x in parts]}
    if modality == "image" and not path.name.lower().endswith(VIDEO_SUFFIXES):
        from dfjax.media import images

        data, (height, width) = images.read(path)
        box = np.array([0, 0, width, height], np.float32)
        return {"records": [{"position": 0, "image": data, "frame": 0, "box": box}], "pictures": images.held(path)}
    from dfjax.media import faces

    if modality == "av":
        return _with_sound(path, options)
    return faces.crop_records(path, **options)


def _with_sound(path: epath.Path, options: dict[str, Any]) -> dict[str, Any]:
    """The face crops of a video, each with the sound of its frame's second.

    Both are timed from their own first frame or sample: a container's offset between the two, some
    milliseconds as a rule, is not looked at.
    """
    from dfjax.media import audio, faces

    samples, info = audio.decode(path)  # first: a file without sound is not worth its frames
    result = faces.crop_records(path, **options)
    for record in result["records"]:
        record["audio"] = audio.around(samples, record["seconds"])
        record["duration"] = np.float32(info.seconds)
    return result


def compact(record: dict[str, Any], modality: str, size: int) -> dict[str, np.ndarray]:
    """An 'image' or 'av' record as a device holds it: `image`, (size, size, 3) uint8, and `audio`, the second of sound.

    A picture that cannot be decoded raises InputError.
    """
    from dfjax.media import images

    picture = {"image": images.fitted(record["image"], size)}
    return picture if modality == "image" else picture | {"audio": record["audio"]}


def safely(
    path: epath.PathLike, modality: str, options: dict[str, Any], decode: Callable[..., Any] | None = None
) -> tuple[Any, str]:
    """(result, '') of `decode_item` or another `decode`, or ({}, reason): no media file may stop the others.

    ImportError is raised: the installation is broken, not the file.
    """
    try:
        return (decode or decode_item)(path, modality, options), ""
    except MediaError as error:
        return {}, str(error)
    except ImportError:
        raise
    except MemoryError:
        return {}, "needs too much memory"
    except Exception as error:  # a decoder's own error that nobody has met yet
        return {}, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
