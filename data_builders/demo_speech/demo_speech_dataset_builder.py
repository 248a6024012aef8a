"""demo_speech: synthetic voices and vocoder copies of them. It proves nothing about real deepfakes."""

import numpy as np
import tensorflow_datasets as tfds

from data_builders import synthetic
from dfjax.records import SAMPLE_RATE


def records(split: str, speaker: int) -> list[dict]:
    """The records (see `dfjax.records`) of one speaker, but for their `dataset`."""
    from data_builders.demo_speech import synthesis  # with SciPy, which prepared data do without

    return [
        {
            "id": clip.id,
            "label": clip.label,
            "group": clip.speaker,
            "clip": clip.id,
            "method": clip.method,
            "audio": clip.audio,
            "duration": np.float32(len(clip.audio) / SAMPLE_RATE),
        }
        for clip in synthesis.speaker_clips(split, speaker)
    ]


class Builder(synthetic.SyntheticBuilder):
    """Makes its own data; `synthesis.py` says how."""

    VERSION = tfds.core.Version("3.0.0")
    RELEASE_NOTES = {
        "1.0.0": "First release.",
        "2.0.0": "Steadier voices, fakes mixed in as strongly as their vocoder needs, other numbers of speakers.",
        "3.0.0": "Twice as many speakers in test, the first of them those of before; train and validation as before.",
    }
    MODALITY = "audio"

    def units(self, split: str):
        """One unit per speaker."""
        from data_builders.demo_speech import synthesis

        return records, synthesis.speaker_ids(split)
