"""A detector in one file or folder: the checkpoint's scores, nothing that trains, no damage that goes unnoticed."""

import hashlib
import io
import json
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import sys
import venv
import zipfile

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import soundfile
from flax import nnx
from jax import export as jax_export

import dfjax
from dfjax import export, import_weights, models
from dfjax.decide.decision import write_decision
from dfjax.inference import bundle, lowering, ship, trained, weights
from dfjax.models import functional
from dfjax.models.streams import Rngs
from dfjax.records import InputError
from tests import buckets, children

ROOT = pathlib.Path(__file__).resolve().parents[2]
# modules that judging does without
TRAINING = (
    "absl array_record flax grain imblearn librosa matplotlib ml_collections optax orbax pyarrow sklearn "
    "tensorflow_datasets torch"
)
# loads every bundle named; prints 'refused' and the reason, 'loaded', or the kind of any other error
LOADER = """
import sys, dfjax
from dfjax.models import functional
from dfjax.records import InputError
for path in sys.argv[1:]:
    try:
        dfjax.load(path)
        print("loaded", flush=True)
    except InputError as error:
        print("refused", str(error).replace(chr(10), " LINE "), flush=True)
    except Exception as error:
        print("escaped", type(error).__name__, error, flush=True)
"""


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "speech.zip"
    export.export(bundle.SPEECH, path)
    return path


@pytest.fixture(scope="module")
def checkpoint():
    """The same detector as flax computes it, of its experiment and weights."""
    return trained.load(bundle.SPEECH)


@pytest.fixture(scope="module")
def opened(speech):
    return dfjax.load(speech)


def voices(count, seconds=1.0):
    """Sounds with a pitch and a rhythm, int16."""
    time = np.arange(int(seconds * 16_000)) / 16_000
    noise = np.random.default_rng(0).normal(size=(count, len(time)))
    pitch = np.linspace(90, 220, count)[:, None]
    sound = 0.2 * np.sin(2 * np.pi * pitch * time) * (1 + np.sin(2 * np.pi * 3 * time)) + 0.02 * noise
    return (sound * 20_000).astype(np.int16)


@pytest.mark.parametrize(  # a program each, the last one twice
    "seconds", [1.5, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.7, 2.5, 5.0))]
)
def test_its_verdicts_are_the_checkpoints(opened, checkpoint, seconds):
    """Programs that are of another day's code, or of other weights, are found here, too."""
    for sound in voices(3, seconds):
        found, wanted = opened(sound), checkpoint(sound)
        assert abs(found["score"] - wanted["score"]) < 1e-6
        assert found == wanted
    assert opened.threshold == checkpoint.threshold


def test_the_folder_that_comes_with_the_package_is_the_same_detector_and_compiles_nothing_again(speech, opened, caplog):
    assert bundle.read(bundle.SPEECH).members == bundle.read(speech).members
    sound = voices(1)[0]
    wanted = opened(sound)
    with jax.log_compiles():
        assert dfjax.load()(sound) == wanted
    assert not [record for record in caplog.records if "Finished XLA compilation" in record.getMessage()]


def test_programs_are_for_three_platforms_and_any_even_batch(speech, opened):
    found = bundle.read(speech)
    about = found.json(bundle.ABOUT)
    program = jax_export.deserialize(bytearray(found.members[bundle.program_name(about["shapes"][0])]))
    assert set(program.platforms) == {"cpu", "cuda", "tpu"} and bundle.outside_calls(program) == []
    arrays, sounds = found.weights(), np.resize(voices(2), (6, about["shapes"][0]))
    batch = {"audio": sounds, "length": np.full(6, sounds.shape[1], np.int32)}
    six = np.asarray(jax.jit(program.call)(arrays, batch)["score"])
    alone = [opened(sound)["score"] for sound in sounds[:2]]  # of a batch of another size
    np.testing.assert_allclose(six, np.tile(alone, 3), atol=1e-5)


