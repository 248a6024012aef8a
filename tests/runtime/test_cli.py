"""How every command ends."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dfjax.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
TRAINS = ["absl", "flax", "matplotlib", "ml_collections", "optax", "orbax", "safetensors", "tensorflow_datasets"]


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


def test_what_a_library_says_of_a_package_that_it_wants_is_one_line():
    """As fsspec of a bucket whose reader is not installed."""
    needing = "def needing(): raise ImportError('Install s3fs\\nto access S3')"
    result = ended(f"from dfjax.runtime import cli\n{needing}\ncli.main(needing)")
    assert result.returncode == 2 and result.stderr == "error: Install s3fs to access S3\n"


@pytest.mark.parametrize(
    ("error", "what"),
    [
        ("ImportError('lib.so: failed to map segment from shared object', name='jaxlib._jax')", "jaxlib._jax"),
        ("ImportError('Importing numpy failed: lib.so: failed to map segment from shared object')", "what this needs"),
        ("MemoryError", "what this needs"),
    ],
)
def test_too_little_memory_to_import_is_not_told_as_a_package_that_is_missing(error, what):
    result = ended(f"from dfjax.runtime import cli; cli.end_without_modules(); raise {error}")
    told = f"error: too little memory to load {what}; end other programs, or allow it more\n"
    assert (result.returncode, result.stderr) == (2, told)


@pytest.mark.parametrize(
    ("work", "what"),
    [
        ("raise MemoryError", ""),
        ("import numpy; numpy.ones((1 << 20, 1 << 30))", r" \(Unable to allocate 8.00 PiB .*\)"),
    ],
)
def test_too_little_memory_within_a_command_is_one_line(work, what):
    result = ended(f"from dfjax.runtime import cli\ndef work(): {work}\ncli.main(work)")
    line = f"error: too little memory{what}; end other programs, or allow it more; the same command continues\n"
    assert result.returncode == 2 and re.fullmatch(line, result.stderr)


def test_a_module_that_dfjax_itself_lacks_is_a_mistake_of_dfjax():
    result = ended("from dfjax.runtime import cli\ndef needing(): import dfjax.nowhere\ncli.main(needing)")
    assert result.returncode == 1 and "Traceback" in result.stderr


@pytest.mark.parametrize("start", [*([f"dfjax.{name}"] for name in COMMANDS), ["dfjax", "export"]], ids=" ".join)
def test_where_only_what_judging_needs_is_installed_a_command_names_what_it_lacks(start, tmp_path):
    """As with dfjax/inference/requirements.txt alone; a command's file may import it before its `main` runs."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules |= dict.fromkeys({TRAINS})\n")
    name = start[-1].removeprefix("dfjax.")
    words = {"predict": ["README.md"], "export": ["--out", "d.zip"], "serve": ["--port", "1"]}.get(name, [])
    result = subprocess.run(
        [sys.executable, "-m", *start, *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        text=True,
        capture_output=True,
    )
    assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
    if name != "tune":  # which works without them
        assert re.search(f"{'|'.join(TRAINS)}.* pip install '?dfjax", result.stderr), result.stderr


def test_an_error_of_another_kind_while_a_command_is_imported_is_told_whole():
    code = "from dfjax.runtime import cli; cli.end_without_modules(); import dfjax.nowhere"
    result = ended(code)
    assert result.returncode == 1 and "Traceback" in result.stderr


def test_a_name_that_the_terminal_cannot_show_is_an_escape():
    code = "from dfjax.runtime import cli\ncli.main(lambda: print('caf\\udce9'))"
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    words = {"text": True, "capture_output": True, "env": environment}
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, **words)
    assert (result.returncode, result.stdout, result.stderr) == (0, "caf\\udce9\n", "")
