"""The detector that comes with the package: it is there, small, and judges a file without a run."""

import contextlib
import itertools
import json
import pathlib
import re
import subprocess
import sys
import tomllib

import av
import numpy as np
import pytest
import soundfile

import dfjax
from dfjax import predict
from dfjax.decide import known_real, metrics
from dfjax.inference import bundle, trained, weights
from dfjax.media import MediaError, codecs
from dfjax.records import InputError
from dfjax.reporting import file_page
from tests import children
from tests.features import test_companding as companded
from tests.features.test_upsampling import upsampled


@pytest.fixture(scope="module")
def shipped():
    return dfjax.load()


def test_its_folder_holds_plain_files_of_at_most_five_megabytes():
    assert (bundle.SPEECH / bundle.WEIGHTS).stat().st_size <= 5_000_000
    about = json.loads((bundle.SPEECH / bundle.ABOUT).read_text())
    programs = {bundle.program_name(shape) for shape in about["shapes"]}
    assert programs and {path.name for path in bundle.SPEECH.iterdir()} == programs | {
        "README.md",
        "config.json",
        "decision.json",
        "detector.json",
        "manifest.json",
        "typicality.npz",
        "weights.safetensors",
    }
    assert {oct(path.stat().st_mode & 0o133) for path in bundle.SPEECH.iterdir()} == {"0o0"}  # 644 or 664
    assert sum((bundle.SPEECH / name).stat().st_size for name in programs) <= 4_000_000
    decision = json.loads((bundle.SPEECH / "decision.json").read_text())
    assert decision["split"] == "left_out" and decision["domains"]["count"] >= 7