def test_it_needs_neither_what_trains_nor_the_training_folder(speech):
    """Judging files: JAX, NumPy, decoders; so does the detector that comes with dfjax."""
    words = (
        "import sys, dfjax; import numpy as np; found = dfjax.load(sys.argv[1]), dfjax.load()\n"
        "found[1](np.arange(-8000, 8000, dtype=np.int16))\n"
        "print(sorted(set(sys.argv[2].split()) & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", words, str(speech), TRAINING],
        capture_output=True,
        text=True,
        timeout=300,
        env=children.quickly_compiling(),
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.slow
def test_in_an_empty_environment_it_scores_as_the_checkpoint(speech, tmp_path, shared):
    """With the package and what it says that it needs, no extra, and nothing else."""
    venv.create(tmp_path / "venv", with_pip=True)
    python, elsewhere = tmp_path / "venv" / "bin" / "python", tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(speech, elsewhere / "detector.zip")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def called(*words, by=python):
        return subprocess.run([by, "-m", *words], capture_output=True, text=True, timeout=900, cwd=elsewhere, env=env)

    install = "pip", "install", "--quiet", "--disable-pip-version-check"
    if (done := called(*install, "tqdm")).returncode:
        pytest.skip(f"pip reaches no registry here: {done.stderr.strip().splitlines()[-1]}")
    done = called(*install, str(ROOT))
    assert done.returncode == 0, done.stderr[-2000:]
    listed = called("pip", "list", "--format", "json", "--disable-pip-version-check")
    there = {each["name"].lower().replace("_", "-") for each in json.loads(listed.stdout)}
    assert not there & {"flax", "optax", "orbax-checkpoint", "tensorflow", "tensorflow-datasets", "grain", "torch"}
    lacking = f"import importlib.util as of; print([n for n in {TRAINING.split()} if of.find_spec(n)])"
    done = subprocess.run([python, "-c", lacking], capture_output=True, text=True, cwd=elsewhere, env=env)
    assert done.stdout == "[]\n", done.stderr

    sounds = sorted(shared.rglob("*.flac"))[::300]
    for k, sound in enumerate(voices(4, 9.0)):
        soundfile.write(tmp_path / f"{k}.wav", sound, 16_000)
        sounds.append(tmp_path / f"{k}.wav")
    code = "import json, sys; from dfjax.inference import bundle, trained; judge = trained.load(bundle.SPEECH)\n"
    code += "for path in sys.argv[1:]: print(json.dumps(judge(path)))"
    judged = []
    for words in (
        (sys.executable, "-c", code),  # the checkpoint, as XLA compiles by default
        (python, "-m", "dfjax.predict", "--json"),
        (python, "-m", "dfjax.predict", "--json", "--workdir", "detector.zip"),
    ):
        own = env | ({"PYTHONPATH": str(ROOT)} if words[0] == sys.executable else {})
        done = subprocess.run(
            [*words, *map(str, sounds)], capture_output=True, text=True, timeout=900, cwd=elsewhere, env=own
        )
        assert done.returncode in (0, 3), done.stderr
        judged.append([json.loads(line) for line in done.stdout.splitlines()])
    for theirs, folder, file, path in zip(*judged, sounds, strict=True):
        assert file["score"] == pytest.approx(theirs["score"], abs=1e-6), path
        assert folder == file, path


