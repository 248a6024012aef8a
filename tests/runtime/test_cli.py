"""How every command ends."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from etils import epath

from dfjax import compare
from dfjax.__main__ import COMMANDS
from dfjax.run import command
from dfjax.runtime import checkpoint, cli, workdir
from tests import children
from tests.data_builders import fixtures

ROOT = Path(__file__).resolve().parents[2]
TRAINS = [
    *("absl", "array_record", "flax", "grain", "imblearn", "librosa", "matplotlib", "ml_collections", "optax", "orbax"),
    *("pyarrow", "sklearn", "tensorflow_datasets"),
]
JUDGE = ("predict", "export", "tune")  # commands that need none of them
WORDS = {  # of a command that reads its words before it imports them
    "serve": ["--port", "1"],
    "stats": ["demo_speech"],
    "import_weights": ["--model", "aasist", "--weights", "w.pth", "--workdir", "w"],
}


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
    assert result.stderr == "error: this needs nowhere, which is not installed; pip install 'dfjax[train]'\n"


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


def test_decoders_that_do_not_start_are_told_in_one_line():
    work = "from dfjax.runtime import workers\n    raise workers.WorkerError('no room')"
    result = ended(f"from dfjax.runtime import cli\ndef work():\n    {work}\ncli.main(work)")
    told = "error: no room; give fewer --jobs, or allow it more; the same command continues\n"
    assert (result.returncode, result.stderr) == (2, told)
    result = ended("from dfjax.runtime import cli\ndef work(): raise RuntimeError('a mistake of ours')\ncli.main(work)")
    assert result.returncode == 1 and "Traceback" in result.stderr


def test_a_training_that_diverged_is_told_in_one_line_and_another_bad_number_whole():
    work = "from dfjax.records import Diverged; raise Diverged('training diverged at step 5:\\nlower it')"
    result = ended(f"from dfjax.runtime import cli\ndef work(): {work}\ncli.main(work)")
    assert (result.returncode, result.stderr) == (2, "error: training diverged at step 5: lower it\n")
    result = ended("from dfjax.runtime import cli\ndef work(): raise FloatingPointError\ncli.main(work)")
    assert result.returncode == 1 and "Traceback" in result.stderr


@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections, which loads experiments
@pytest.mark.parametrize("name", ["run", "compare"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "import math\ny = np.pi",
            "error: {file} fails in line 2: NameError: name 'np' is not defined; correct the exper",
        ),
        ("raise ValueError('no')", "error: {file} fails in line 1: ValueError: no; "),
        ("assert False", "error: {file} fails in line 1: AssertionError; "),
        ("import math\nx = (", "error: {file} fails in line 2: SyntaxError: '(' was never closed; "),
        ("import math\n  x = 1", "error: {file} fails in line 2: IndentationError: unexpected indent; "),
        ("import nowhere", "error: {file} fails in line 1: ModuleNotFoundError: No module named 'nowhere'; "),
        ("open('/')", "error: {file} fails in line 1: IsADirectoryError: "),
        ("open('nowhere')", "{file}...No such file or directory: 'nowhere'"),
        ("def get_config():\n    return np.pi", "error: {file} fails in line 2: NameError: name 'np' is not defined; "),
        ("def get_config():\n    return 1 + None", "error: {file} fails in line 2: TypeError: unsupported operand "),
        (
            "import json\ndef get_config():\n    json.loads('')",
            "error: {file} fails in line 3: JSONDecodeError: Expecting",
        ),
        ("from dfjax.records import InputError\nraise InputError('so it is')", "error: so it is\n"),
        ("x = 1", ": {file} is no experiment file (it has no get_config)"),
        (
            "def get_config(): pass",
            "error: get_config of {file} returned a NoneType, expected an ml_collections.ConfigDict",
        ),
        (
            "def get_config(): return {}",
            "error: get_config of {file} returned a dict, expected an ml_collections.ConfigDict",
        ),
    ],
)
def test_an_experiment_file_that_fails_is_one_line(name, content, told, tmp_path, capsys, monkeypatch):
    """Most errors ended in a traceback, and those that did not named no line."""
    monkeypatch.delitem(sys.modules, "config_config", raising=False)  # ml_collections keeps names of the one before
    file = tmp_path / "mine.py"
    file.write_text(content + "\n")
    read = {
        "run": lambda: command.parse(["run", "--config", str(file)], command),
        "compare": lambda: compare.experiments([str(file)]),
    }
    with pytest.raises(SystemExit) as stopped:
        cli.main(read[name])
    printed = capsys.readouterr().err
    assert stopped.value.code == 2 and printed.count("\n") == 1
    assert all(part in printed for part in told.format(file=file).split("...")), printed


def test_a_module_that_dfjax_itself_lacks_is_a_mistake_of_dfjax():
    result = ended("from dfjax.runtime import cli\ndef needing(): import dfjax.nowhere\ncli.main(needing)")
    assert result.returncode == 1 and "Traceback" in result.stderr


def alone(*words, folder, lacking=TRAINS):
    """A command where these modules are not installed."""
    (folder / "sitecustomize.py").write_text(f"import sys; sys.modules |= dict.fromkeys({lacking})\n")
    return subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=ROOT,
        env=children.quickly_compiling(PYTHONPATH=f"{folder}{os.pathsep}{ROOT}"),
        text=True,
        capture_output=True,
    )


@pytest.mark.parametrize(
    "start",
    [*([f"dfjax.{name}"] for name in COMMANDS if name not in JUDGE), ["dfjax", "run"], ["dfjax", "stats"]],
    ids=" ".join,
)
def test_where_only_what_judging_needs_is_installed_a_command_names_what_it_lacks(start, tmp_path):
    """As after `pip install dfjax`; a command's file may import it before its `main` runs."""
    name = start[-1].removeprefix("dfjax.")
    result = alone(*start, *WORDS.get(name, []), folder=tmp_path)
    assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
    extra = "serve" if name == "serve" else "train"
    told = rf"error: {' '.join(start)} needs .*\b({'|'.join(TRAINS)})\b.*; .*pip install 'dfjax\[{extra}\]'\n"
    assert re.fullmatch(told, result.stderr), result.stderr


