import json
import math
import subprocess
import sys

import numpy as np
import pytest

from dfjax import calibration, cli, metrics, score_file, tune
from dfjax.records import InputError


def make(split="validation", n=1200, seed=0, gap=2.0):
    """Two windows per clip, ten real clips per fake one."""
    rng = np.random.default_rng(seed)
    clip = np.arange(n) // 2
    label = (clip % 11 == 0).astype(np.int32)
    return score_file.Scores(
        id=np.array([f"{c}#{i % 2}" for i, c in enumerate(clip)]),
        clip=clip.astype(np.str_),
        group=(clip // 5).astype(np.str_),
        label=label,
        method=np.where(label, "lpc", ""),
        score=rng.normal(size=n).astype(np.float32) + np.float32(gap) * label - 3,
        header={"split": split, "dataset": "demo", "step": 70},
    )


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch):
    monkeypatch.setattr(tune, "REPLICATES", 100)


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"data": {"dataset": "demo"}}))
    for seed, split in enumerate(("validation", "test")):
        score_file.write(tmp_path / f"scores/demo.{split}.csv", make(split, seed=seed))
    return tmp_path


def run(monkeypatch, capsys, *words):
    """(exit code, stdout, stderr) of the command."""
    monkeypatch.setattr(sys, "argv", ["tune", *map(str, words)])
    code = 0
    try:
        cli.main(tune.main)
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))


def test_decision_says_what_was_chosen_on_what_and_what_it_is_worth(workdir, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "--workdir", workdir)
    assert code == 0 and not err and "test (not used for the choice)" in out
    decision = tune.read_decision(workdir / "decision.json")
    assert strict((workdir / "decision.json").read_text()) == decision
    assert (decision["criterion"], decision["split"], decision["dataset"], decision["step"]) == (
        "f1",
        "validation",
        "demo",
        70,
    )
    clips = score_file.by_clip(make())
    found = metrics.at_threshold(clips.score, clips.label, decision["threshold"])
    assert decision["counts"] == {key: found[key] for key in ("tp", "fp", "fn", "tn")}
    assert decision["value"] == found["f1"] == decision["tuned"]["f1"]
    assert decision["value"] > decision["half"]["f1"] and decision["corrected_value"] < decision["value"]
    low, high = decision["interval"]
    assert low < decision["threshold"] <= high and not ((clips.score > low) & (clips.score < high)).any()
    assert (
        decision["confidence_interval"][0] < decision["corrected_value"] < decision["confidence_interval"][1]
    )
    assert decision["bootstrap"]["unit"] == "120 groups of clips"


def test_reloaded_decision_reproduces_every_prediction(workdir, monkeypatch, capsys):
    run(monkeypatch, capsys, "--workdir", workdir, "--criterion", "eer")
    clips = score_file.by_clip(score_file.read(workdir / "scores/demo.validation.csv"))
    np.testing.assert_array_equal(
        clips.score.view(np.uint32), score_file.by_clip(make()).score.view(np.uint32)
    )
    decision = tune.read_decision(workdir / "decision.json")
    predicted = clips.score >= np.float32(decision["threshold"])
    assert (predicted & (clips.label == 1)).sum() == decision["counts"]["tp"]
    assert (predicted & (clips.label == 0)).sum() == decision["counts"]["fp"]


def test_a_plain_csv_is_enough_and_json_is_one_line(tmp_path, monkeypatch, capsys):
    scores = make()
    rows = (f"{y},{float(s)!r}\n" for y, s in zip(scores.label, scores.score, strict=True))
    (tmp_path / "plain.csv").write_text("label,score\n" + "".join(rows))
    code, out, _ = run(
        monkeypatch, capsys, "--scores", tmp_path / "plain.csv", "--criterion", "youden", "--json",
        "--out", tmp_path / "new/decision.json",
    )  # fmt: skip
    assert code == 0 and out.count("\n") == 1
    assert strict(out) == tune.read_decision(tmp_path / "new/decision.json")
    assert strict(out)["clips"] == {"fake": 110, "real": 1090}  # rows are clips


def test_infeasible_exits_2_names_the_nearest_point_and_writes_strict_json(workdir, monkeypatch, capsys):
    score_file.write(workdir / "scores/demo.validation.csv", make(gap=-1))
    code, _, err = run(
        monkeypatch,
        capsys,
        "--workdir",
        workdir,
        "--criterion",
        "recall_at_precision",
        "--min_precision",
        "0.9",
    )
    assert code == 2 and err.count("\n") == 1 and "the nearest" in err
    decision = strict((workdir / "decision.json").read_text())
    assert decision["status"] == "infeasible" and decision["message"] in err


