"""How every command ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("words", ["print('a line')", "print('a line\\n' * 100_000)", "raise SystemExit(print('a'))"])
def test_nothing_is_said_where_nobody_reads(words):
    """Much or little, printed before its end or as it ends: after `| head` there is no traceback."""
    code = f"from dfjax.runtime import cli; input(); cli.main(lambda: exec({words!r}))"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, **pipes) as process:
        process.stdout.close()
        _, err = process.communicate("\n")
    assert process.returncode == 141 and err == ""


def test_another_broken_pipe_is_an_error():
    code = "from dfjax.runtime import cli\ndef broken(): raise BrokenPipeError('of a worker')\ncli.main(broken)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
    assert result.returncode == 1 and "of a worker" in result.stderr


def ended(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)


def test_a_package_that_is_not_installed_is_named_in_one_line():
    result = ended("from dfjax.runtime import cli\ndef needing(): import nowhere.inside\ncli.main(needing)")
    assert result.returncode == 2
    assert result.stderr == "error: No module named 'nowhere'; install what this needs: pip install dfjax\n"


def test_a_module_that_dfjax_itself_lacks_is_a_mistake_of_dfjax():
    result = ended("from dfjax.runtime import cli\ndef needing(): import dfjax.nowhere\ncli.main(needing)")
    assert result.returncode == 1 and "Traceback" in result.stderr


@pytest.mark.parametrize("words", [("predict", "README.md"), ("export", "--out", "d.zip")])
def test_where_only_what_judging_needs_is_installed_a_command_names_what_it_lacks(words, tmp_path):
    """As with dfjax/inference/requirements.txt alone."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['ml_collections'] = None\n")
    result = subprocess.run(
        [sys.executable, "-m", "dfjax", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        text=True,
        capture_output=True,
    )
    assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
    assert "ml_collections" in result.stderr and "pip install dfjax" in result.stderr