def test_every_jax_that_is_allowed_reads_its_programs():
    """A newer one reads what an older one exported, for a while; the other way round it need not."""
    about = json.loads((bundle.SPEECH / bundle.ABOUT).read_text())
    project = tomllib.loads((pathlib.Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (oldest,) = (re.match(r"jax>=([\d.]+)", line)[1] for line in project["dependencies"] if line.startswith("jax>="))
    assert about["jax"] == oldest and about["platforms"] == ["cpu", "cuda", "tpu"]


def test_it_tells_recordings_from_syntheses_of_validation_speech(shipped, shared):
    """A floor against mistakes in loading, far below what it reaches; nothing is chosen here."""
    folder = shared / "speech" / "validation"
    files = [(label, path) for label in ("real", "fake") for path in sorted((folder / label).iterdir())[::8][:30]]
    found = list(shipped.many([path for _, path in files], jobs=0))
    auc = metrics.roc_auc(np.array([one["score"] for one in found]), np.array([label == "fake" for label, _ in files]))
    assert auc > 0.85
    uncertain = np.mean([one["verdict"] == "uncertain" for one in found])
    assert uncertain <= 0.2


def test_lines_of_upsampling_raise_the_score_and_are_told(shipped):
    """Of sounds that are no speech at all, so that nothing else speaks for a vocoder."""
    heard, plain = (shipped(0.1 * upsampled(22_050, 256, rows=1, level=level)[0]) for level in (0.15, 0))
    assert heard["lines"]["rate"] == 22_050 / 256 and heard["lines"]["deviations"] > 5 and "lines" not in plain
    assert heard["score"] > plain["score"] + heard["lines"]["logit"] - 1 > plain["score"] + 1
    assert heard["notes"][0].startswith("lines at multiples of 86.13 Hz")


def test_few_levels_of_samples_raise_the_score_and_are_told(shipped):
    coded = companded.steps(companded.classes(companded.voice(), 255))
    found, dithered = shipped(coded), shipped(coded + np.random.default_rng(0).integers(-20, 20, len(coded), np.int16))
    assert found["levels"]["per_octave"] == 16 and "levels" not in dithered
    assert found["score"] == pytest.approx(dithered["score"] + found["levels"]["logit"], abs=1.0)
    assert found["notes"][0].startswith("samples on 16 levels an octave")


@pytest.mark.slow  # 80 verdicts
@pytest.mark.skipif("mp3" not in codecs.available(), reason="this FFmpeg encodes no MP3")
def test_after_mp3_at_a_low_bit_rate_most_are_uncertain_and_say_so(shipped, shared):
    """Half of the fakes of sources left out are called real after it."""
    files = [
        path for label in ("real", "fake") for path in sorted((shared / "speech/validation" / label).iterdir())[:40]
    ]
    coded = [shipped(codecs.recode(soundfile.read(path, dtype="int16")[0], "mp3", 48_000)) for path in files]
    told = [any("traces of MP3 at a low bit rate" in reason for reason in found["reasons"]) for found in coded]
    assert np.mean(told) > 0.6 and all(found["verdict"] == "uncertain" for found in itertools.compress(coded, told))


@pytest.mark.parametrize("name", ["a.ogg", "a.m4a", "a.mp3"])
def test_a_file_that_is_stored_with_few_bits_is_uncertain_whatever_it_sounds_like(shipped, shared, tmp_path, name):
    """A message in Opus at 24 kbit/s was fake, 97 %, without a doubt."""
    codec, rate, told = {
        "a.ogg": ("libopus", 32_000, "Opus of (2.|3.) kbit/s a channel"),
        "a.m4a": ("aac", 40_000, "AAC of 4. kbit/s a channel"),
        "a.mp3": ("libmp3lame", 48_000, "MP3 of (48|49|50) kbit/s a channel"),
    }[name]
    paths = sorted((shared / "speech/validation/real").iterdir())[:2]
    for k, (path, bits) in enumerate(zip(paths, (rate, 2 * rate), strict=True)):
        file = encoded(path, tmp_path / f"{k}{name}", codec, bits)
        found = shipped(file)
        said = [re.fullmatch(f"stored as {told}, where the detector is often wrong", why) for why in found["reasons"]]
        assert any(said) == (bits == rate) and (not any(said) or found["verdict"] == "uncertain")
        assert found["coding"]["codec"] == {"libopus": "opus", "libmp3lame": "mp3"}.get(codec, codec)
        assert found["coding"]["bit_rate"] == pytest.approx(bits, rel=0.5)
    assert "coding" not in shipped(paths[0])


def encoded(path, file, codec, bits):
    """A recording, stored by a codec of FFmpeg."""
    samples, rate = soundfile.read(path, dtype="int16")
    with av.open(file, "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = bits
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=stream.rate)
        frames = [*resampler.resample(frame), *resampler.resample(None), None]
        for packet in itertools.chain.from_iterable(map(stream.encode, frames)):
            container.mux(packet)
    return file


def test_a_file_and_its_samples_have_the_same_verdict(shipped, shared, tmp_path):
    path = sorted((shared / "speech" / "validation" / "real").iterdir())[0]
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == 16_000
    assert shipped(samples)["score"] == shipped(path)["score"]
    many = list(shipped.many([path, tmp_path / "none.wav"]))
    assert many[0] == {"file": str(path), **shipped(path)} and "skipped" in many[1]


def test_files_known_to_be_real_move_the_threshold_and_are_told(shipped, tmp_path, capsys, monkeypatch):
    paths = [tmp_path / f"{k}.wav" for k in range(7)]
    for k, path in enumerate(paths):
        soundfile.write(path, np.random.default_rng(k).normal(0, 0.03 * (k + 1), 16_000), 16_000)
    known, asked = paths[:6], paths[6]
    adapted = shipped.with_known_real([*known, known[0]])
    scores = np.sort(np.array([shipped(path)["score"] for path in known], np.float32))
    assert adapted.decision == known_real.adapt(shipped.decision, scores)
    found, before = adapted(asked), shipped(asked)
    assert found["score"] == before["score"] and found["threshold"] == adapted.threshold != before["threshold"]
    p = (1 + (scores >= np.float32(found["score"])).sum()) / 7
    told = {"files": 6, "mean_score": float(scores.mean()), "without": shipped.threshold, "p_value": p}
    assert found["known_real"] == told
    assert "known_real" not in before and "notes" not in found
    said = ["one of the files known to be real itself: it had a part in its threshold"]
    assert adapted(known[2])["notes"] == next(iter(adapted.many([known[2]])))["notes"] == said
    assert "notes" not in shipped(known[2])
    assert adapted.with_known_real(known).decision == adapted.decision  # known files do not add up
    assert len({each.name() for each in (shipped, adapted, shipped.with_known_real(known[1:]))}) == 3
    monkeypatch.setattr(sys, "argv", ["predict", "--json", *(f"--known_real={path}" for path in known), str(asked)])
    with contextlib.suppress(SystemExit):  # of an uncertain one
        predict.main()
    out, err = capsys.readouterr()
    assert json.loads(out) == {"file": str(asked), **found}
    assert (
        err.startswith("6 files known to be real, of score ")
        and "; on sources left out, with 5 files known to be real: false alarms " in err
    )
    page = file_page.page(adapted, {"file": str(asked), **found})
    assert "6 files known to be real, of score " in page and adapted.decision["domains"]["words"] in page
    assert "On a source that it has never met, with 5 files known to be real: false alarms " in page
    assert "with 5 files known to be real of each, at thresholds that the other sources chose" in page
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(InputError, match=r"1 of 7 files known to be real cannot be judged; first .*text\.wav: "):
        shipped.with_known_real([*known, tmp_path / "text.wav"])
    with pytest.raises(InputError, match="is one path; give a list"):
        shipped.with_known_real(str(known[0]))
    with pytest.raises(InputError, match="int among the paths; expected a str or a Path"):
        shipped.with_known_real(path for path in (known[0], 3))
    with pytest.raises(InputError, match="1 of 1 files known to be real cannot be judged; .* null byte"):
        shipped.with_known_real(["a\0b"])


def test_known_files_are_the_same_in_any_order_and_by_any_name(shipped, tmp_path, monkeypatch):
    paths = [tmp_path / f"{k}.wav" for k in range(4)]
    for k, path in enumerate(paths):
        soundfile.write(path, np.random.default_rng(k).normal(0, 0.05, 24_000 if k else 120_000), 16_000)
    adapted = shipped.with_known_real(paths)
    (tmp_path / "link.wav").symlink_to(paths[2])
    monkeypatch.chdir(tmp_path)
    again = shipped.with_known_real(
        [*paths[::-1], "0.wav", tmp_path / "." / ".." / tmp_path.name / "1.wav", "link.wav"]
    )
    assert again.decision == adapted.decision and again.name() == adapted.name()  # so a table is continued
    overlapping = shipped.with_known_real(paths, overlap=0.5)
    scores = np.sort([shipped(path, overlap=0.5)["score"] for path in paths])
    assert overlapping.decision["known_real"]["given"]["mean_score"] == pytest.approx(scores.mean())
    assert overlapping.decision != adapted.decision


def test_standard_input_is_read_for_known_files_or_for_those_to_be_judged(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["predict", "--known_real", "-", "-"])
    with pytest.raises(InputError, match="standard input is read once"):
        predict.main()


def test_known_files_are_judged_as_the_others_are(shipped, monkeypatch, tmp_path):
    asked = {}
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.05, 24_000), 16_000)
    keep = type(shipped).many

    def many(self, paths, **words):
        asked.setdefault("known" if not asked else "judged", words)
        return keep(self, paths, **words)

    monkeypatch.setattr(type(shipped), "many", many)
    words = ["--overlap", "0.5", "--jobs", "0", "--known_real", str(tmp_path / "a.wav"), str(tmp_path / "a.wav")]
    monkeypatch.setattr(sys, "argv", ["predict", *words])
    with contextlib.suppress(SystemExit):
        predict.main()
    assert asked == {"known": {"overlap": 0.5, "jobs": 0}, "judged": {"overlap": 0.5, "jobs": 0}}


