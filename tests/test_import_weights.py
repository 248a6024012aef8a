"""Published weights as a run: predict, evaluate and tune take it; the released AASIST gives its measured figures."""

import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from flax import nnx

import dfjax
from dfjax import import_weights, models, prepare, tune
from dfjax.data import sources
from dfjax.decide import metrics, score_file, typicality
from dfjax.decide.decision import decide, read_decision
from dfjax.evaluate import table
from dfjax.inference import scorers, scoring, trained
from dfjax.models import functional, lcnn, torch_file
from dfjax.models.streams import Rngs
from dfjax.records import MAX_SAMPLES, InputError
from tests import commands, prepared
from tests.models import seeded

WEIGHTS = "aasist/AASIST.pth"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """(folder of a run made of a file of LCNN weights, the model that the file holds)."""
    folder = tmp_path_factory.mktemp("published")
    model = seeded.model(lambda: models.build("lcnn", rngs=Rngs(3)))
    (folder / "lcnn.pt").write_bytes(b"weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "load_published", lambda name, path: model)
        import_weights.import_weights("lcnn", folder / "lcnn.pt", folder / "run")
    return folder / "run", model


def test_a_published_model_can_be_called_as_it_is(monkeypatch):
    """Dropout is off, and a call changes no running statistics: the second one says the same."""
    model = seeded.model(lambda: models.build("lcnn", rngs=Rngs(3)))
    monkeypatch.setattr(lcnn, "load", lambda path: model)
    loaded = models.load_published("lcnn", "weights")
    sound = jnp.asarray(np.random.default_rng(0).normal(size=(1, MAX_SAMPLES)), jnp.float32)
    first, second = loaded(sound), loaded(sound)
    assert first.shape == (1,)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("aasist", ["encoder.layers.0.self_attn.k_proj.weight", "encoder.pos_embedding", "encoder.0.1.conv1.weight"]),
        ("aasist", ["pos_S"]),
        ("lcnn", ["m_transform.0.28.weight", "m_transform.weight", "m_transform.0.x.weight"]),
        ("lcnn", ["m_before_pooling", "m_output_act"]),
        ("rawnet2", ["block1.weight", "block1", "fc_attention0", "block2.0.conv_downsample.weight"]),
    ],
)
def test_a_file_of_another_network_is_one_line(model, names, tmp_path, monkeypatch, capsys):
    """One such name ended it in a traceback."""
    for name in names:
        tensors = {name: np.ones((3, 3) if "." in name else (), np.float32)}
        monkeypatch.setattr(torch_file, "state_dict", lambda path, tensors=tensors: tensors)
        words = ["--model", model, "--weights", "other.pth", "--workdir", tmp_path / "run"]
        assert commands.called(monkeypatch, import_weights.main, *words) == 2
        message = capsys.readouterr().err
        assert (
            re.match("error: other.pth does not fit .*: missing .*, left over ", message) and message.count("\n") == 1
        )
    assert not (tmp_path / "run").exists()


def test_the_checkpoint_holds_the_weights(published):
    folder, model = published
    network = trained.restore(folder)
    _, expected, expected_state = functional.split(model)
    jax.tree.map(np.testing.assert_array_equal, (network.params, network.model_state), (expected, expected_state))
    assert network.step == json.loads((folder / "decision.json").read_text())["step"]
    assert json.loads((folder / "environment.json").read_text())["weights"]["file"] == "lcnn.pt"


