"""Faces drawn from nothing: ellipses, shading and noise as the stand-in for photographs, and blends as fakes.

No face here is a person's, and nothing measured on them says anything about real deepfakes: they exist so
that the whole image pipeline can be run and checked in minutes, without a download. An identity is a set of
shapes, colours and a skin texture; a picture of it has a pose, an expression, a light and a background of
its own. A fake is a picture whose inner face comes from another identity of the same split (or, self-
blended, from the same picture changed), put in by one of four ways of blending. Both classes pass through
one camera and are encoded twice as JPEG.

The same seed gives the same bytes on one platform: every identity has its own generators.
"""

import dataclasses
from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from data_builders.demo_faces.blending import BLENDS, match_colours, to_bytes
from data_builders.demo_faces.drawing import SIZE, Look, Pose, draw, draw_look, draw_pose, ellipse, on_face
from dfjax.records import FAKE, REAL

# Difficulty of a blend. Less opacity, a wider feather, closer colours and resolution are harder.
OPACITY = (0.8, 1.0)  # of what is put in
FEATHER = (1.0, 4.0)  # standard deviation of the mask's edge in pixels
COLOUR_MATCH = (0.3, 0.9)  # 1: mean and spread of the colours under the mask are equal
RESOLUTION = (0.45, 0.8)  # of what is put in, relative to the picture's

SEED = 20_260_102
IDENTITIES = {"train": 40, "validation": 20, "test": 25}  # no identity, donors included, is in two splits
REAL_PER_IDENTITY, FAKE_PER_IDENTITY = 20, 2
METHODS = ("alpha", "poisson", "self_blend")
UNSEEN_METHOD = "multiband"  # in test only

QUALITY = (80, 96)  # of either JPEG encoding
TOGETHER = 2  # pictures drawn at once: their layers stay in the processor's cache


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """One synthetic picture, encoded."""

    id: str
    label: int
    identity: str
    method: str
    image: bytes  # JPEG


def identity_ids(split: str) -> list[int]:
    """Numbers of the split's identities; splits follow one another, so no number occurs twice."""
    names = list(IDENTITIES)
    first = sum(IDENTITIES[name] for name in names[: names.index(split)])
    return list(range(first, first + IDENTITIES[split]))


def identity_pictures(split: str, identity: int) -> list[Picture]:
    """All pictures of one identity, the fakes last; donors are the identities that follow in the split."""
    labels = [REAL] * REAL_PER_IDENTITY + [FAKE] * FAKE_PER_IDENTITY
    rng = np.random.default_rng(np.random.SeedSequence([SEED, identity, 1]))
    pose = draw_pose(rng, len(labels))
    look, turns = _look(identity), [slice(k, k + TOGETHER) for k in range(0, len(labels), TOGETHER)]
    images = _camera((image for turn in turns for image in draw(look, pose[turn])), rng)

    ids = identity_ids(split)
    pictures = []
    for k, label in enumerate(labels):
        method, image = "", images[k]
        if label == FAKE:
            method = _method(split, identity, k - REAL_PER_IDENTITY)
            donor = ids[(identity - ids[0] + 1 + k - REAL_PER_IDENTITY) % len(ids)]
            image = _fake(image, donor, pose[k : k + 1], method, rng)
        name = f"{split}/{'fake' if label else 'real'}/face{identity:03d}_{k:04d}"
        pictures.append(Picture(name, label, f"face{identity:03d}", method, _encode(image, rng)))
    return pictures


def _look(identity: int) -> Look:
    return draw_look(np.random.default_rng(np.random.SeedSequence([SEED, identity, 0])))


def _method(split: str, identity: int, k: int) -> str:
    """Methods in turn, so that every split has about as many fakes of each."""
    methods = (*METHODS, UNSEEN_METHOD) if split == "test" else METHODS
    return methods[(identity * FAKE_PER_IDENTITY + k) % len(methods)]


# ---- the camera --------------------------------------------------------------------------------------------


def _camera(
    images: Iterable[Float32[np.ndarray, "{SIZE} {SIZE} 3"]], rng: np.random.Generator
) -> list[UInt8[np.ndarray, "{SIZE} {SIZE} 3"]]:
    """Lens blur, white balance, exposure, sensor noise and a first JPEG encoding."""
    shot = []
    for image in images:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
        image = image * (rng.uniform(0.8, 1.15) * np.exp(rng.normal(0, 0.04, 3))).astype(np.float32)
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0.004, 0.016))
        shot.append(_decode(_encode(to_bytes(image), rng)))
    return shot


def _encode(image: UInt8[np.ndarray, "{SIZE} {SIZE} 3"], rng: np.random.Generator) -> bytes:
    quality = int(rng.integers(*QUALITY))
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _decode(data: bytes) -> UInt8[np.ndarray, "{SIZE} {SIZE} 3"]:
    return np.ascontiguousarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])


# ---- blending ----------------------------------------------------------------------------------------------


def _fake(target, donor: int, pose: Pose, method: str, rng: np.random.Generator):
    """Puts the donor's inner face, in the target's pose, into the target's picture."""
    if method == "self_blend":
        source = _disturb(target, rng)
    else:
        expression = draw_pose(rng, 1)  # the donor has an expression and a light of its own
        fields = ("smile", "open", "light_x", "light_y", "ambient")
        own = dataclasses.replace(pose, **{name: getattr(expression, name) for name in fields})
        source = _camera(draw(_look(donor), own), rng)[0]
    mask = _mask(pose, rng)
    source = _resample(source.astype(np.float32) / 255, rng)
    target = target.astype(np.float32) / 255
    source = match_colours(source, target, mask, rng.uniform(*COLOUR_MATCH))
    mask = mask * np.float32(rng.uniform(*OPACITY))
    return to_bytes(BLENDS["alpha" if method == "self_blend" else method](source, target, mask))


def _disturb(image, rng: np.random.Generator):
    """The same picture, shifted and recoloured (self-blended images, Shiohara and Yamasaki, 2022)."""
    shift = np.array([[1 + rng.uniform(-0.03, 0.03), 0, 0], [0, 1 + rng.uniform(-0.03, 0.03), 0]], np.float32)
    shift[:, 2] = rng.uniform(-2.5, 2.5, 2)
    moved = cv2.warpAffine(image, shift, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    gain = np.exp(rng.normal(0, 0.10, 3)) * rng.uniform(0.85, 1.15)
    return to_bytes(moved / 255 * gain)


def _mask(pose: Pose, rng: np.random.Generator) -> Float32[np.ndarray, "{SIZE} {SIZE}"]:
    """An ellipse from brows to chin, with a soft edge."""
    u, v = (c[0] for c in on_face(pose))
    mask = ellipse(
        u, v, rng.uniform(-0.03, 0.03), rng.uniform(0.02, 0.10), rng.uniform(0.34, 0.44), rng.uniform(0.38, 0.48)
    )
    return cv2.GaussianBlur(mask, (0, 0), rng.uniform(*FEATHER))


def _resample(image, rng: np.random.Generator):
    """Down and up again, as a generator of lower resolution leaves it."""
    small = int(SIZE * rng.uniform(*RESOLUTION))
    return cv2.resize(
        cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC
    )
