"""What tells one prepared dataset from another."""

import pathlib
import shutil

import pytest

from dfjax import prepare
from dfjax.data import sources
from dfjax.records import InputError
from tests import prepared


def test_media_prepared_again_have_the_same_hash_whatever_their_files_are_padded_with(tmp_path):
    first = prepared.make(tmp_path / "first")
    (first / "preparation.json").write_text('{"source_digest": "1"}')
    again = shutil.copytree(first, tmp_path / "again")
    with next(again.glob("*.array_record*")).open("ab") as file:
        file.write(bytes(100))
    assert sources.content_hash(again) == sources.content_hash(first)
    assert sources.content_hash(again, sized=True) != sources.content_hash(first, sized=True)
    for name in ("preparation.json", "index.train.npz"):
        other = shutil.copytree(first, tmp_path / name)
        (other / name).write_bytes(b"of other media")
        assert sources.content_hash(other) != sources.content_hash(first)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = pathlib.Path(prepared.make(tmp_path_factory.mktemp("prepared")))
    (folder / "preparation.json").write_text('{"source_digest": "1"}')
    return folder


DAMAGE = {
    "cut in half": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "overwritten": lambda data: data[: len(data) // 2] + bytes(64) + data[len(data) // 2 + 64 :],
}


def opened(folder):
    return sources.open_split(folder, "train")


READERS = {
    "dataset_info.json": (opened, sources.split_names),
    "features.json": (opened, sources.split_names),
    "index.train.npz": (opened,),
    "preparation.json": (prepare.summary,),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", READERS)
def test_a_prepared_dataset_that_arrived_damaged_is_refused_in_one_line(whole, tmp_path, name, damage):
    """What protobuf, zipfile, zlib and json say of a file that was copied in part ended in a traceback."""
    folder = shutil.copytree(whole, tmp_path / "copy")
    (folder / name).write_bytes(DAMAGE[damage]((whole / name).read_bytes()))
    for read in READERS[name]:
        with pytest.raises(InputError, match=r"^.*copy.* \(.*\); (delete|remove) .* and prepare it again$"):
            read(folder)
