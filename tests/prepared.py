"""A prepared dataset of synthetic clips, written straight as records: tests of feeds, devices and resume use it."""

import contextlib
import pathlib

import cv2
import numpy as np
import tensorflow_datasets as tfds

from data_builders import preparing
from dfjax import records
from dfjax.media import images

COUNTS = {"train": (40, 10), "validation": (12, 6), "test": (12, 6)}  # (real, fake)


class _Made(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    name = "made"
    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, counts, modality, seconds, jpeg, **kwargs):
        self.counts, self.modality, self.seconds, self.jpeg = counts, modality, seconds, jpeg
        super().__init__(**kwargs)

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=records.features(self.modality))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.counts}

    def _generate_examples(self, split):
        real, fake = self.counts[split]
        for i in range(real + fake):
            label = int(i >= real)
            name = f"{split}/{i:06d}"
            record = {
                "id": name,
                "clip": name,
                "group": f"{split}{i}",
                "method": "buzz" * label,
                "dataset": "made",
                "domain": f"site{i % 3}",
            }
            rng = np.random.default_rng([i, len(split)])
            if self.modality == "audio":
                payload = _clip(rng, label, self.seconds)
            else:
                payload = _scene(rng, self.jpeg) if self.jpeg else _picture(rng, label)
            if self.modality == "av":
                payload |= _sounding(rng, label, i)
            yield name, record | {"label": label} | payload


def _clip(rng, label, seconds):
    samples = int(16000 * seconds * rng.uniform(0.7, 1.3))
    x = 0.2 * np.sin(2 * np.pi * rng.uniform(100, 300) / 16000 * np.arange(samples)) + 0.02 * rng.standard_normal(
        samples
    )
    if label:
        x += 0.05 * np.sign(np.sin(2 * np.pi * 1000 / 16000 * np.arange(samples)))
    return {"audio": (32767 * x).astype(np.int16), "duration": np.float32(samples / 16000)}


def _picture(rng, label):
    x = rng.normal(128, 4 + 8 * label, (32, 32, 3)).clip(0, 255).astype(np.uint8)
    return {"image": cv2.imencode(".png", x)[1].tobytes()}


def _scene(rng, side):
    """A JPEG like those of face crops: smooth forms and a camera's noise."""
    smooth = cv2.resize(rng.normal(128, 50, (8, 8, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    x = (smooth + rng.normal(0, 3, (side, side, 3))).clip(0, 255).astype(np.uint8)
    return {"image": images.encode(x, "jpeg")}


def _sounding(rng, label, i):
    """What a video's frame has beside its picture; of every third one picture and sound are not known by themselves."""
    sound = {"audio": np.resize(_clip(rng, label, 1.0)["audio"], 16000), "duration": np.float32(1)}
    parts = dict.fromkeys(("picture", "sound"), "" if i % 3 == 0 else records.LABEL_NAMES[label])
    return sound | parts | {"frame": i, "box": np.zeros(4, np.float32)}


def make(folder, *, counts=COUNTS, modality="audio", seconds=0.5, jpeg=0) -> pathlib.Path:
    """The folder of the prepared dataset, with indexes; pictures are small PNGs, or JPEGs of `jpeg` pixels a side."""
    words = {"counts": counts, "modality": modality, "seconds": seconds, "jpeg": jpeg}
    builder = _Made(**words, data_dir=folder, file_format="array_record")
    if not pathlib.Path(builder.data_dir).exists():
        tfds.disable_progress_bar()
        with contextlib.redirect_stdout(None):
            builder.download_and_prepare()
        for split in counts:
            preparing.write_index(builder, split)
    return pathlib.Path(builder.data_dir)
