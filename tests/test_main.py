"""The console script: the commands as sub-commands, wherever it is called from."""

import importlib
import shutil
import subprocess
import sys

import pytest

import dfjax
from dfjax import __main__ as main
from dfjax.records import InputError
from dfjax.runtime import cli


def called(*words, cwd=None):
    return subprocess.run([sys.executable, "-m", "dfjax", *words], capture_output=True, text=True, timeout=120, cwd=cwd)


def test_help_names_every_command_and_version_is_that_of_the_package():
    helped = called("--help")
    assert helped.returncode == 0 and all(f"  {name} " in helped.stdout for name in main.COMMANDS)
    assert called("--version").stdout.strip() == dfjax.__version__


def test_help_of_the_main_job_waits_for_no_library():
    words = (
        "import sys; from dfjax import run; sys.argv = ['run', '--help']\ntry: run.main()\nfinally: print(*sys.modules)"
    )
    helped = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=60)
    assert helped.returncode == 0, helped.stderr
    text, _, loaded = helped.stdout.rstrip().rpartition("\n")
    assert "train.steps: a whole number" in text and "--[no]profile" in text
    assert not {"jax", "numpy", "scipy", "tensorflow_datasets"} & set(loaded.split())


def test_the_main_job_starts_without_what_few_runs_want():
    """They take a second together."""
    wanted = {"scipy.signal", "scipy.stats", "sklearn", "matplotlib"}
    words = f"import sys, dfjax.run.main_job; print(*{wanted} & {{*sys.modules}})"
    started = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=60)
    assert (started.returncode, started.stdout) == (0, "\n"), started.stdout + started.stderr


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_a_main(name):
    assert callable(importlib.import_module(f"dfjax.{name}").main)


def test_bash_completes_commands_and_files(tmp_path):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not here")
    (tmp_path / "voicemail.mp3").touch()
    script = (
        main.completion("bash") + "\nCOMP_WORDS=($1 $2 $3); COMP_CWORD=$4; _shtab_dfjax; printf '%s\\n' ${COMPREPLY[@]}"
    )
    assert called("--completion", "bash").stdout.strip() == main.completion("bash").strip()

    def offered(*words):
        line = [bash, "-c", script, "bash", *words, *[""] * (3 - len(words)), str(len(words) - 1)]
        return subprocess.run(line, capture_output=True, text=True, cwd=tmp_path).stdout.split()

    assert offered("dfjax", "pre") == ["prepare", "predict"]
    assert "voicemail.mp3" in offered("dfjax", "predict", "voice")


def test_an_unknown_shell_is_one_line_and_exit_code_2():
    found = called("--completion", "fis")
    assert found.returncode == 2 and "expected one of bash" in found.stderr


def test_an_unknown_command_is_one_line_and_exit_code_2():
    found = called("trane")
    assert found.returncode == 2 and found.stderr.startswith("error: Unknown command 'trane'") and not found.stdout


def test_an_unknown_command_names_the_nearest():
    assert called("crosval").stderr == "error: Unknown command 'crosval'; did you mean crossval?\n"


@pytest.mark.parametrize("name", main.COMMANDS)
def test_an_unknown_option_is_one_line_and_exit_code_2(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--nope"])
    with pytest.raises(SystemExit) as left:
        cli.main(importlib.import_module(f"dfjax.{name}").main)
    said = capsys.readouterr()
    assert left.value.code == 2 and said.err.startswith("error: ") and said.err.count("\n") == 1 and not said.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tune", "--workdir", "w", "--criterian", "f1"], "unexpected --criterian; did you mean --criterion?"),
        (["evaluate.command", "--workdir", "w"], "the following arguments are required: --datasets"),
        (["rebalance", "--workdir", "w", "--method", "smotee"], "argument --method: invalid choice: 'smotee'"),
        (["predict", "--jobs", "two"], "argument --jobs: invalid int value: 'two'"),
        (["predict", "--jbos=2", "a.wav"], "unexpected --jbos; did you mean --jobs?"),
    ],
)
def test_a_wrong_word_says_what_is_wrong(words, said, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(lambda: importlib.import_module(f"dfjax.{words[0]}").parser().parse_args(words[1:]))
    assert left.value.code == 2 and capsys.readouterr().err.startswith(f"error: {said}")


def test_experiments_are_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("experiments/audio_focal.py:folder_audio", "audio_focal:folder_audio"):
        path, _, argument = cli.experiment_file(text).partition(":")
        assert path.endswith("experiments/audio_focal.py") and argument == "folder_audio"
    with pytest.raises(InputError, match="no experiment nowhere.py; give a file, or one of .*audio_focal, "):
        cli.experiment_file("nowhere.py")
    (tmp_path / "audio_focal.py").write_text("")
    assert cli.experiment_file("audio_focal.py") == "audio_focal.py"  # one's own comes first
