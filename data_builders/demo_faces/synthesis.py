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

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

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

SIZE = 128  # pixels
QUALITY = (80, 96)  # of either JPEG encoding

Images = Float32[np.ndarray, "images {SIZE} {SIZE} 3"]  # RGB in [0, 1]
Masks = Float32[np.ndarray, "images {SIZE} {SIZE}"]  # in [0, 1]


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """One synthetic picture, encoded."""

    id: str
    label: int
    identity: str
    method: str
    image: bytes  # JPEG


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What an identity keeps from picture to picture; lengths in units of half a picture."""

    skin: np.ndarray  # RGB
    hair: np.ndarray
    iris: np.ndarray
    lips: np.ndarray
    width: float  # of the head
    height: float
    jaw: float  # how much narrower the head is at the chin
    hairline: float
    eye_distance: float
    eye_height: float
    eye_size: float
    brow: float  # thickness
    brow_tilt: float
    nose_length: float
    nose_width: float
    mouth_width: float
    lip: float  # thickness
    texture: Float32[np.ndarray, "256 256"]  # of the skin, mean zero


@dataclasses.dataclass(frozen=True, slots=True)
class Pose:
    """What differs from picture to picture; every field has the shape (images, 1, 1)."""

    x: np.ndarray  # centre
    y: np.ndarray
    scale: np.ndarray
    roll: np.ndarray  # radians
    yaw: np.ndarray  # shift of the inner face
    smile: np.ndarray
    open: np.ndarray  # of the eyes
    light_x: np.ndarray
    light_y: np.ndarray
    ambient: np.ndarray
    scene: np.ndarray  # (images, 1, 1, 9): two background colours and the clothes

    def __getitem__(self, index: slice) -> "Pose":
        return Pose(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))


def identity_ids(split: str) -> list[int]:
    """Numbers of the split's identities; splits follow one another, so no number occurs twice."""
    names = list(IDENTITIES)
    first = sum(IDENTITIES[name] for name in names[: names.index(split)])
    return list(range(first, first + IDENTITIES[split]))


def identity_pictures(split: str, identity: int) -> list[Picture]:
    """All pictures of one identity, the fakes last; donors are the identities that follow in the split."""
    labels = [REAL] * REAL_PER_IDENTITY + [FAKE] * FAKE_PER_IDENTITY
    rng = np.random.default_rng(np.random.SeedSequence([SEED, identity, 1]))
    pose = _draw_pose(rng, len(labels))
    images = _camera(_draw(_draw_look(identity), pose), rng)

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


def _method(split: str, identity: int, k: int) -> str:
    """Methods in turn, so that every split has about as many fakes of each."""
    methods = (*METHODS, UNSEEN_METHOD) if split == "test" else METHODS
    return methods[(identity * FAKE_PER_IDENTITY + k) % len(methods)]


# ---- drawing -----------------------------------------------------------------------------------------------


def _draw_look(identity: int) -> Look:
    rng = np.random.default_rng(np.random.SeedSequence([SEED, identity, 0]))
    tone, hair = rng.uniform(0, 1), rng.uniform(0, 1)
    skin = (1 - tone) * np.array([0.93, 0.76, 0.66]) + tone * np.array([0.42, 0.28, 0.20])
    fine = rng.standard_normal((256, 256), dtype=np.float32)
    coarse = cv2.GaussianBlur(rng.standard_normal((256, 256), dtype=np.float32), (0, 0), 6) * 20
    freckles = -np.maximum(cv2.GaussianBlur(fine, (0, 0), 1.5) * 5 - 2, 0) * rng.uniform(0, 3)
    return Look(
        skin=skin * np.exp(rng.normal(0, 0.04, 3)),
        hair=(1 - hair) * np.array([0.10, 0.07, 0.05]) + hair * np.array([0.62, 0.45, 0.25]),
        iris=rng.uniform([0.1, 0.15, 0.1], [0.4, 0.5, 0.6]),
        lips=skin * rng.uniform([0.75, 0.45, 0.45], [0.95, 0.65, 0.7]),
        width=rng.uniform(0.50, 0.60),
        height=rng.uniform(0.68, 0.78),
        jaw=rng.uniform(0.1, 0.35),
        hairline=rng.uniform(-0.52, -0.38),
        eye_distance=rng.uniform(0.19, 0.25),
        eye_height=rng.uniform(-0.14, -0.06),
        eye_size=rng.uniform(0.085, 0.115),
        brow=rng.uniform(0.015, 0.04),
        brow_tilt=rng.uniform(-0.25, 0.25),
        nose_length=rng.uniform(0.14, 0.22),
        nose_width=rng.uniform(0.055, 0.09),
        mouth_width=rng.uniform(0.15, 0.23),
        lip=rng.uniform(0.03, 0.06),
        texture=0.35 * fine + 0.8 * coarse + freckles,
    )