def test_predict_takes_it_and_exports_are_the_same_bytes(speech, opened, tmp_path):
    soundfile.write(tmp_path / "a.wav", voices(1)[0], 16_000)
    words = [sys.executable, "-m", "dfjax", "predict", "--json", "--workdir", str(speech), str(tmp_path / "a.wav")]
    env = children.compiling_alike()
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=env)
    assert done.returncode in (0, 3), done.stderr
    assert json.loads(done.stdout)["score"] == pytest.approx(opened(voices(1)[0])["score"], abs=1e-6)
    with zipfile.ZipFile(speech) as archive:
        assert archive.namelist()[0] == bundle.MANIFEST and "config.json" not in archive.namelist()
    digest, size = export.export(bundle.SPEECH, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == speech.read_bytes() and size == speech.stat().st_size
    assert len(digest) == 64
    assert (bundle.read(speech).members[bundle.CARD]) == (bundle.SPEECH / "README.md").read_bytes()


def test_no_path_of_this_machine_is_in_it(speech):
    root = str(pathlib.Path(dfjax.__file__).parent.parent).encode()
    for name, content in bundle.read(speech).members.items():
        assert root not in content and b"site-packages" not in content, name


@pytest.mark.slow
def test_released_weights_become_one(tmp_path, shared):
    import_weights.import_weights("aasist", shared / "aasist" / "AASIST.pth", tmp_path / "run")
    export.export(tmp_path / "run", tmp_path / "aasist.zip")
    sound = voices(1, 2.0)[0]
    assert dfjax.load(tmp_path / "aasist.zip")(sound) == dfjax.load(tmp_path / "run")(sound)
    card = bundle.read(tmp_path / "aasist.zip").members[bundle.CARD].decode()
    assert "297,866 parameters" in card and "untuned" in card and "Nothing was measured" in card


def untrained(folder, name, kwargs, modality):
    """The folder of a detector with its first weights, and what a run notes of its pictures."""
    model = {"name": name, "kwargs": kwargs}
    words = {"data": {"dataset": "none"}, "model": model, "loss": {"name": "focal"}, "train": {"batch": 8}}
    config = ml_collections.ConfigDict(words)
    _, params, model_state = functional.split(functional.make_builder(name, kwargs, "focal")(Rngs(0)))
    folder.mkdir()
    (folder / "config.json").write_text(config.to_json())
    crops = {"dataset": {"modality": modality, "crops": {"size": 64}}}
    (folder / "environment.json").write_text(json.dumps(crops))
    (folder / bundle.WEIGHTS).write_bytes(bundle.pack(weights.arrays(params, model_state)))
    write_decision(folder / "decision.json", import_weights.untuned())
    return folder


def test_a_detector_of_pictures_has_its_heat_map_too(tmp_path):
    folder = untrained(tmp_path / "run", "cnn_small", {"size": 64, "window": 56, "width": 4}, "image")
    export.export(folder, tmp_path / "b.zip")
    ours, theirs = dfjax.load(tmp_path / "b.zip"), dfjax.load(folder)
    picture = np.random.default_rng(0).integers(0, 256, (80, 70, 3), np.uint8)
    assert ours(picture) == theirs(picture)
    x = np.random.default_rng(1).random((1, 64, 64, 3), np.float32)
    np.testing.assert_allclose(ours.heat(x), theirs.heat(x), atol=1e-5)


@pytest.mark.parametrize("content", [None, "{", "{}", '{"dataset": {"modality": "image"}}', "[]"])
def test_a_run_that_does_not_tell_how_pictures_were_cut_out_is_refused(tmp_path, content):
    """Whoever copied a run without that file met a traceback."""
    folder = untrained(tmp_path / "run", "cnn_small", {"size": 64, "window": 56, "width": 4}, "image")
    (folder / "environment.json").unlink()
    if content is not None:
        (folder / "environment.json").write_text(content)
    with pytest.raises(InputError, match=r"environment.json does not tell how .* give the whole folder of the run"):
        trained.read(folder)


def test_a_detector_of_pictures_that_was_shipped_is_read_and_shipped_again(tmp_path):
    """What cuts its pictures out stood in the run's environment.json alone, which no detector that comes along has."""
    run = untrained(tmp_path / "run", "cnn_small", {"size": 64, "window": 56, "width": 4}, "image")
    ship.ship(run, tmp_path / "shipped")
    picture = np.random.default_rng(0).integers(0, 256, (80, 70, 3), np.uint8)
    wanted = trained.load(run)(picture)
    assert trained.load(tmp_path / "shipped")(picture) == dfjax.load(tmp_path / "shipped")(picture) == wanted
    before = {path.name: path.read_bytes() for path in (tmp_path / "shipped").iterdir()}
    ship.ship(tmp_path / "shipped", tmp_path / "shipped")
    assert {path.name: path.read_bytes() for path in (tmp_path / "shipped").iterdir()} == before


def test_a_detector_of_sound_has_no_heat_map(opened):
    with pytest.raises(InputError, match="no heat map"):
        opened.heat(np.zeros((1, 8, 8, 3), np.float32))


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in models.MODELS])
def test_every_detector_can_be_lowered_for_any_batch(name):
    built = nnx.eval_shape(lambda: models.build(name, rngs=Rngs(0)))
    found = lowering.programs(*functional.split(built), models.input_of(name, {}), embedding=True)
    assert (bundle.HEAT in found) == (built.modality != "audio") and len(found) >= 1


