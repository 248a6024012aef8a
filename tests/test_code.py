"""The code's own rules: formatting, docstrings, the direction of imports, and no file that says too much."""

import ast
import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

from dfjax import __main__ as main
from dfjax.runtime import cli

ROOT = pathlib.Path(__file__).resolve().parent.parent
TRACKED = [
    ROOT / name
    for name in subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    if name
]


LINT_IMPORTS = pathlib.Path(sys.executable).with_name("lint-imports"), "--no-cache"
FORBIDDEN = {  # contract -> files with imports that it must find
    "a package imports only from layers below it": [{"dfjax/media/new.py": "from dfjax.data import sources"}],
    "and none is left out": [{"dfjax/new/__init__.py": ""}],
    "no circle of imports": [
        {"dfjax/media/new.py": "from dfjax.media import other", "dfjax/media/other.py": "from dfjax.media import new"}
    ],
    "decisions need no jax": [
        {"dfjax/decide/new.py": "import jax"},
        {"dfjax/imbalance/new.py": "from dfjax.runtime import devices"},  # which imports it
    ],
    "only runtime.checkpoint imports orbax": [{"dfjax/training/new.py": "import orbax.checkpoint"}],
    "builders know only media, records, runtime.files and runtime.workers": [
        {"data_builders/new.py": "from dfjax.decide import metrics"}
    ],
    "experiments import ml_collections only": [{"experiments/new.py": "import numpy"}],
}


def run(*words, cwd=ROOT):
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=300)


def test_ruff_finds_nothing():
    result = run(sys.executable, "-m", "ruff", "check", "--no-cache", ".")
    assert result.returncode == 0, result.stdout


def test_the_formatter_changes_nothing():
    result = run(sys.executable, "-m", "ruff", "format", "--check", "--no-cache", ".")
    assert result.returncode == 0, result.stdout
    assert not [p for p in TRACKED if p.suffix == ".py" and p.exists() and "fmt: " + "skip" in p.read_text()]


def test_imports_keep_to_the_layers():
    result = run(*LINT_IMPORTS)
    assert result.returncode == 0, result.stdout


@pytest.fixture
def copy(tmp_path):
    """The code and its rules where they may be broken."""
    for name in ("dfjax", "data_builders", "experiments"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=lambda folder, names: {n for n in names if _no_code(n)})
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _no_code(name):
    return name == "__pycache__" or ("." in name and not name.endswith(".py"))


@pytest.mark.parametrize(("contract", "files"), [(name, files) for name, cases in FORBIDDEN.items() for files in cases])
def test_a_forbidden_import_is_found(contract, files, copy):
    for name, words in files.items():
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(words + "\n")
    result = run(*LINT_IMPORTS, cwd=copy)
    broken = [line for line in result.stdout.splitlines() if contract in line and " BROKEN" in line]
    assert result.returncode != 0 and broken, result.stdout


def test_builders_are_forbidden_whatever_they_need_not_know():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (c for c in settings["contracts"] if c["name"].startswith("builders"))
    inside = {
        name: {p.stem for p in (ROOT / name).glob("[!_.]*") if p.suffix == ".py" or (p / "__init__.py").exists()}
        for name in ("dfjax", "dfjax/runtime")
    }
    wanted = {f"dfjax.{name}" for name in inside["dfjax"] - {"media", "records", "runtime"}}
    wanted |= {f"dfjax.runtime.{name}" for name in inside["dfjax/runtime"] - {"files", "workers"}}
    assert wanted | {"jax", "flax"} == set(contract["forbidden_modules"])


