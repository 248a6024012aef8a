"""Threshold search against scikit-learn: time of every monotone criterion together, and of the bootstrap.

    python -m tests.benchmarks.thresholds [n ...]

Scores are unit normals 2 apart, 9 % fakes, float32. Goals on two idle cores: all criteria at 1e6 scores in
0.05 s and at 1e7 in 0.5 s; 500 times faster than f1_score over a 0.01 grid and 5 times faster than roc_curve;
1,000 bootstrap replicates at 1e6 in 10 s. Wall seconds are the best of several runs; CPU seconds say what a
busy machine would have allowed; `times` is by those, the criteria together being 1.
"""

import sys
import time

import numpy as np
import sklearn.metrics

from dfjax.decide import metrics, optimism, thresholds
from tests.benchmarks import rows

CRITERIA = {
    "f1": {},
    "f_beta": {"beta": 2},
    "youden": {},
    "balanced_accuracy": {},
    "mcc": {},
    "accuracy": {},
    "cost": {"c_fp": 1, "c_fn": 10},
    "recall_at_precision": {"min_precision": 0.9},
    "precision_at_recall": {"min_recall": 0.9},
    "recall_at_fpr": {"max_fpr": 0.01},
}


def timed(work, repeats):
    """(best wall, best CPU) seconds of `work()`."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def grid(label, score, cuts=5):
    """Seconds of a 0.01 grid of f1_score, from `cuts` of its 100 points."""
    wall, cpu = timed(lambda: [sklearn.metrics.f1_score(label, score >= t) for t in np.linspace(-1, 2, cuts)], 1)
    return wall * 100 / cuts, cpu * 100 / cuts


def main():
    """Prints one line per size and work."""
    for n in [int(float(word)) for word in sys.argv[1:]] or [10**6, 10**7]:
        rng = np.random.default_rng(0)
        label = (rng.random(n) < 0.09).astype(np.int32)
        score = (rng.normal(size=n) + 2 * label).astype(np.float32)
        ours = timed(lambda s=score, y=label: thresholds.search_all(s, y, CRITERIA), 9)
        found = {f"all {len(CRITERIA)} monotone criteria": ours}
        found["roc_curve of scikit-learn"] = timed(lambda s=score, y=label: sklearn.metrics.roc_curve(y, s), 2)
        if n <= 10**6:
            found["f1_score over a 0.01 grid"] = grid(label, score)
            work = lambda s=score, y=label: optimism.bootstrap(s, y, "f1", n=1000)  # noqa: E731
            found["1000 bootstrap replicates, f1"] = timed(work, 1)
        for metric in (metrics.roc_auc, metrics.average_precision, metrics.eer):
            found[metric.__name__] = timed(lambda s=score, y=label, m=metric: m(s, y), 2)
        for name, (wall, cpu) in found.items():
            rows.show(f"{name}, {n:.0e} scores", wall, "s", ours[1] / cpu, cpu_seconds=cpu)


if __name__ == "__main__":
    main()
