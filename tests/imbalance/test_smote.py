import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dfjax.imbalance import smote
from dfjax.records import InputError
from dfjax.training import linear_head

OVER = ("smote", "borderline_smote", "svm_smote", "adasyn")


def blobs(n_real=300, n_fake=30, dim=4, shift=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [n_real, n_fake])
    x = rng.normal(size=(len(labels), dim)) + shift * labels[:, None]
    return x.astype(np.float32), labels


@pytest.mark.parametrize("method", OVER)
def test_oversamplers_keep_the_rows_and_add_fakes(method):
    x, y = blobs()
    after = smote.resample(x, y, method)
    np.testing.assert_array_equal(after.embeddings[: len(x)], x)
    np.testing.assert_array_equal(after.labels[: len(x)], y)
    assert (after.labels[len(x) :] == 1).all() and after.embeddings.dtype == np.float32
    assert abs(after.labels.mean() - 0.5) < 0.02
    assert abs(after.ledger.sampling - np.log(10)) < 0.1  # ADASYN balances only approximately
    again = smote.resample(x, y, method)
    np.testing.assert_array_equal(again.embeddings, after.embeddings)


def test_smote_rows_lie_between_fakes():
    x, y = blobs(dim=1)
    after = smote.resample(x, y, "smote")
    new = after.embeddings[len(x) :]
    assert x[y == 1].min() <= new.min() and new.max() <= x[y == 1].max()


def test_random_resamplers_only_repeat_or_drop():
    x, y = blobs()
    over, under = smote.resample(x, y, "random_over"), smote.resample(x, y, "random_under")
    assert np.bincount(over.labels).tolist() == [300, 300] and np.bincount(under.labels).tolist() == [30, 30]
    rows = {row.tobytes() for row in x}
    assert {row.tobytes() for row in over.embeddings} == rows
    assert {row.tobytes() for row in under.embeddings} < rows
    half = smote.resample(x, y, "random_over", ratio=0.5)
    assert np.bincount(half.labels).tolist() == [300, 150] and abs(half.ledger.sampling - np.log(5)) < 1e-9


@pytest.mark.parametrize("method", smote.QUADRATIC)
def test_hybrids_clean_after_adding(method):
    x, y = blobs(shift=2.0)
    after = smote.resample(x, y, method)
    n = np.bincount(after.labels)
    assert 150 < n[0] <= 300 and 150 < n[1] <= 300


def test_few_fakes_lower_k_and_say_so():
    x, y = blobs(n_fake=4)
    after = smote.resample(x, y, "smote")
    assert after.notes == ("k_neighbors lowered from 5 to 3: the smaller class has 4 rows",)
    assert np.bincount(after.labels).tolist() == [300, 300]
    with pytest.raises(InputError, match="which has one"):
        smote.resample(*blobs(n_fake=1), "smote")


def test_a_resampler_that_loses_a_class_stops():
    x, y = blobs(n_real=400, n_fake=40, dim=256, shift=0.05)
    with pytest.raises(InputError, match="smote_enn left .* lost or inverted a class"):
        smote.resample(x, y, "smote_enn")


def test_what_a_resampler_cannot_do_is_one_line():
    x, y = blobs(shift=50.0)
    with pytest.raises(InputError, match="adasyn cannot resample 300 real and 30 fake rows"):
        smote.resample(x, y, "adasyn")
    assert "changed nothing" in smote.resample(x, y, "borderline_smote").notes[-1]


def test_wrong_input_is_refused():
    x, y = blobs()
    with pytest.raises(InputError, match=r"Unknown resampler 'smot'; expected one of \['random_over'"):
        smote.resample(x, y, "smot")
    with pytest.raises(InputError, match="300 real and 0 fake"):
        smote.resample(x[:300], y[:300], "smote")
    with pytest.raises(InputError, match="NaN"):
        smote.resample(np.where(x == x[3, 2], np.nan, x), y, "smote")
    for ratio in (0.05, 1.5):
        with pytest.raises(InputError, match=f"between the present 0.1 .* got {ratio}"):
            smote.resample(x, y, "smote", ratio=ratio)


def test_memory_is_estimated_first():
    with pytest.raises(InputError, match=r"smote of 330 rows needs about .* GB, 1e-05 GB are free"):
        smote.resample(*blobs(), "smote", memory=10_000)
    # 100,000 x 512 float32 at 10:1: 862 MB beside the input were measured
    needed = smote.estimated_bytes(100_000, 512, 4, "smote", 81_818) - 2**30
    assert 0.8e9 < needed < 1.0e9


@pytest.mark.parametrize("method", ["smote", "random_over"])
def test_labels_that_are_noise_stay_noise_on_held_out_rows(method):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4400, 16)).astype(np.float32)
    y = (rng.random(4400) < 1 / 11).astype(int)
    train = np.arange(4400) < 2200
    after = smote.resample(x[train], y[train], method)
    head = linear_head.fit(after.embeddings, after.labels)["out"]
    auc = roc_auc_score(y[~train], x[~train] @ head["kernel"][:, 0])
    assert abs(auc - 0.5) < 0.07  # three standard errors with 200 fakes


def test_correction_undoes_oversampling_of_the_head():
    rng = np.random.default_rng(2)
    y = (rng.random(12_000) < 1 / 11).astype(int)
    x = (rng.normal(size=(12_000, 3)) + y[:, None]).astype(np.float32)
    train = np.arange(12_000) < 6000

    def log_loss(z):
        return (np.logaddexp(0, z) - y[~train] * z).mean()

    def scores(head):
        return x[~train] @ head["kernel"][:, 0] + head["bias"]

    natural = log_loss(scores(linear_head.fit(x[train], y[train])["out"]))
    after = smote.resample(x[train], y[train], "random_over")
    raw = scores(linear_head.fit(after.embeddings, after.labels)["out"])
    assert log_loss(raw) > 1.3 * natural
    assert abs(log_loss(after.ledger.correct(raw)) - natural) < 0.01