def _draw_pose(rng: np.random.Generator, images: int) -> Pose:
    def draw(low, high):
        return rng.uniform(low, high, (images, 1, 1)).astype(np.float32)

    return Pose(
        x=draw(-0.06, 0.06),
        y=draw(-0.02, 0.10),
        scale=draw(0.92, 1.12),
        roll=draw(-0.12, 0.12),
        yaw=draw(-0.06, 0.06),
        smile=draw(-0.3, 1.2),
        open=draw(0.35, 0.65),
        light_x=draw(-0.7, 0.7),
        light_y=draw(-0.7, 0.1),
        ambient=draw(0.45, 0.75),
        scene=rng.uniform(0.1, 0.9, (images, 1, 1, 9)).astype(np.float32),
    )


def _draw(look: Look, pose: Pose) -> Images:
    """Paints back to front: scene, clothes, hair, head, features, fringe."""
    axis = (np.arange(SIZE, dtype=np.float32) + 0.5) / (SIZE / 2) - 1
    x, y = (axis[None, None, :] - pose.x) / pose.scale, (axis[None, :, None] - pose.y) / pose.scale
    u = np.cos(pose.roll) * x + np.sin(pose.roll) * y
    v = np.cos(pose.roll) * y - np.sin(pose.roll) * x
    high = (axis[None, :, None, None] + 1) / 2
    image = pose.scene[..., :3] * (1 - high) + pose.scene[..., 3:6] * high
    image = np.repeat(image, SIZE, axis=2)

    _paint(image, _ellipse(u, v, 0, 1.15, 0.95, 0.42), pose.scene[..., 6:])
    w, h = look.width, look.height
    _paint(image, _ellipse(u, v, 0, -0.12, w * 1.16, h * 1.02), look.hair)
    _paint(image, _ellipse(u, v, 0, 0.70, w * 0.55, 0.35), look.skin * 0.72)

    narrow = w * (1 - look.jaw * np.clip(v / h, 0, 1) ** 2)
    nx, ny = u / narrow, v / h
    light = 0.8 * (nx * pose.light_x + ny * pose.light_y) + np.sqrt(np.clip(1 - nx**2 - ny**2, 0, 1))
    shade = (pose.ambient + (1 - pose.ambient) * np.clip(light, 0, 1.3))[..., None]
    grain = _on_skin(look.texture, u - pose.yaw, v)[..., None]
    skin = look.skin.astype(np.float32) * shade * (1 + 0.05 * grain)
    _paint(image, _ellipse(u, v, 0, 0, narrow, h), skin)

    u = u - pose.yaw * (1 - nx**2)  # the inner face turns, the outline stays
    for side in (-1, 1):
        _draw_eye(image, look, pose, (u - side * look.eye_distance) * side, v - look.eye_height, shade)
    _draw_nose(image, look, pose, u, v - look.eye_height - look.nose_length, skin)
    _draw_mouth(image, look, pose, u, v - look.eye_height - look.nose_length - 0.17, shade)
    top = _ellipse(u, v, 0, -0.12, w * 1.16, h * 1.02) * np.clip((look.hairline - v + 0.15 * u) * 40, 0, 1)
    _paint(image, top * (0.9 + 0.1 * grain[..., 0]).clip(0, 1), look.hair)
    return np.clip(image, 0, 1)


