"""The user's own pictures and videos: `{train,val,test}/{real,fake}` or `{real,fake}`."""

import tensorflow_datasets as tfds
from etils import epath

from data_builders import folders, preparing
from data_builders.indexing import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Index
from dfjax.records import SUBGROUPS


def index(root: epath.Path, config: preparing.MediaConfig) -> Index:
    """The pictures and videos in the folder; raises InputError as `folders.index`."""
    whole = config.protocol == "whole"
    return folders.index(root, "folder_image", IMAGE_SUFFIXES + VIDEO_SUFFIXES, whole=whole)


class Builder(preparing.MediaBuilder):
    """One prepared dataset per folder: the config is named after the folder and a digest of what it holds."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Give a folder with {train,val,test}/{real,fake} or {real,fake} inside, and optionally a "
        "metadata.csv with the column file and any of identity, group, generator, domain, gender, ethnicity."
    )
    BUILDER_CONFIGS = [
        preparing.MediaConfig(name="folder", protocol="folder", modality="image", description="Pictures as they are."),
        preparing.MediaConfig(
            name="folder-crops", protocol="folder", modality="video", description="Face crops of pictures too."
        ),
        preparing.MediaConfig(
            name="folder-whole",
            protocol="whole",
            modality="image",
            description="All of a folder without split folders to train on; judge by leaving its domains out.",
        ),
    ]
    CONFIG_PER_SOURCE = True
    PICTURES_AND_VIDEOS = True
    SUBGROUPS = SUBGROUPS

    def index(self, root: epath.Path) -> Index:
        """The pictures and videos in the folder."""
        return index(root, self.builder_config)
