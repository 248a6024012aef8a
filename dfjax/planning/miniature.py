"""Folders of made clips, as small as can be trained on: by them a machine is measured."""

import functools
import pathlib

import av
import cv2
import numpy as np
import soundfile

from data_builders.demo_faces import synthesis
from dfjax.records import SAMPLE_RATE

BUILDERS = {"audio": "folder_audio", "image": "folder_image", "av": "folder_av"}
SPLITS = ("train", "val", "test")
EACH = 4  # clips of each class and split
SECONDS = 2.0
FRAMES = 4  # of a video


def make(folder: pathlib.Path, modality: str) -> str:
    """Writes the clips into a folder; returns the builder that takes them."""
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for fake, label in enumerate(("real", "fake")):
            (folder / split / label).mkdir(parents=True)
            for i in range(EACH):
                path = folder / split / label / f"{i}"
                if modality == "audio":
                    soundfile.write(path.with_suffix(".wav"), _sound(rng, fake), SAMPLE_RATE)
                elif modality == "av":
                    _video(path.with_suffix(".mp4"), rng, fake)
                else:
                    cv2.imwrite(str(path.with_suffix(".png")), _picture(rng, fake))
    return BUILDERS[modality]


def _sound(rng: np.random.Generator, fake: int) -> np.ndarray:
    time = np.arange(round(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    return 0.2 * np.sin(2 * np.pi * rng.uniform(100, 300) * time) + (0.01 + 0.04 * fake) * rng.normal(size=len(time))


@functools.cache
def _portrait(identity: int) -> np.ndarray:
    portrait = next(iter(synthesis.identity_pictures("train", identity)))
    image = cv2.resize(cv2.imdecode(np.frombuffer(portrait.image, np.uint8), cv2.IMREAD_COLOR), (256, 256))
    return cv2.copyMakeBorder(image, 32, 32, 64, 64, cv2.BORDER_REPLICATE)


def _picture(rng: np.random.Generator, fake: int) -> np.ndarray:
    image = _portrait(int(rng.integers(3)))
    return np.clip(image + rng.normal(0, 2 + 14 * fake, image.shape), 0, 255).astype(np.uint8)


def _video(path: pathlib.Path, rng: np.random.Generator, fake: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        voice = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for k in range(FRAMES):
            picture = _picture(rng, fake)
            if k == 0:
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
        sound = av.AudioFrame.from_ndarray(_sound(rng, fake).astype(np.float32)[None], format="fltp", layout="mono")
        sound.sample_rate = SAMPLE_RATE
        container.mux(voice.encode(sound))
        container.mux(voice.encode())
