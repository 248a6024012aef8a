"""All in a folder is counted, and what is wrong with any is a line."""

import html
import json
import os
import pathlib
import shlex
import shutil
import sys
import tarfile
import zipfile

import pytest
from etils import epath

import data_builders
from data_builders import indexing
from dfjax import stats
from dfjax.inference import bundle
from dfjax.planning import advice, survey
from dfjax.reporting import survey_view
from tests.data_builders import fixtures, trees
from tests.planning.test_advice import counted


@pytest.mark.slow
def test_a_folder_of_datasets_is_counted_and_what_is_wrong_is_a_line(recordings, tmp_path, capsys, monkeypatch):
    root = tmp_path / "user"
    trees.asvspoof(root / "some name" / "LA")
    trees.wavefake(root / "other")
    shutil.copytree(recordings, root / "mine")
    trees.put(root / "closed", "Celeb-real/id0_0000.mp4")
    found = survey.of_folder(root)
    assert [(f["dataset"], f["advice"]["modality"]) for f in found["datasets"]] == [
        ("folder_audio", "audio"),
        ("wavefake", "audio"),
        ("asvspoof2019_la", "audio"),
    ]
    assert found["problems"] == [f"celeb_df_v2 in {root / 'closed'}: incomplete, no Celeb-synthesis/"]
    mine = found["datasets"][0]
    assert mine["splits"]["train"]["real"] == 6 and mine["cost"]["records"] == 40 == mine["cost"]["files"]
    assert mine["cost"]["seconds"] > 0 and mine["cost"]["disk"] > 40 * 16_000
    assert mine["advice"]["another"] and "10 independent" not in str(mine["advice"]["reasons"])
    assert mine["advice"]["which"] == "wavefake, which is here"
    assert mine["advice"]["command"].endswith(f"benchmark.py:audio+folder_audio+plain --source {root / 'mine'}")
    survey_view.write(found, tmp_path / "out")
    text, page = ((tmp_path / "out" / f"stats.{end}").read_text() for end in ("md", "html"))
    assert json.loads((tmp_path / "out" / "stats.json").read_text()) == found
    for word in ("wavefake", "strategy: plain", "Left out", "no Celeb-synthesis/", "benchmark.py:audio+wavefake+plain"):
        assert word in text and word in page, word
    assert page.count("<svg") == sum(len(f["splits"]) for f in found["datasets"]) and "://" not in page
    monkeypatch.setattr(sys, "argv", ["dfjax.stats", str(root), "--json"])
    with pytest.raises(SystemExit) as ended:
        stats.main()
    *lines, last = capsys.readouterr().out.splitlines()
    assert ended.value.code == 1 and len(lines) == 3 and json.loads(last)["problems"] == found["problems"]


def test_one_class_is_a_line(tmp_path):
    trees.put(tmp_path / "x", "DFD_original sequences/01__kitchen_pan.mp4", "DFD_manipulated_sequences/notes.mp4")
    found = survey.of_folder(tmp_path, 0)
    assert found["problems"] == [f"dfd in {tmp_path / 'x'}: all clips are real; both classes are needed"]
    assert found["datasets"][0]["advice"]["reasons"] == ["no fake to train on"]
    assert "strategy: none" in survey_view.markdown(found) and "experiment:" not in survey_view.markdown(found)


def test_what_may_not_be_read_is_a_line_and_the_rest_is_counted(tmp_path, monkeypatch):
    trees.faces_140k(tmp_path / "faces")
    trees.put(tmp_path / "faces/real_vs_fake/real-vs-fake", "train/fake/same.jpg", data=b"as train00355"[3:])
    trees.asvspoof(tmp_path / "LA")
    closed, plain, kind = tmp_path / "LA/ASVspoof2019_LA_eval/flac", os.scandir, type(epath.Path())

    def unless(wrong, of):
        def call(path, *words, **more):
            if wrong(pathlib.Path(path)):
                raise PermissionError(13, "Permission denied", str(path))
            return of(path, *words, **more)

        return call

    monkeypatch.setattr(indexing.os, "scandir", unless(lambda path: path == closed, plain))
    for name in ("open", "read_bytes"):
        monkeypatch.setattr(kind, name, unless(lambda path: path.name == "00355.jpg", getattr(kind, name)))
    found = survey.of_folder(tmp_path, 100, measured=False)
    assert found["problems"] == [f"asvspoof2019_la in {tmp_path / 'LA'}: {closed} cannot be read: Permission denied"]
    (faces,) = found["datasets"]
    assert faces["splits"]["all"]["total"] == 19 and faces["audit"]["clips"] == 19
    index = data_builders.load("faces_140k")(source=tmp_path / "faces", data_dir=tmp_path).load_index()
    assert len(index.items) == 19  # 00355.jpg is not compared with same.jpg, which is as long


def test_the_users_own_folders_are_other_datasets_for_each_other(tmp_path):
    for name, count in (("mine", 5), ("yours", 9)):
        for i in range(count):
            for label in ("real", "fake"):
                fixtures.audio(tmp_path / name / "train" / label / f"{i}.wav", 0.3, seed=i)
    mine, yours = survey.of_folder(tmp_path, 0, measured=False)["datasets"]
    assert mine["advice"]["which"] == f"folder_audio in {tmp_path / 'yours'}, which is here"
    assert yours["advice"]["which"] == f"folder_audio in {tmp_path / 'mine'}, which is here"
    reasons = "; ".join(mine["advice"]["reasons"])
    assert "generators of its fakes are not named" in reasons and "one generator" not in reasons
    again = mine | {"path": "/prepared/elsewhere", "stage": "prepared"}
    assert "which is here" not in advice.advise(mine, [mine, again])["which"]
    assert "one generator" in "; ".join(advice.advise(counted("dfd", methods=("x",)))["reasons"])
    text = survey_view.markdown(survey.of_folder(tmp_path, 0, measured=False))
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert heads[:2] == [f"## folder_audio/{of['config']}" for of in (mine, yours)]  # both were "## folder_audio"


