"""TFDS builders, one folder per dataset: what the user holds on disk becomes prepared records."""

import importlib

from dfjax.records import InputError

DATASETS = {  # name -> folder.module:class; add a line per dataset, sorted by name
    "asvspoof2019_la": "asvspoof2019_la.asvspoof2019_la_dataset_builder:Builder",
    "celeb_df_v2": "celeb_df_v2.celeb_df_v2_dataset_builder:Builder",
    "deepfake_audio": "deepfake_audio.deepfake_audio_dataset_builder:Builder",
    "deepfake_image_detection": "deepfake_image_detection.deepfake_image_detection_dataset_builder:Builder",
    "demo_faces": "demo_faces.demo_faces_dataset_builder:Builder",
    "demo_speech": "demo_speech.demo_speech_dataset_builder:Builder",
    "dfd": "dfd.dfd_dataset_builder:Builder",
    "faceforensics": "faceforensics.faceforensics_dataset_builder:Builder",
    "faces_140k": "faces_140k.faces_140k_dataset_builder:Builder",
    "fake_or_real": "fake_or_real.fake_or_real_dataset_builder:Builder",
    "fakeavceleb": "fakeavceleb.fakeavceleb_dataset_builder:Builder",
    "folder_audio": "folder_audio.folder_audio_dataset_builder:Builder",
    "folder_av": "folder_av.folder_av_dataset_builder:Builder",
    "folder_image": "folder_image.folder_image_dataset_builder:Builder",
    "wavefake": "wavefake.wavefake_dataset_builder:Builder",
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
