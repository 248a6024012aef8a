"""Many files: the verdicts are those of one file at a time, and a table of them survives kills at any moment."""

import csv
import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow.parquet
import pytest

import dfjax
from dfjax import predict
from dfjax.decide import typicality
from dfjax.inference import bundle, scoring
from dfjax.records import InputError
from dfjax.reporting import verdicts
from tests import buckets, children, commands
from tests.data_builders import fixtures

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZES = {"embedding": 541, "lines": 3, "levels": 2}  # of what the detector that comes with dfjax puts out
HOSTILE = ['a,b"c.wav', "two\nlines.wav", "return\r.wav", "<b>&.wav", "no\udcfftext.wav", "=1+1.wav", "ö.wav"]


@pytest.fixture(scope="module")
def shipped():
    return dfjax.load()


@pytest.fixture(scope="module")
def quick(shipped):
    """The detector that comes with dfjax, but that a score is how loud a window is: nothing is compiled."""

    def outputs(examples):
        loud = np.array([np.abs(example["audio"].astype(np.float32)).mean() / 2_000 - 1 for example in examples])
        rest = {name: np.zeros((len(examples), size), np.float32) for name, size in SIZES.items()}
        return {"score": loud.astype(np.float32)} | rest

    return dataclasses.replace(shipped, outputs=outputs)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Recordings of every bucket, long ones of several windows, and files that are none, in a mixed order."""
    folder = tmp_path_factory.mktemp("recordings")
    lengths = [2.5, 9.0, 0.8, 2.9, 2.6, 1.7, 13.0, 2.2, 2.8, 0.5, 2.4, 3.9, 2.7, 2.3] * 2
    paths = [fixtures.audio(folder / f"{k:02}.wav", seconds, seed=k) for k, seconds in enumerate(lengths)]
    (folder / "05a.wav").write_bytes(b"no sound")
    return [*paths[:6], folder / "05a.wav", *paths[6:], folder / "none.wav"]


@pytest.mark.slow  # every length that a program is of; test_shipped has one
@pytest.mark.parametrize("jobs", [0, 2])
def test_many_files_have_the_verdicts_that_each_has_alone_bit_for_bit(shipped, recordings, jobs):
    found = list(shipped.many((path for path in recordings), jobs=jobs))
    assert [each["file"] for each in found] == [str(path) for path in recordings]
    for path, each in list(zip(recordings, found, strict=True))[::3]:
        try:
            alone = shipped(path)
        except Exception as error:
            alone = {"skipped": str(error)}
        assert each == {"file": str(path), **alone}
    assert [each["file"] for each in found if "skipped" in each] == [str(recordings[6]), str(recordings[-1])]


def groups_of(shapes, rng):
    return [(k, [{"x": rng.normal(size=shape).astype(np.float32)} for shape in each]) for k, each in enumerate(shapes)]


def test_batches_are_filled_across_groups_and_every_example_comes_back_to_its_own():
    rng = np.random.default_rng(0)
    shapes = [rng.integers(1, 4, rng.integers(0, 5)).tolist() for _ in range(200)]
    groups, sizes = groups_of(shapes, rng), []

    def run(examples):
        assert len({example["x"].shape for example in examples}) == 1
        sizes.append(len(examples))
        total = np.array([example["x"].sum() for example in examples])
        return {"sum": np.pad(total, (0, 8 - len(examples))), "twice": np.pad(2 * total, (0, 8 - len(examples)))}

    found = dict(scoring.across_groups(run, groups, 8))
    assert sorted(found) == list(range(200)) and max(sizes) == 8 and sum(size < 8 for size in sizes) <= 3
    for key, examples in groups:
        expected = [example["x"].sum() for example in examples]
        assert found[key].get("sum", np.zeros(0)).tolist() == expected
        assert found[key].get("twice", np.zeros(0)).tolist() == [2 * value for value in expected]


def test_a_rare_shape_waits_for_a_bounded_number_of_batches_and_nothing_is_read_far_ahead(monkeypatch):
    monkeypatch.setattr(scoring, "PATIENCE", 5)
    read, ahead, rare = 0, [], None

    def groups():
        nonlocal read
        for key in range(400):
            read += 1
            yield key, [{"x": np.zeros(2 if key == 0 else 1)}]

    for done, (key, _) in enumerate(scoring.across_groups(lambda some: {"y": np.zeros(4)}, groups(), 4), 1):
        ahead.append(read - done)
        rare = done if key == 0 else rare
    assert len(ahead) == 400 and max(ahead) <= 3 * 4 + 1 and rare <= 4 * 8


def row(file, **words):
    return {"file": file, "verdict": "real", "probability": 0.25, "score": -1.0, "reasons": ["a", "b"]} | words


def read(path):
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("kind", [".jsonl", ".csv"])
def test_a_table_cut_at_any_byte_loses_no_file_and_has_none_twice(tmp_path, kind):
    names = [*HOSTILE, "none.wav"]
    rows = [*(row(name) for name in HOSTILE), {"file": "none.wav", "skipped": 'no "sound"'}]
    whole = tmp_path / f"whole{kind}"
    with verdicts.Table(whole, "x-1") as table:
        for each in rows:
            assert table.take(each["file"]) and not table.take(each["file"])
            table.write(each)
    assert [each["file"] for each in read(whole)] == names
    content, path = whole.read_bytes(), tmp_path / f"cut{kind}"
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        with verdicts.Table(path, "x-1") as table:
            for each in rows:
                if table.take(each["file"]):
                    table.write(each)
        assert path.read_bytes() == content, cut
        assert table.counts == {"real": len(HOSTILE), "skipped": 1}


@pytest.mark.parametrize("kind", [".jsonl", ".csv"])
def test_files_that_were_skipped_are_tried_again_where_that_is_asked_for_alone(tmp_path, kind):
    path, names = tmp_path / f"v{kind}", [*HOSTILE, "last.wav"]
    with verdicts.Table(path, "x-1", retry=True) as table:
        for k, name in enumerate(names):
            table.write({"file": name, "skipped": "No such file"} if k % 3 == 0 else row(name))
    content = path.read_bytes()
    with verdicts.Table(path, "x-1") as table:
        assert not any(map(table.take, names))
    assert path.read_bytes() == content
    with verdicts.Table(path, "x-1", retry=True) as table:
        assert table.counts == {"real": 5} and len(table) == 5
        with pytest.raises(InputError, match="is being written by another process"):
            verdicts.Table(path, "x-1")
        for name in filter(table.take, names):
            table.write(row(name))
    assert [each["file"] for each in read(path)] == [
        *(name for k, name in enumerate(names) if k % 3),
        *(name for k, name in enumerate(names) if k % 3 == 0),
    ]
    assert {each["verdict"] for each in read(path)} == {"real"} and list(tmp_path.iterdir()) == [path]
    content = path.read_bytes()
    with verdicts.Table(path, "x-1", retry=True) as table:
        assert not any(map(table.take, names)) and table.counts == {"real": 8}
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", [".jsonl", ".csv", ".parquet"])
def test_a_skipped_file_that_is_not_named_again_stays_in_the_table(tmp_path, kind):
    """Where one of two disks was tried again, what had been skipped on the other was in no row and no count."""
    path = tmp_path / f"v{kind}"
    with verdicts.Table(path, "x-1") as table:
        for name in HOSTILE:
            table.write({"file": name, "skipped": "No such file"})
    content = table.journal.read_bytes()
    with pytest.raises(KeyboardInterrupt), verdicts.Table(path, "x-1", retry=True) as table:
        raise KeyboardInterrupt
    assert table.journal.read_bytes() == content
    with verdicts.Table(path, "x-1", retry=True) as table:
        assert table.take(HOSTILE[0]) and table.take(HOSTILE[1])
        table.write(row(HOSTILE[0]))
        table.finish()
    assert table.counts == {"real": 1, "skipped": len(HOSTILE) - 2}
    rows = pyarrow.parquet.read_table(path).to_pylist() if kind == ".parquet" else read(path)
    assert len(rows) == len(HOSTILE) - 1 and rows[0]["verdict"] == "real"
    with verdicts.Table(path, "x-1") as table:
        assert list(filter(table.take, HOSTILE)) == HOSTILE[1:2] and table.counts.total() == len(HOSTILE) - 1


def test_a_table_that_cannot_be_written_anew_is_left_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / "v.jsonl"
    with verdicts.Table(path, "x-1") as table:
        table.write({"file": "a.wav", "skipped": "No such file"})
    content = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(verdicts.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            verdicts.Table(path, "x-1", retry=True)
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="another detector"):
        verdicts.Table(path, "x-2", retry=True)
    assert path.read_bytes() == content


def test_without_pyarrow_a_parquet_table_is_refused_before_anything_is_judged(tmp_path, monkeypatch):
    monkeypatch.setattr(verdicts.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match="needs pyarrow: pip install pyarrow"):
        verdicts.check(tmp_path / "v.parquet")
    assert verdicts.check(tmp_path / "v.csv") == ".csv"


def test_parquet_is_made_of_a_journal_that_goes_on(tmp_path):
    path = tmp_path / "v.parquet"
    for names in (HOSTILE[:3], HOSTILE):
        with verdicts.Table(path, "x-1") as table:
            for name in names:
                if table.take(name):
                    table.write(row(name, typicality={"p_value": 0.5, "reasons": []}))
            table.finish()
    found = pyarrow.parquet.read_table(path).to_pylist()
    assert len(found) == len(HOSTILE) and found[0]["file"] == HOSTILE[0] and found[0]["skipped"] is None
    assert found[0]["reasons"] == "a; b" and found[0]["p_value"] == 0.5 and found[0]["detector"] == "x-1"


def test_nothing_is_left_beside_the_journal_where_parquet_cannot_be_written(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with verdicts.Table(tmp_path / "v.parquet", "x-1") as table:
        table.write(row("a.wav"))
        with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
            patched.setattr(pyarrow.parquet.ParquetWriter, "write_table", full)
            table.finish()
        assert [path.name for path in tmp_path.iterdir()] == ["v.parquet.jsonl"]
        table.finish()
    assert pyarrow.parquet.read_table(tmp_path / "v.parquet").num_rows == 1


def test_parquet_without_its_journal_is_left_as_it_is(tmp_path):
    """Who removed the journal, as what looks like a leftover, lost all rows to those of the next files."""
    path, name = tmp_path / "v.parquet", "v.parquet.jsonl"
    with verdicts.Table(path, "x-1") as table:
        table.write(row("a.wav"))
        table.finish()
    (tmp_path / name).unlink()
    content = path.read_bytes()
    with pytest.raises(InputError, match=f"v.parquet is there without its rows in {name}, .*; give another file"):
        verdicts.Table(path, "x-1")
    assert path.read_bytes() == content and [each.name for each in tmp_path.iterdir()] == ["v.parquet"]
    with pytest.raises(InputError, match="cannot be written: File name too long"):
        verdicts.Table(tmp_path / f"{'x' * 250}.parquet", "x-1")


def test_parquet_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "v.parquet"
    for write in (lambda: pyarrow.parquet.write_table(pyarrow.table({"mine": [1]}), path), lambda: path.write_text("")):
        write()
        content = path.read_bytes()
        with pytest.raises(InputError, match="is there and is no table of verdicts"):
            verdicts.Table(path, "x-1")
        assert path.read_bytes() == content and not path.with_name("v.parquet.jsonl").exists()


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_a_table_counts_the_frames_of_a_video_without_a_face(kind, tmp_path):
    """The line and the page told of them, and the table did not."""
    with verdicts.Table(tmp_path / f"v{kind}", "x-1") as table:
        table.write(row("a.mp4", frames_without_face=2))
        table.write(row("a.wav"))
        table.finish()
    found = read(table.path) if kind == ".csv" else pyarrow.parquet.read_table(table.path).to_pylist()
    assert [each["frames_without_face"] for each in found] == (["2", ""] if kind == ".csv" else [2, None])


def test_what_is_no_table_of_this_detector_is_refused_and_left_alone(tmp_path):
    with verdicts.Table(tmp_path / "a.jsonl", "x-1") as table:
        table.write(row("a.wav"))
        with pytest.raises(InputError, match="is being written by another process"):
            verdicts.Table(tmp_path / "a.jsonl", "x-1")
    with pytest.raises(
        InputError, match=r"verdicts of another detector or with other options \(x-1; this one is x-2\)"
    ):
        verdicts.Table(tmp_path / "a.jsonl", "x-2")
    for name, text in (("b.jsonl", '{"a": 1}\n'), ("c.csv", "a,b\n1,2\n"), ("d.csv", "precious"), ("e.jsonl", "{")):
        (tmp_path / name).write_text(text)
        if name != "e.jsonl":  # which a kill could have left
            with pytest.raises(InputError, match="is there and is no table of verdicts"):
                verdicts.Table(tmp_path / name, "x-1")
            assert (tmp_path / name).read_text() == text
    (tmp_path / "older.csv").write_text("file,verdict,skipped,detector\na.wav,real,,x-1\n")
    with pytest.raises(InputError, match="has the columns of another version of dfjax; give another file"):
        verdicts.Table(tmp_path / "older.csv", "x-1")
    with pytest.raises(InputError, match="ends in .jsonl, .csv or .parquet"):
        verdicts.check("verdicts.xlsx")


def test_a_name_is_shown_in_one_line_that_moves_nothing():
    assert predict.shown("a\x1b[2Jb\nc\udcff.wav") == "a?[2Jb?c?.wav"


def called(monkeypatch, *words):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    return commands.called(monkeypatch, predict.main, *words)


def test_the_table_of_a_command_continues_and_its_exit_status_is_of_all_rows(
    quick, recordings, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(predict, "load", lambda *_: quick)
    some, table = [str(path) for path in recordings[:8]], tmp_path / "deep" / "v.csv"
    first = called(monkeypatch, "--output", table, "--jobs", "0", *some[:3])
    second = called(monkeypatch, "--output", table, *some)
    rows = read(table)
    assert first == second == 3 and sorted(each["file"] for each in rows) == sorted(some)
    (skipped,) = (each for each in rows if each["skipped"])
    assert skipped["file"] == some[6] and skipped["verdict"] == "" and "unreadable" in skipped["skipped"]
    for each in rows[:2]:
        alone = verdicts.flat(quick(each["file"]))
        assert float(each["probability"]) == alone["probability"] and each["verdict"] == alone["verdict"]
    content = table.read_bytes()
    assert called(monkeypatch, "--output", table, "--jobs", "0", *some) == 3 and table.read_bytes() == content
    assert called(monkeypatch, "--retry_skipped", "--jobs", "0", "--output", table, *some) == 3
    assert sorted(table.read_bytes().splitlines()) == sorted(content.splitlines())
    (tmp_path / "list.txt").write_text("\n".join(some[:3]))
    for piped in (("-",), ("--files", "-")):  # is read once, and not to count first
        with (tmp_path / "list.txt").open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            assert called(monkeypatch, "--jobs", "0", *piped) == 3
        assert all(path in capsys.readouterr().out for path in some[:1])
    assert called(monkeypatch, "--timeline", tmp_path / "plots", "--jobs", "0", "--output", table, *some) == 3
    assert not (tmp_path / "plots").exists()
    assert called(monkeypatch, "--overlap", "0.5", "--jobs", "0", "--output", table, *some) == 2
    out, err = capsys.readouterr()
    assert f"8 files in {table} are judged already and not drawn again\n" in err
    assert "8 files in" in out and "1 skipped" in out and "8/8" in err and "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("error: --output") and "with other options" in err
    assert called(monkeypatch) == 2 and "no files given" in capsys.readouterr().err
    (tmp_path / "none" / ".hidden").mkdir(parents=True)
    assert called(monkeypatch, tmp_path / "none") == 2
    assert capsys.readouterr().err.startswith("error: the folders and lists given name no files")
    assert called(monkeypatch, "--output", tmp_path / "none.jsonl", some[6]) == 2


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_a_table_beside_the_files_is_not_judged(quick, recordings, tmp_path, monkeypatch, capsys, kind):
    """It had a row about itself, and one of Parquet another row each time that the same command was called."""
    monkeypatch.setattr(predict, "load", lambda *_: quick)
    monkeypatch.chdir(tmp_path)
    shutil.copy(recordings[0], "a.wav")
    words = ("--jobs", "0", "--output", f"{tmp_path}/v{kind}", ".", tmp_path / "a.wav")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / f"v{kind}").write_text("of somebody else")
    assert called(monkeypatch, *words) == called(monkeypatch, *words) == 3
    out, err = capsys.readouterr()
    assert out.count("3 files in") == 2 and out.count("1 skipped") == 2 and "3/3" in err and "/4" not in err


def test_a_list_in_a_pipe_is_read_once(quick, recordings, tmp_path, monkeypatch, capsys):
    """It was read to count, and then it was empty, or nobody wrote it again."""
    monkeypatch.setattr(predict, "load", lambda *_: quick)
    os.mkfifo(tmp_path / "list")
    writer = threading.Thread(target=(tmp_path / "list").write_text, args=(f"{recordings[0]}\n{recordings[1]}\n",))
    writer.start()
    called(monkeypatch, "--json", "--jobs", "0", recordings[2], "--files", tmp_path / "list")
    writer.join()
    monkeypatch.setattr(predict, "load", lambda *_: pytest.fail("loaded"))
    for wrong in (tmp_path / "typo.txt", tmp_path):  # before anything is judged
        assert called(monkeypatch, recordings[2], "--files", wrong) == 2
    found = [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()]
    assert found == [str(recordings[k]) for k in (2, 0, 1)]


def test_every_list_that_is_given_is_judged(quick, recordings, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(predict, "load", lambda *_: quick)
    words = []
    for k in range(2):
        (tmp_path / f"{k}.txt").write_text(f"{recordings[k]}\n")
        words += ["--files", tmp_path / f"{k}.txt"]
    called(monkeypatch, *words, "--json", "--jobs", "0", recordings[2])
    found = [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()]
    assert found == [str(recordings[k]) for k in (2, 0, 1)]


def test_a_file_that_is_gone_when_its_page_is_drawn_costs_a_line(quick, tmp_path, monkeypatch, capsys):
    names = ("a.wav", "b.wav", "c.wav")
    gone, other, kept = paths = [fixtures.audio(tmp_path / name, 1.0, seed=k) for k, name in enumerate(names)]

    def outputs(examples):  # all are decoded by now
        gone.unlink(missing_ok=True)
        fixtures.audio(other, 2.0)
        return quick.outputs(examples)

    monkeypatch.setattr(predict, "load", lambda *_: dataclasses.replace(quick, outputs=outputs))
    words = ("--report", tmp_path / "pages", "--output", tmp_path / "v.jsonl", "--jobs", "0", *paths)
    assert called(monkeypatch, *words) == 3
    told = [line for line in capsys.readouterr().err.splitlines() if "not drawn" in line]
    assert [line.partition(": ")[0] for line in told] == [str(gone), str(other)], told
    assert "No such file" in told[0] and "another file than the one that was judged" in told[1]
    assert len(list((tmp_path / "pages").iterdir())) == 1 and len(read(tmp_path / "v.jsonl")) == 3
    (tmp_path / "taken").write_bytes(b"")
    assert called(monkeypatch, "--report", tmp_path / "taken", "--jobs", "0", kept) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: cannot write {tmp_path / 'taken'}/")


def test_what_drawing_needs_is_told_before_a_file_is_judged(recordings, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['matplotlib'] = None\n")
    words = ("--report", tmp_path / "drawn", "--output", tmp_path / "v.jsonl", recordings[0])
    done = subprocess.run(
        [sys.executable, "-m", "dfjax.predict", *words],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r"error: .*matplotlib.*pip install 'dfjax\[draw\]'\n", done.stderr)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".py"] in ([], ["__pycache__"])


@pytest.mark.slow
def test_a_run_that_is_killed_twice_judges_every_file_once(tmp_path):
    table, listed = tmp_path / "v.jsonl", tmp_path / "list.txt"
    names = [str(fixtures.audio(tmp_path / f"{k}.wav", 0.5, seed=k)) for k in range(60)]
    listed.write_text("".join(f"{name}\n" for name in names))
    words = [sys.executable, "-m", "dfjax.predict", "--output", str(table), "--files", str(listed)]
    environment = children.quickly_compiling(JAX_NUM_CPU_DEVICES="2")
    for wanted in (1, 30):
        running = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while running.poll() is None and (not table.exists() or table.read_bytes().count(b"\n") < wanted):
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 3, done.stderr
    assert sorted(json.loads(line)["file"] for line in table.read_text().splitlines()) == sorted(names)


def test_a_pipeline_gives_the_same_rows(shipped, recordings, tmp_path):
    pytest.importorskip("apache_beam", reason="apache-beam is an extra")
    some = [str(path) for path in recordings[:8]]
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in [*some, some[0]]))
    words = ["--beam_runner", "DirectRunner", "--files", str(tmp_path / "list.txt"), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "dfjax.predict", "--output", str(tmp_path / "out" / "v.jsonl"), *words],
        env=children.compiling_alike(JAX_NUM_CPU_DEVICES="2"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 3, done.stderr
    rows = [row for path in (tmp_path / "out").glob("v-*.jsonl") for row in read(path)]
    assert sorted(each["file"] for each in rows) == sorted(some)
    for each in shipped.many(some, jobs=0):
        assert json.loads(json.dumps({**each, "detector": shipped.name()})) in rows
    assert sum(json.loads(done.stdout)[name] for name in ("uncertain", "skipped")) > 1


def test_a_pipeline_gives_the_same_bytes_beside_files_known_to_be_real(shipped, recordings, tmp_path, monkeypatch):
    pytest.importorskip("apache_beam", reason="apache-beam is an extra")
    monkeypatch.setattr(predict, "load", lambda *_: shipped)
    known = [f"--known_real={path}" for path in recordings[1:4]]
    assert called(monkeypatch, "--output", tmp_path / "v.jsonl", *known, *recordings[:8]) == 3
    words = ["--beam_runner", "DirectRunner", "--output", tmp_path / "beam.jsonl"]
    assert called(monkeypatch, *words, *known[::-1], *recordings[:8]) == 3
    lines = [line for path in tmp_path.glob("beam-*.jsonl") for line in path.read_bytes().splitlines()]
    assert sorted(lines) == sorted((tmp_path / "v.jsonl").read_bytes().splitlines())
    rows = list(map(json.loads, lines))
    assert len(rows) == 8 and sum("one of the files known to be real" in str(row.get("notes")) for row in rows) == 3
    assert {row["known_real"]["files"] for row in rows if "skipped" not in row} == {3}


def test_a_table_is_continued_beside_the_same_files_known_to_be_real_alone(
    quick, recordings, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(predict, "load", lambda *_: quick)
    known, table = [f"--known_real={path}" for path in recordings[1:4]], tmp_path / "v.jsonl"
    assert called(monkeypatch, "--jobs", "0", "--output", table, *known, recordings[0]) == 3
    content = table.read_bytes()
    for words in ([], known[1:], [*known, f"--known_real={recordings[4]}"]):
        assert called(monkeypatch, "--output", table, *words, *recordings[:2]) == 2
        assert "verdicts of another detector or with other options" in capsys.readouterr().err
    assert table.read_bytes() == content
    assert called(monkeypatch, "--jobs", "0", "--output", table, *known[::-1], *recordings[:2]) == 3
    assert table.read_bytes().startswith(content) and len(read(table)) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--beam_runner", "DirectRunner"], "give --output"),
        (["--beam_runner", "DirectRunner", "--output", "v.jsonl", "--report", "pages"], "draws nothing"),
        (["--beam_runner", "DirectRunner", "--output", "v.csv"], "JSON lines|needs Apache Beam"),
        (["--beam_runner", "DirectRunner", "--output", "v.jsonl", "--jobs", "2"], "--jobs is of this machine"),
        (["--retry_skipped"], "is of a table that is continued; give its --output"),
        (["--beam_options=--region=r", "--output", "v.jsonl"], "are of a --beam_runner"),
        (["--output", "gs://bucket/v.jsonl"], "lies in a bucket"),
    ],
)
def test_what_a_pipeline_cannot_do_is_said(words, message, recordings, quick, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(predict, "load", lambda *_: quick)
    assert called(monkeypatch, *words, recordings[0]) == 2
    assert re.search(message, capsys.readouterr().err) and not list(tmp_path.iterdir())


def test_pages_and_plots_go_to_a_bucket_where_that_is_named(recordings, quick, tmp_path, monkeypatch):
    """They went to a folder named `gs:` on this machine, and nothing said so."""
    monkeypatch.chdir(tmp_path)
    bucket = buckets.make(monkeypatch)
    monkeypatch.setattr(predict, "load", lambda *_: quick)
    words = ("--report", "gs://bucket/pages", "--timeline", "gs://bucket/plots", "--jobs", "0", recordings[0])
    assert called(monkeypatch, *words) in (0, 3)
    assert [path.suffix for name in ("pages", "plots") for path in (bucket / name).iterdir()] == [".html", ".png"]
    assert not list(tmp_path.iterdir())


def test_the_name_of_a_detector_changes_with_what_verdicts_depend_on(shipped):
    assert shipped.name() == dfjax.load().name() != shipped.name(0.5)
    assert shipped.name().startswith("band_kernel-") and len(shipped.hashes()["weights"]) == 64
    assert set(shipped.hashes()) == {"weights", "decision.json", typicality.TYPICALITY}
    assert pathlib.Path(bundle.SPEECH / "decision.json").exists()
