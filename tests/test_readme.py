"""What the pages say: README is short, its Python runs, its commands, links, files and counts are those of the code."""

import ast
import json
import pathlib
import re
import shlex
import subprocess
import sys

import jax
import numpy as np
import pytest
import soundfile
from flax import nnx

import dfjax
from dfjax import __main__, inference, models
from dfjax.inference import bundle
from dfjax.models import functional
from dfjax.models.streams import Rngs
from dfjax.records import SAMPLE_RATE

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = ["README.md", "experiments/README.md", "dfjax/README.md", "data_builders/README.md", ".github/CONTRIBUTING.md"]
PYTHON = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_it_is_under_150_lines():
    assert len(README.splitlines()) < 150


@pytest.mark.slow
def test_its_first_command_shows_what_tuning_is_worth(tmp_path):
    """Plain training misses fakes at 0.5, the tuned threshold finds more beyond its interval, the detector ranks."""
    (line,) = re.findall(r"^<!-- main job -->\n```\n(.*?)\n```$", README, re.MULTILINE | re.DOTALL)
    python, *words = shlex.split(line.rpartition("&& ")[2])
    assert python == ".venv/bin/python"
    command = [sys.executable, *words, "--workdir", tmp_path / "w", "--data_dir", tmp_path / "data", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    report = json.loads(done.stdout)
    found, auc = report["operating"]["test"], report["ranking"]["test"]["auc"]
    assert auc["value"] >= 0.9, auc
    for measure in ("f1", "recall"):
        assert found["difference"][measure]["low"] > 0, found["difference"]


def test_its_python_is_python():
    assert PYTHON
    for block in PYTHON:
        ast.parse(block)


def test_the_notebook_example_gives_verdicts(tmp_path, monkeypatch, capsys):
    if not (bundle.SPEECH / bundle.WEIGHTS).exists():
        pytest.skip(f"no {bundle.WEIGHTS} in {bundle.SPEECH.relative_to(ROOT)}: no detector comes with the package yet")
    (block,) = PYTHON
    time = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    voice = 0.2 * np.sin(2 * np.pi * 150 * time) * (1 + np.sin(2 * np.pi * 3 * time))
    voice += 0.01 * np.random.default_rng(0).normal(size=len(time))
    names = sorted(set(re.findall(r"[\w-]+\.(?:mp3|wav)", block)))
    for name in names:
        with (tmp_path / name).open("wb") as file:
            soundfile.write(file, voice, SAMPLE_RATE, format="WAV")
    loaded = []

    def shipped(folder=None):
        loaded.append(folder)
        return inference.load()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dfjax, "load", shipped)
    exec(compile(block, "README.md", "exec"), {})
    first, *rest = capsys.readouterr().out.splitlines()
    assert loaded and first in ("fake", "real", "uncertain")
    assert len(rest) == len(names) and all(re.match(r"\S+ (fake|real|uncertain) \[", line) for line in rest)


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_modules_and_options_of_experiments_are_files(page):
    text = (ROOT / page).read_text()
    for name in re.findall(r"python3? -m ((?:dfjax|tests)[\w.]*)", text):
        path = ROOT / name.removesuffix(".").replace(".", "/")
        known = path.with_suffix(".py").exists() or (path / "__main__.py").exists()
        assert known or name.startswith("dfjax.COMMAND"), name
    for name in re.findall(r"experiments/([a-z]\w*\.py)", text):
        assert (ROOT / "experiments" / name).exists(), name


def test_the_table_has_every_command():
    rows = re.findall(r"^\| `python -m dfjax\.(\w+)", README, re.MULTILINE)
    assert set(rows) == set(__main__.COMMANDS)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = ROOT / page
    text = path.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, heading = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        assert (path.parent / file).exists(), f"{page} links to {target}"
        if heading and not file:
            assert re.search(rf"^#+ {heading}$", text, re.MULTILINE | re.IGNORECASE), target


def test_the_map_of_the_code_names_every_file_and_none_that_is_gone():
    special, seen = {"__init__.py", "__main__.py"}, set()
    for part in (ROOT / "dfjax" / "README.md").read_text().split("\n## ")[1:]:
        cells = "".join(re.findall(r"^\| (`.*?) \|", part, re.MULTILINE))
        package = re.match(r"`(\w+)`", part)
        if not cells:
            continue
        seen.add(package[1] if package else "dfjax")
        folder = (ROOT / "dfjax" / package[1]) if package else ROOT / "dfjax"
        folder = folder if folder.exists() else ROOT / package[1]
        told = set(re.findall(r"`(\w+\.py)`", cells)) - special
        assert told == {path.name for path in folder.glob("*.py")} - special, folder
    packages = {path.parent.name for path in (ROOT / "dfjax").glob("*/__init__.py")} | {"dfjax", "data_builders"}
    assert seen == packages - {"run"}  # its files stand with the commands


@pytest.mark.parametrize("name", ["band_kernel", "texture", "resnet_small", "lcnn", "cnn_small"])
def test_detectors_have_as_many_parameters_as_it_says(name):
    params = functional.split(nnx.eval_shape(lambda: models.build(name, rngs=Rngs(0))))[1]
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    (row,) = (line for line in README.splitlines() if re.match(rf"\| .*`{name}`", line))
    assert f"{count:,}" in row, count


def test_citation_names_the_version():
    assert f"version: {dfjax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