def _draw_eye(image, look: Look, pose: Pose, u, v, shade) -> None:
    """One eye and its brow; u runs outwards from the eye's centre."""
    size = look.eye_size
    opening = _ellipse(u, v, 0, 0, size, size * pose.open)
    _paint(image, _ellipse(u, v, 0, -0.01, size * 1.25, size * pose.open * 1.5) * 0.35, look.skin * 0.55)
    _paint(image, opening, 0.92 * shade)
    _paint(image, opening * _ellipse(u, v, -pose.yaw / 3, 0, size * 0.45, size * 0.45), look.iris)
    _paint(image, opening * _ellipse(u, v, -pose.yaw / 3, 0, size * 0.2, size * 0.2), np.full(3, 0.03))
    _paint(image, _ellipse(u, v, 0.2 * size, -0.2 * size, 0.09 * size, 0.09 * size), np.full(3, 0.95))
    brow = v + 1.5 * size + look.brow_tilt * u + 2 * u * u
    _paint(image, _ellipse(u, brow, 0.02, 0, size * 1.3, look.brow), look.hair * 0.8)


def _draw_nose(image, look: Look, pose: Pose, u, v, skin) -> None:
    """A shaded side, a tip and two nostrils; v is zero at the tip."""
    ridge = np.exp(
        -(((u - 0.03 * np.sign(pose.light_x)) / look.nose_width) ** 2) - (np.minimum(v, 0) / 0.2) ** 2
    )
    _paint(image, 0.3 * ridge * np.clip((0.05 - v) * 30, 0, 1), skin * 0.7)
    _paint(image, 0.25 * _ellipse(u, v, 0, 0, look.nose_width, 0.05), np.clip(skin * 1.25, 0, 1))
    for side in (-1, 1):
        _paint(image, 0.7 * _ellipse(u, v, side * look.nose_width * 0.6, 0.04, 0.022, 0.014), look.skin * 0.3)


def _draw_mouth(image, look: Look, pose: Pose, u, v, shade) -> None:
    """Two lips and the line between them; a smile lifts the corners."""
    bend = v + pose.smile * 0.9 * u * u
    width = look.mouth_width * (1 + 0.12 * pose.smile)
    _paint(image, _ellipse(u, bend, 0, 0, width, look.lip), look.lips * shade)
    _paint(
        image,
        _ellipse(u, bend, 0, look.lip * 0.35, width * 0.7, look.lip * 0.3) * 0.3,
        look.lips * 1.25 * shade,
    )
    _paint(image, _ellipse(u, bend, 0, 0, width * 0.95, 0.012) * 0.8, look.lips * 0.4)


def _ellipse(u, v, x, y, rx, ry) -> Masks:
    """Coverage of an ellipse, its edge about two pixels soft."""
    distance = (np.sqrt(((u - x) / rx) ** 2 + ((v - y) / ry) ** 2) - 1) * np.minimum(rx, ry)
    return np.clip(0.5 - distance * (SIZE / 4), 0, 1).astype(np.float32)


def _paint(image: Images, mask: Masks, colour) -> None:
    """Lays `colour` over the image where the mask is one."""
    image += mask[..., None] * (np.asarray(colour, np.float32) - image)


def _on_skin(texture, u, v) -> Masks:
    """The texture at face coordinates, so that it moves with the face."""
    grids = [np.ascontiguousarray(np.broadcast_to(128 + 120 * c, u.shape), np.float32) for c in (u, v)]
    return np.stack(
        [
            cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            for x, y in zip(*grids, strict=True)
        ]
    )


# ---- the camera --------------------------------------------------------------------------------------------


def _camera(images: Images, rng: np.random.Generator) -> list[UInt8[np.ndarray, "{SIZE} {SIZE} 3"]]:
    """Lens blur, white balance, exposure, sensor noise and a first JPEG encoding."""
    shot = []
    for image in images:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9))
        image = image * (rng.uniform(0.8, 1.15) * np.exp(rng.normal(0, 0.04, 3))).astype(np.float32)
        image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(
            rng.uniform(0.004, 0.016)
        )
        shot.append(_decode(_encode(_to_bytes(image), rng)))
    return shot


def _to_bytes(image) -> UInt8[np.ndarray, "{SIZE} {SIZE} 3"]:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


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
        expression = _draw_pose(rng, 1)  # the donor has an expression and a light of its own
        fields = ("smile", "open", "light_x", "light_y", "ambient")
        own = dataclasses.replace(pose, **{name: getattr(expression, name) for name in fields})
        source = _camera(_draw(_draw_look(donor), own), rng)[0]
    mask = _mask(pose, rng)
    source = _resample(source.astype(np.float32) / 255, rng)
    target = target.astype(np.float32) / 255
    source = _match_colours(source, target, mask, rng.uniform(*COLOUR_MATCH))
    mask = mask * np.float32(rng.uniform(*OPACITY))
    return _to_bytes(BLENDS["alpha" if method == "self_blend" else method](source, target, mask))