def test_undefined_exits_2_with_a_strict_decision(tmp_path, monkeypatch, capsys):
    (tmp_path / "x.csv").write_text("label,score\n0,1\n0,2\n")
    code, _, err = run(monkeypatch, capsys, "--scores", tmp_path / "x.csv", "--out", tmp_path / "d.json")
    decision = strict((tmp_path / "d.json").read_text())
    assert (
        code == 2
        and "undefined" in err
        and decision["threshold"] is None
        and decision["status"] == "undefined"
    )
    assert decision["half"]["recall"] is None


def test_certified_or_how_many_clips_are_missing(workdir, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "--workdir", workdir, "--certify", "--max_fpr", "0.01")
    decision = tune.read_decision(workdir / "decision.json")
    assert code == 0 and decision["criterion"] == "certified_fpr" and "95 % confidence" in out
    assert decision["constraint"] == {"confidence": 0.95, "fpr": 0.01} and decision["tuned"]["fpr"] < 0.01
    code, _, err = run(monkeypatch, capsys, "--workdir", workdir, "--certify", "0.99", "--max_fpr", "0.001")
    assert code == 2 and "more real clips" in err
    assert tune.read_decision(workdir / "decision.json")["threshold"] is None


def test_abstain_band_and_deployment_prior_are_stored(workdir, monkeypatch, capsys):
    code, out, _ = run(
        monkeypatch, capsys, "--workdir", workdir, "--abstain", "0.02", "--deploy_prior", "0.01"
    )
    decision = tune.read_decision(workdir / "decision.json")
    band = decision["band"]
    assert (
        code == 0
        and "no verdict" in out
        and band["real_below"] < band["fake_from"]
        and 0 < band["undecided"] < 1
    )
    fitted = decision["calibration"]
    z = calibration.logits(np.zeros(1), fitted) - (
        fitted["intercept"] - math.log(fitted["prior"] / (1 - fitted["prior"]))
    )
    assert z[0] == pytest.approx(math.log(0.01 / 0.99), abs=1e-9)


def test_calibration_is_better_than_none(workdir):
    quality = tune.decide(make())["calibration_quality"]
    assert quality["after"]["log_loss"] < quality["before"]["log_loss"]


@pytest.mark.parametrize("split", ["test", "train"])
def test_the_test_split_chooses_no_threshold(split):
    with pytest.raises(InputError, match=f"split '{split}'"):
        tune.decide(make(split))


@pytest.mark.parametrize(
    "words, message",
    [
        (("--criterion", "f3"), "Unknown criterion 'f3'; expected one of"),
        (("--criterion", "recall_at_precision"), "min_precision"),
        (("--deploy_prior", "1"), "between 0 and 1"),
        (("--certify",), "one of min_recall and max_fpr"),
    ],
)
def test_wrong_flags_leave_the_old_decision(workdir, monkeypatch, capsys, words, message):
    (workdir / "decision.json").write_text("old")
    code, _, err = run(monkeypatch, capsys, "--workdir", workdir, *words)
    assert code == 2 and message in err and err.count("\n") == 1
    assert (workdir / "decision.json").read_text() == "old"


def test_folders_and_files_that_are_not_what_they_should_be(tmp_path, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "--workdir", tmp_path)
    assert code == 2 and "holds no run" in err
    (tmp_path / "config.json").write_text('{"data": {"dataset": "demo"}}')
    code, _, err = run(monkeypatch, capsys, "--workdir", tmp_path)
    assert code == 2 and "no validation scores yet" in err
    (tmp_path / "nan.csv").write_text("label,score\n1,nan\n")
    code, _, err = run(monkeypatch, capsys, "--scores", tmp_path / "nan.csv")
    assert code == 2 and "line 2" in err
    (tmp_path / "d.json").write_text("{}")
    for path in ("d.json", "nan.csv", "absent.json"):
        with pytest.raises(InputError):
            tune.read_decision(tmp_path / path)
    (tmp_path / "unknown.csv").write_text("label,score\n-1,1\n")
    code, _, err = run(monkeypatch, capsys, "--scores", tmp_path / "unknown.csv")
    assert code == 2 and "no clip has a known label" in err


def test_judging_imports_no_jax():
    words = "import sys, dfjax.tune, dfjax.report; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], timeout=60).returncode == 0
