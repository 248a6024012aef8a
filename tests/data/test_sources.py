"""What tells one prepared dataset from another."""

import shutil

from dfjax.data import sources
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
