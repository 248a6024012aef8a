"""Which files a command looks at: those named, listed and below folders, in order; what is no list is refused."""

import os
import sys

import pytest

from dfjax.records import InputError
from dfjax.runtime import listing
from tests.data_builders import fixtures


def test_files_come_from_folders_lists_and_standard_input_in_order(tmp_path, monkeypatch):
    for name in ("b/2.wav", "b/1.wav", "a.wav", "b.wav", "b/c/x.wav", "c", "b/.hidden", "b/.trash/y.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    expected = sorted(p for p in tmp_path.rglob("*") if p.is_file() and "/." not in str(p))
    for name, target in (("loop", "loop"), ("above", tmp_path), ("nothing", "nowhere"), ("link.wav", "a.wav")):
        (tmp_path / name).symlink_to(target)  # links to files are followed, those to folders could go round for ever
    expected.append(tmp_path / "link.wav")
    assert list(listing.files_of([str(tmp_path)])) == [str(path) for path in expected]
    listed = tmp_path / "list.txt"
    listed.write_bytes(b"one.wav\r\n\nno\xfftext.wav\n" + os.fsencode(tmp_path / "b") + b"\n")
    below = [str(tmp_path / "b" / name) for name in ("1.wav", "2.wav", "c/x.wav")]
    assert list(listing.files_of([], [str(listed)])) == ["one.wav", "no\udcfftext.wav", *below]
    marked = tmp_path / "marked.txt"
    marked.write_text("ö.wav\n\ufefftwo.wav\n", "utf-8-sig")  # as editors for Windows save it; within, it is a name's
    assert list(listing.files_of([], [str(marked), str(listed)]))[:3] == ["ö.wav", "\ufefftwo.wav", "one.wav"]
    with listed.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert list(listing.files_of(["-", str(tmp_path / "c")])) == [
            "one.wav",
            "no\udcfftext.wav",
            *below,
            str(tmp_path / "c"),
        ]
    with listed.open() as file:  # as other programs have it
        monkeypatch.setattr(sys, "stdin", file)
        assert list(listing.files_of([], ["-"])) == ["one.wav", "no\udcfftext.wav", *below]
    (tmp_path / "bucket.txt").write_text("gs://bucket/b.wav\n")
    buckets = ["gs://bucket/a.wav", "gs://bucket/b.wav"]
    assert list(listing.files_of(buckets[:1], [str(tmp_path / "bucket.txt")])) == buckets
    with pytest.raises(InputError, match="does not exist"):
        list(listing.files_of([str(tmp_path / "nowhere")]))
    with pytest.raises(InputError, match="--files .* cannot be read: No such file"):
        list(listing.files_of([], [str(tmp_path / "nowhere.txt")]))
    for asked in (([""], []), ([], [""])):  # as an unset variable of a shell comes
        with pytest.raises(InputError, match=r"^(--files )?'' "):
            list(listing.files_of(*asked))


def test_a_folder_that_cannot_be_listed_costs_itself_alone_unless_it_was_asked_for(tmp_path, monkeypatch):
    for name in ("a.wav", "b/shut/x.wav", "c.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    shut, scan = str(tmp_path / "b" / "shut"), os.scandir

    def refused(path):
        if path == shut:
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    monkeypatch.setattr(os, "access", lambda path, _: path != shut)
    assert list(listing.files_of([str(tmp_path)])) == [str(tmp_path / "a.wav"), shut, str(tmp_path / "c.wav")]
    with pytest.raises(InputError, match="shut cannot be listed: no permission"):
        list(listing.files_of([shut]))


def test_what_is_no_list_of_paths_is_refused_before_its_bytes_are_taken_for_names(tmp_path, monkeypatch):
    recording = fixtures.audio(tmp_path / "a.wav", 0.5)
    with pytest.raises(InputError, match="--files .*a.wav is no list of paths"):
        list(listing.files_of([], [str(recording)]))
    (tmp_path / "print0").write_bytes(b"a.wav\0b.wav\0")
    with (tmp_path / "print0").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        with pytest.raises(InputError, match="standard input is no list of paths, it holds a zero byte"):
            list(listing.files_of(["-"]))