# what cannot be a bundle


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts, how=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, content in parts:
            archive.writestr(name, content)
    return buffer.getvalue()


def forged(found, name, content, tmp_path):
    """The bundle with another member, its manifest made to fit."""
    rest = {key: value for key, value in found.items() if key != bundle.MANIFEST}
    bundle.write(tmp_path / "forged.zip", rest | {name: content})
    return (tmp_path / "forged.zip").read_bytes()


def flipped(content, rng, count):
    content = bytearray(content)
    for place in rng.integers(0, len(content), count):
        content[place] ^= int(rng.integers(1, 256))
    return bytes(content)


def fuzzed(path, seed, tmp_path):
    """A damaged, altered or forged bundle, another with each seed."""
    rng, found = np.random.default_rng(seed), members(path)
    whole, names = path.read_bytes(), sorted(found)
    name = names[rng.integers(len(names))]
    kind = seed % 8
    if kind == 0:
        return flipped(whole, rng, int(rng.integers(1, 30)))
    if kind == 1:
        return whole[: int(rng.integers(0, len(whole)))]
    if kind == 2:
        return packed([(key, value) for key, value in found.items() if key != name])
    if kind == 3:
        return packed((found | {name: flipped(found[name], rng, 1)}).items())
    if kind == 4:  # the directory at the end, where sizes and offsets stand
        return whole[:-800] + flipped(whole[-800:], rng, 5)
    if kind == 5:
        return packed(found.items(), zipfile.ZIP_DEFLATED) if seed % 16 == 5 else rng.bytes(2_000)
    names = [key for key in names if key != bundle.MANIFEST]
    name = names[rng.integers(len(names))]
    content = flipped(found[name], rng, int(rng.integers(1, 30)))
    return forged(found, name, content if kind == 6 else found[name][: int(rng.integers(0, len(content)))], tmp_path)