def test_it_says_that_no_verdict_is_uncertain(tmp_path, monkeypatch, capsys):
    model = seeded.model(lambda: models.build("lcnn", rngs=Rngs(3)))
    monkeypatch.setattr(models, "load_published", lambda name, path: model)
    (tmp_path / "lcnn.pt").write_bytes(b"weights")
    words = ["--model", "lcnn", "--weights", str(tmp_path / "lcnn.pt"), "--workdir", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", ["import_weights", *words])
    import_weights.main()
    assert "never uncertain" in capsys.readouterr().out.splitlines()[-1]
    assert not (tmp_path / "run" / typicality.TYPICALITY).exists()


def test_it_is_predicted_with_evaluated_and_tuned(published, tmp_path, monkeypatch, capsys):
    folder, _ = published
    x = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    soundfile.write(tmp_path / "x.wav", x, 16_000)
    found = dfjax.load(folder)(tmp_path / "x.wav")
    assert found["typicality"] is None
    assert found["threshold"] == 0 and found["verdict"] == ("fake" if found["score"] >= 0 else "real")
    assert found["probability"] == pytest.approx(1 / (1 + np.exp(-found["score"])))

    directory = prepared.make(tmp_path / "data", counts={"validation": (6, 4), "test": (5, 3)})
    monkeypatch.setattr(prepare, "prepare", lambda *_: directory)
    (row,) = table.make(folder, ["made/a"], split="validation", progress=False)
    assert (row["real"], row["fake"], row["trained"]) == (6, 4, False)
    assert "threshold 0, not tuned" in (folder / "evaluation.md").read_text()
    scores = score_file.read(folder / "scores" / "made-a.validation.csv")
    monkeypatch.setattr("sys.argv", ["tune", "--workdir", str(folder), "--dataset", "made/a"])
    tune.main()
    assert capsys.readouterr().out.startswith("validation: 4 fake and 6 real clips")
    decision = read_decision(folder / "decision.json")
    assert (decision["threshold"], decision["step"]) == (decide(scores)["threshold"], 0)
    (row,) = table.make(folder, ["made/a"], progress=False)
    assert "tuned for f1 on made validation" in (folder / "evaluation.md").read_text()
    with pytest.raises(InputError, match="tuned on the split 'validation'"):
        table.make(folder, ["made/a"], split="validation", progress=False)
    monkeypatch.setattr("sys.argv", ["tune", "--workdir", str(folder), "--dataset", "other"])
    with pytest.raises(InputError, match="no validation scores of other"):
        tune.main()


def test_a_killed_import_is_made_again_and_another_run_is_not(published, tmp_path, monkeypatch):
    """The same command was refused, since the folder was not empty."""
    folder, model = published
    monkeypatch.setattr(models, "load_published", lambda name, path: model)
    half = tmp_path / "half"
    shutil.copytree(folder, half)
    for gone in ("decision.json", "environment.json"):
        (half / gone).unlink()
    (next((half / "checkpoints").iterdir()) / "left.tmp").write_text("half")
    import_weights.import_weights("lcnn", folder.parent / "lcnn.pt", half)
    assert read_decision(half / "decision.json") == import_weights.untuned()
    for name in ("environment.json", "config.json"):
        assert json.loads((half / name).read_text()) == json.loads((folder / name).read_text())
    assert not list(half.rglob("left.tmp")) and trained.restore(half).step == 0
    (half / "decision.json").unlink()
    config = json.loads((half / "config.json").read_text())
    (half / "config.json").write_text(json.dumps(config | {"seed": 7}))
    with pytest.raises(InputError, match="holds another experiment: config.seed is 7 there"):
        import_weights.import_weights("lcnn", folder.parent / "lcnn.pt", half)


def test_mistakes_are_named(published, tmp_path):
    folder, _ = published
    with pytest.raises(InputError, match="not empty"):
        import_weights.import_weights("lcnn", "x.pt", folder)
    with pytest.raises(InputError, match=r"expected one of \['aasist', 'lcnn', 'rawnet2'\]$"):
        import_weights.import_weights("texture", "x.pt", tmp_path / "run")
    with pytest.raises(InputError, match="no head that knows"):
        import_weights.import_weights("xception", "x.pt", tmp_path / "run")
    with pytest.raises(InputError, match="nothing.pth"):
        import_weights.import_weights("aasist", tmp_path / "nothing.pth", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["aasist", "rawnet2"])
def test_a_clip_is_its_first_64600_samples_tiled_when_shorter(name):
    model = models.model_class(name)
    for length in (1_000, MAX_SAMPLES + 500):
        clip = np.arange(length, dtype=np.int16)
        example = scoring.audio_example(clip, model.samples)
        batch = {key: jnp.asarray(value)[None] for key, value in example.items()}
        heard = scorers.input_of(batch, model)[0] * 32768
        np.testing.assert_array_equal(heard, np.resize(clip, 64_600))


@pytest.mark.slow
def test_the_released_aasist_on_real_speech(shared, tmp_path):
    """427 clips. The PyTorch original, scored by its logit of "real" alone, gives AUC .849 and EER 24.4 %; our score
    is the difference of both logits, the log-odds, of the same two numbers."""
    import_weights.import_weights("aasist", shared / WEIGHTS, tmp_path / "run")
    directory = prepare.prepare("folder_audio", shared / "speech", tmp_path / "data", progress=False)
    name = f"folder_audio/{directory.parent.name}"
    (row,) = table.make(tmp_path / "run", [name], data_dir=tmp_path / "data", progress=False)
    assert (row["real"], row["fake"]) == (387, 40)
    assert row["auc"]["value"] == pytest.approx(0.8478, abs=5e-5)
    assert row["eer"]["value"] == pytest.approx(0.244, abs=5e-4)

    model = nnx.view(models.load_published("aasist", shared / WEIGHTS), deterministic=True, use_running_average=True)
    graphdef, params = nnx.split(model)

    @jax.jit
    def real_logit(params, x):
        model = nnx.merge(graphdef, params)
        return model.head.out(model.embed(x))[:, 1]

    split = sources.open_split(directory, "test")
    clips = np.stack([np.resize(record["audio"], 64_600) for record in scorers.records(split)])
    clips = np.pad(clips, ((0, -len(clips) % 16), (0, 0))).reshape(-1, 16, 64_600)
    logits = np.concatenate([real_logit(params, clip.astype(np.float32) / 32768) for clip in clips])
    scores = -logits[: len(split)].astype(np.float64)
    assert metrics.roc_auc(scores, split.label) == pytest.approx(0.849, abs=5e-4)
    assert metrics.eer(scores, split.label)[0] == pytest.approx(0.244, abs=5e-4)
