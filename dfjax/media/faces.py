"""Faces of a picture or video: found, cut out with a margin, upright, encoded.

Two detectors: OpenCV's YuNet (Wu et al. 2023), a small network in an ONNX file that the user names, and the Haar
cascade (Viola and Jones 2001) that lies in OpenCV 4's wheels. Both look at the picture scaled to at most 640 pixels.
YuNet also gives five landmarks; its crops are turned so that the eyes are level. Haar's are not turned.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from etils import epath
from jaxtyping import Float32, UInt8

from dfjax.media import MediaError, images, video
from dfjax.records import InputError

DETECTORS = ("haar", "yunet")
MARGIN = 1.3  # side of the crop over the longer side of the face box
DETECT_SIDE = 640  # pixels, longest side of the picture that a detector sees
YUNET_SCORE = 0.6
HAAR_NEIGHBOURS = 4  # overlapping hits that make a face
HAAR_SMALLEST = 0.08  # of the picture's shorter side


@dataclasses.dataclass(frozen=True)
class Face:
    """One face in a picture, in its pixels."""

    box: Float32[np.ndarray, " 4"]  # x0, y0, x1, y1
    score: float  # the detector's confidence; comparable within a detector
    angle: float = 0.0  # degrees, of the line through the eyes, clockwise


Detector = Callable[[UInt8[np.ndarray, "height width 3"]], list[Face]]


def find_with(name: str, model: epath.PathLike | None = None) -> Detector:
    """The function that finds the faces of a picture, largest first.

    Args:
      name: 'haar' or 'yunet'.
      model: path of YuNet's ONNX file.

    Raises:
      ValueError: unknown name, or no model for 'yunet'.
    """
    if name == "haar":
        return _haar
    if name == "yunet":
        if model is None:
            raise ValueError("the detector 'yunet' needs the path of its .onnx file")
        return functools.partial(_yunet, str(model))
    raise ValueError(f"Unknown face detector {name!r}; expected one of {list(DETECTORS)}")


def check_model(path: epath.PathLike) -> None:
    """Raises InputError where a file is not YuNet: every picture would be one that cannot be judged, for its sake."""
    try:
        _yunet(str(path), np.zeros((64, 64, 3), np.uint8))
    except (cv2.error, IndexError, ValueError) as error:  # no ONNX; or another network, which puts out other things
        raise InputError(
            f"--face_model {path} is not a YuNet model that OpenCV reads; give its .onnx file itself, some 200 kB, and "
            "not a page or a pointer to it"
        ) from error


def model_digest(path: epath.PathLike) -> str:
    """SHA-256 of YuNet's file, which is the same model wherever it lies."""
    return hashlib.sha256(epath.Path(path).read_bytes()).hexdigest()


def crop(
    image: UInt8[np.ndarray, "height width 3"], face: Face, size: int, margin: float = MARGIN
) -> UInt8[np.ndarray, "size size 3"]:
    """The square around a face, turned so that its eyes are level; outside, the picture's edge continues.

    Args:
      image: RGB.
      face: where it is.
      size: side of the result in pixels.
      margin: side of the square over the longer side of the face's box.
    """
    x0, y0, x1, y1 = (float(value) for value in face.box)
    side = max(2, round(max(x1 - x0, y1 - y0) * margin))
    centre = (0.5 * (x0 + x1), 0.5 * (y0 + y1))
    turn = cv2.getRotationMatrix2D(centre, face.angle, 1.0)
    turn[:, 2] = turn[:, 2] + 0.5 * side - np.array(centre)  # the centre of the face goes to the centre of the crop
    cut = cv2.warpAffine(image, turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    shrinking = side > size  # area averaging does not alias
    return cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)