def outcomes(paths, seconds):
    done = subprocess.run(
        [sys.executable, "-c", LOADER, *map(str, paths)], capture_output=True, text=True, timeout=seconds
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == len(paths), (len(lines), done.returncode, done.stderr[-2000:])
    return lines


def check_fuzzed(speech, tmp_path, seeds, seconds):
    paths = []
    for seed in seeds:
        paths.append(tmp_path / f"{seed}.zip")
        paths[-1].write_bytes(fuzzed(speech, seed, tmp_path))
    lines = outcomes(paths, seconds)
    for seed, line in zip(seeds, lines, strict=True):
        assert line.split()[0] in ("refused", "loaded") and " LINE " not in line, (seed, line)
        # what is not forged and is loaded all the same has the members that were written: a date was hit, or a comment
        if line == "loaded" and seed % 8 < 6:
            assert bundle.read(tmp_path / f"{seed}.zip").members == bundle.read(speech).members, seed
    return lines


def test_fuzzed_bundles_are_refused_in_one_line(speech, tmp_path):
    lines = check_fuzzed(speech, tmp_path, range(16), 300)
    assert sum(line.startswith("refused") for line in lines) >= 10


@pytest.mark.slow
def test_two_hundred_fuzzed_bundles_neither_crash_nor_hang(speech, tmp_path):
    check_fuzzed(speech, tmp_path, range(200), 1_800)


def test_every_member_is_under_its_hash(speech, tmp_path):
    found = members(speech)
    for name in found:
        (tmp_path / "b.zip").write_bytes(packed((found | {name: found[name] + b" "}).items()))
        if name != bundle.MANIFEST:
            with pytest.raises(InputError, match="damaged or was altered") as error:
                bundle.read(tmp_path / "b.zip")
            assert name in str(error.value)
        (tmp_path / "b.zip").write_bytes(packed((found | {"more.txt": b"more"}).items()))
        with pytest.raises(InputError, match=r"altered: 'more\.txt'"):
            bundle.read(tmp_path / "b.zip")


def test_the_command_says_so_and_ends_with_2(speech, tmp_path):
    (tmp_path / "b.zip").write_bytes(speech.read_bytes()[:-100])
    words = [sys.executable, "-m", "dfjax.predict", "--workdir", str(tmp_path / "b.zip"), "a.wav"]
    (tmp_path / "a.wav").write_bytes(b"")
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_one_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(bundle, "_members", refused)
    (tmp_path / "b.zip").write_bytes(b"")
    with pytest.raises(InputError, match="b.zip cannot be read: Permission denied$"):
        dfjax.load(tmp_path / "b.zip")


@pytest.mark.parametrize("out", [".", "no\0name.zip"])
def test_it_is_not_written_where_it_cannot_be(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        export.export(bundle.SPEECH, out)
    pathlib.Path("file").write_text("")
    with pytest.raises(InputError, match="cannot write file/name.zip: file is a file"):
        bundle.write("file/name.zip", {})


def test_it_is_written_to_a_bucket(monkeypatch):
    """It was there, and then its size was looked for on this machine."""
    bucket = buckets.make(monkeypatch)
    digest, size = export.export(bundle.SPEECH, "gs://bucket/detector.zip")
    written = (bucket / "detector.zip").read_bytes()
    assert (hashlib.sha256(written).hexdigest(), len(written)) == (digest, size)


class Mischief:
    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path("executed"),))


