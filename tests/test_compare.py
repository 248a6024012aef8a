import json
import re

import numpy as np
import pytest

from dfjax import compare, rebalance
from dfjax.decide import metrics, operating_points
from dfjax.decide.score_file import Scores
from dfjax.imbalance.ledger import Ledger
from dfjax.records import InputError
from dfjax.reporting import comparison
from dfjax.runtime import cli


def run(shift=1.0, noise=0, n=400, ledger=None, threshold=0.3, rounded=False, offset=0.0):
    """Clips 1 in 5 fake; runs with equal noise share their test clips and differ by `shift` alone."""
    rng = np.random.default_rng(7)
    label = (np.arange(n) % 5 == 0).astype(np.int32)
    score = rng.normal(size=n) + 0.3 * np.random.default_rng(noise).normal(size=n) + shift * label + offset
    names = np.array([f"c{i}" for i in range(n)])
    clips = Scores(
        names, names, names, label, np.where(label == 1, "vocoder", ""), np.round(score, 1 if rounded else 9)
    )
    return comparison.Run(clips, threshold, ledger or Ledger(), 12.0)


@pytest.mark.parametrize("rounded", [False, True])
def test_weighted_metrics_are_the_metrics_of_repeated_clips(rounded):
    one = run(rounded=rounded)
    copies = np.random.default_rng(0).multinomial(400, np.full(400, 1 / 400), 20)
    measured = comparison.measure(one, np.concatenate([np.ones((1, 400), np.int64), copies]))
    for draw, count in enumerate([np.ones(400, np.int64), *copies]):
        score, label = np.repeat(one.clips.score, count), np.repeat(one.clips.label, count)
        expected = {
            "average_precision": metrics.average_precision(score, label),
            "auc": metrics.roc_auc(score, label),
            "eer": metrics.eer(score, label)[0],
            "log_loss": metrics.log_loss(score, label),
            "ece": metrics.expected_calibration_error(score, label),
        }
        for suffix, threshold in (("half", 0.0), ("tuned", 0.3)):
            at = metrics.at_threshold(score, label, threshold)
            expected |= {f"{name}_{suffix}": at[name] for name in comparison.AT}
        for name, value in expected.items():
            np.testing.assert_allclose(measured[name][draw], value, rtol=1e-12, err_msg=name)


def test_a_run_against_itself_differs_by_nothing():
    result = comparison.compare({"a": [run()], "b": [run()]})
    for change in result["experiments"]["b"]["difference"].values():
        assert change["value"] == change["low"] == change["high"] == 0 and not change["exceeds"]


def test_a_better_run_is_found_and_an_equal_one_is_not():
    runs = {"plain": [run(noise=s) for s in (1, 2, 3)]}
    runs |= {"same": [run(noise=s) for s in (4, 5, 6)], "better": [run(shift=2.5, noise=s) for s in (7, 8, 9)]}
    result = comparison.compare(runs)
    same, better = (result["experiments"][name]["difference"] for name in ("same", "better"))
    assert better["average_precision"]["exceeds"] and better["average_precision"]["better"]
    assert better["eer"]["exceeds"] and better["eer"]["better"] and better["eer"]["value"] < 0
    assert sum(change["exceeds"] for change in same.values()) <= 2
    text = comparison.markdown(result)
    assert "Against plain:" in text and "* better: better: " in text and "leave out 0 by chance" in text
    tables = [[line for line in part.splitlines() if line.startswith("|")] for part in text.split("\n\n")]
    tables = [table for table in tables if table]
    assert [len(table) for table in tables] == [5, 5, 5, 4]  # head, rule, one row per experiment
    assert all(len({len(line) for line in table}) == 1 for table in tables)  # aligned
    assert all(re.search(rf"\| {name} ", "\n".join(table)) for table in tables for name in ("same", "better"))
    json.dumps(result, allow_nan=False)


def test_a_shifted_score_ranks_alike_and_the_ledger_takes_the_shift_back():
    runs = {"natural": [run()], "balanced": [run(offset=2.0, threshold=2.3, ledger=Ledger(sampling=2.0))]}
    difference = comparison.compare(runs)["experiments"]["balanced"]["difference"]
    for name in ("average_precision", "auc", "eer", "f1_tuned", "log_loss_corrected"):
        assert abs(difference[name]["value"]) < 1e-6 and not difference[name]["exceeds"], name
    assert difference["log_loss"]["exceeds"] and not difference["log_loss"]["better"]
    assert difference["precision_half"]["exceeds"] and not difference["precision_half"]["better"]


