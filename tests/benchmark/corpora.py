"""All datasets in small, under their folder names, with media that can be decoded and told apart.

Speech: tones, a fake one with a buzz. Pictures and faces: those of the demo, a fake one with noise. Videos: a few
frames of them.
"""

import functools
import pathlib

import cv2
import numpy as np
import soundfile

from data_builders.demo_faces import synthesis
from tests.data_builders import fixtures, trees

RATE = 16_000
FRAMES = 2  # of a video


def voice(seed, fake, seconds=0.8):
    """Samples of a voice, float64."""
    x = fixtures.samples(seconds, RATE, 1, seed)[:, 0]
    t = np.arange(len(x)) / RATE
    return 0.8 * x + 0.15 * fake * np.sign(np.sin(2 * np.pi * 1000 * t))


@functools.cache
def faces():
    """Drawn portraits on a wide ground, large enough for the face detector."""
    found = []
    for identity in range(4):
        for picture in synthesis.identity_pictures("train", identity)[:2]:
            image = cv2.imdecode(np.frombuffer(picture.image, np.uint8), cv2.IMREAD_COLOR_RGB)
            found.append(cv2.copyMakeBorder(cv2.resize(image, (256, 256)), 32, 32, 64, 64, cv2.BORDER_REPLICATE))
    return found


def face(seed, fake):
    """A portrait, unlike for every seed."""
    rng = np.random.default_rng(seed)
    image = faces()[seed % len(faces())].astype(np.float32) * rng.uniform(0.85, 1.1)
    return np.clip(image + rng.normal(0, 2 + 14 * fake, image.shape), 0, 255).astype(np.uint8)


def media(root, is_fake):
    """Every file of a tree that is to be media, made anew; `is_fake` tells by its path from the root."""
    for seed, path in enumerate(sorted(pathlib.Path(root).rglob("*.*"))):
        kind, relative = path.suffix.lower(), path.relative_to(root).as_posix()
        if not path.is_file() or path.name.startswith(".") or not path.stat().st_size:
            continue
        fake = is_fake(relative.lower())
        if kind in (".wav", ".flac", ".mp3"):
            soundfile.write(path, voice(seed, fake), RATE)
        elif kind in (".jpg", ".png"):
            fixtures.image(path, pixels=face(seed, fake))
        elif kind == ".mp4":
            fixtures.video(path, pictures=[face(1000 * seed + k, fake) for k in range(FRAMES)], sound=True, seed=seed)


def faceforensics(root):
    for pairs in trees.FF_PAIRS.values():
        for a, b in pairs:
            trees.put(root, f"original/{a}.mp4", f"original/{b}.mp4")
            for method in ("Deepfakes", "FaceSwap"):
                trees.put(root, f"{method}/{a}_{b}.mp4", f"{method}/{b}_{a}.mp4")
    trees.put(root, "csv/original.csv", "DeepFakeDetection/01_02__exit_phone_room__YVGY8LOK.mp4")


def deep_voice(root):
    voices = ("ann", "ben", "cat", "dan", "eve", "fay")
    trees.put(root, *(f"KAGGLE/AUDIO/REAL/{a}-original.wav" for a in voices))
    trees.put(root, *(f"KAGGLE/AUDIO/FAKE/{a}-to-{b}.wav" for a in voices for b in voices if a != b))


DATASETS = {  # folder -> tree, is a path of it fake
    "LA": (trees.asvspoof, None),
    "Celeb-DF-v2": (trees.celeb_df, lambda p: "synthesis" in p),
    "archive/deep voice": (deep_voice, lambda p: "/fake/" in p),
    "Deepfake image detection dataset": (trees.deepfake_pictures, lambda p: "/fake/" in p),
    "dfd-entire-original-dataset": (trees.dfd, lambda p: "manipulated" in p),
    "ff-c23/FaceForensics++_C23": (faceforensics, lambda p: not p.startswith("original")),
    "140k-real-and-fake-faces": (trees.faces_140k, lambda p: "/fake/" in p),
    "the-fake-or-real-dataset": (trees.fake_or_real, lambda p: "/fake/" in p),
    "FakeAVCeleb_v1.2/FakeAVCeleb_v1.2": (lambda root: trees.fakeavceleb(root, 3), lambda p: "fakevideo" in p),
    "WaveFake": (trees.wavefake, lambda p: p.startswith("generated_audio")),
}


def make(root, names=tuple(DATASETS)):
    """The datasets below a folder."""
    for name in names:
        tree, is_fake = DATASETS[name]
        folder = pathlib.Path(root, name)
        tree(folder)
        for path in folder.rglob("truncated.jpg"):
            path.unlink()
        if is_fake is None:  # by the protocols
            lines = [line for p in folder.rglob("*.cm.*.txt") for line in p.read_text().splitlines()]
            spoofed = {line.split()[1].lower() for line in lines if line.endswith("spoof")}
            is_fake = lambda p, spoofed=spoofed: pathlib.Path(p).stem in spoofed  # noqa: E731
        media(folder, is_fake)