def silent(source):
    """Public functions and methods of a module with an error that they raise and their docstring does not name.

    What `__init__` and the like raise may stand in the docstring of the class. A command's `main` is exempt: a user's
    mistake ends there in one line, by `runtime.cli`.
    """
    found = []
    for outer in ast.parse(source).body:
        methods = isinstance(outer, ast.ClassDef)
        for node in outer.body if methods else [outer]:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or node.name == "main":
                continue
            special = methods and node.name.startswith("__")
            if outer.name.startswith("_") or (node.name.startswith("_") and not special):
                continue
            words = f"{ast.get_docstring(node)} {ast.get_docstring(outer) if special else ''}"
            raised = {ast.unparse(part.exc) for part in ast.walk(node) if isinstance(part, ast.Raise) and part.exc}
            errors = {match[0] for text in raised if (match := re.match(r"\w+Error\b", text))} - {"NotImplementedError"}
            found += [f"{node.name}: {error}" for error in sorted(errors) if error not in words]
    return found


def test_docstrings_name_the_errors_that_are_raised():
    files = [p for p in TRACKED if p.suffix == ".py" and p.relative_to(ROOT).parts[0] in ("dfjax", "data_builders")]
    found = {str(path.relative_to(ROOT)): silent(path.read_text()) for path in files if path.exists()}
    assert len(found) > 100 and not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("def f():\n    '''Counts.'''\n    if x:\n        raise InputError('no')", ["f: InputError"]),
        ("def f():\n    '''Raises InputError.'''\n    raise InputError('no')", []),
        ("def _f():\n    raise InputError('no')", []),
        ("def main():\n    raise InputError('no')", []),
        ("class A:\n    '''Text.'''\n    def __init__(self):\n        raise ValueError", ["__init__: ValueError"]),
        ("class A:\n    '''ValueError if so.'''\n    def __init__(self):\n        raise ValueError", []),
        ("class A:\n    '''ValueError if so.'''\n    def f(self):\n        raise ValueError", ["f: ValueError"]),
    ],
)
def test_an_error_that_no_docstring_names_is_found(source, wanted):
    assert silent(source) == wanted


def test_types_hold():
    result = run(sys.executable, "-m", "mypy", "--cache-dir", "/dev/null")
    assert result.returncode == 0, result.stdout[-3000:]


def test_beside_the_packages_lie_the_commands_alone():
    beside = {path.stem for path in (ROOT / "dfjax").glob("*.py")}
    assert beside == {name for name in main.COMMANDS if not (ROOT / "dfjax" / name).is_dir()} | {
        "__init__",
        "__main__",
        "records",
    }
    assert len(beside) <= 14


def test_no_file_is_called_after_a_drawer():
    assert not [p for p in TRACKED if re.fullmatch(r"(utils?|helpers?|common|misc)\.py", p.name)]


def test_nothing_large_and_nothing_unfinished_is_tracked():
    shipped = ROOT / "dfjax" / "shipped"  # the detector that comes with the package; its own test bounds it
    assert not [p for p in TRACKED if p.exists() and p.stat().st_size > 1 << 20 and shipped not in p.parents]
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


def test_no_package_is_asked_for_twice_and_testing_takes_what_trains_and_serves():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lists = [project["dependencies"], *(extras[name] for name in ("train", "draw", "serve"))]
    names = [re.match(r"[\w.-]+", line)[0].lower() for line in sum(lists, []) if not line.startswith("dfjax")]
    assert len(names) == len(set(names)) and "flax" in names and "dfjax[train,serve]" in extras["test"]
    assert all("dfjax[draw]" in extras[name] for name in ("train", "serve"))
    assert all(extras.values())  # what an extra brings nothing for comes without asking


def test_a_missing_module_is_said_to_be_of_dfjax_itself_where_what_judges_has_it():
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.match(r"[\w.-]+", line)[0].lower() for line in lines} | {"jaxlib"}  # a half of jax
    installed = importlib.metadata.packages_distributions()
    of = {module: {name.lower() for name in installed[module]} for module in cli.CORE}
    assert all(of[module] & names for module in cli.CORE) and set.union(*of.values()) >= names


def test_the_extra_that_a_missing_module_is_said_to_be_of_has_it():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for module, extra in cli.EXTRAS.items():
        assert any(line.startswith(module) for line in extras[extra])
