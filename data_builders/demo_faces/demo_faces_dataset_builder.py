"""demo_faces: drawn faces and blends of them. It proves nothing about real deepfakes."""

import tensorflow_datasets as tfds

from data_builders import synthetic
from data_builders.demo_faces import synthesis


def records(split: str, identity: int) -> list[dict]:
    """The records (see `dfjax.records`) of one identity, but for their `dataset`."""
    return [
        {
            "id": picture.id,
            "label": picture.label,
            "group": picture.identity,
            "clip": picture.id,
            "method": picture.method,
            "image": picture.image,
        }
        for picture in synthesis.identity_pictures(split, identity)
    ]


class Builder(synthetic.SyntheticBuilder):
    """Makes its own data; `synthesis.py` says how."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MODALITY = "image"

    def units(self, split: str):
        """One unit per identity."""
        return records, synthesis.identity_ids(split)