def test_pickles_are_not_executed(speech, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    np.save(buffer, np.array([Mischief()], object), allow_pickle=True)
    assert pickle.dumps(Mischief())
    for content in (packed([("evil.npy", buffer.getvalue())]), buffer.getvalue(), pickle.dumps(Mischief())):
        for name in (bundle.WEIGHTS, "typicality.npz"):
            (tmp_path / "b.zip").write_bytes(forged(members(speech), name, content, tmp_path))
            with pytest.raises(InputError):
                dfjax.load(tmp_path / "b.zip")
    assert not (tmp_path / "executed").exists()


def edited(found, name, change, tmp_path):
    """The bundle with a JSON member in which `change` altered something."""
    value = json.loads(found[name])
    change(value)
    return forged(found, name, json.dumps(value).encode(), tmp_path)


@pytest.mark.parametrize(
    "name, change, words",
    [
        (bundle.DECISION, lambda d: d.update(threshold=float("nan")), "NaN"),
        (bundle.DECISION, lambda d: d.update(threshold=float("inf")), "Infinity"),
        (bundle.DECISION, lambda d: d.update(threshold="Infinity"), "the threshold 'Infinity', expected a finite"),
        (bundle.DECISION, lambda d: d.update(threshold=None), "the threshold None, expected a finite"),
        (bundle.DECISION, lambda d: d.pop("calibration"), "KeyError"),
        (bundle.DECISION, lambda d: d["calibration"].update(slope="x"), "slope"),
        (bundle.DECISION, lambda d: d["calibration"].update(ledger=3), "Error"),
        (bundle.DECISION, lambda d: d.update(clip_score="most"), "Unknown clip score"),
        (bundle.DECISION, lambda d: d.update(band={"rate": 0.1}), "KeyError"),
        (bundle.ABOUT, lambda d: d.update(weights="0" * 64), "other weights than"),
        (bundle.ABOUT, lambda d: d.update(shapes=[]), "programs for"),
        (bundle.ABOUT, lambda d: d.update(shapes=d["shapes"][:2]), "programs for"),
        (bundle.ABOUT, lambda d: d["input"].update(samples=10**12), "programs for"),
    ],
)
def test_what_cannot_judge_is_refused_when_it_is_loaded(speech, tmp_path, name, change, words):
    (tmp_path / "b.zip").write_bytes(edited(members(speech), name, change, tmp_path))
    with pytest.raises(InputError, match=rf"was not written by dfjax.export \(.*{words}.*\); export it again") as error:
        dfjax.load(tmp_path / "b.zip")
    assert "\n" not in str(error.value)


def test_weights_that_are_not_those_it_names_are_refused(speech, tmp_path):
    """Their hash stands on every report and in every table: who read it there must be able to rely on it."""
    found, arrays = members(speech), bundle.read(speech).weights()
    name = max(arrays, key=lambda name: arrays[name].size)
    content = bundle.pack(arrays | {name: np.nextafter(arrays[name], np.inf, dtype=arrays[name].dtype)})
    (tmp_path / "b.zip").write_bytes(forged(found, bundle.WEIGHTS, content, tmp_path))
    with pytest.raises(InputError, match="other weights than detector.json names") as error:
        dfjax.load(tmp_path / "b.zip")
    assert "\n" not in str(error.value)


def test_a_program_of_another_shape_than_its_name_is_refused(speech, tmp_path):
    found = members(speech)
    short, long = (found[bundle.program_name(shape)] for shape in (16_000, 32_000))
    assert short != long
    (tmp_path / "b.zip").write_bytes(forged(found, bundle.program_name(16_000), long, tmp_path))
    with pytest.raises(InputError, match="takes examples of another shape"):
        dfjax.load(tmp_path / "b.zip")


def test_arrays_that_unpack_to_much_are_refused_before(speech, tmp_path):
    found = members(speech)
    with np.load(io.BytesIO(found["typicality.npz"])) as stored:
        arrays = dict(stored)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, bomb=np.zeros(3 << 20))
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    promised = len(header).to_bytes(8, "little") + header + bytes(64)
    for name, content, words in (
        (bundle.WEIGHTS, buffer.getvalue(), "SafetensorError"),
        (bundle.WEIGHTS, promised, "SafetensorError"),
        ("typicality.npz", buffer.getvalue(), "more than 16 MB"),
    ):
        (tmp_path / "b.zip").write_bytes(forged(found, name, content, tmp_path))
        with pytest.raises(InputError, match=words):
            dfjax.load(tmp_path / "b.zip")


def test_a_program_that_calls_back_into_the_host_is_refused(speech, tmp_path):
    found = bundle.read(speech)
    shapes = {k: jax.ShapeDtypeStruct(x.shape, x.dtype) for k, x in found.weights().items()}
    example = {"audio": jax.ShapeDtypeStruct((2, 16_000), jnp.int16), "length": jax.ShapeDtypeStruct((2,), jnp.int32)}

    name = "xla_ffi_python_cpu_callback"

    def evil(arrays, batch):
        length = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct((2,), jnp.int32))(batch["length"], index=np.uint64(0))
        return {"score": length.astype(jnp.float32), "embedding": length[:, None]}

    trusted = [jax_export.DisabledSafetyCheck.custom_call(name)]
    program = jax_export.export(jax.jit(evil), platforms=["cpu"], disabled_checks=trusted)(shapes, example)
    content = bytes(program.serialize())
    (tmp_path / "b.zip").write_bytes(forged(members(speech), bundle.program_name(16_000), content, tmp_path))
    with pytest.raises(InputError, match="holds a program that calls .*python_cpu_callback"):
        dfjax.load(tmp_path / "b.zip")


