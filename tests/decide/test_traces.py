"""Traces of codecs: found in domains that the classifier has not seen, and seldom in what met no codec."""

import numpy as np
import pytest

from dfjax.decide import traces

DIMENSIONS = 24


def records(domain: int, count: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings as they are, around the domain's own mean, and after a codec that moves them all one way, roughly."""
    plain = rng.normal(0, 1, (count, DIMENSIONS)) + np.random.default_rng(domain).normal(0, 1, DIMENSIONS)
    moved = 6 * np.eye(DIMENSIONS)[0] + rng.normal(0, 0.3, (count, DIMENSIONS))
    return plain, plain + moved


def corpus(counts: dict[int, int], seed: int = 0):
    rng = np.random.default_rng(seed)
    parts = [records(domain, count, rng) for domain, count in counts.items()]
    plain, coded = (np.concatenate(column) for column in zip(*parts, strict=True))
    return plain, coded, np.repeat(list(counts), list(counts.values()))


def test_a_codec_is_noticed_in_domains_never_seen_and_little_else():
    plain, coded, domains = corpus(dict.fromkeys(range(12), 60))
    known = domains < 9
    found = traces.fit(plain[known], coded[known], domains[known], 0.05)
    assert found.noticed(coded[~known]).mean() > 0.9
    assert found.noticed(plain[~known]).mean() < 0.15


def test_a_codec_that_changes_nothing_leaves_no_trace():
    plain, _, domains = corpus(dict.fromkeys(range(4), 30))
    found = traces.fit(plain, plain, domains, 0.05)
    np.testing.assert_allclose([*found.weights, found.cut], 0, atol=1e-9)


def test_each_domain_weighs_alike_in_the_share_that_is_noticed_for_nothing():
    plain, _, domains = corpus({0: 400, 1: 20, 2: 20, 3: 20})
    step = 6 * np.eye(DIMENSIONS)[0]
    plain[domains == 1] += 3 * step  # one small domain looks as if coded: a quarter of the weight
    found = {share: traces.fit(plain, plain + step, domains, share) for share in (0.2, 0.3)}
    noticed = {share: trace.noticed(plain) for share, trace in found.items()}
    assert not noticed[0.2][domains != 1].any()
    assert noticed[0.3][domains == 1].all() and noticed[0.3][domains == 0].any()


def test_a_codec_is_told_the_same_whatever_the_embeddings_unit_and_origin():
    plain, coded, domains = corpus(dict.fromkeys(range(4), 50))
    found = traces.fit(plain, coded, domains, 0.05)
    moved = traces.fit(1000 * plain + 7, 1000 * coded + 7, domains, 0.05)
    assert (found.noticed(coded) == moved.noticed(1000 * coded + 7)).mean() > 0.99
    assert np.allclose(1000 * moved.weights, found.weights, rtol=1e-3, atol=1e-4 * np.abs(found.weights).max())


@pytest.mark.parametrize("seed", [3, 24, 26])
def test_few_records_of_very_different_spread_have_a_classifier_too(seed):
    """Whole steps led away: logits of hundreds of thousands, which noticed a codec in whatever lay on one side."""
    rng, spread = np.random.default_rng(seed), np.append(np.arange(1, 17.0) ** -0.33, np.zeros(500))
    plain = spread * rng.standard_t(3, (12, len(spread)))
    coded = plain + spread * (0.05 * rng.standard_t(2, (12, len(spread))) + 0.05)
    weights, bias = traces._classifier(plain, coded)
    logits = np.concatenate([plain, coded]) @ weights + bias
    assert np.abs(logits).max() < 100
    np.testing.assert_allclose(np.mean(1 / (1 + np.exp(-logits))), 0.5, atol=1e-6)  # as many as there are
