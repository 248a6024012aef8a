"""The code's own rules: formatting, docstrings, the direction of imports, and no file that says too much."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TRACKED = [
    ROOT / name
    for name in subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    if name
]


def run(*words):
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_ruff_finds_nothing():
    result = run(sys.executable, "-m", "ruff", "check", "--no-cache", ".")
    assert result.returncode == 0, result.stdout


def test_a_module_imports_only_from_layers_below_it():
    result = run(pathlib.Path(sys.executable).with_name("lint-imports"), "--no-cache")
    assert result.returncode == 0, result.stdout


def test_types_hold():
    result = run(sys.executable, "-m", "mypy", "--cache-dir", "/dev/null")
    assert result.returncode == 0, result.stdout[-3000:]


def test_no_file_is_called_after_a_drawer():
    assert not [p for p in TRACKED if re.fullmatch(r"(utils?|helpers?|common|misc)\.py", p.name)]


def test_nothing_large_and_nothing_unfinished_is_tracked():
    assert not [p for p in TRACKED if p.exists() and p.stat().st_size > 1 << 20]
    marks = re.compile(r"TODO|FIXME|NotImplementedError\(\)|/work/|/home/")
    found = [
        p
        for p in TRACKED
        if p.suffix == ".py" and p != pathlib.Path(__file__) and p.exists() and marks.search(p.read_text())
    ]
    assert not found


def test_the_readme_gives_two_set_up_commands_and_ci_runs_the_second():
    text = (ROOT / "README.md").read_text()
    assert text.count("python3 -m venv") == 2
    assert "<!-- tests -->" in text and "<!-- tests -->" in (ROOT / ".ci" / "run").read_text()
