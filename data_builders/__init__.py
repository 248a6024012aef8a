"""TFDS builders, one folder per dataset: what the user holds on disk becomes prepared records."""

import importlib

from dfjax.records import InputError

DATASETS = {  # name -> folder.module:class; add a line per dataset, sorted by name
    "deepfake_audio": "deepfake_audio.deepfake_audio_dataset_builder:Builder",
    "demo_speech": "demo_speech.demo_speech_dataset_builder:Builder",
    "folder_audio": "folder_audio.folder_audio_dataset_builder:Builder",
    "folder_image": "folder_image.folder_image_dataset_builder:Builder",
}


def load(name: str):
    """The builder class of a dataset.

    Raises:
      InputError: there is none of this name.
    """
    if name not in DATASETS:
        raise InputError(f"Unknown dataset {name!r}; expected one of {sorted(DATASETS)}")
    module, cls = DATASETS[name].split(":")
    return getattr(importlib.import_module(f"data_builders.{module}"), cls)