def test_other_versions_are_named(speech, tmp_path):
    found = members(speech)
    manifest = json.loads(found[bundle.MANIFEST])
    for change in ({"version": 1}, {"version": 3}, {"format": "other"}):
        new = found | {bundle.MANIFEST: json.dumps(manifest | change).encode()}
        (tmp_path / "b.zip").write_bytes(packed(new.items()))
        with pytest.raises(InputError, match="reads a 'dfjax bundle' of version 2; export"):
            dfjax.load(tmp_path / "b.zip")


def test_programs_of_a_newer_jax_are_told_as_such_and_nothing_else_is_printed(speech, tmp_path, capfd):
    found, name = members(speech), bundle.program_name(16_000)
    newer = re.sub(rb"(StableHLO_v)\d", rb"\g<1>9", found[name], count=1)
    about = json.dumps(json.loads(found[bundle.ABOUT]) | {"jax": "9.1.2"}).encode()
    (tmp_path / "b.zip").write_bytes(forged(found | {name: newer}, bundle.ABOUT, about, tmp_path))
    with pytest.raises(
        InputError, match="was exported with jax 9.1.2, whose programs jax .* cannot read; install jax 9"
    ):
        dfjax.load(tmp_path / "b.zip")
    assert capfd.readouterr().err == ""


def test_other_preparation_is_refused(speech, tmp_path):
    found = members(speech)
    about = json.loads(found[bundle.ABOUT]) | {"sample_rate": 8_000}
    (tmp_path / "b.zip").write_bytes(forged(found, bundle.ABOUT, json.dumps(about).encode(), tmp_path))
    with pytest.raises(InputError, match="prepares media as this dfjax does not"):
        dfjax.load(tmp_path / "b.zip")


def test_it_says_what_it_is_of(speech, checkpoint):
    for ours in (dfjax.load(speech), dfjax.load()):
        assert ours.hashes() == checkpoint.hashes() and ours.name() == checkpoint.name()
        assert ours.card == checkpoint.card


# the folder


@pytest.fixture
def folder(tmp_path):
    """The detector that comes with the package, where it may be damaged."""
    return shutil.copytree(bundle.SPEECH, tmp_path / "speech")


@pytest.fixture
def installed(folder, monkeypatch):
    """The same where dfjax looks for the detector that comes with it."""
    monkeypatch.setattr(bundle, "SPEECH", folder)
    return folder


def test_its_programs_are_those_that_its_experiment_and_weights_give_today(folder):
    """Byte by byte under the JAX that made them; under another the verdicts are compared, above."""
    shutil.copy(folder / bundle.MANIFEST, folder / "before")
    (folder / "score-1.stablehlo").write_bytes(b"of another shape")
    ship.ship(folder, folder)
    assert not (folder / "score-1.stablehlo").exists()
    before, after = (json.loads((folder / name).read_text()) for name in ("before", bundle.MANIFEST))
    ours = {name for name in before["sha256"] if not name.endswith(".stablehlo") and name != bundle.ABOUT}
    if json.loads((bundle.SPEECH / bundle.ABOUT).read_text())["jax"] == jax.__version__:
        ours = before["sha256"].keys()
    wrong = [name for name in ours if before["sha256"][name] != after["sha256"].get(name)]
    assert not wrong and len(before["sha256"]) == len(after["sha256"]), (
        f"{wrong} are not of today; python -m dfjax.inference.ship dfjax/shipped/speech dfjax/shipped/speech"
    )


@pytest.mark.slow  # programs are made again above
def test_a_folder_is_made_again_with_another_card(installed):
    (installed / bundle.CARD).write_text("# Another card")
    with pytest.raises(InputError, match=r"damaged or was altered: 'README\.md'; install dfjax again$"):
        dfjax.load(installed)
    ship.ship(installed, installed)
    assert dfjax.load(installed).card == "# Another card"


