"""How every command ends."""

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