def test_five_recordings_of_a_corpus_are_like_the_rest_of_it(shipped, shared):
    """Of a corpus that the detector knows they change little: fewer than one verdict in ten is another."""
    folder = shared / "speech" / "validation"
    real, fake = (sorted((folder / label).iterdir()) for label in ("real", "fake"))
    adapted = shipped.with_known_real(real[:5])
    files = [*real[5:205:8], *fake[::8][:25]]
    verdicts = [[one["score"] >= d.threshold for one in d.many(files, jobs=0)] for d in (shipped, adapted)]
    assert np.mean(np.array(verdicts[0]) != verdicts[1]) < 0.1


def test_what_is_no_sound_is_refused(shipped):
    with pytest.raises(InputError, match="expected .samples,. at 16 kHz"):
        shipped(np.zeros((2, 16_000), np.float32))
    with pytest.raises(MediaError, match="silent"):
        shipped(np.zeros(16_000, np.float32))


def test_predict_needs_no_workdir(tmp_path):
    time = np.arange(32_000) / 16_000
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.sin(2 * np.pi * 440 * time), 16_000)
    words = [sys.executable, "-m", "dfjax", "predict", "--json", str(tmp_path / "tone.wav")]
    env = children.quickly_compiling()
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=tmp_path, env=env)
    found = json.loads(done.stdout)
    assert done.returncode == 3 and found["verdict"] == "uncertain" and found["reasons"]


def test_damaged_weights_are_refused_in_one_line(tmp_path, monkeypatch):
    for path in bundle.SPEECH.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / bundle.WEIGHTS).write_bytes(b"\0" * 100)
    monkeypatch.setattr(bundle, "SPEECH", tmp_path)
    with pytest.raises(InputError, match="altered: 'weights.safetensors'; install dfjax again$"):
        dfjax.load(tmp_path)
    with pytest.raises(InputError, match="weights.safetensors cannot be read"):  # as evaluate does
        trained.load(tmp_path)


def test_importing_the_package_is_fast_and_needs_no_jax():
    words = (
        "import sys, time; t = time.perf_counter(); import dfjax; print(time.perf_counter() - t, 'jax' in sys.modules)"
    )
    seconds, jax = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True).stdout.split()
    assert float(seconds) < 0.3 and jax == "False"
    assert {"load", "Detector", "thresholds", "metrics", "losses", "models"} <= set(dir(dfjax))


def test_what_evaluates_takes_it_as_a_run_of_one_checkpoint(shipped):
    """It was told that it has none; `evaluate` asks for the step of its decision."""
    for step in (None, 0):
        network = trained.restore(bundle.SPEECH, step)
        assert weights.digest(network.params, network.model_state) == shipped.hashes()["weights"]


def test_its_checkpoint_is_loaded_without_what_training_needs():
    """As `evaluate` loads it; `dfjax.load()` needs no flax, either: test_bundle.py."""
    code = "import sys; from dfjax.inference import bundle, trained; trained.load(bundle.SPEECH)\n"
    code += "print({'orbax', 'tensorflow_datasets', 'array_record'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