def _disturb(image, rng: np.random.Generator):
    """The same picture, shifted and recoloured (self-blended images, Shiohara and Yamasaki, 2022)."""
    shift = np.array([[1 + rng.uniform(-0.03, 0.03), 0, 0], [0, 1 + rng.uniform(-0.03, 0.03), 0]], np.float32)
    shift[:, 2] = rng.uniform(-2.5, 2.5, 2)
    moved = cv2.warpAffine(image, shift, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    gain = np.exp(rng.normal(0, 0.10, 3)) * rng.uniform(0.85, 1.15)
    return _to_bytes(moved / 255 * gain)


def _mask(pose: Pose, rng: np.random.Generator) -> Float32[np.ndarray, "{SIZE} {SIZE}"]:
    """An ellipse from brows to chin, with a soft edge."""
    axis = (np.arange(SIZE, dtype=np.float32) + 0.5) / (SIZE / 2) - 1
    x, y = (axis[None, :] - pose.x[0]) / pose.scale[0], (axis[:, None] - pose.y[0]) / pose.scale[0]
    u = np.cos(pose.roll[0]) * x + np.sin(pose.roll[0]) * y
    v = np.cos(pose.roll[0]) * y - np.sin(pose.roll[0]) * x
    mask = _ellipse(
        u,
        v,
        rng.uniform(-0.03, 0.03),
        rng.uniform(0.02, 0.10),
        rng.uniform(0.34, 0.44),
        rng.uniform(0.38, 0.48),
    )
    return cv2.GaussianBlur(mask, (0, 0), rng.uniform(*FEATHER))


def _resample(image, rng: np.random.Generator):
    """Down and up again, as a generator of lower resolution leaves it."""
    small = int(SIZE * rng.uniform(*RESOLUTION))
    return cv2.resize(
        cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA),
        (SIZE, SIZE),
        interpolation=cv2.INTER_CUBIC,
    )


def _match_colours(source, target, mask, share: float):
    """Moves the source's colours under the mask towards the target's (Reinhard et al., 2001)."""
    weight = (mask / mask.sum())[..., None]
    mean, goal = (source * weight).sum((0, 1)), (target * weight).sum((0, 1))
    spread, wide = (
        np.sqrt((np.square(i - m) * weight).sum((0, 1))) for i, m in ((source, mean), (target, goal))
    )
    matched = (source - mean) * np.clip(wide / spread, 0.5, 2) + goal
    return (source + np.float32(share) * (matched - source)).astype(np.float32)


def _alpha(source, target, mask):
    """The weighted mean."""
    return target + mask[..., None] * (source - target)


def _poisson(source, target, mask):
    """The source's gradients inside the mask, the target's values at its edge (Perez et al., 2003)."""
    inside = (mask > 0.5 * mask.max()).astype(np.uint8) * 255
    left, top, width, height = cv2.boundingRect(inside)
    centre = (left + width // 2, top + height // 2)
    cloned = cv2.seamlessClone(_to_bytes(source), _to_bytes(target), inside, centre, cv2.NORMAL_CLONE)
    return _alpha(cloned.astype(np.float32) / 255, target, np.minimum(mask.max(), 1) * np.ones_like(mask))


def _multiband(source, target, mask, levels: int = 4):
    """Each octave blended with an edge of its own width (Burt and Adelson, 1983)."""
    blended = np.zeros_like(target)
    for level in range(levels):
        sigma = 2.0**level
        last = level == levels - 1
        bands = [i - cv2.GaussianBlur(i, (0, 0), sigma) if not last else i for i in (source, target)]
        blended += _alpha(*bands, cv2.GaussianBlur(mask, (0, 0), sigma))
        source, target = (i - b for i, b in zip((source, target), bands, strict=True))
    return blended


BLENDS = {"alpha": _alpha, "poisson": _poisson, "multiband": _multiband}
