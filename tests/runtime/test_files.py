"""Files are replaced whole, on a disk and in a bucket; prepared records come from a bucket to the disk first."""

import errno
import fcntl
import os
import pathlib
from unittest import mock

import fsspec
import numpy as np
import pytest
from etils import epath

from dfjax.data import sources
from dfjax.decide import decision, score_file
from dfjax.records import InputError
from dfjax.runtime import files, progress, workdir
from tests import buckets, prepared


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    registered = dict(fsspec.registry)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield buckets.make(monkeypatch)
    assert dict(fsspec.registry).keys() >= registered.keys()


def test_what_cannot_be_written_is_said_in_one_line_and_nothing_is_left(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for name, why in (("file/x.json", "file is a file"), ("folder", "Is a directory"), ("x" * 300, "name too long")):
        with pytest.raises(InputError, match=f"cannot write .*{why}; give another place"):
            files.write(tmp_path / name, "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    with pytest.raises(InputError, match="cannot write to --workdir"), workdir.lock(epath.Path(tmp_path / "file")):
        pass


def test_a_workdir_that_cannot_be_held_is_one_line_whatever_the_system_says(tmp_path, monkeypatch):
    """Missing permission and a file in its place were; a read-only disk or a long name ended in a traceback."""
    folder = epath.Path(tmp_path)
    with pytest.raises(InputError, match="--workdir .*: File name too long; give"), workdir.lock(folder / ("x" * 300)):
        pass
    for number in (errno.EROFS, errno.ENOLCK, errno.ENOSPC):
        monkeypatch.setattr(fcntl, "flock", mock.Mock(side_effect=OSError(number, os.strerror(number))))
        kind = OSError if number == errno.ENOSPC else InputError  # a full disk is told as one
        with pytest.raises(kind, match=os.strerror(number)), workdir.lock(folder / "w"):
            pass


@pytest.mark.parametrize("error", [PermissionError(13, "no"), BlockingIOError(11, "no"), NotADirectoryError(20, "no")])
def test_what_goes_wrong_while_the_folder_is_held_is_not_blamed_on_it(tmp_path, error):
    with pytest.raises(type(error)), workdir.lock(epath.Path(tmp_path / "w")):
        raise error


def scores():
    names, label, method = np.array(["a", "b"]), np.array([0, 1], np.int32), np.array(["", "x"])
    return score_file.Scores(names, names, names, label, method, np.array([-1.5, 0.1], np.float32), {"step": 3})


def test_a_run_s_files_in_a_bucket(bucket):
    run = bucket / "run"
    assert files.remote(run) and not files.remote("runs/x") and not files.remote(epath.Path("/runs/x"))
    workdir.write_json(run / "environment.json", {"a": 1})
    assert (run / "environment.json").read_text() == '{\n  "a": 1\n}\n'
    assert [path.name for path in run.iterdir()] == ["environment.json"]

    score_file.write(run / "scores" / "made.test.csv", scores())
    back = score_file.read(run / "scores" / "made.test.csv")
    np.testing.assert_array_equal(back.score, scores().score)
    assert back.header == {"step": 3}

    decision.write_decision(run / "decision.json", {"threshold": 0.5, "status": "ok", "criterion": "f1"})
    assert decision.read_decision(run / "decision.json")["threshold"] == 0.5

    (run / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    with progress.cut_log(run / "metrics.jsonl", 1) as log:
        print('{"step": 2}', file=log, flush=True)
        assert (run / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'
        print('{"step": 3}', file=log)
    assert (run / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n{"step": 3}\n'


def test_records_in_a_bucket_are_copied_once_and_a_killed_copy_goes_on(bucket, tmp_path, capsys):
    made = epath.Path(prepared.make(tmp_path / "made", counts={"train": (3, 2)}))
    there = bucket / "data" / "made" / "1.0.0"
    for path in made.iterdir():
        (there / path.name).write_bytes(path.read_bytes())
    split, local = sources.open_split(there, "train"), sources.open_split(made, "train")
    np.testing.assert_array_equal(split.id, local.id)
    np.testing.assert_array_equal(split.records[0]["audio"], local.records[0]["audio"])
    copy = files.local_copy(there)
    assert str(copy) == str(tmp_path / "cache" / "dfjax" / "datasets" / "gs" / "bucket" / "data" / "made" / "1.0.0")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"copying {there} to {copy}: ")
    assert sorted(os.listdir(copy)) == sorted(path.name for path in made.iterdir())

    cut = next(path for path in copy.iterdir() if "array_record" in path.name)
    whole = cut.read_bytes()
    cut.write_bytes(whole[:7])
    files.local_copy(there)
    assert cut.read_bytes() == whole and "1 files" in capsys.readouterr().err
    assert files.local_copy(made) == made


def test_a_copy_for_a_user_without_a_home_is_one_line(bucket, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(pathlib.Path, "expanduser", mock.Mock(side_effect=RuntimeError("Could not determine home.")))
    with pytest.raises(InputError, match="^Could not determine home. set XDG_CACHE_HOME to a folder with room"):
        files.local_copy("gs://bucket/made")


def test_a_copy_that_has_no_place_is_one_line(bucket, tmp_path, monkeypatch):
    """As of a user without a home, in a container."""
    (bucket / "made" / "features.json").write_text("{}")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="^cannot make .*datasets/gs/bucket/made: Not a directory; set XDG_CACHE_"):
        files.local_copy(bucket / "made")


def test_a_file_is_replaced_whole_and_a_failed_write_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.txt"
    files.write(path, "old")
    assert path.read_text() == "old" and path.stat().st_mode & 0o777 == 0o644
    monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        files.write(path, b"new")
    assert path.read_text() == "old" and os.listdir(path.parent) == ["a.txt"]


def test_a_name_may_be_as_long_as_the_disk_allows_in_any_script(tmp_path):
    """Its temporary file's name was cut after 200 letters, which may be 600 bytes."""
    path = tmp_path / ("字" * 80 + ".json")  # 245 bytes of 255
    files.write(path, "{}")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
