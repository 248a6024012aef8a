import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest

from dfjax import tune
from dfjax.decide import calibration, metrics, operating_points, score_file, thresholds
from dfjax.decide.decision import decide, read_decision, write_decision
from dfjax.imbalance.ledger import Ledger
from dfjax.records import InputError
from dfjax.reporting import report
from tests import commands


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
    monkeypatch.setattr("dfjax.decide.decision.REPLICATES", 100)
    monkeypatch.setattr(operating_points, "replicates", lambda clips: 100)


@pytest.fixture
def workdir(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"data": {"dataset": "demo"}}))
    for seed, split in enumerate(("validation", "test")):
        score_file.write(tmp_path / f"scores/demo.{split}.csv", make(split, seed=seed))
    return tmp_path


def run(monkeypatch, capsys, *words):
    """(exit code, stdout, stderr) of the command."""
    code = commands.called(monkeypatch, tune.main, *words)
    return code, *capsys.readouterr()


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))


def test_decision_says_what_was_chosen_on_what_and_what_it_is_worth(workdir, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "--workdir", workdir)
    assert code == 0 and not err and "test (not used for the choice)" in out
    decision = read_decision(workdir / "decision.json")
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
    assert decision["confidence_interval"][0] < decision["corrected_value"] < decision["confidence_interval"][1]
    assert decision["bootstrap"]["unit"] == "120 groups of clips"


CONSTRAINED = {
    "f_beta": {"beta": 2.0},
    "cost": {"c_fp": 1.0, "c_fn": 7.0},
    "recall_at_precision": {"min_precision": 0.6},
    "precision_at_recall": {"min_recall": 0.7},
    "recall_at_fpr": {"max_fpr": 0.03},
}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_reloaded_decision_reproduces_every_prediction_bit_for_bit(tmp_path, seed):
    scores = make(seed=seed)
    scores = dataclasses.replace(
        scores, score=np.round(scores.score * 2 ** (3 * seed)) / np.float32(2 ** (3 * seed))
    )  # ties
    score_file.write(tmp_path / "demo.validation.csv", scores)
    before, after = (score_file.by_clip(x) for x in (scores, score_file.read(tmp_path / "demo.validation.csv")))
    assert before.score.dtype == after.score.dtype == np.float32
    np.testing.assert_array_equal(before.score.view(np.uint32), after.score.view(np.uint32))
    for criterion in thresholds.CRITERIA:
        constraint = CONSTRAINED.get(criterion, {})
        chosen = thresholds.search(before.score, before.label, criterion, **constraint)
        write_decision(tmp_path / "decision.json", decide(scores, criterion, **constraint))
        decision = read_decision(tmp_path / "decision.json")
        # the number itself and every way a reader may compare with it
        assert np.float32(decision["threshold"]) == np.float32(chosen.value) == decision["threshold"]
        expected = before.score >= np.float32(chosen.value)
        for threshold in (decision["threshold"], np.float32(decision["threshold"]), np.float64(decision["threshold"])):
            np.testing.assert_array_equal(after.score >= threshold, expected, err_msg=criterion)
        fakes, called = after.label == 1, after.score >= decision["threshold"]
        counts = {"tp": fakes & called, "fp": ~fakes & called, "fn": fakes & ~called, "tn": ~fakes & ~called}
        assert decision["counts"] == {name: int(of.sum()) for name, of in counts.items()}, criterion


@pytest.fixture
def reported(workdir):
    """A finished run with subgroups and generators that training never saw."""
    validation, test = (score_file.read(workdir / f"scores/demo.{split}.csv") for split in ("validation", "test"))
    subgroups = {"gender": {clip: ("f", "m")[int(clip) % 2] for clip in set(test.clip.tolist())}}
    made = report.build(
        validation=validation,
        test=test,
        decision=decide(validation),
        train_counts={"real": 5000, "fake": 500, "groups": 60},
        ledger=Ledger(sampling=1.5).to_json(),
        run={"name": "trial", "dataset": "demo"},
        train_methods={"other"},
        subgroups=subgroups,
    )
    report.write(workdir, made, validation, test, subgroups)
    return workdir


REPORT = ("report.json", "report.md", "report.html")


def test_tuning_renews_the_report_and_only_what_the_decision_changes(reported, monkeypatch, capsys):
    before = {name: (reported / name).read_bytes() for name in REPORT}
    code, out, _ = run(monkeypatch, capsys, "--workdir", reported)
    assert code == 0 and f"report renewed: {reported / 'report.html'}" in out
    assert before == {name: (reported / name).read_bytes() for name in REPORT}
    run(monkeypatch, capsys, "--workdir", reported, "--criterion", "precision_at_recall", "--min_recall", "0.95")
    decision = read_decision(reported / "decision.json")
    found = json.loads((reported / "report.json").read_text())
    assert (
        found["threshold"]["value"] == decision["threshold"] < json.loads(before["report.json"])["threshold"]["value"]
    )
    assert found["decision"] == decision and "precision_at_recall" in (reported / "report.md").read_text()
    assert (reported / "report.html").read_bytes() != before["report.html"]
    for name in ("ledger", "audit", "run", "ranking", "counts", "train_methods"):
        assert found[name] == json.loads(before["report.json"])[name], name
    assert "training saw none of the generators here" in (reported / "report.md").read_text()
    assert found["methods"]["test"][0]["unseen"] and found["subgroups"]["gender"][0]["value"] == "f"


