"""Left-out domains in the report: beside the in-domain figures where the decision has them, and nowhere otherwise."""

import json
import re

import numpy as np
import pytest

from dfjax.decide import domains_summary, metrics, operating_points
from dfjax.decide.decision import decide
from dfjax.decide.score_file import Scores
from dfjax.reporting import domains_view, report, report_html

EVIL = "a|b</script><img src=x>`"


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch):
    monkeypatch.setattr(operating_points, "replicates", lambda clips: 100)


def make(split, count=7, clips=100, seed=0, evil=False, **header):
    rng = np.random.default_rng(seed)
    n = count * clips
    names = np.array([f"{split}/{i}" for i in range(n)])
    label = np.arange(n) % 2
    shift = 0.8 * rng.normal(size=count) if split == "left_out" else np.zeros(count)
    score = 2.5 * label - 1 + np.repeat(shift, clips) + rng.normal(size=n)
    domain = np.repeat([EVIL if evil and not k else f"source {k}" for k in range(count)], clips)
    header = {"split": split, "dataset": "demo"} | header
    return Scores(names, names, names, label, np.where(label, "g", ""), score, header, domain)


def build(decision=None, **more):
    given = {
        "validation": make("validation", seed=1),
        "test": make("test"),
        "decision": decision or decide(make("left_out", seed=2)),
        "train_counts": {"real": 500, "fake": 500},
        "run": {"name": "trial", "dataset": "demo"},
    }
    return report.build(**(given | more))


def test_the_section_stands_beside_the_in_domain_figures():
    decision, test = decide(make("left_out", seed=2)), make("test")
    made = build(decision)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    found = made["left_out"]
    at = metrics.at_threshold(test.score, test.label, decision["threshold"])
    here = found["in_domain"]
    assert here["split"] == "test" and here["auc"] == metrics.roc_auc(test.score, test.label)
    assert here["false_alarms"]["value"] == pytest.approx(at["fpr"])
    assert here["misses"]["value"] == pytest.approx(1 - at["recall"])
    aucs = [row["auc"] for row in found["rows"]]
    assert found["mean"]["auc"] == pytest.approx(np.mean(aucs)) and found["worst"]["auc"] == min(aucs)
    assert found["worst"]["misses"] == max(row["misses"]["value"] for row in found["rows"])
    assert made["threshold"]["split"] == "left_out" and "validation" in made["operating"]
    text = report.markdown(made)
    before, section, after = (
        text.index(f"## {head}") for head in ("Before", "On a source that it has never heard", "Data")
    )
    assert before < section < after
    assert decision["domains"]["words"][1:] in text and decision["domains"]["certificate"]["statement"][1:] in text
    assert "source 3" in text and "test, known to training" in text and "chosen on left-out sources" in text
    (line,) = (line for line in made["verdict"] if line.startswith("On a source that it has never heard: AUC"))
    promise = made["left_out"]["certificate"]  # which may be none, so it is not announced as one
    assert line.endswith(f". {promise[0].upper()}{promise[1:]}.") and "Promise" not in line
    assert "of an unknown source" in text
    for block in text.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1


def test_a_decision_without_domains_has_no_such_section():
    made = build(decide(make("validation", seed=1)))
    page = report_html.page(made, make("validation", seed=1), make("test"))
    assert "left_out" not in made and "never heard" not in report.markdown(made)
    assert "leftOut" not in page and "h-left-out" not in page


def test_left_out_scores_may_stand_for_validation():
    left_out = make("left_out", seed=2)
    made = build(decide(left_out), validation=left_out)
    assert set(made["operating"]) == {"left_out", "test"}
    assert made["operating"]["left_out"]["tuned"]["tp"] == made["decision"]["counts"]["tp"]
    assert report_html.page(made, left_out, make("test"))


def test_without_a_threshold_the_section_ranks_alone():
    made = build(decide(make("left_out", seed=2), certified=0.95, by_domain=True, max_fpr=0.1))
    assert made["left_out"]["mean"]["false_alarms"] is None and made["left_out"]["mean"]["auc"] > 0.5
    assert "needs 24 sources" in report.markdown(made) and "None" not in report.markdown(made)


def test_the_page_carries_it_as_text_only():
    made = build(decide(make("left_out", seed=2, evil=True)))
    page = report_html.page(made, make("validation", seed=1), make("test"))
    assert page.count("<script") == page.count("</script>") == 2 and "<img" not in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert EVIL in [row["domain"] for row in data["report"]["left_out"]["rows"]]
    assert "<img" not in report.markdown(made)


def test_the_summary_of_a_cross_validation():
    summary = domains_summary.summary([make("left_out", seed=2), make("left_out", seed=2)]) | {
        "by": "domain",
        "name": "a|b",
    }
    text = domains_view.markdown(summary)
    assert text.startswith("# a\\|b: each source judged by a training without it") and "2 seeds" in text
    assert summary["words"] in text and f"{summary['worst_auc']['value']:.3f}" in text
    (rows,) = [
        [line.replace("\\|", "") for line in block.splitlines()]
        for block in text.split("\n\n")
        if block.startswith("|")
    ]
    assert len(rows) == 2 + 7 + 3 and len({row.count("|") for row in rows}) == 1
    one = domains_view.markdown(domains_summary.summary([make("left_out", count=1)]))
    assert "1 seed;" in one and "None" not in one


def test_what_known_files_change_is_a_note_where_the_decision_knows_it():
    decision = decide(make("left_out", seed=2))
    (note,) = build(decision)["left_out"]["notes"]
    assert note.startswith("What files given to dfjax.predict --known_real change: with one file of a source known")
    assert note.count(" without)") == 2 * len(decision["known_real"]["rows"]) and note.endswith("on the mean.")
    assert build(decision | {"known_real": None})["left_out"]["notes"] == []