@pytest.mark.parametrize("name", [*JUDGE, *WORDS])
def test_help_needs_no_more_than_what_judging_does(name, tmp_path):
    """But where a command's file is that of its work, too, or its options are those of an experiment."""
    result = alone(f"dfjax.{name}", "--help", folder=tmp_path)
    assert result.returncode == 0 and result.stdout.startswith(f"usage: python -m dfjax.{name}"), result.stderr


@pytest.mark.parametrize(
    "commands",
    [
        (
            ["dfjax.predict", "{folder}/a.wav"],
            ["dfjax.tune", "--scores", "{folder}/scores.csv", "--criterion", "f1", "--out", "{folder}/decision.json"],
            ["dfjax", "--completion", "bash"],
        ),
        pytest.param(  # each judges with programs that it compiles
            (
                ["dfjax", "predict", "--output", "{folder}/v.csv", "{folder}/a.wav"],
                ["dfjax.export", "--out", "{folder}/d.zip"],
                ["dfjax.predict", "--workdir", "{folder}/d.zip", "{folder}/a.wav"],
            ),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["one verdict", "a table and a bundle"],
)
def test_what_judges_works_where_only_what_judging_needs_is_installed(commands, tmp_path):
    fixtures.audio(tmp_path / "a.wav", 1.0, seed=0)
    rows = "".join(f"{k % 2},{(k * 37 % 100) / 100 + k % 2}\n" for k in range(200))
    (tmp_path / "scores.csv").write_text("label,score\n" + rows)
    for words in commands:
        result = alone(*(word.format(folder=tmp_path) for word in words), folder=tmp_path)
        assert result.returncode in ((0, 3) if "predict" in " ".join(words) else (0,)), result.stderr


@pytest.mark.parametrize("command", ["predict", "export"])
def test_a_run_is_told_as_what_needs_more_than_judging_does(command, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    rest = ["README.md"] if command == "predict" else ["--out", tmp_path / "d.zip"]
    result = alone(f"dfjax.{command}", "--workdir", tmp_path, *rest, folder=tmp_path)
    assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
    assert re.search(f"needs ({'|'.join(TRAINS)})\\b.* pip install 'dfjax\\[train\\]'", result.stderr), result.stderr


@pytest.mark.parametrize("command", ["predict", "export"])
def test_a_run_that_is_not_there_needs_nothing_but_its_right_name(command, tmp_path):
    rest = ["README.md"] if command == "predict" else ["--out", tmp_path / "d.zip"]
    result = alone(f"dfjax.{command}", "--workdir", tmp_path / "none", *rest, folder=tmp_path)
    told = f"error: {tmp_path}/none does not exist; give the workdir of a finished run, or a bundle of dfjax.export\n"
    assert result.returncode == 2 and result.stderr == told


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ("soundfile", ["dfjax.predict", "README.md"]),
        ("numpy", ["dfjax", "tune", "--scores", "scores.csv"]),
        ("cv2", ["dfjax.predict", "--workdir", ".", "README.md"]),
        ("tqdm", ["dfjax.evaluate", "--workdir", ".", "--datasets", "demo_speech"]),
    ],
)
def test_what_every_installation_needs_is_not_said_to_be_of_an_extra(lacking, words, tmp_path):
    """Who lacked soundfile was told to install all that trains."""
    result = alone(*words, folder=tmp_path, lacking=[lacking])
    command = " ".join(words[: 2 if words[0] == "dfjax" else 1])
    told = rf"error: {command} needs {lacking}(\.\w+)?, which is not installed; pip install dfjax\n"
    assert result.returncode == 2 and re.fullmatch(told, result.stderr), result.stderr


def test_a_name_of_the_package_that_lacks_what_every_installation_needs_says_so(tmp_path):
    (tmp_path / "words.py").write_text("import dfjax\ntry: dfjax.metrics\nexcept ImportError as error: print(error)\n")
    result = alone("words", folder=tmp_path, lacking=["numpy"])
    assert result.stdout == "dfjax.metrics needs numpy, which is not installed; pip install dfjax\n", result.stderr


def test_a_name_of_the_package_says_what_it_lacks(tmp_path):
    (tmp_path / "words.py").write_text("import dfjax\ntry: dfjax.models\nexcept ImportError as error: print(error)\n")
    result = alone("words", folder=tmp_path)
    told = rf"dfjax.models needs ({'|'.join(TRAINS)}), which is not installed; pip install 'dfjax\[train\]'\n"
    assert re.fullmatch(told, result.stdout), result.stderr


def test_help_tells_the_names_of_the_package_where_only_what_judging_needs_is_installed(tmp_path):
    """It asks for every name of `dir`; one that takes the extra `train` ended it in that name's error."""
    (tmp_path / "words.py").write_text(
        "import dfjax\nhelp(dfjax)\nprint('models' in dir(dfjax), 'load' in dir(dfjax))\n"
    )
    result = alone("words", folder=tmp_path)
    assert "dfjax.load()" in result.stdout and "the extra `train`" in result.stdout, result.stdout
    assert result.stdout.endswith("False True\n") and not result.stderr


def test_an_error_of_another_kind_while_a_command_is_imported_is_told_whole():
    code = "from dfjax.runtime import cli; cli.end_without_modules(); import dfjax.nowhere"
    result = ended(code)
    assert result.returncode == 1 and "Traceback" in result.stderr


def test_a_tilde_behind_an_option_is_the_user_s_folder_for_all_that_is_written(tmp_path, monkeypatch):
    """--workdir=~/w, which shells leave as it is, put a run below ./~ and its checkpoints into the user's folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["run", "--workdir=~/w", "--config.model.weights=~/a~b.pt", "~/x", "--out=a~"])
    cli.main(lambda: None)
    home = str(tmp_path / "home")
    assert sys.argv == ["run", f"--workdir={home}/w", f"--config.model.weights={home}/a~b.pt", "~/x", "--out=a~"]
    monkeypatch.chdir(tmp_path)
    for writes in (workdir.lock, checkpoint.manager):
        with writes(epath.Path("~/w")):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["~"] and (tmp_path / "~" / "w" / "checkpoints").is_dir()


def test_a_name_that_the_terminal_cannot_show_is_an_escape():
    code = "from dfjax.runtime import cli\ncli.main(lambda: print('caf\\udce9'))"
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    words = {"text": True, "capture_output": True, "env": environment}
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, **words)
    assert (result.returncode, result.stdout, result.stderr) == (0, "caf\\udce9\n", "")
