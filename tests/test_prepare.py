"""From a folder to records: complete, repeatable, resumable, and hard to stop."""

import errno
import http.server
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import ml_collections
import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from data_builders import decoding, indexing, locking
from dfjax import prepare
from dfjax.media import audio
from dfjax.media import decoding as media_decoding
from dfjax.records import MAX_SAMPLES, InputError
from dfjax.runtime import files as files_module
from dfjax.runtime import workers
from tests.data_builders import fixtures

ROOT = pathlib.Path(__file__).resolve().parents[1]
PATHS = [f"{s}/{c}/{k}.wav" for s in ("train", "val", "test") for c in ("real", "fake") for k in range(3)]


@pytest.fixture
def source(tmp_path):
    return fixtures.tree(tmp_path / "voices", PATHS, seconds=0.2)


def files(directory):
    return {path.name: path.read_bytes() for path in sorted(pathlib.Path(directory).iterdir())}


def test_records_hold_what_the_files_hold(source, tmp_path):
    fixtures.audio(source / "train/fake/long.flac", seconds=9.5, seed=77)
    fixtures.text(source / "metadata.csv", "file,speaker,generator,gender\ntrain/fake/long.flac,ann,world,women\n")
    directory = prepare.prepare("folder_audio", source, tmp_path / "out", jobs=0, progress=False)
    builder = tfds.builder_from_directory(directory)
    counted = 0
    for split in ("train", "validation", "test"):
        index = np.load(directory / f"index.{split}.npz")
        for k, record in enumerate(builder.as_data_source(split)):
            id_, _, start = record["id"].decode().partition("#")
            samples, _ = audio.decode(source / id_)
            np.testing.assert_array_equal(record["audio"], samples[int(start or 0) :][:MAX_SAMPLES])
            assert record["duration"] == np.float32(len(samples) / 16_000)
            assert record["label"] == ("/fake/" in id_) == index["labels"][k]
            assert record["dataset"] == b"folder_audio" and record["clip"].decode() == id_ == index["clips"][k]
            for name in ("id", "group", "method"):
                assert record[name].decode() == index[name + "s"][k]
            if "long" in id_:
                assert (record["group"], record["method"], record["gender"]) == (b"ann", b"world", b"women")
                counted += 1
    assert counted == 3  # windows of 9.5 s
    facts = prepare.summary(directory)
    assert facts["counts"]["train"] == {"real": {"files": 3, "records": 3}, "fake": {"files": 4, "records": 6}}
    assert "train" in prepare.describe(facts, directory)


def test_worker_processes_give_the_same_bytes_and_leave_nothing_behind(source, tmp_path):
    alone = prepare.prepare("folder_audio", source, tmp_path / "a", jobs=0, progress=False)
    killed_while_writing = tmp_path / "b" / alone.parent.relative_to(tmp_path / "a") / "incomplete.A1B2C3_1.0.0"
    fixtures.text(killed_while_writing / "folder_audio-train.array_record-00000-of-00001", "half")
    pooled = prepare.prepare("folder_audio", source, tmp_path / "b", jobs=2, progress=False)
    assert alone.relative_to(tmp_path / "a") == pooled.relative_to(tmp_path / "b")
    records = [{n: c for n, c in files(d).items() if "array_record" in n} for d in (alone, pooled)]
    assert records[0] == records[1] and len(records[0]) == 3
    assert {path.name for path in pooled.parent.iterdir()} == {"1.0.0"}


