"""dfjax.tune on a run of dfjax.crossval: whose scores it takes, what it prints, and the report it renews."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from dfjax import tune
from dfjax.decide import operating_points, score_file
from dfjax.decide.decision import decide, read_decision, write_decision
from dfjax.reporting import report
from tests import commands


@pytest.fixture(autouse=True, scope="module")
def few_replicates():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dfjax.decide.decision.REPLICATES", 50)
        patch.setattr(operating_points, "replicates", lambda clips: 50)
        yield


def make(split, count=7, clips=200, seed=0):
    rng = np.random.default_rng(seed)
    n = count * clips
    names = np.array([f"{split}/{i}" for i in range(n)])
    label = (np.arange(n) % 2).astype(np.int32)
    shift = rng.normal(size=count) if split == "left_out" else np.zeros(count)
    score = 3.0 * label + np.repeat(shift, clips) + rng.normal(size=n)
    domain = np.repeat([f"source_{k}" for k in range(count)], clips) if split == "left_out" else None
    header = {"split": split, "dataset": "demo"}
    return score_file.Scores(names, names, names, label, np.where(label, "g", ""), score, header, domain)


@pytest.fixture(scope="module")
def finished(few_replicates, tmp_path_factory):
    """What dfjax.crossval leaves: the run's own splits, the left-out scores, a decision on these and a report."""
    folder = tmp_path_factory.mktemp("crossval")
    (folder / "config.json").write_text(json.dumps({"data": {"dataset": "demo"}}))
    validation, test, left_out = make("validation", seed=0), make("test", seed=1), make("left_out", seed=2)
    score_file.write(folder / "scores/demo.validation.csv", validation)
    score_file.write(folder / "scores/demo.test.csv", test)
    score_file.write(folder / "scores/left_out.csv", left_out)
    decision = decide(left_out)
    write_decision(folder / "decision.json", decision)
    made = report.build(
        validation=validation,
        test=test,
        decision=decision,
        train_counts={"real": 1, "fake": 1},
        run={"dataset": "demo"},
    )
    report.write(folder, made, validation, test)
    return folder


@pytest.fixture
def workdir(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def run(monkeypatch, capsys, *words):
    code = commands.called(monkeypatch, tune.main, *words)
    return code, *capsys.readouterr()


def test_a_decision_on_left_out_sources_is_made_again_on_them(workdir, monkeypatch, capsys):
    before = {
        name: (workdir / name).read_bytes() for name in ("report.json", "report.md", "report.html", "decision.json")
    }
    code, out, _ = run(monkeypatch, capsys, "--workdir", workdir)
    assert code == 0 and before == {name: (workdir / name).read_bytes() for name in before}
    found = read_decision(workdir / "decision.json")["domains"]
    assert f"at this threshold: {found['words']}" in out and found["certificate"]["statement"] in out
    assert "on a new source expect" in out and "test (not used for the choice)" in out
    assert any(line.startswith("source_3 ") and len(line.split()) == 7 for line in out.splitlines())


def test_the_split_can_be_named_and_is_remembered(workdir, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "--workdir", workdir, "--split", "validation")
    decision = read_decision(workdir / "decision.json")
    assert (
        code == 0 and (decision["split"], decision["criterion"]) == ("validation", "f1") and "domains" not in decision
    )
    assert "never heard" not in (workdir / "report.md").read_text() and "a new source" not in out
    assert tune.choose_split(workdir) == "validation"
    run(monkeypatch, capsys, "--workdir", workdir, "--split", "left_out", "--criterion", "youden")
    decision = read_decision(workdir / "decision.json")
    assert (decision["split"], decision["criterion"]) == ("left_out", "youden")
    assert tune.choose_split(workdir) == "left_out" and tune.choose_split(workdir, "other") == "validation"
    assert "## On a source that it has never heard" in (workdir / "report.md").read_text()


def test_folds_alone_are_enough(workdir, monkeypatch, capsys):
    for name in ("scores/demo.validation.csv", "scores/demo.test.csv", "decision.json", "report.json"):
        (workdir / name).unlink()
    code, out, _ = run(monkeypatch, capsys, "--workdir", workdir)
    assert code == 0 and read_decision(workdir / "decision.json")["split"] == "left_out"
    (workdir / "scores/left_out.csv").unlink()
    code, _, err = run(monkeypatch, capsys, "--workdir", workdir, "--split", "left_out")
    assert code == 2 and "dfjax.crossval" in err and err.count("\n") == 1


def test_a_promise_for_a_new_source(workdir, monkeypatch, capsys):
    words = ("--workdir", workdir, "--certify", "--by_domain", "--max_fpr", "0.1")
    code, out, _ = run(monkeypatch, capsys, *words)
    decision = read_decision(workdir / "decision.json")
    assert code == 0 and decision["constraint"] == {"confidence": 0.8, "fpr": 0.1}
    assert out.count("at most 10 % false alarms on a new source with 80 % confidence") == 1
    code, _, err = run(monkeypatch, capsys, *words[:3], "0.95", *words[3:])
    assert code == 2 and "needs 24 sources with real clips; seven given" in err
    code, _, err = run(monkeypatch, capsys, "--workdir", workdir, "--by_domain", "--max_fpr", "0.1")
    assert code == 2 and "takes a confidence" in err
    code, out, _ = run(monkeypatch, capsys, *words[:3], "--max_fpr", "0.1")
    assert code == 0 and read_decision(workdir / "decision.json")["constraint"] == {"confidence": 0.95, "fpr": 0.1}


def test_a_score_file_of_its_own_is_enough(tmp_path, monkeypatch, capsys):
    score_file.write(tmp_path / "x.csv", make("left_out"))
    code, out, _ = run(monkeypatch, capsys, "--scores", tmp_path / "x.csv", "--json")
    assert code == 0 and json.loads(out)["domains"]["count"] == 7
    plain = dataclasses.replace(make("left_out"), domain=None)
    score_file.write(tmp_path / "x.csv", plain, {"split": "validation"})
    code, out, _ = run(monkeypatch, capsys, "--scores", tmp_path / "x.csv", "--json")
    assert code == 0 and "domains" not in json.loads(out)
