"""The user's own videos with their sound: `{train,val,test}/{real,fake}` or `{real,fake}`."""

import tensorflow_datasets as tfds
from etils import epath

from data_builders import folders, preparing
from data_builders.indexing import VIDEO_SUFFIXES, Index
from dfjax.records import SUBGROUPS


def index(root: epath.Path, config: preparing.MediaConfig) -> Index:
    """The videos in the folder; raises InputError as `folders.index`."""
    del config
    return folders.index(root, "folder_av", VIDEO_SUFFIXES)


class Builder(preparing.MediaBuilder):
    """One prepared dataset per folder: the config is named after the folder and a digest of what it holds."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Give a folder with {train,val,test}/{real,fake} or {real,fake} inside, and optionally a "
        "metadata.csv with the column file and any of identity, group, generator, domain, picture, sound, gender."
    )
    BUILDER_CONFIGS = [preparing.MediaConfig(name="folder", protocol="folder", modality="av")]
    CONFIG_PER_SOURCE = True
    SUBGROUPS = SUBGROUPS

    def index(self, root: epath.Path) -> Index:
        """The videos in the folder."""
        return index(root, self.builder_config)
