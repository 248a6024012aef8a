"""What is said of a new domain: identities with each domain's metrics, closed forms, and coverage by simulation."""

import dataclasses
import json
import math

import numpy as np
import pytest

from dfjax.decide import (
    certify,
    certify_domains,
    domains,
    domains_summary,
    leave_one_out,
    metrics,
    operating_points,
    score_file,
    thresholds,
)
from dfjax.records import InputError


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch):
    monkeypatch.setattr(operating_points, "replicates", lambda clips: 200)


def make(count=7, clips=60, *, sd=1.0, gap=3.0, seed=0, noise=0, groups=None, **header):
    """Clips of `count` domains whose scores are shifted by a normal number each; `noise` seeds the scores alone."""
    rng = np.random.default_rng(seed)
    domain = np.repeat([f"source_{k}" for k in range(count)], clips)
    n = len(domain)
    label = np.arange(n) % 2
    score = (
        gap * label
        + sd * np.repeat(rng.normal(size=count), clips)
        + np.random.default_rng([seed, noise]).normal(size=n)
    )
    names = np.array([f"{d}/{i}" for i, d in enumerate(domain)])
    group = names if groups is None else np.char.add(np.char.add(domain, "/"), (np.arange(n) // groups).astype(str))
    header = {"split": "left_out", "dataset": "demo"} | header
    return score_file.Scores(names, names, group, label, np.where(label, "g", ""), score, header, domain)


def without(scores, rows):
    return score_file.select(scores, np.flatnonzero(~rows))


def test_every_domain_is_judged_as_the_metrics_judge_it_alone():
    scores = make()
    scores = without(scores, (scores.domain == "source_2") & (scores.label == 1))
    rows = domains.by_domain(scores, 1.25)
    assert [row["domain"] for row in rows] == [f"source_{k}" for k in range(7)]
    for row in rows:
        own = scores.domain == row["domain"]
        x, y = scores.score[own], scores.label[own]
        at = metrics.at_threshold(x, y, 1.25)
        assert (row["real"], row["fake"]) == (at["fp"] + at["tn"], at["tp"] + at["fn"])
        assert row["false_alarms"] == operating_points.wilson(at["fp"], row["real"])
        if row["domain"] == "source_2":
            assert row["auc"] is row["eer"] is row["misses"]["value"] is None
            continue
        assert row["auc"] == metrics.roc_auc(x, y) and row["eer"] == metrics.eer(x, y)[0]
        assert row["misses"]["value"] == pytest.approx(1 - at["recall"])
    assert all(row["misses"]["value"] is None for row in domains.by_domain(scores, None))
    json.dumps(rows, allow_nan=False)


def test_intervals_of_a_domain_are_over_its_groups_where_it_has_them():
    clips = make(1, 400, seed=3)
    copies = score_file.select(clips, np.repeat(np.arange(400), 4))
    names = np.array([f"{i}" for i in range(1600)])
    copies = dataclasses.replace(copies, id=names, clip=names)  # four near copies of each, in one group
    (once,), (many,) = domains.by_domain(clips, 1.0), domains.by_domain(copies, 1.0)
    for name in ("false_alarms", "misses"):
        assert many[name]["value"] == pytest.approx(once[name]["value"])
        assert many[name]["high"] - many[name]["low"] == pytest.approx(once[name]["high"] - once[name]["low"], rel=0.25)
    (never,) = domains.by_domain(copies, 100.0)
    assert never["false_alarms"] == operating_points.wilson(0, 200) and never["misses"] == operating_points.wilson(
        200, 200
    )


def test_equal_weights_are_what_copies_of_clips_would_do():
    scores = make(3, 24, seed=1)
    few = (scores.domain == "source_1") & (np.arange(72) % 24 >= 12)  # half the clips of one domain are missing,
    few |= (scores.domain == "source_2") & (scores.label == 0) & (np.arange(72) % 24 >= 8)  # and most reals of another
    scores = without(scores, few)
    weights = domains.equal_weights(scores)
    assert sum(weights) == len(scores) and sum(weights[scores.label == 1]) == sum(weights[scores.label == 0])
    for label in (0, 1):
        sums = [sum(weights[(scores.domain == d) & (scores.label == label)]) for d in np.unique(scores.domain)]
        assert len(set(sums)) == 1
    unit = math.lcm(*(w.denominator for w in weights))
    copies = score_file.select(scores, np.repeat(np.arange(len(scores)), [int(w * unit) for w in weights]))
    for criterion in ("balanced_accuracy", "f1", "eer", "mcc"):
        weighed = thresholds.search(scores.score, scores.label, criterion, weights=weights)
        copied = thresholds.search(copies.score, copies.label, criterion)
        assert weighed.value == copied.value and weighed.score == pytest.approx(copied.score, rel=1e-12)


def test_a_domain_of_one_class_weighs_in_that_class_alone():
    scores = make(3, 20)
    scores = without(scores, (scores.domain == "source_0") & (scores.label == 0))
    weights = domains.equal_weights(scores)
    fakes, reals = scores.label == 1, scores.label == 0
    assert sum(weights[fakes & (scores.domain == "source_0")]) * 3 == sum(weights[fakes]) == sum(weights[reals])
    assert domains.equal_weights(score_file.select(scores, fakes)).sum() == fakes.sum()


def test_the_spread_in_words():
    shares = [0.02, 0.14, 0.05, 0.03, 0.06, 0.08, 0.04]
    rows = [
        {"domain": f"d{k}", "false_alarms": {"value": s}, "misses": {"value": 0.0 if k else None}}
        for k, s in enumerate(shares)
    ]
    assert domains.words(rows) == (
        "false alarms 2 to 14 % over seven sources, 6 % on the mean; misses 0 % over six sources, 0 % on the mean"
    )
    found = domains.spread(rows, "false_alarms")
    assert found == {"mean": pytest.approx(0.06), "low": 0.02, "high": 0.14, "worst": "d1", "domains": 7}
    one = [{"domain": "a", "false_alarms": {"value": 0.0312}, "misses": {"value": None}}]
    assert domains.words(one) == "false alarms 3.1 % over one source, 3.1 % on the mean; misses unknown"


@pytest.mark.parametrize("confidence, count", [(0.5, 2), (0.8, 6), (0.9, 12), (0.95, 24), (0.99, 124)])
def test_how_many_domains_a_promise_needs(confidence, count):
    assert certify_domains.needed(confidence) == count
    short = certify_domains.certify(make(2, 20), threshold=0.0, confidence=0.95)
    assert short.max_fpr is None and short.needed == 24
    assert "needs 24 sources" in short.statement and "two given" in short.statement


def test_a_certificate_is_the_highest_bound_over_domains_in_closed_form():
    scores = make(7, 200, sd=0)
    found = certify_domains.certify(scores, threshold=1000.0)  # no false alarm: the bound is that of 0 in 100
    assert found.exceeding == 0 and found.noise == pytest.approx(0.2 - 1 / 8) and found.domains == 7
    assert found.max_fpr == pytest.approx(1 - (found.noise / 7) ** (1 / 100))
    assert found.statement == (
        "at most 4.5 % false alarms on a new source with 80 % confidence, as far as seven sources can tell"
    )
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["needed"] == 6
    assert certify_domains.certify(scores, threshold=-1000.0).statement == (
        "nothing useful can be promised of false alarms on a new source with 80 % confidence: the worst of seven "
        "sources may have up to 100 %, as far as its clips can tell"
    )
    few = certify_domains.certify(make(7, 8, sd=0), threshold=1000.0)  # no false alarm in four real clips
    assert certify_domains.USEFUL < few.max_fpr < 1 and "nothing useful can be promised" in few.statement
    rates = {name: 1000.0 for name in np.unique(scores.domain)}
    assert certify_domains.certify(scores, threshold=rates) == found
    worse = rates | {"source_0": -1000.0}
    assert certify_domains.certify(scores, threshold=worse).max_fpr == 1.0  # the worst one counts
    assert certify_domains.certify(scores, threshold=rates | {"source_0": None}).domains == 6


def test_a_certified_threshold_is_the_highest_that_one_domain_certifies():
    scores = make(7, 400, seed=5)
    found = certify_domains.certify(scores, max_fpr=0.1)
    each = [
        certify.certify(
            scores.score[own], scores.label[own], max_fpr=0.1, confidence=1 - found.noise / 7
        ).threshold.value
        for own in (scores.domain == name for name in np.unique(scores.domain))
    ]
    assert found.threshold.value == max(each) and found.max_fpr == 0.1
    assert found.threshold.fp == metrics.at_threshold(scores.score, scores.label, max(each))["fp"]
    assert "at most 10 % false alarms on a new source" in found.statement
    loose = certify_domains.certify(scores, max_fpr=0.1, confidence=0.5)  # three of eight may exceed it
    assert loose.exceeding == 2 and loose.threshold.value < found.threshold.value
    few = certify_domains.certify(make(7, 20), max_fpr=0.01)
    assert few.threshold is None and few.max_fpr is None
    assert "cannot be promised: source_0 has 10 real clips, it takes 452; source_1" in few.statement
    assert few.statement.endswith("; 4 more lack some")
    speaker = np.full(400, "one")  # of one source: its 200 real clips are no 200 answers
    scores = dataclasses.replace(scores, group=np.concatenate([speaker, scores.group[400:]]))
    alone = certify_domains.certify(scores, max_fpr=0.1)
    assert alone.threshold is None and alone.statement.endswith(
        "cannot be promised: source_0 has 1 group of real clips, it takes 53"
    )
    silent = dataclasses.replace(scores, score=np.where(scores.label == 0, np.inf, 0.0), group=scores.clip)
    assert certify_domains.certify(silent, max_fpr=0.1).statement.endswith("too many of them have an infinite score")


def test_the_promise_is_kept_as_often_as_it_says():
    def share_kept(groups):
        kept = 0
        for seed in range(150):
            scores = make(8, 120 * groups, sd=1.0, gap=2.0, seed=seed)
            real = score_file.select(scores, np.flatnonzero(scores.label == 0))
            if groups > 1:  # the clips of a group are copies of one
                count = 60
                first = np.arange(len(real)) % (60 * groups) % count
                base = np.repeat(np.arange(8) * 60 * groups, 60 * groups)
                group = np.char.add(real.domain, np.char.add("/", first.astype(str)))
                real = dataclasses.replace(real, score=real.score[base + first], group=group)
            known = score_file.select(real, np.flatnonzero(real.domain != "source_7"))
            threshold = certify_domains.certify(known, max_fpr=0.2, confidence=0.8).threshold.value
            shift = np.random.default_rng(seed).normal(size=8)[7]
            kept += 0.5 * math.erfc((threshold - shift) / math.sqrt(2)) <= 0.2
        return kept / 150

    assert share_kept(1) >= 0.8 and share_kept(3) >= 0.8


def test_what_is_promised_on_the_mean_is_kept_on_the_mean_of_one_speaker_a_source_too():
    """And a threshold for 10 % on the mean of few sources has more than 10 % on the mean of new ones."""
    known, new = [], []
    for seed in range(400):
        scores = make(6, 40, sd=2.0, gap=2.0, seed=seed)
        scores = dataclasses.replace(scores, group=scores.domain)
        own = score_file.select(scores, np.flatnonzero(scores.domain != "source_5"))
        weights = domains.equal_weights(own)
        value = thresholds.search(own.score, own.label, "recall_at_fpr", weights=weights, max_fpr=0.1).value
        reals = [scores.score[(scores.domain == f"source_{k}") & (scores.label == 0)] for k in range(6)]
        rates = [np.mean(real >= value) for real in reals]
        known.append(np.mean(rates[:5]))
        new.append(rates[5])
    certificate = certify_domains.certify(own, threshold=value)
    found = certify_domains.on_the_mean(certificate, 0.1)
    assert found.mean_fpr == pytest.approx(1.5 / 6) and max(known) <= 0.1 < np.mean(new) <= found.mean_fpr
    assert found.statement == (
        f"{certificate.statement}; a real clip of a new one, drawn as the five were, is called fake with a probability "
        "of at most 25 %"
    )
    assert certify_domains.on_the_mean(certificate, 0.55) == certificate  # (5 * .55 + 1) / 6 is no promise


def test_groups_count_as_one_each_and_make_the_promise_weaker():
    single = make(7, 200, sd=0)
    grouped = make(7, 200, sd=0, groups=4)  # two reals in a group
    for at in (1.5, 1000.0):
        weaker, stronger = (certify_domains.certify(scores, threshold=at).max_fpr for scores in (grouped, single))
        assert weaker > stronger


@pytest.mark.parametrize(
    "wrong", [{}, {"max_fpr": 0.1, "threshold": 0.0}, {"max_fpr": 1.0}, {"threshold": 0, "confidence": 1}]
)
def test_what_cannot_be_certified_is_refused(wrong):
    with pytest.raises(InputError):
        certify_domains.certify(make(), **wrong)


def test_travel_judges_each_domain_at_the_threshold_of_the_others():
    scores = make(5, 80, seed=2)
    found = leave_one_out.judge(scores, "balanced_accuracy", n=200)
    rates = []
    for name in np.unique(scores.domain):
        own = scores.domain == name
        others = score_file.select(scores, np.flatnonzero(~own))
        best = thresholds.search(others.score, others.label, "balanced_accuracy", weights=domains.equal_weights(others))
        assert found.thresholds[name] == best.value
        at = metrics.at_threshold(scores.score[own], scores.label[own], best.value)
        rates.append((at["recall"] + at["specificity"]) / 2)
    assert found.corrected == pytest.approx(np.mean(rates))
    assert found.interval[0] < found.corrected < found.interval[1]
    assert found.unit == "5 sources and, within them, 400 clips"
    apparent = thresholds.search(
        scores.score, scores.label, "balanced_accuracy", weights=domains.equal_weights(scores)
    ).score
    assert found.corrected < apparent
    for criterion, constraint in (
        ("f1", {}),
        ("eer", {}),
        ("cost", {"c_fp": 1, "c_fn": 3}),
        ("recall_at_fpr", {"max_fpr": 0.1}),
    ):
        some = leave_one_out.judge(scores, criterion, n=20, **constraint)
        assert some.interval[0] <= some.corrected <= some.interval[1]
    assert leave_one_out.judge(make(1), "f1") is None


def test_summary_is_the_mean_over_domains_and_seeds():
    runs = [make(4, 60, noise=s, seed=9, sd=0, gap=1.5) for s in range(3)]
    found = domains_summary.summary(runs)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for metric, of in (("auc", metrics.roc_auc), ("eer", lambda x, y: metrics.eer(x, y)[0])):
        values = np.array(
            [
                [of(run.score[own], run.label[own]) for run in runs]
                for own in (runs[0].domain == f"source_{k}" for k in range(4))
            ]
        )
        assert found[f"mean_{metric}"]["value"] == pytest.approx(values.mean())
        worst = values.mean(1).min() if metric == "auc" else values.mean(1).max()
        assert found[f"worst_{metric}"]["value"] == pytest.approx(worst)
        for row, each in zip(found["rows"], values, strict=True):
            np.testing.assert_allclose(row[metric]["seeds"], each)
            assert row[metric]["low"] < row[metric]["value"] < row[metric]["high"]
        pooled = np.mean([of(run.score, run.label) for run in runs])
        assert found["pooled"][metric]["value"] == pytest.approx(pooled)
    assert found["worst_domain"] == min(found["rows"], key=lambda row: row["auc"]["value"])["domain"]
    assert found["seeds"] == 3 and found["unit"] == "240 clips within 4 sources"
    assert "on the mean over four sources" in found["words"]


def test_what_is_redrawn_is_said_where_a_domain_has_too_few_groups():
    """Clips of a source with one speaker were counted among the groups, as if each were a speaker of its own."""
    scores = make(3, 60, groups=2)
    assert domains_summary.summary([scores])["unit"] == "90 groups of clips within 3 sources"
    scores.group[:60] = "one speaker"
    narrow = "60 clips whose groups are too few to redraw (there the spread is understated)"
    assert domains_summary.summary([scores])["unit"] == f"60 groups of clips and {narrow} within 3 sources"
    scores.group[:] = "one speaker"
    assert domains_summary.summary([scores])["unit"].startswith("180 clips whose groups are too few to redraw")


def shared(methods=5, reals=40, fakes=30, seed=3):
    """Scores as crossval leaves them of methods left out: the same real clips beside each, other fakes."""
    rng = np.random.default_rng(seed)
    of = np.repeat([f"m{k}" for k in range(methods)], reals + fakes)
    label = np.tile(np.repeat([0, 1], [reals, fakes]), methods).astype(np.int32)
    hard = np.concatenate([rng.normal(size=reals), np.zeros(fakes)])  # what a real clip is to every network
    score = np.tile(hard, methods) + 1.5 * label + 0.2 * rng.normal(size=len(of)) * (1 + 4 * label)
    number = np.arange(len(of)) % (reals + fakes)
    names = [f"{m if y else 'real'} {i}" for i, y, m in zip(number, label, of, strict=True)]
    clip = np.char.add(np.char.add(of, ": "), names)
    header = {"split": "left_out", "dataset": "demo", "left_out_by": "method"}
    return score_file.Scores(clip, clip, np.array(names), label, np.where(label, of, ""), score, header, of)


def test_a_mean_of_few_perfect_domains_is_not_certain():
    """Each row had the interval of its few clips, and the mean over them 1.000 (1.000 to 1.000)."""
    found = domains_summary.summary([make(3, 4, gap=60.0)])
    assert found["mean_auc"]["value"] == found["pooled"]["auc"]["value"] == 1 and found["mean_eer"]["value"] == 0
    few = {key: operating_points.wilson(n, n)["low"] for key, n in (("rows", 2), ("all", 6))}
    assert found["rows"][0]["auc"]["low"] == pytest.approx(few["rows"])
    for one in (found["mean_auc"], found["pooled"]["auc"]):
        assert (one["low"], one["high"]) == (pytest.approx(few["all"]), 1)
    assert found["mean_eer"]["high"] == pytest.approx(1 - few["all"])


def test_a_mean_over_perfect_domains_is_no_surer_than_its_smallest_allows():
    """All weigh alike: beside a source of 2,000 clips one of two made the mean 1.000 (0.996 to 1.000)."""
    small, large = make(1, 2, gap=60.0), make(2, 2000, gap=60.0)
    large = score_file.select(large, np.flatnonzero(large.domain == "source_1"))
    both = [np.concatenate([getattr(part, name) for part in (small, large)]) for name in small.columns]
    found = domains_summary.summary([dataclasses.replace(small, **dict(zip(small.columns, both, strict=True)))])
    assert [row["auc"]["value"] for row in found["rows"]] == [1, 1] and found["rows"][0]["auc"]["low"] < 0.3
    assert found["mean_auc"]["value"] == 1 and found["mean_auc"]["low"] < 0.6 < 0.99 < found["pooled"]["auc"]["low"]


def test_real_clips_that_methods_share_are_drawn_once_for_all():
    """Each method drew them anew, as if they were others: the interval of the mean was too narrow."""
    scores = shared()
    found = domains_summary.summary([scores])
    rng, values = np.random.default_rng(0), []
    real, fake = (scores.score[scores.label == y].reshape(5, -1) for y in (0, 1))
    for _ in range(600):
        drawn = rng.integers(0, 40, 40)
        aucs = []
        for k in range(5):
            x = np.concatenate([real[k, drawn], fake[k, rng.integers(0, 30, 30)]])
            aucs.append(metrics.roc_auc(x, np.repeat([0, 1], [40, 30])))
        values.append(np.mean(aucs))
    low, high = np.quantile(values, (0.025, 0.975))
    mean = found["mean_auc"]
    assert (mean["low"], mean["high"]) == (pytest.approx(low, abs=0.012), pytest.approx(high, abs=0.012))
    apart = domains_summary.summary([dataclasses.replace(scores, header={"split": "left_out"})])["mean_auc"]
    assert mean["high"] - mean["low"] > 1.4 * (apart["high"] - apart["low"])
    words = "40 groups of real clips, the same beside each method, and 150 of fakes within 5 methods"
    assert found["unit"] == words and leave_one_out.judge(scores, "f1", n=50).unit == f"5 methods and {words}"


def test_a_threshold_of_left_out_methods_travels_on_shared_draws_and_is_no_promise_of_false_alarms():
    scores = shared()
    found = leave_one_out.judge(scores, "balanced_accuracy", n=200)
    rates = []
    for name, threshold in found.thresholds.items():
        own = scores.domain == name
        rates.append(metrics.balanced_accuracy(scores.score[own], scores.label[own], threshold))
    assert found.corrected == pytest.approx(np.mean(rates))
    assert found.interval[0] < found.corrected < found.interval[1]
    for words in ({"max_fpr": 0.5}, {"threshold": 0.0}):
        with pytest.raises(InputError, match="methods share their real clips, so nothing can be promised"):
            certify_domains.certify(scores, **words)


def test_summary_covers_the_seeds_and_counts_domains_of_one_class():
    scores = make(4, 200, sd=0, gap=2.0)
    worse = dataclasses.replace(scores, score=scores.score + 3 * np.random.default_rng(1).normal(size=800))
    one, two = domains_summary.summary([scores, scores]), domains_summary.summary([scores, worse])
    width = [found["mean_auc"]["high"] - found["mean_auc"]["low"] for found in (one, two)]
    assert width[1] > 3 * width[0]
    half = without(scores, (scores.domain == "source_3") & (scores.label == 1))
    found = domains_summary.summary([half])
    assert found["rows"][3]["auc"]["value"] is None and found["domains"] == 4
    assert found["mean_auc"]["value"] == pytest.approx(np.mean([row["auc"]["value"] for row in found["rows"][:3]]))
    alone = domains_summary.summary([score_file.select(half, np.flatnonzero(half.domain == "source_3"))])
    assert (
        alone["mean_auc"]["value"] is None and alone["worst_domain"] is None and "none can be judged" in alone["words"]
    )


def test_the_words_name_what_was_left_out():
    found = domains_summary.summary([make(2, left_out_by="dataset")])
    assert found["noun"] == "dataset" and "two datasets" in found["words"]
    assert domains.noun(make(2)) == "sources" and domains.noun(make(2, left_out_by="method"), 1) == "method"


def test_what_cannot_be_summed_up_is_refused():
    with pytest.raises(InputError, match="no column 'domain'"):
        domains.by_domain(dataclasses.replace(make(), domain=None), 0.0)
    with pytest.raises(InputError, match="different clips"):
        domains_summary.summary([make(4), make(5)])
    with pytest.raises(InputError, match="at least one seed"):
        domains_summary.summary([])
    with pytest.raises(InputError, match="known label"):
        domains.by_domain(dataclasses.replace(make(), label=np.full(420, -1)), 0.0)