def test_a_certificate_that_fails_leaves_the_report_as_it_was(reported, monkeypatch, capsys):
    before = (reported / "report.json").read_bytes()
    code, *_ = run(monkeypatch, capsys, "--workdir", reported, "--certify", "0.99", "--max_fpr", "0.001")
    assert code == 2 and (reported / "report.json").read_bytes() == before


@pytest.mark.parametrize(
    "words, message",
    [
        (("--certify", "--max_fpr", "0.1", "--criterion", "f1"), "no --criterion"),
        (("--scores", "x.csv", "--split", "validation"), "--split is of a --workdir"),
        (("--scores", "x.csv", "--dataset", "demo"), "--dataset is of a --workdir"),
    ],
)
def test_options_that_say_nothing_are_refused(words, message, workdir, monkeypatch, capsys):
    given = words if "--scores" in words else ("--workdir", workdir, *words)
    code, _, err = run(monkeypatch, capsys, *given)
    assert code == 2 and message in err and err.count("\n") == 1


def test_a_report_that_cannot_be_renewed_says_why(reported, monkeypatch, capsys):
    before = (reported / "report.json").read_bytes()
    _, out, _ = run(monkeypatch, capsys, "--workdir", reported, "--criterion", "eer", "--out", reported / "other.json")
    assert "report" not in out and (reported / "report.json").read_bytes() == before
    (reported / "scores/demo.test.csv").unlink()
    _, out, err = run(monkeypatch, capsys, "--workdir", reported, "--json")
    assert strict(out) and "the report was not renewed: " in err and "no test scores yet" in err
    (reported / "report.json").unlink()
    score_file.write(reported / "scores/demo.test.csv", make("test", seed=1))
    _, out, _ = run(monkeypatch, capsys, "--workdir", reported)
    assert "the report was not renewed: " in out and "no readable report.json" in out


def test_a_report_is_not_made_anew_of_another_folder(reported, monkeypatch, capsys):
    """Folders have one name, so its numbers became those of the other, its training stayed."""
    before = (reported / "report.json").read_bytes()
    (reported / "environment.json").write_text(json.dumps({"dataset": {"name": "demo", "hash": "07"}}))
    for seed, split in enumerate(("validation", "test")):
        other = make(split, seed=seed)
        other = dataclasses.replace(other, header=other.header | {"data": "08"})
        score_file.write(reported / f"scores/demo-other.{split}.csv", other)
    _, out, _ = run(monkeypatch, capsys, "--workdir", reported, "--dataset", "demo/other")
    assert "the report was not renewed: it is of the demo that the run was trained on" in out
    assert (reported / "report.json").read_bytes() == before
    assert read_decision(reported / "decision.json")["data"] == "08"


def test_a_plain_csv_is_enough_and_json_is_one_line(tmp_path, monkeypatch, capsys):
    scores = make()
    rows = (f"{y},{float(s)!r}\n" for y, s in zip(scores.label, scores.score, strict=True))
    (tmp_path / "plain.csv").write_text("label,score\n" + "".join(rows))
    words = ["--scores", tmp_path / "plain.csv", "--criterion", "youden", "--out", tmp_path / "new/decision.json"]
    code, out, _ = run(monkeypatch, capsys, *words, "--json")
    assert code == 0 and out.count("\n") == 1
    assert strict(out) == read_decision(tmp_path / "new/decision.json")
    assert strict(out)["clips"] == {"fake": 110, "real": 1090}  # rows are clips


def test_scores_that_look_like_probabilities_are_said_to_be_read_as_logits(tmp_path, monkeypatch, capsys):
    """All of them are above the logit 0, so the row 0.5 would call every clip fake without a word."""
    rows = ["1,0.9", "1,0.6", "0,0.4", "0,0.1"]
    (tmp_path / "p.csv").write_text("\n".join(["label,score", *rows]))
    code, out, _ = run(monkeypatch, capsys, "--scores", tmp_path / "p.csv")
    assert code == 0 and out.count("as probabilities do, but are read as logits") == 1
    code, out, err = run(monkeypatch, capsys, "--scores", tmp_path / "p.csv", "--json")
    assert strict(out)["threshold"] == pytest.approx(0.5) and "as probabilities do" in err
    (tmp_path / "l.csv").write_text("\n".join(["label,score", *rows, "0,-0.1"]))
    assert "probabilities" not in run(monkeypatch, capsys, "--scores", tmp_path / "l.csv")[1]


def test_a_threshold_of_fakes_alone_says_what_it_does_not_know(tmp_path, monkeypatch, capsys):
    (tmp_path / "f.csv").write_text("label,score\n1,2\n1,3\n")
    code, out, _ = run(monkeypatch, capsys, "--scores", tmp_path / "f.csv")
    assert code == 0 and "there is no real clip, so nothing here says what a threshold does to real ones" in out