def test_a_folder_of_videos_alone_is_one_of_faces(tmp_path):
    fixtures.image(tmp_path / "mixed" / "real" / "a.png")
    for folder in ("mixed", "videos"):
        for label in ("real", "fake"):
            trees.put(tmp_path / folder, *(f"{label}/{i}.mp4" for i in range(8)))
    found = {pathlib.Path(of["path"]).name: of for of in survey.of_folder(tmp_path, 0, measured=False)["datasets"]}
    assert {name: of["modality"] for name, of in found.items()} == {"mixed": "image", "videos": "video"}
    assert ":video+folder_image+" in found["videos"]["advice"]["command"]


def test_fakeavceleb_is_three_datasets_as_in_the_benchmark(tmp_path):
    trees.fakeavceleb(tmp_path / "any name", 3)
    found = survey.of_folder(tmp_path, 0, measured=False)
    assert [(of["config"], of["modality"]) for of in found["datasets"]] == [
        ("disjoint-visual", "video"),
        ("disjoint-audio", "audio"),
        ("disjoint-av", "av"),
    ]
    assert not found["problems"]


def test_names_are_shown_as_they_are_and_commands_can_be_copied(recordings, tmp_path):
    root = tmp_path / "a`b <x> & c*d |[q]" / "w\\back"
    shutil.copytree(recordings, root / "clips")
    found = survey.of_folder(root, 0, measured=False)
    text, page = survey_view.markdown(found), html.unescape(survey_view.page(found))
    whole = f"python -m dfjax.benchmark --root {shlex.quote(str(root))} --workdir runs/benchmark --dry_run"
    for command in (found["datasets"][0]["advice"]["command"], whole):
        assert f"`` {command} ``" in text and f"<code>{command}</code>" in page
    assert f"in {root / 'clips'}" in page and "&amp;lt;" not in survey_view.page(found)


def test_what_is_not_told_is_counted():
    facts = counted("dfd", modality="video") | {"variant": "", "warnings": list("abcde"), "dropped": {}, "audit": None}
    facts |= {"skipped": {reason: 1 for reason in "vwxyz"}, "advice": advice.advise(counted("dfd", modality="video"))}
    facts["cost"] = {"seconds": 1.0, "sampled": 52, "files": 52, "unreadable": 4, "disk": 1, "memory": 1}
    told = [text for text, _ in survey_view.lines(facts)]
    assert told[1:5] == ["a", "b", "c", "more warnings: 2"]
    assert "more reasons for which files were skipped: 2" in told
    assert any("by 52 of 52 files, 4 of them could not be decoded" in line for line in told)


def test_a_damaged_prepared_dataset_and_names_that_are_no_text_are_lines(tmp_path):
    """Both ended in tracebacks."""
    prepared = tmp_path / "user/tfds/wavefake/disjoint/1.0.0"
    trees.put(prepared, "dataset_info.json", data=b"{}")
    for label in ("real", "fake"):
        fixtures.audio(tmp_path / "user/mine" / label / "a.wav", 0.3, seed=len(label))
    os.rename(tmp_path / "user/mine", os.fsencode(tmp_path / "user") + b"/caf\xe9")
    found = survey.of_folder(tmp_path / "user", 0, measured=False)
    survey_view.write(found, tmp_path / "out")
    assert all(r"caf\udce9" in (tmp_path / "out" / f"stats.{end}").read_text() for end in ("json", "md", "html"))
    assert [of["dataset"] for of in found["datasets"]] == ["folder_audio"]
    (line,) = found["problems"]
    assert line.startswith(f"{prepared} is a prepared dataset that cannot be read (ValueError: Invalid version")
    assert line.endswith("); remove it and prepare it again")


def test_a_bundle_beside_data_is_no_packed_data(recordings, tmp_path):
    """`dfjax.export --out DATASETS/detector.zip` was told to be unpacked."""
    shutil.copytree(recordings, tmp_path / "clips")
    bundle.write(tmp_path / "detector.zip", {bundle.ABOUT: b"{}"})
    with zipfile.ZipFile(tmp_path / "listed.zip", "w") as archive:  # of data, with a list of the same name
        archive.writestr(bundle.MANIFEST, "{}")
        archive.writestr("real/a.wav", "")
    found = survey.of_folder(tmp_path, 0, measured=False)
    assert [archive["path"] for archive in found["archives"]] == [str(tmp_path / "listed.zip")]
    assert not found["problems"]


def test_an_archive_that_cannot_be_read_has_no_command_that_unpacks_it(recordings, tmp_path):
    shutil.copytree(recordings, tmp_path / "clips")
    with tarfile.open(tmp_path / "more.tar", "w") as archive:
        archive.add(tmp_path / "clips", arcname="other")
    (tmp_path / "half.zip").write_bytes((tmp_path / "more.tar").read_bytes()[:300])
    text = survey_view.markdown(survey.of_folder(tmp_path, 0, measured=False))
    assert f"{tmp_path / 'half.zip'} (unreadable): download it again\n" in text and "unzip" not in text
    assert f"{tmp_path / 'more.tar'} (packed): `tar -xf " in text