def test_a_folder_is_made_again_without_the_typicality_of_before(folder):
    """It is no member then; evaluating and the next `ship` would have taken it for the new detector's."""
    members = bundle.read(folder).members
    for _ in range(2):
        bundle.unpack(folder, {name: content for name, content in members.items() if name != "typicality.npz"})
        assert not (folder / "typicality.npz").exists()


@pytest.mark.slow
def test_a_folder_without_a_card_is_a_detector_without_one(folder):
    (folder / bundle.CARD).unlink()
    ship.ship(folder, folder)
    assert dfjax.load(folder).card is None


def test_every_member_of_a_folder_is_under_its_hash_and_nothing_else_is_read(installed):
    (installed / "notes.txt").write_text("of a user")
    wanted = json.loads((installed / bundle.MANIFEST).read_text())["sha256"]
    assert set(bundle.read(installed).members) == set(wanted)
    for name in wanted:
        whole = (installed / name).read_bytes()
        for damage in (whole[:-1], whole + b" ", bytes([whole[0] ^ 1]) + whole[1:], None):
            if damage is None:
                (installed / name).unlink()
            else:
                (installed / name).write_bytes(damage)
            with pytest.raises(InputError, match=rf"altered: '{re.escape(name)}'; install dfjax again$"):
                bundle.read(installed)
        (installed / name).write_bytes(whole)
    assert set(bundle.read(installed).members) == set(wanted)


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_manifest_of_a_folder_is_refused_in_one_line(installed, seed):
    rng, path = np.random.default_rng(seed), installed / bundle.MANIFEST
    whole = path.read_bytes()
    path.write_bytes(whole[: int(rng.integers(len(whole)))] if seed % 2 else flipped(whole, rng, 3))
    with pytest.raises(InputError, match="install dfjax again$") as error:
        dfjax.load(installed)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["../outside", "{}/outside", "a/outside", ".", "a\0b"])
def test_a_manifest_that_names_what_lies_elsewhere_is_refused(installed, name):
    name = name.format(installed.parent)
    for where in (installed.parent, installed / "a"):
        where.mkdir(exist_ok=True)
        (where / "outside").write_text("x")
    manifest = json.loads((installed / bundle.MANIFEST).read_text())
    manifest["sha256"][name] = hashlib.sha256(b"x").hexdigest()
    (installed / bundle.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="install dfjax again$"):
        bundle.read(installed)


def lost(folder, name):
    """A folder without a member; a folder of that name instead is none."""
    (folder / name).unlink()
    (folder / name).mkdir()


@pytest.mark.parametrize("lose", [lambda folder, name: (folder / name).unlink(), lost])
def test_a_folder_without_its_manifest_is_a_damaged_bundle_and_no_run(installed, lose):
    """It was judged by all the same, as a run that nothing seals; without flax it was to be installed."""
    lose(installed, bundle.MANIFEST)
    for load in (dfjax.load, lambda: dfjax.load(installed), lambda: export.export(installed, installed / "d.zip")):
        with pytest.raises(InputError, match=r"is no bundle, or a damaged one \(.*manifest.*\); install dfjax again$"):
            load()


def test_the_detector_that_comes_along_is_never_read_as_a_run(installed):
    (installed / bundle.MANIFEST).unlink()
    (installed / bundle.ABOUT).unlink()
    with pytest.raises(InputError, match="install dfjax again$"):
        dfjax.load()
    shutil.rmtree(installed)
    with pytest.raises(InputError, match="install dfjax again$"):
        dfjax.load()


def test_a_bundle_that_was_unpacked_is_not_mended_by_installing_dfjax(speech, tmp_path):
    zipfile.ZipFile(speech).extractall(tmp_path / "mine")
    assert bundle.read(tmp_path / "mine").members == bundle.read(speech).members
    (tmp_path / "mine" / bundle.DECISION).write_text("{}")
    with pytest.raises(InputError, match="altered: 'decision.json'; export it again: python -m dfjax.export$"):
        dfjax.load(tmp_path / "mine")
