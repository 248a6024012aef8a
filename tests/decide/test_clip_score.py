"""From frames to clips: the rules, the faces of a frame, and that all who judge a run use the rule of its tuning."""

import dataclasses
import json

import numpy as np
import pytest
from etils import epath

from dfjax.decide import clip_score, operating_points, score_file
from dfjax.decide.clip_score import clip_scores
from dfjax.decide.decision import decide
from dfjax.evaluate import table
from dfjax.inference import verdict
from dfjax.records import InputError
from dfjax.reporting import cross_dataset, report

RULES = ("mean", "median", "top1", "top3", "top100")


def random_clips(n=500, clips=40, seed=0):
    """(score, frame, clip): every clip has a frame or more, every frame a face or more."""
    rng = np.random.default_rng(seed)
    clip_of_frame = np.concatenate([np.arange(clips), rng.integers(clips, size=n // 2 - clips)])
    frame = np.concatenate([np.arange(n // 2), rng.integers(n // 2, size=n // 2)])
    return rng.standard_normal(n).astype(np.float32), frame, clip_of_frame[frame]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_what_its_name_says(rule):
    score, frame, clip = random_clips()
    found = clip_scores(score, frame, clip, rule)
    for c in range(clip.max() + 1):
        frames = [score[frame == f].max() for f in np.unique(frame[clip == c])]
        highest = np.sort(np.float64(frames))[::-1]
        expected = {"mean": highest.mean(), "median": np.median(highest)}.get(rule)
        if expected is None:
            expected = highest[: int(rule[3:])].mean()
        np.testing.assert_allclose(found[c], np.float32(expected), rtol=1e-6)


def test_of_one_frame_all_rules_agree_and_no_rule_sees_the_order():
    score, frame, clip = random_clips()
    shuffled = np.random.default_rng(1).permutation(len(score))
    for rule in RULES:
        np.testing.assert_array_equal(clip_scores(score, np.arange(500), np.arange(500), rule), score)
        moved = clip_scores(score[shuffled], frame[shuffled], clip[shuffled], rule)
        np.testing.assert_allclose(moved, clip_scores(score, frame, clip, rule), rtol=1e-6)


def test_the_best_of_as_many_as_there_are_is_the_mean_to_the_bit():
    score, _, clip = random_clips()
    frame = np.arange(len(score))
    most = np.bincount(clip).max()
    mean = clip_scores(score, frame, clip)
    np.testing.assert_array_equal(clip_scores(score, frame, clip, f"top{most}"), mean)
    assert (clip_scores(score, frame, clip, "top1") >= clip_scores(score, frame, clip, "top3")).all()
    assert (clip_scores(score, frame, clip, "top3") >= mean).all()
    assert clip_scores(score[:0], frame[:0], clip[:0], "median").shape == (0,)


@pytest.mark.parametrize("rule", ["max", "top", "top0", "top-1", "top3.5", "", 3])
def test_other_rules_are_refused(rule):
    with pytest.raises(InputError, match="Unknown clip score .* 'mean', 'median' or 'top3'"):
        clip_score.check_rule(str(rule))


def make(split="validation", rule="median", clips=40, seed=0):
    """Five frames per clip; in a third of them a second face."""
    rng = np.random.default_rng(seed)
    rows = [(c, f, k) for c in range(clips) for f in range(5) for k in range(1 + (f % 3 == 0))]
    label = np.array([c % 4 == 0 for c, _, _ in rows], np.int32)
    clip = np.array([f"{split}/v{c}.1.mp4" for c, _, _ in rows])
    return score_file.Scores(
        id=np.array([f"{name}#{10 * f}{f'.{k}' if k else ''}" for name, (_, f, k) in zip(clip, rows, strict=True)]),
        clip=clip,
        group=clip,
        label=label,
        method=np.where(label, "swap", ""),
        score=(rng.standard_cauchy(len(rows)) + 2 * label - 1).astype(np.float32),
        header={"split": split, "dataset": "demo", "step": 70, "clip_score": rule},
    )


@pytest.mark.parametrize("rule", RULES)
def test_clips_of_a_score_file_are_those_of_its_header_and_faces_are_known_by_their_id(rule, tmp_path):
    score_file.write(tmp_path / "x.csv", make(rule=rule))
    scores = score_file.read(tmp_path / "x.csv")
    clips = score_file.by_clip(scores)
    for name, found in zip(clips.clip, clips.score, strict=True):
        own = scores.score[scores.clip == name].reshape(-1)  # rows: 0, 0.1, 10, 20, 30, 30.1, 40
        frames = np.array([max(own[:2]), own[2], own[3], max(own[4:6]), own[6]])
        assert found == clip_scores(frames, np.arange(5), np.zeros(5, int), rule)[0]
    np.testing.assert_array_equal(score_file.by_clip(clips).score, clips.score)


def test_rows_are_frames_of_their_own_where_ids_say_nothing_of_faces():
    scores = make()
    plain = dataclasses.replace(scores, id=np.full(len(scores), "same"), header={})
    clips = score_file.by_clip(plain)
    expected = [np.mean(scores.score[scores.clip == name], dtype=np.float64) for name in clips.clip]
    np.testing.assert_allclose(clips.score, np.float32(expected), rtol=1e-6)
    lonely = score_file.select(scores, np.char.endswith(scores.id, ".1"))  # second faces without their first
    assert (np.unique(lonely.clip, return_counts=True)[1] == 2).all()
    for clip, value in zip(*(getattr(score_file.by_clip(lonely), name) for name in ("clip", "score")), strict=True):
        np.testing.assert_allclose(value, lonely.score[lonely.clip == clip].mean(), rtol=1e-5)


@pytest.fixture
def few_replicates(monkeypatch):
    monkeypatch.setattr("dfjax.decide.decision.REPLICATES", 100)
    monkeypatch.setattr(operating_points, "replicates", lambda clips: 100)


def test_tune_report_evaluate_and_predict_judge_by_the_same_rule(few_replicates, monkeypatch, tmp_path):
    decisions = {rule: decide(make(rule=rule)) for rule in RULES}
    assert len({decision["threshold"] for decision in decisions.values()}) > 2  # the rule matters here
    for rule, decision in decisions.items():
        assert decision["clip_score"] == rule
        test = make("test", rule, seed=1)
        row = cross_dataset.row("demo", test, decision, trained=True)
        about = {"run": {"name": "x", "dataset": "demo"}, "train_counts": {"real": 3, "fake": 1}}
        whole = report.build(validation=make(rule=rule), test=test, decision=decision, ledger=None, audit=None, **about)
        assert whole["clip_score"] == rule and f"({rule} of windows or frames)" in report.markdown(whole)
        found = 0
        for name in np.unique(test.clip[test.label == 1]):
            rows = test.clip == name
            frames = np.array([0, 0, 1, 2, 3, 3, 4])
            judged = verdict.of_scores(decision, test.score[rows], frames)
            assert np.float32(judged["score"]) == score_file.by_clip(score_file.select(test, rows)).score[0]
            found += judged["verdict"] == "fake"
        assert found == row["tuned"]["tp"] == whole["operating"]["test"]["tuned"]["tp"]

    score_file.write(tmp_path / "demo.test.csv", make("test", "median"))
    stored = table._stored(epath.Path(tmp_path / "demo.test.csv"), decisions["median"], None, None)
    assert stored is not None and score_file.rule_of(stored) == "median"
    assert table._stored(epath.Path(tmp_path / "demo.test.csv"), decisions["top3"], None, None) is None


def test_what_was_written_before_there_were_rules_means_the_mean():
    scores = dataclasses.replace(make(), header={"split": "validation"})
    assert score_file.rule_of(scores) == "mean"
    assert clip_score.rule_of(json.loads('{"threshold": 0.0}')) == "mean"
