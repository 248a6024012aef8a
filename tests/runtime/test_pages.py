"""A command on pictures starts again once, with large pages, and only where that can help."""

import importlib
import os
import subprocess
import sys

import pytest

from dfjax.runtime import pages


@pytest.fixture
def started(monkeypatch, tmp_path):
    """What processes were started in place of this one; the kernel gives large pages to who asks."""
    calls = []
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    monkeypatch.setattr(pages, "KERNEL", tmp_path / "enabled")
    monkeypatch.setattr(pages.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(pages.os, "execve", lambda *words: calls.append(words))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "dfjax.run", "--config", "a b.py"])
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    return calls


def test_it_is_the_same_command_with_one_more_variable(started):
    pages.ask_for_large()
    wanted = os.environ | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    assert started == [(sys.executable, [sys.executable, "-m", "dfjax.run", "--config", "a b.py"], wanted)]


@pytest.mark.parametrize("words", [["dfjax", "run"], ["/somewhere/bin/dfjax", "crossval"], ["-m", "dfjax", "run"]])
def test_every_way_to_call_a_command_is_known(started, monkeypatch, words):
    monkeypatch.setattr(sys, "orig_argv", ["python", *words])
    pages.ask_for_large()
    assert started[0][1] == [sys.executable, *words]


@pytest.mark.parametrize("words", [[], ["-m", "pytest"], ["-m", "dfjaxed"], ["train.py"], ["-c", "import dfjax"]])
def test_what_is_no_command_stays(started, monkeypatch, words):
    monkeypatch.setattr(sys, "orig_argv", ["python", *words])
    pages.ask_for_large()
    assert not started


@pytest.mark.parametrize("said", ["[always] madvise never", "always madvise [never]", None])
def test_it_stays_where_the_kernel_gives_them_to_all_or_to_nobody(started, said):
    pages.KERNEL.unlink() if said is None else pages.KERNEL.write_text(said)
    pages.ask_for_large()
    assert not started


@pytest.mark.parametrize("library", [("glibc", "2.34"), ("", "")])
def test_it_stays_where_the_c_library_cannot_ask(started, monkeypatch, library):
    monkeypatch.setattr(pages.platform, "libc_ver", lambda: library)
    pages.ask_for_large()
    assert not started


@pytest.mark.parametrize("said", ["", "glibc.malloc.check=0"])
def test_what_the_user_says_stands(started, monkeypatch, said):
    monkeypatch.setenv("GLIBC_TUNABLES", said)
    pages.ask_for_large()
    assert not started


@pytest.mark.parametrize(
    ("names", "asks"),
    [(["image_focal", "fakeavceleb_av"], True), (["audio_focal"], False), (["image_focal", "audio_focal"], False)],
)
def test_pictures_ask_and_sounds_do_not(started, names, asks):
    pages.ask_for_large(*[importlib.import_module(f"experiments.{name}").get_config() for name in names])
    assert len(started) == asks


def test_a_command_that_starts_again_says_a_mistake_as_before(tmp_path):
    """Really started: the mistake is found after the start."""
    words = [sys.executable, "-m", "dfjax.run", "--config", "experiments/image_focal.py:folder_image"]
    words += [
        "--workdir",
        str(tmp_path / "w"),
        "--data_dir",
        str(tmp_path / "data"),
        "--source",
        str(tmp_path / "none"),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    said = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert said.returncode == 2 and said.stderr.count("\n") == 1 and "none" in said.stderr, said.stderr
    assert not (tmp_path / "w").exists()
