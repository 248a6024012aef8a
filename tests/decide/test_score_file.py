import numpy as np
import pytest

from dfjax.decide import score_file
from dfjax.records import InputError


def make(n=6, **columns):
    default = dict(
        id=[f"c{i // 2}#{i % 2}" for i in range(n)],
        clip=[f"c{i // 2}" for i in range(n)],
        group=[f"g{i // 4}" for i in range(n)],
        label=[(i // 2) % 2 for i in range(n)],
        method=["vocoder" if (i // 2) % 2 else "" for i in range(n)],
        score=np.linspace(-3, 3, n),
    )
    return score_file.Scores(**{k: np.asarray(v) for k, v in (default | columns).items()})


def test_what_is_written_is_read_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    score = np.concatenate([bits[~np.isnan(bits)], np.float32([np.inf, -np.inf, 0.7, 1e-45, -0.0, 3.4028235e38])])
    names = [f"r{i}" for i in range(len(score))]
    names[:3] = ['a,"b"', "ä 中", "  spaces "]
    names = np.array(names)
    zeros = np.zeros(len(score))
    scores = score_file.Scores(names, names, names, zeros, names, score, {"split": "validation", "step": 1200})
    score_file.write(tmp_path / "deep/x.csv", scores, {"dataset": "123"})
    back = score_file.read(tmp_path / "deep/x.csv")
    for name in score_file.COLUMNS[:-1]:
        np.testing.assert_array_equal(getattr(back, name), getattr(scores, name))
    np.testing.assert_array_equal(back.score.view(np.uint32), score.view(np.uint32))
    assert back.header == {"split": "validation", "step": 1200, "dataset": "123"}
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x.csv"]  # no temporary file left


@pytest.mark.parametrize("column", ["id", "clip", "group", "method"])
def test_names_may_hold_what_ends_a_line(tmp_path, column):
    """After a training its own score file could not be read: a file's name had a carriage return."""
    names = [f"a{end}b{i}.wav" for i, end in enumerate(("\r", "\n", "\r\n", ",", '"', "#"))]
    scores = make(**{column: names})
    score_file.write(tmp_path / "x.csv", scores)
    back = score_file.read(tmp_path / "x.csv")
    for name in scores.columns:
        np.testing.assert_array_equal(getattr(back, name), getattr(scores, name))


def test_a_plain_csv_needs_label_and_score_only(tmp_path):
    (tmp_path / "plain.csv").write_text("score,label,comment\r\n0.5,1,x\r\n\r\n-inf,-1,y\r\n")
    scores = score_file.read(tmp_path / "plain.csv")
    assert scores.id.tolist() == scores.clip.tolist() == scores.group.tolist() == ["0", "1"]
    assert scores.method.tolist() == ["", ""] and scores.label.tolist() == [1, -1] and scores.header == {}
    assert len(score_file.known(scores)) == 1


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "no column 'label'"),
        ("label,score\n", "no rows"),
        ("label,probability\n1,2\n", "no column 'score'"),
        ("label,label,score\n1,1,2\n", "twice"),
        ("# split: test\nlabel,score\n1,2\n1,nan\n", "line 4: score 'nan'"),
        ("label,score\n1,\n", "line 2: score ''"),
        ("label,score\n1,high\n", "line 2: score 'high'"),
        ("label,score\n1,1\nfake,2\n", "line 3: label 'fake'"),
        ("label,score\n1,1,1\n", "line 2: 3 fields, expected 2"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path, text, message):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        score_file.read(tmp_path / "bad.csv")


def test_missing_file_folder_and_binary_are_input_errors(tmp_path):
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    for path in (tmp_path / "absent.csv", tmp_path, tmp_path / "binary.csv"):
        with pytest.raises(InputError):
            score_file.read(path)


def test_a_domain_is_the_last_column_and_is_kept_by_everything(tmp_path):
    domain = np.repeat(["studio", "", 'tele,"phone"'], 2)
    score_file.write(tmp_path / "x.csv", make(domain=domain), {"split": "left_out", "seed": [0, 1]})
    back = score_file.read(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text().splitlines()[2] == "id,clip,group,label,method,score,domain"
    assert back.domain.tolist() == domain.tolist() and back.header == {"split": "left_out", "seed": [0, 1]}
    assert score_file.by_clip(back).domain.tolist() == domain[::2].tolist()
    assert score_file.select(back, np.array([0, 4])).domain.tolist() == domain[[0, 4]].tolist()
    assert score_file.known(make(domain=domain, label=[-1, -1, 1, 1, 0, 0])).domain.tolist() == domain[2:].tolist()
    with pytest.raises(ValueError, match="one length"):
        make(domain=["a"])


def test_a_file_without_domains_is_written_as_ever(tmp_path):
    score_file.write(tmp_path / "x.csv", make(2, score=[0.7, -1.5]), {"split": "validation", "step": 3})
    expected = (
        b"# split: validation\n# step: 3\nid,clip,group,label,method,score\nc0#0,c0,g0,0,,0.7\nc0#1,c0,g0,0,,-1.5\n"
    )
    assert (tmp_path / "x.csv").read_bytes() == expected
    back = score_file.read(tmp_path / "x.csv")
    assert back.domain is None and score_file.by_clip(back).domain is None


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="NaN"):
        score_file.write(tmp_path / "x.csv", make(score=[0, 1, np.nan, 2, 3, 4]))
    assert not list(tmp_path.iterdir())


def test_by_clip_is_the_mean_of_each_clip_in_order_of_appearance():
    scores = make(clip=["b", "a", "a", "b", "c", "c"], label=[1, 0, 0, 1, 1, 1], method=["m"] * 6, group=["g"] * 6)
    clips = score_file.by_clip(scores)
    assert clips.clip.tolist() == clips.id.tolist() == ["b", "a", "c"]
    np.testing.assert_array_equal(clips.score, np.float32([(-3 + 0.6) / 2, (-1.8 - 0.6) / 2, (1.8 + 3) / 2]))
    assert clips.label.tolist() == [1, 0, 1] and clips.header["level"] == "clip"
    again = score_file.by_clip(clips)  # idempotent
    np.testing.assert_array_equal(again.score, clips.score)


@pytest.mark.parametrize(
    "column, value", [("label", [0, 1, 1, 1, 0, 0]), ("method", list("aabbcd")), ("domain", list("aabbcd"))]
)
def test_a_clip_whose_rows_disagree_is_refused(column, value):
    with pytest.raises(InputError, match=f"disagree on {column}"):
        score_file.by_clip(make(**{column: value}))


def test_opposite_infinities_in_one_clip_are_refused():
    with pytest.raises(InputError, match="undefined"):
        score_file.by_clip(make(score=[np.inf, -np.inf, 0, 0, 0, 0]))


def test_columns_must_agree_in_length():
    with pytest.raises(ValueError, match="one length"):
        make(label=[1, 0])


@pytest.mark.parametrize("ledger", ["5", "x", "[1]"])
def test_a_ledger_that_is_none_is_refused_in_one_line(ledger, tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(f"# ledger: {ledger}\nlabel,score\n0,-1\n1,2\n")
    with pytest.raises(InputError, match="says '# ledger: .*expected what dfjax wrote, or no such line"):
        score_file.read(path)
    path.write_text("# ledger: null\nlabel,score\n0,-1\n1,2\n")
    assert len(score_file.read(path)) == 2
