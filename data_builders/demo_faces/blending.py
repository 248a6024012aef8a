"""Ways to put one picture into another: (source, target, mask) -> picture; RGB and mask in [0, 1]."""

import cv2
import numpy as np


def match_colours(source, target, mask, share: float):
    """Moves the source's colours under the mask towards the target's (Reinhard et al., 2001)."""
    weight = (mask / mask.sum())[..., None]
    mean, goal = (source * weight).sum((0, 1)), (target * weight).sum((0, 1))
    spread, wide = (np.sqrt((np.square(i - m) * weight).sum((0, 1))) for i, m in ((source, mean), (target, goal)))
    matched = (source - mean) * np.clip(wide / spread, 0.5, 2) + goal
    return (source + np.float32(share) * (matched - source)).astype(np.float32)


def to_bytes(image):
    """[0, 1] as uint8."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def alpha(source, target, mask):
    """The mean of both pictures, the source weighted by the mask."""
    return target + mask[..., None] * (source - target)


def poisson(source, target, mask):
    """The source's gradients inside the mask, the target's values at its edge (Perez et al., 2003)."""
    inside = (mask > 0.5 * mask.max()).astype(np.uint8) * 255
    left, top, width, height = cv2.boundingRect(inside)
    centre = (left + width // 2, top + height // 2)
    cloned = cv2.seamlessClone(to_bytes(source), to_bytes(target), inside, centre, cv2.NORMAL_CLONE)
    return alpha(cloned.astype(np.float32) / 255, target, np.minimum(mask.max(), 1) * np.ones_like(mask))


def multiband(source, target, mask, levels: int = 4):
    """Each octave blended with an edge of its own width (Burt and Adelson, 1983)."""
    blended = np.zeros_like(target)
    for level in range(levels):
        sigma = 2.0**level
        last = level == levels - 1
        bands = [i - cv2.GaussianBlur(i, (0, 0), sigma) if not last else i for i in (source, target)]
        blended += alpha(*bands, cv2.GaussianBlur(mask, (0, 0), sigma))
        source, target = (i - b for i, b in zip((source, target), bands, strict=True))
    return blended


BLENDS = {"alpha": alpha, "poisson": poisson, "multiband": multiband}