def test_infeasible_exits_2_names_the_nearest_point_and_writes_strict_json_where_told(workdir, monkeypatch, capsys):
    score_file.write(workdir / "scores/demo.validation.csv", make(gap=-1))
    assert run(monkeypatch, capsys, "--workdir", workdir)[0] == 0
    before = (workdir / "decision.json").read_bytes()
    words = "--workdir", workdir, "--criterion", "recall_at_precision", "--min_precision", "0.9"
    code, _, err = run(monkeypatch, capsys, *words)
    assert code == 2 and err.count("\n") == 1 and "the nearest" in err and "stays as it was" in err
    assert (workdir / "decision.json").read_bytes() == before  # a detector that works goes on working
    code, _, err = run(monkeypatch, capsys, *words, "--out", workdir / "other.json")
    decision = strict((workdir / "other.json").read_text())
    assert code == 2 and decision["status"] == "infeasible" and decision["message"] in err


def test_undefined_exits_2_with_a_strict_decision(tmp_path, monkeypatch, capsys):
    (tmp_path / "x.csv").write_text("label,score\n0,1\n0,2\n")
    code, _, err = run(monkeypatch, capsys, "--scores", tmp_path / "x.csv", "--out", tmp_path / "d.json")
    decision = strict((tmp_path / "d.json").read_text())
    assert code == 2 and "undefined" in err and decision["threshold"] is None and decision["status"] == "undefined"
    assert decision["half"]["recall"] is None


def test_certified_or_how_many_clips_are_missing(workdir, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "--workdir", workdir, "--certify", "--max_fpr", "0.05")
    decision = read_decision(workdir / "decision.json")
    assert code == 0 and decision["criterion"] == "certified_fpr" and "95 % confidence" in out
    assert decision["constraint"] == {"confidence": 0.95, "fpr": 0.05} and decision["tuned"]["fpr"] < 0.05
    code, _, err = run(monkeypatch, capsys, "--workdir", workdir, "--certify", "0.99", "--max_fpr", "0.001")
    assert code == 2 and "more groups of real clips" in err  # five clips each
    for words in (("--min_precision", "0.9"), ("--beta", "2"), ("--min_recall", "0.9", "--max_fpr", "0.1"), ()):
        code, _, err = run(monkeypatch, capsys, "--workdir", workdir, "--certify", *words)
        assert code == 2 and err.startswith("error: a guarantee takes min_recall or max_fpr alone, got ")
    assert read_decision(workdir / "decision.json") == decision


def test_abstain_band_and_deployment_prior_are_stored(workdir, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "--workdir", workdir, "--abstain", "0.02", "--deploy_prior", "0.01")
    decision = read_decision(workdir / "decision.json")
    band = decision["band"]
    assert "a verdict's probability is for 1 % fakes in use; that moves no threshold\n" in out
    assert code == 0 and "no verdict" in out and band["real_below"] < band["fake_from"] and 0 < band["undecided"] < 1
    fitted = decision["calibration"]
    z = calibration.logits(np.zeros(1), fitted) - (
        fitted["intercept"] - math.log(fitted["prior"] / (1 - fitted["prior"]))
    )
    assert z[0] == pytest.approx(math.log(0.01 / 0.99), abs=1e-9)


def test_calibration_is_better_than_none(workdir):
    quality = decide(make())["calibration_quality"]
    assert quality["after"]["log_loss"] < quality["before"]["log_loss"]


@pytest.mark.parametrize("split", ["test", "train"])
def test_the_test_split_chooses_no_threshold(split):
    with pytest.raises(InputError, match=f"split '{split}'"):
        decide(make(split))


@pytest.mark.parametrize(
    "words, message",
    [
        (("--criterion", "f3"), "Unknown criterion 'f3'; expected one of"),
        (("--criterion", "recall_at_precision"), "min_precision"),
        (("--deploy_prior", "1"), "between 0 and 1"),
        (("--certify",), "takes min_recall or max_fpr alone"),
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
            read_decision(tmp_path / path)
    (tmp_path / "unknown.csv").write_text("label,score\n-1,1\n")
    code, _, err = run(monkeypatch, capsys, "--scores", tmp_path / "unknown.csv")
    assert code == 2 and "no clip has a known label" in err


def test_the_decision_of_a_bundle_is_not_replaced_under_its_seal(workdir, monkeypatch, capsys):
    """A detector that was tuned where it lay judged no file any more."""
    from dfjax.inference import bundle

    assert tune.SEAL == bundle.MANIFEST
    (workdir / tune.SEAL).write_text("{}")
    code, _, err = run(monkeypatch, capsys, "--workdir", workdir)
    assert code == 2 and "is a bundle, which another decision.json would break; give --out FILE" in err
    assert not (workdir / "decision.json").exists()
    code, _, _ = run(monkeypatch, capsys, "--workdir", workdir, "--out", workdir / "mine.json")
    assert code == 0 and (workdir / "mine.json").exists()


def test_judging_imports_no_jax():
    words = "import sys, dfjax.tune, dfjax.reporting.report; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], timeout=60).returncode == 0
