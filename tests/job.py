"""Trains and scores a prepared dataset in its own process: python -m tests.job WORKDIR DATASET [NAME=VALUE ...]."""

import json
import os
import pathlib
import signal
import sys

from etils import epath

from dfjax.data import sources
from dfjax.decide import score_file
from dfjax.inference import trained
from dfjax.runtime import process, workdir
from dfjax.training import train

HEADER = {"clip_score": "mean", "ledger": {}}  # of the score files


def config(**changes):
    """A small experiment; `changes` are dotted names of settings and their values."""
    from experiments import audio_texture

    config = audio_texture.get_config("made")
    config.update({"data": {"seconds": 0.5}, "train": {"batch": 8, "steps": 12, "eval_every": 4, "log_every": 2}})
    config.model.kwargs.embedding = 8
    config.optim.warmup_steps = 2
    config.update_from_flattened_dict(changes)
    return config


def claim(folder, settings):
    """A new workdir of this experiment, for a training that nothing prepares."""
    epath.Path(folder).mkdir(parents=True, exist_ok=True)
    workdir.claim(epath.Path(folder), settings)


def job(folder, directory, **changes):
    """Trains, scores both splits and returns the summary of training."""
    settings = config(**changes)
    folder = epath.Path(folder)
    with workdir.lock(folder):
        workdir.claim(folder, settings)
        summary = train.train(settings, folder, directory, progress=False)
        for name in ("validation", "test"):
            trained.score(folder, sources.open_split(directory, name), HEADER)
    return summary


def interrupt(monkeypatch, completed):
    """Runs get SIGTERM after `completed` steps, while the next one waits for its data."""
    make = train.feeds.make

    def interrupted(*args, **words):
        found = make(*args, **words)

        def take(step):
            if step == completed:
                os.kill(os.getpid(), signal.SIGTERM)
            return found.take(step)

        return train.feeds.Feed(found.kind, take, found.examples)

    monkeypatch.setattr(train.feeds, "make", interrupted)


def losses(folder):
    """The training losses that a run logged, by step."""
    rows = [json.loads(line) for line in (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def results(folder):
    """What a run left, as bytes: its score files and its log."""
    folder = pathlib.Path(folder)
    files = [folder / "scores" / f"made.{split}.csv" for split in ("validation", "test")] + [folder / "metrics.jsonl"]
    return {path.name: path.read_bytes() for path in files}


def scores(folder):
    """The test scores."""
    return score_file.read(pathlib.Path(folder) / "scores" / "made.test.csv").score


if __name__ == "__main__":
    process.use_all_cores()
    process.connect()
    changes = dict(word.split("=", 1) for word in sys.argv[3:])
    job(sys.argv[1], sys.argv[2], **{name: int(v) if v.isdecimal() else v for name, v in changes.items()})
