"""Faces painted back to front from ellipses, shading and a skin texture."""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float32

SIZE = 128  # pixels

Images = Float32[np.ndarray, "images {SIZE} {SIZE} 3"]  # RGB in [0, 1]
Masks = Float32[np.ndarray, "images {SIZE} {SIZE}"]  # in [0, 1]


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


def draw_look(rng: np.random.Generator) -> Look:
    """Draws an identity."""
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


def draw_pose(rng: np.random.Generator, images: int) -> Pose:
    """Draws what differs between `images` pictures."""

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


def draw(look: Look, pose: Pose) -> Images:
    """Paints back to front: scene, clothes, hair, head, features, fringe."""
    u, v = on_face(pose)
    high = ((np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE)[None, :, None, None]
    image = pose.scene[..., :3] * (1 - high) + pose.scene[..., 3:6] * high
    image = np.repeat(np.moveaxis(image, 3, 0), SIZE, axis=3).transpose(1, 2, 3, 0)  # a plane a colour: fast to paint

    _paint(image, ellipse(u, v, 0, 1.15, 0.95, 0.42), pose.scene[..., 6:])
    w, h = look.width, look.height
    _paint(image, ellipse(u, v, 0, -0.12, w * 1.16, h * 1.02), look.hair)
    _paint(image, ellipse(u, v, 0, 0.70, w * 0.55, 0.35), look.skin * 0.72)

    narrow = w * (1 - look.jaw * np.clip(v / h, 0, 1) ** 2)
    nx, ny = u / narrow, v / h
    light = 0.8 * (nx * pose.light_x + ny * pose.light_y) + np.sqrt(np.clip(1 - nx**2 - ny**2, 0, 1))
    shade = (pose.ambient + (1 - pose.ambient) * np.clip(light, 0, 1.3))[..., None]
    grain = _on_skin(look.texture, u - pose.yaw, v)[..., None]
    skin = look.skin.astype(np.float32) * shade * (1 + 0.05 * grain)
    _paint(image, ellipse(u, v, 0, 0, narrow, h), skin)

    u = u - pose.yaw * (1 - nx**2)  # the inner face turns, the outline stays
    for side in (-1, 1):
        _draw_eye(image, look, pose, (u - side * look.eye_distance) * side, v - look.eye_height, shade)
    _draw_nose(image, look, pose, u, v - look.eye_height - look.nose_length, skin)
    _draw_mouth(image, look, pose, u, v - look.eye_height - look.nose_length - 0.17, shade)
    top = ellipse(u, v, 0, -0.12, w * 1.16, h * 1.02) * np.clip((look.hairline - v + 0.15 * u) * 40, 0, 1)
    _paint(image, top * (0.9 + 0.1 * grain[..., 0]).clip(0, 1), look.hair)
    return np.ascontiguousarray(np.clip(image, 0, 1))


def on_face(pose: Pose) -> tuple[Masks, Masks]:
    """(across, down): coordinates of every pixel in the face, which is upright, of scale 1 and at the origin there."""
    axis = (np.arange(SIZE, dtype=np.float32) + 0.5) / (SIZE / 2) - 1
    x, y = (axis[None, None, :] - pose.x) / pose.scale, (axis[None, :, None] - pose.y) / pose.scale
    return (np.cos(pose.roll) * x + np.sin(pose.roll) * y, np.cos(pose.roll) * y - np.sin(pose.roll) * x)


def _draw_eye(image, look: Look, pose: Pose, u, v, shade) -> None:
    """One eye and its brow; u runs outwards from the eye's centre."""
    size = look.eye_size
    opening = ellipse(u, v, 0, 0, size, size * pose.open)
    _paint(image, ellipse(u, v, 0, -0.01, size * 1.25, size * pose.open * 1.5) * 0.35, look.skin * 0.55)
    _paint(image, opening, 0.92 * shade)
    _paint(image, opening * ellipse(u, v, -pose.yaw / 3, 0, size * 0.45, size * 0.45), look.iris)
    _paint(image, opening * ellipse(u, v, -pose.yaw / 3, 0, size * 0.2, size * 0.2), np.full(3, 0.03))
    _paint(image, ellipse(u, v, 0.2 * size, -0.2 * size, 0.09 * size, 0.09 * size), np.full(3, 0.95))
    brow = v + 1.5 * size + look.brow_tilt * u + 2 * u * u
    _paint(image, ellipse(u, brow, 0.02, 0, size * 1.3, look.brow), look.hair * 0.8)


def _draw_nose(image, look: Look, pose: Pose, u, v, skin) -> None:
    """A shaded side, a tip and two nostrils; v is zero at the tip."""
    ridge = np.exp(-(((u - 0.03 * np.sign(pose.light_x)) / look.nose_width) ** 2) - (np.minimum(v, 0) / 0.2) ** 2)
    _paint(image, 0.3 * ridge * np.clip((0.05 - v) * 30, 0, 1), skin * 0.7)
    _paint(image, 0.25 * ellipse(u, v, 0, 0, look.nose_width, 0.05), np.clip(skin * 1.25, 0, 1))
    for side in (-1, 1):
        _paint(image, 0.7 * ellipse(u, v, side * look.nose_width * 0.6, 0.04, 0.022, 0.014), look.skin * 0.3)


def _draw_mouth(image, look: Look, pose: Pose, u, v, shade) -> None:
    """Two lips and the line between them; a smile lifts the corners."""
    bend = v + pose.smile * 0.9 * u * u
    width = look.mouth_width * (1 + 0.12 * pose.smile)
    _paint(image, ellipse(u, bend, 0, 0, width, look.lip), look.lips * shade)
    _paint(image, ellipse(u, bend, 0, look.lip * 0.35, width * 0.7, look.lip * 0.3) * 0.3, look.lips * 1.25 * shade)
    _paint(image, ellipse(u, bend, 0, 0, width * 0.95, 0.012) * 0.8, look.lips * 0.4)


def ellipse(u, v, x, y, rx, ry) -> Masks:
    """Coverage in [0, 1] of an ellipse at (x, y) with half axes rx and ry by pixels at (u, v); its edge is soft.

    The edge is about two pixels wide.
    """
    distance = (np.sqrt(((u - x) / rx) ** 2 + ((v - y) / ry) ** 2) - 1) * np.minimum(rx, ry)
    return np.clip(0.5 - distance * (SIZE / 4), 0, 1).astype(np.float32)


def _paint(image: Images, mask: Masks, colour) -> None:
    """Lays `colour` over the image where the mask is one."""
    image += mask[..., None] * (np.asarray(colour, np.float32) - image)


def _on_skin(texture, u, v) -> Masks:
    """The texture at face coordinates, so that it moves with the face."""
    grids = [np.ascontiguousarray(np.broadcast_to(128 + 120 * c, u.shape), np.float32) for c in (u, v)]
    return np.stack(
        [cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT) for x, y in zip(*grids, strict=True)]
    )
