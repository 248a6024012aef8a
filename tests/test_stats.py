"""The command: names, folders, mistakes, exit codes, text and chart."""

import json
import subprocess
import sys

import pytest

from dfjax import stats
from dfjax.planning import counting, survey
from dfjax.records import InputError
from dfjax.reporting import stats_view
from tests import commands
from tests.data_builders import trees


def test_names_folders_and_config(recordings, prepared_recordings, tmp_path):
    assert [f["dataset"] for f in survey.collect(str(prepared_recordings))] == ["folder_audio"]
    both = survey.collect("folder_audio", source=recordings, data_dir=prepared_recordings, audited=0)
    assert [f["stage"] for f in both] == ["source", "prepared"] and both[0]["audit"] is None
    trees.asvspoof(tmp_path / "asvspoof2019_la")
    trees.wavefake(tmp_path / "wavefake")
    found = survey.collect(str(tmp_path))
    assert [(f["dataset"], f["config"]) for f in found] == [("asvspoof2019_la", "official"), ("wavefake", "disjoint")]
    (disjoint,) = survey.collect("asvspoof2019_la", tmp_path, tmp_path, "disjoint")
    assert disjoint["config"] == "disjoint"


def test_mistakes(tmp_path):
    with pytest.raises(InputError, match="Unknown dataset or folder 'nothing'; expected one of"):
        survey.collect("nothing")
    with pytest.raises(InputError, match="holds no prepared dataset"):
        survey.collect(str(tmp_path))
    with pytest.raises(InputError, match="wavefake is not prepared in .*; give --source"):
        survey.collect("wavefake", data_dir=tmp_path)
    with pytest.raises(InputError, match="Unknown config 'x' of wavefake; expected one of"):
        survey.collect("wavefake", tmp_path, tmp_path, "x")
    with pytest.raises(InputError, match="is not a folder"):
        survey.collect("wavefake", tmp_path / "absent", tmp_path)
    with pytest.raises(InputError, match="makes its own data"):
        survey.collect("demo_speech", tmp_path, tmp_path)


def test_text_and_chart(recordings, tmp_path):
    facts = counting.of_source("folder_audio", recordings)
    text = stats_view.describe(facts)
    assert "train" in text and "3.00" in text and "6 (real)" in text and "Imbalance 3.0:1" in text
    more = stats_view.describe(facts | {"skipped": dict.fromkeys("abcdefg", 1)})
    assert "skipped 1: e\n  more reasons for which files were skipped: 2\n" in more
    stats_view.write([facts, facts], tmp_path / "counts.png")
    assert (tmp_path / "counts.png").read_bytes().startswith(b"\x89PNG")


def test_an_empty_folder_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dfjax.stats", str(tmp_path)])
    with pytest.raises(InputError, match="holds no dataset at most 4 levels down"):
        stats.main()
    assert capsys.readouterr().out == ""


def test_command_line(recordings, tmp_path, monkeypatch, capsys):
    def run(*arguments):
        return commands.called(monkeypatch, stats.main, *arguments), *capsys.readouterr()

    words = "folder_audio", "--source", str(recordings), "--data_dir", str(tmp_path), "--json"
    done = subprocess.run([sys.executable, "-m", "dfjax.stats", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["splits"]["all"] == counting.of_source("folder_audio", recordings)["splits"]["all"]
    for words in (("folder_audio", "--out", "counts"), (str(recordings), "--source", str(recordings))):
        code, _, told = run(*words)
        assert code == 2 and words[1] in told and len(told.splitlines()) == 1
    told = "error: --audit -5 is no number of clips; give 0 for no audit, or more\n"
    assert run(str(recordings), "--audit", "-5") == (2, "", told)
    code, out, told = run("folder_audio", "--source", str(recordings / "absent"))
    assert (code, out) == (2, "") and told.startswith("error: --source") and len(told.splitlines()) == 1