def crop_records(
    path: epath.PathLike,
    *,
    frames: int = 32,
    size: int = 256,
    faces: str = "largest",
    image_format: str = "jpeg",
    detector: str = "haar",
    face_model: epath.PathLike | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """The face crops of a video or picture, as they are stored and as a detector of fakes must see them.

    Args:
      path: of the file; a picture, see `images.is_picture`, counts as one frame.
      frames: how many of a video, evenly spread.
      size: side of the crops in pixels.
      faces: 'largest' or 'all' faces of a frame.
      image_format: 'jpeg' (quality 95) or 'png'.
      detector: 'haar' or 'yunet'.
      face_model: path of YuNet's ONNX file.
      threads: of the video decoder; 0 for as many as there are cores.

    Returns:
      'records': dicts of `position` (0 for a picture's face, else text: the frame, and '.k' for its k-th face
      after the first), `frame`, `seconds`, `box` and `image` (bytes); 'faceless': frames without a face; of a
      picture also 'pictures': how many its file holds, of which the first is looked at.

    Raises:
      MediaError: the file is unusable or has no face.
      ValueError: an unknown choice of faces, detector or format, or no model for 'yunet'.
    """
    if faces not in ("largest", "all"):
        raise ValueError(f"Unknown choice of faces {faces!r}; expected one of ['largest', 'all']")
    find = find_with(detector, face_model)
    picture = images.is_picture(path)
    records: list[dict[str, Any]] = []
    faceless = 0
    for frame in _picture_frame(path) if picture else video.frames(path, frames, threads):
        found = find(frame.image)
        faceless += not found
        for k, face in enumerate(found if faces == "all" else found[:1]):
            name = f"{frame.index}.{k}" if k else str(frame.index)
            records.append(
                {
                    "position": 0 if picture and not k else name,
                    "frame": frame.index,
                    "seconds": frame.seconds,
                    "box": face.box,
                    "image": images.encode(crop(frame.image, face, size), image_format),
                }
            )
    if not records:
        raise MediaError("no face found" if picture else f"no face found in {faceless} frames")
    return {"records": records, "faceless": faceless} | ({"pictures": images.held(path)} if picture else {})


def _picture_frame(path: epath.PathLike) -> list[video.Frame]:
    return [video.Frame(0, 0.0, images.decode(images.read(path)[0]))]


def _scaled(image: UInt8[np.ndarray, "height width 3"]) -> tuple[UInt8[np.ndarray, "h w 3"], float]:
    """The picture with its longest side at most DETECT_SIDE, and the factor back to its own pixels."""
    factor = max(image.shape[:2]) / DETECT_SIDE
    if factor <= 1:
        return image, 1.0
    height, width = (max(1, round(side / factor)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), factor


@functools.cache
def _yunet_model(path: str) -> Any:
    return cv2.FaceDetectorYN.create(path, "", (320, 320), YUNET_SCORE)


def _yunet(path: str, image: UInt8[np.ndarray, "height width 3"]) -> list[Face]:
    small, factor = _scaled(image)
    model = _yunet_model(path)
    model.setInputSize((small.shape[1], small.shape[0]))
    _, rows = model.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    found = []
    for row in rows if rows is not None else ():
        x, y, width, height = row[:4] * factor
        right_eye, left_eye = row[4:6], row[6:8]  # the person's; the right one is on the left in the picture
        dx, dy = left_eye - right_eye
        angle = float(np.degrees(np.arctan2(dy, dx)))
        found.append(Face(np.array([x, y, x + width, y + height], np.float32), float(row[14]), angle))
    return _largest_first(found)


@functools.cache
def _haar_model() -> Any:
    path = pathlib.Path(cv2.__path__[0], "data", "haarcascade_frontalface_default.xml")
    return cv2.CascadeClassifier(str(path))


def _haar(image: UInt8[np.ndarray, "height width 3"]) -> list[Face]:
    small, factor = _scaled(image)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    smallest = max(24, round(HAAR_SMALLEST * min(grey.shape)))
    boxes, _, weights = _haar_model().detectMultiScale3(
        grey, 1.1, HAAR_NEIGHBOURS, minSize=(smallest, smallest), outputRejectLevels=True
    )
    return _largest_first(
        [
            Face(np.array([x, y, x + width, y + height], np.float32) * np.float32(factor), float(weight))
            for (x, y, width, height), weight in zip(boxes, np.ravel(weights), strict=True)
        ]
    )


def _largest_first(found: list[Face]) -> list[Face]:
    return sorted(found, key=lambda face: -float(np.prod(face.box[2:] - face.box[:2])))