def test_a_prepared_dataset_is_reused_and_a_changed_folder_is_not(source, tmp_path, monkeypatch):
    first = prepare.prepare("folder_audio", source, tmp_path / "out", jobs=0, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(media_decoding, "decode_item", None)
        assert prepare.prepare("folder_audio", source, tmp_path / "out", jobs=0, progress=False) == first
        name = first.parent.name
        assert prepare.prepare("folder_audio", None, tmp_path / "out", name) == first
        ways = f"for --config_name: .'{name}'. .in an experiment --config.data.config_name, among .*folder_audio/{name}"
        with pytest.raises(InputError, match=ways):
            prepare.prepare("folder_audio", None, tmp_path / "out")
    fixtures.audio(source / "train/real/new.wav", seed=99)
    second = prepare.prepare("folder_audio", source, tmp_path / "out", jobs=0, progress=False)
    assert second != first and prepare.summary(second)["counts"]["train"]["real"]["files"] == 4


def rewritten(path):
    """Other content of the same size, as by a denoiser that works in place."""
    data = bytearray(path.read_bytes())
    data[-2000:] = bytes(byte ^ 1 for byte in data[-2000:])
    path.write_bytes(data)


def test_content_that_changed_at_the_same_size_is_not_taken_for_what_was_prepared(source, tmp_path):
    words = {"data_dir": tmp_path / "out", "jobs": 0, "progress": False}
    first = prepare.prepare("folder_audio", source, **words)
    copy = shutil.copytree(source, tmp_path / "elsewhere/voices", copy_function=shutil.copyfile)  # its times are new
    assert prepare.prepare("folder_audio", copy, **words) == first
    rewritten(source / "val/fake/1.wav")
    with pytest.raises(InputError, match=r"val/fake/1\.wav of --source .*delete that folder") as failed:
        prepare.prepare("folder_audio", source, **words)
    assert "\n" not in str(failed.value)
    assert prepare.prepare("folder_audio", copy, **words) == first
    shutil.rmtree(first)
    assert prepare.prepare("folder_audio", source, **words) == first  # the name is that of before
    with pytest.raises(InputError, match="has the size but not the content"):
        prepare.prepare("folder_audio", copy, **words)
    facts = prepare.summary(first)
    assert len(facts.pop("content")) == len(PATHS)
    (first / "preparation.json").write_text(json.dumps(facts))  # as of an earlier version
    assert prepare.prepare("folder_audio", copy, **words) == first


def test_of_many_files_a_sample_over_all_is_noted(tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "SAMPLED", 6)
    source = fixtures.tree(tmp_path / "voices", PATHS, seconds=0.2)
    directory = prepare.prepare("folder_audio", source, tmp_path / "out", jobs=0, progress=False)
    noted = prepare.summary(directory)["content"]
    assert {name.rpartition("/")[0] for name in noted} == {path.rpartition("/")[0] for path in PATHS}
    assert len(noted) == 6 and len(set(noted.values())) == 6


def test_bad_files_are_listed_with_their_reason(source, tmp_path):
    (source / "train/real/text.mp3").write_bytes(b"nothing to hear " * 50)
    fixtures.text(source / "train/real/zero.wav", "")
    import soundfile

    soundfile.write(source / "val/fake/silent.wav", np.zeros(8_000), 16_000)
    whole = fixtures.audio(tmp_path / "whole.flac", seconds=3).read_bytes()
    (source / "test/real/cut.flac").write_bytes(whole[: len(whole) // 2])
    directory = prepare.prepare("folder_audio", source, tmp_path / "out", jobs=2, progress=False)
    skipped = dict(prepare.summary(directory)["skipped"])
    assert set(skipped) == {"train/real/text.mp3", "train/real/zero.wav", "val/fake/silent.wav", "test/real/cut.flac"}
    assert skipped["train/real/zero.wav"] == "empty file" and skipped["val/fake/silent.wav"] == "silent"
    text = prepare.describe(prepare.summary(directory), directory)
    assert "skipped 1: silent; first val/fake/silent.wav" in text


def test_a_crash_or_a_hang_costs_one_file():
    tasks = [("ok", ("true",), 9.0), ("hang", ("sleep 60",), 0.5), ("ok again", ("exit 3",), 9.0)]
    outcomes = {key: (value, why) for key, value, why in workers.run("os:system", iter(tasks), 2)}
    assert outcomes["ok"] == (0, "") and outcomes["ok again"] == (3 << 8, "")
    assert outcomes["hang"] == (None, "gave no result within 0.5 s")
    crash = [(k, (int(signal.SIGSEGV),), 9.0) for k in range(3)]
    for _, value, why in workers.run("signal:raise_signal", iter(crash), 1):
        assert value is None and "SIGSEGV" in why


def test_workers_that_cannot_start_say_so():
    with pytest.raises(workers.WorkerError, match="nowhere"):
        list(workers.run("nowhere:nothing", [("a", (), 1.0)], 1))


@pytest.mark.parametrize("jobs", [0, 1])
def test_a_module_that_is_missing_is_no_fault_of_a_file(jobs):
    with pytest.raises(ModuleNotFoundError, match="No module named 'nowhere'") as caught:
        list(workers.run("importlib:import_module", [("a", ("nowhere",), 9.0)], jobs))
    assert caught.value.name == "nowhere"


@pytest.mark.parametrize("number", files_module.FULL)
def test_a_full_disk_is_no_fault_of_a_file(number, tmp_path, monkeypatch):
    """Files whose results found no room were left out of a dataset that was then taken for complete."""
    fixtures.audio(tmp_path / "a.wav", seconds=0.2)
    lines = (
        "import os",
        "from etils import epath",
        "from data_builders.decoding import decode_to_cache",
        "def write_half(self, data):",
        "    open(self, 'xb').write(data[: len(data) // 2])",
        f"    raise OSError({number}, os.strerror({number}), str(self))",
        "type(epath.Path('/')).write_bytes = write_half",
    )
    fixtures.text(tmp_path / "on_a_full_disk.py", "\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)  # of the worker, too
    (tmp_path / "cache").mkdir()
    words = (str(tmp_path / "a.wav"), "audio", {}, str(tmp_path / "cache/a"))
    with pytest.raises(OSError, match="cache/a") as caught:
        list(workers.run("on_a_full_disk:decode_to_cache", [("a", words, 60.0)], 1))
    assert caught.value.errno == number
    assert not list((tmp_path / "cache").iterdir())  # nor is what room there was kept


def test_a_full_disk_is_said_where_records_are_written(source, tmp_path, monkeypatch):
    def full(self, **kwargs):
        raise RuntimeError('Failed to finalize writing of split "train": write() failed: No space left on device; at')

    monkeypatch.setattr(tfds.core.GeneratorBasedBuilder, "download_and_prepare", full)
    with pytest.raises(OSError, match="No space left") as caught:
        prepare.prepare("folder_audio", source, tmp_path / "out", jobs=0, progress=False)
    assert caught.value.errno == errno.ENOSPC


def test_who_comes_while_another_process_prepares_waits_and_takes_its_dataset(source, tmp_path):
    """They removed each other's files, and both ended in a traceback."""
    other = prepare.prepare("folder_audio", source, tmp_path / "other", jobs=0, progress=False)
    target = epath.Path(tmp_path / "out" / other.relative_to(tmp_path / "other"))
    command = [sys.executable, "-m", "dfjax.prepare", "folder_audio", "--source", str(source)]
    with locking.alone(target):
        process = subprocess.Popen(
            [*command, "--data_dir", str(tmp_path / "out"), "--json"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr.readline() == f"waiting for another process that prepares {target}\n"
        shutil.copytree(other, target)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and json.loads(out)["directory"] == str(target)
    assert err == ""  # nothing was decoded
    assert {path.name for path in target.parent.iterdir()} == {"1.0.0"}


def test_a_lock_that_is_left_or_removed_keeps_nobody_waiting(tmp_path, capsys):
    target = epath.Path(tmp_path / "config/1.0.0")
    fixtures.text(tmp_path / "config/1.0.0.lock", "")  # of a process that was killed
    inside, order = threading.Event(), []

    def second():
        inside.wait()
        with locking.alone(target):  # by a file of its own, which a third would see
            order.append(f"second {target.with_name('1.0.0.lock').exists()}")

    thread = threading.Thread(target=second)
    thread.start()
    with locking.alone(target):
        inside.set()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second True"] and not list(target.parent.iterdir())
    assert capsys.readouterr().err == f"waiting for another process that prepares {target}\n"


@pytest.mark.parametrize("name", ["folder_audio", "demo_speech"])
def test_a_place_that_cannot_be_made_is_one_line(name, source, tmp_path):
    fixtures.text(tmp_path / "file", "")
    for place in (str(tmp_path / "file/below"), "/proc/nope", "/sys/nope"):
        words = {} if name == "demo_speech" else {"source": source, "jobs": 0}
        with pytest.raises(InputError, match=f"^{place}/.* cannot be written to .* give another --data_dir"):
            prepare.prepare(name, data_dir=place, progress=False, **words)


def killed(source, out, when):
    """Starts a preparation and kills it (SIGKILL) once `when(finished files)`; the files that are left."""
    command = [sys.executable, "-m", "dfjax.prepare", "folder_audio"]
    command += ["--source", str(source), "--data_dir", str(out), "--jobs", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    try:
        while process.poll() is None and time.monotonic() < deadline:
            done = [path for path in out.glob("*/*/*.partial/*/*") if path.suffix != ".tmp"]
            if when(done):
                break
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    return sorted(path for path in out.glob("*/*/*.partial/*/*") if path.suffix != ".tmp")


def test_a_killed_run_continues_where_it_was(tmp_path, monkeypatch):
    paths = [f"{s}/{c}/{k}.wav" for s in ("train", "val") for c in ("real", "fake") for k in range(6)]
    source = fixtures.tree(tmp_path / "voices", paths, seconds=8.0, rate=48_000)
    done = killed(source, tmp_path / "out", lambda done: len(done) >= 4)
    if not 4 <= len(done) < 24:
        pytest.skip(f"the run was not killed in time: {len(done)} files")
    assert not list((tmp_path / "out").glob("*/*/1.0.0"))  # nothing that could be taken for a dataset
    assert list((tmp_path / "out").glob("*/*/1.0.0.lock"))
    again = []
    decode = media_decoding.decode_item
    monkeypatch.setattr(media_decoding, "decode_item", lambda path, *rest: (again.append(path), decode(path, *rest))[1])
    directory = prepare.prepare("folder_audio", source, tmp_path / "out", jobs=0, progress=False)
    assert 24 - len(done) - 1 <= len(again) <= 24 - len(done)  # one may end between the look and the kill
    assert {path.name for path in directory.parent.iterdir()} == {"1.0.0"}
    whole = prepare.prepare("folder_audio", source, tmp_path / "whole", jobs=0, progress=False)
    records = [{n: c for n, c in files(d).items() if "array_record" in n} for d in (directory, whole)]
    assert records[0] == records[1]


def test_a_damaged_cache_entry_is_decoded_again(source, tmp_path, monkeypatch):
    read = decoding.read_cached

    def cut_and_read(path):
        path.write_bytes(path.read_bytes()[:100])
        return read(path)

    monkeypatch.setattr(decoding, "read_cached", cut_and_read)
    damaged = prepare.prepare("folder_audio", source, tmp_path / "a", jobs=0, progress=False)
    monkeypatch.undo()
    whole = prepare.prepare("folder_audio", source, tmp_path / "b", jobs=0, progress=False)
    records = [{n: c for n, c in files(d).items() if "array_record" in n} for d in (damaged, whole)]
    assert records[0] == records[1]


def test_splits_without_files_are_left_out(tmp_path):
    source = fixtures.tree(tmp_path / "voices", [f"train/{c}/{k}.wav" for c in ("real", "fake") for k in range(9)])
    directory = prepare.prepare("folder_audio", source, tmp_path / "out", jobs=0, progress=False)
    assert set(prepare.summary(directory)["counts"]) == {"train", "validation"}
    assert any("test has no" in warning for warning in prepare.summary(directory)["warnings"])


def test_mistakes_are_one_line_and_leave_nothing_behind(tmp_path):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    page = fixtures.text(tmp_path / "page.onnx", "<html>")
    for arguments, words in (
        (["nothing"], "Unknown dataset 'nothing'; expected one of ["),
        (["folder_audio"], "needs --source"),
        (["folder_audio", "--source", str(tmp_path / "gone")], "is not a folder"),
        (["folder_audio", "--source", str(tmp_path / "empty")], "expected {train,val,test}/{real,fake}"),
        (["folder_audio", "--source", str(tmp_path / "empty"), "--config_name", "x"], "Unknown config 'x'"),
        (["folder_image", "--source", str(tmp_path), "--face_model", "gone.onnx"], "YuNet"),
        (["folder_image", "--source", str(tmp_path), "--face_model", str(page)], "is not a YuNet model"),
        (["folder_image", "--source", str(tmp_path), "--frames", "0"], "--frames 0 is too small"),
    ):
        with pytest.raises(InputError, match=".") as error:
            flags = vars(prepare.parser().parse_args([*arguments, "--data_dir", str(out)]))
            flags.pop("json")
            prepare.prepare(flags.pop("name"), **flags)
        assert words in str(error.value) and "\n" not in str(error.value)
        assert not out.exists()


def test_folders_are_found_by_their_names_however_they_are_written(source, tmp_path):
    folder = tmp_path / "My Recordings"
    shutil.copytree(source, folder)
    words = {"data_dir": tmp_path / "data", "progress": False}
    for wanted in ("My Recordings", "my_recordings", "MY-RECORDINGS"):
        data = ml_collections.ConfigDict({"dataset": "sources", "datasets": {f"folder_audio/{wanted}": 1.0}})
        (given,) = prepare.prepare_data(data, str(folder), **words).items()
        (again,) = prepare.prepare_data(data, None, **words).items()  # prepared by now
        assert given == again and given[0] == wanted
    data.datasets = {"folder_audio/a": 1.0, "folder_image/a": 1.0}
    with pytest.raises(InputError, match="two of the datasets .* are called a"):
        prepare.prepare_data(data, f"folder_audio/a={folder},folder_image/a={folder}", **words)


@pytest.mark.parametrize("progress", [True, False])
def test_what_a_run_leaves_out_of_its_data_is_said_as_prepare_says_it(tmp_path, capsys, progress):
    """Copies in two splits and files that cannot be read were told to those alone who had called prepare."""
    paths = [
        f"{split}/{label}/{k}.wav" for split in ("train", "val", "test") for label in ("real", "fake") for k in "ab"
    ]
    folder = fixtures.tree(tmp_path / "own", paths, seconds=0.2)
    shutil.copy(folder / "train/real/a.wav", folder / "test/real/copy.wav")
    fixtures.text(folder / "train/fake/broken.wav", "no sound")
    data = ml_collections.ConfigDict({"dataset": "folder_audio", "config_name": ""})
    words = {"data_dir": tmp_path / "data", "progress": progress}
    prepare.prepare_data(data, str(folder), **words)
    out, err = capsys.readouterr()
    for told in ("skipped 1: unreadable", "train/fake/broken.wav", " lie in another split, first "):
        assert (told in err) == progress and told not in out
    prepare.prepare_data(data, str(folder), **words)  # prepared by now
    assert "skipped" not in capsys.readouterr().err


def test_two_configs_of_one_dataset_stand_beside_each_other(monkeypatch):
    monkeypatch.setattr(prepare, "prepare", lambda name, source, data_dir, config, **words: epath.Path(config))
    data = ml_collections.ConfigDict({"datasets": {"faceforensics/c23": 1.0, "faceforensics/c40": 2.0, "dfd/c23": 1.0}})
    found = prepare.prepare_data(data)
    assert {name: str(folder) for name, folder in found.items()} == {
        "faceforensics/c23": "c23",
        "faceforensics/c40": "c40",
        "dfd": "c23",
    }


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("demo_speech", {"source": "."}, "makes its own data; leave out --source"),
        ("demo_speech", {"size": 64}, "makes its own data; leave out --size"),
        ("folder_audio", {"source": ".", "faces": "all"}, "--faces is of pictures and videos"),
        ("faces_140k", {"source": ".", "size": 64}, "faces_140k holds pictures, which are taken as they are"),
        ("dfd", {"source": ".", "frames": 4, "config_name": "disjoint-c23-index"}, "--frames .* dfd holds paths alone"),
        ("folder_audio", {"source": ".", "beam_options": "--project=p"}, "--beam_options are of a --beam_runner"),
    ],
)
def test_options_that_would_say_nothing_are_refused(name, words, message, tmp_path):
    with pytest.raises(InputError, match=message):
        prepare.prepare(name, data_dir=tmp_path, **words)


def test_the_command_prints_json(source, tmp_path):
    command = [sys.executable, "-m", "dfjax.prepare", "folder_audio", "--source", str(source), "--json"]
    done = subprocess.run(
        [*command, "--data_dir", str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    facts = json.loads(done.stdout)
    assert facts["counts"]["test"]["fake"]["files"] == 3 and "18/18" in done.stderr
    assert pathlib.Path(facts["directory"], "preparation.json").exists()


def test_another_source_for_the_same_config_is_an_error(tmp_path):
    def deep_voice(folder, seconds):
        for k, name in enumerate("abcdef"):
            fixtures.audio(folder / f"AUDIO/REAL/{name}-original.wav", seconds, seed=k)
            for j, other in enumerate("abcdef".replace(name, "")):
                fixtures.audio(folder / f"AUDIO/FAKE/{name}-to-{other}.wav", seconds, seed=10 * k + j + 10)
        return folder

    first = deep_voice(tmp_path / "one", 0.2)
    directory = prepare.prepare("deepfake_audio", first, tmp_path / "out", jobs=0, progress=False)
    assert directory.parent.name == "disjoint"
    assert prepare.prepare("deepfake_audio", None, tmp_path / "out") == directory
    assert prepare.prepare("deepfake_audio", first, tmp_path / "out", jobs=0, progress=False) == directory
    with pytest.raises(InputError, match="was prepared from other files"):
        prepare.prepare("deepfake_audio", deep_voice(tmp_path / "two", 0.3), tmp_path / "out", jobs=0)
    rewritten(first / "AUDIO/REAL/b-original.wav")
    with pytest.raises(InputError, match="REAL/b-original.wav of --source .* has the size but not the content"):
        prepare.prepare("deepfake_audio", first, tmp_path / "out", jobs=0)


@pytest.mark.filterwarnings("default")  # Beam's and older protobuf's own
def test_beam_gives_the_same_records(source, tmp_path):
    pytest.importorskip("apache_beam", reason="apache-beam is an extra")
    (source / "train/real/text.mp3").write_bytes(b"nothing to hear " * 50)
    ours = prepare.prepare("folder_audio", source, tmp_path / "a", jobs=0, progress=False)
    beam = prepare.prepare("folder_audio", source, tmp_path / "b", progress=False, beam_runner="DirectRunner")
    for split in ("train", "validation", "test"):
        records = [list(tfds.builder_from_directory(d).as_data_source(split)) for d in (ours, beam)]
        for one, other in zip(*records, strict=True):
            assert one.keys() == other.keys()
            assert all(np.array_equal(one[name], other[name]) for name in one)
    skipped = [[id_ for id_, _ in prepare.summary(d)["skipped"]] for d in (ours, beam)]
    assert skipped[0] == skipped[1]


def test_a_split_of_which_beam_could_use_nothing_is_one_line(source, tmp_path, monkeypatch):
    """As its pipeline ends, after all was decoded: in a traceback."""

    def nothing(*args):
        raise ValueError("The total number of generated examples is 0 for split test. This should be >0! [while ...]")

    monkeypatch.setattr(tfds.core.GeneratorBasedBuilder, "_download_and_prepare", nothing)
    with pytest.raises(InputError, match="^folder_audio: nothing in test could be used, .* without --beam_runner"):
        prepare.prepare("folder_audio", source, tmp_path / "out", jobs=0, progress=False)


def test_a_face_model_is_downloaded_once(tmp_path):
    served, asked = tmp_path / "served", []
    served.mkdir()
    (served / "yunet.onnx").write_bytes(b"model")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(served))

        def log_message(self, *args):
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        for _ in range(2):
            path = prepare.face_model_file(address + "yunet.onnx", epath.Path(tmp_path / "downloads"))
            assert path.read_bytes() == b"model"
        assert asked == ["/yunet.onnx"]
        with pytest.raises(InputError, match="none.onnx could not be downloaded"):
            prepare.face_model_file(address + "none.onnx", epath.Path(tmp_path / "downloads"))
        server.shutdown()
