"""The user's own recordings: `{train,val,test}/{real,fake}` or `{real,fake}`, any audio or video format."""

import tensorflow_datasets as tfds
from etils import epath

from data_builders import folders, preparing
from data_builders.indexing import AUDIO_SUFFIXES, VIDEO_SUFFIXES, Index
from dfjax.records import SUBGROUPS

SOUND_SUFFIXES = tuple(suffix for suffix in AUDIO_SUFFIXES + VIDEO_SUFFIXES if suffix != ".gif")


def index(root: epath.Path, config: preparing.MediaConfig) -> Index:
    """The recordings and videos with sound in the folder; raises InputError as `folders.index`."""
    whole = config.protocol == "whole"
    return folders.index(root, "folder_audio", SOUND_SUFFIXES, whole=whole)


class Builder(preparing.MediaBuilder):
    """One prepared dataset per folder: the config is named after the folder and a digest of what it holds."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Give a folder with {train,val,test}/{real,fake} or {real,fake} inside, and optionally a "
        "metadata.csv with the column file and any of speaker, group, generator, domain, gender, language."
    )
    BUILDER_CONFIGS = [
        preparing.MediaConfig(name="folder", protocol="folder", modality="audio"),
        preparing.MediaConfig(
            name="folder-whole",
            protocol="whole",
            modality="audio",
            description="All of a folder without split folders to train on; judge by leaving its domains out.",
        ),
    ]
    CONFIG_PER_SOURCE = True
    SUBGROUPS = SUBGROUPS

    def index(self, root: epath.Path) -> Index:
        """The recordings in the folder."""
        return index(root, self.builder_config)