def test_more_seeds_count_as_more():
    one = comparison.compare({"a": [run(noise=1)]})["experiments"]["a"]["metrics"]["auc"]
    three = comparison.compare({"a": [run(noise=s) for s in (1, 2, 3)]})["experiments"]["a"]["metrics"]["auc"]
    assert one["sd"] is None and three["sd"] > 0 and len(three["seeds"]) == 3
    assert abs(three["value"] - np.mean(three["seeds"])) < 1e-12 and three["low"] < three["value"] < three["high"]


def test_what_is_never_wrong_has_the_interval_of_so_few_clips_as_in_a_report():
    """AUC 1.000 of four test clips was told as certain, (1.000, 1.000), where the run's own report says .342 on."""
    runs = [run(shift=9.0, noise=s, n=20, threshold=4.0) for s in (1, 2)]
    found = comparison.compare({"a": runs})["experiments"]["a"]["metrics"]
    clips = runs[0].clips
    sides, _ = operating_points.points(clips, [0.0, 4.0], None)
    ranks = operating_points.ranking(clips)
    for name in ("auc", "average_precision", "eer"):
        assert {key: found[name][key] for key in ranks[name]} == ranks[name]
        assert found[name]["low"] < found[name]["high"]
    for name in comparison.AT:  # of both seeds
        assert {key: found[f"{name}_tuned"][key] for key in sides[1][name]} == sides[1][name], name
    assert found["f1_tuned"]["low"] == operating_points.wilson(4, 4)["low"] < found["accuracy_tuned"]["low"] < 1
    nothing = comparison.compare({"a": [run(n=20, threshold=99.0)]})["experiments"]["a"]["metrics"]
    assert nothing["recall_tuned"]["high"] == operating_points.wilson(0, 4)["high"]
    assert nothing["precision_tuned"]["value"] is None


def test_one_seed_says_nothing_of_seeds():
    text = comparison.markdown(comparison.compare({"a": [run(noise=1)], "b": [run(noise=2)]}))
    assert (
        "\nIn brackets" in text and "of seeds" not in text and "what another seed would change is not in them" in text
    )
    assert "Of 8 intervals about 0.4 leave out 0 by chance alone." in text
    text = comparison.markdown(comparison.compare({name: [run(noise=s) for s in (1, 2)] for name in "abcd"}))
    assert "Means over seeds; in brackets" in text and "and of seeds, the same draws for all. Fake" in text
    assert "Of 24 intervals about 1 leave out 0 by chance alone." in text


def test_an_undefined_threshold_leaves_its_columns_empty():
    result = comparison.compare({"a": [run()], "b": [run(threshold=None)]})
    assert result["experiments"]["b"]["metrics"]["f1_tuned"]["value"] is None
    assert result["experiments"]["b"]["difference"]["f1_tuned"]["exceeds"] is False
    assert re.search(r"^\| b .*\| +- \|", comparison.markdown(result), re.MULTILINE)


def test_other_clips_are_refused():
    with pytest.raises(InputError, match="b was tested on other clips than a"):
        comparison.compare({"a": [run()], "b": [run(n=395)]})


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (0.5, "", ".500"),
        (0.9996, "", "1.000"),
        (1.2, "", "1.200"),
        (-0.0123, "+", "-.012"),
        (0.0004, "+", "+.000"),
        (-10.25, "+", "-10.250"),
    ],
)
def test_numbers_are_short(value, sign, text):
    assert comparison._short(value, sign) == text


@pytest.mark.parametrize("command", [compare, rebalance])
def test_a_workdir_in_a_bucket_is_refused(command, capsys):
    """pathlib would make gs:/bucket of it, a folder of that name here."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(lambda: command.parser().parse_args(["--configs", "a.py", "--workdir", "gs://bucket/runs"]))
    assert stopped.value.code == 2
    assert "gs://bucket/runs lies in a bucket" in capsys.readouterr().err
