"""What a run shows of itself on TensorBoard and in its bar."""

import struct
import sys

import pytest
from etils import epath

from dfjax.records import InputError
from dfjax.run import main_job
from dfjax.runtime import progress
from dfjax.training import train
from tests import job, prepared

tensorboardX = pytest.importorskip("tensorboardX")


def shown(folder):
    """(step, name) -> value of what TensorBoard would show, later files hiding what they repeat."""
    from tensorboardX.proto import event_pb2

    values = {}
    for path in sorted((folder / "tensorboard").iterdir(), key=lambda path: int(path.suffix[1:])):
        data = path.read_bytes()
        while data:  # records of length, checksum, event, checksum
            (length,) = struct.unpack("<Q", data[:8])
            event, data = event_pb2.Event.FromString(data[12 : 12 + length]), data[16 + length :]
            if event.session_log.status == event_pb2.SessionLog.START and event.step:
                values = {key: value for key, value in values.items() if key[0] < event.step}
            values |= {(event.step, value.tag): value.simple_value for value in event.summary.value}
    return values


def test_training_shows_on_tensorboard_what_it_logs(tmp_path, capsys):
    directory = prepared.make(tmp_path / "prepared")
    settings = job.config(**{"train.steps": 4, "train.eval_every": 2})
    train.train(settings, tmp_path / "run", directory, tensorboard=True, profile=True)
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))  # of a run shorter than what is traced, too
    values, losses = shown(tmp_path / "run"), job.losses(tmp_path / "run")
    found = {step: value for (step, name), value in values.items() if name == "train/loss"}
    assert found == pytest.approx(losses) and sorted(found) == [1, 2, 3, 4]
    names = {name for _, name in values}
    assert names >= {"train/grad_norm", "train/learning_rate", "validation/auc", "validation/average_precision"}
    assert {step for step, name in values if name == "validation/auc"} == {2, 4}
    assert "busy=" in capsys.readouterr().err


def test_a_resumed_run_hides_what_it_repeats(tmp_path):
    for first, worth in ((0, 1.0), (2, 5.0)):
        with progress.board(epath.Path(tmp_path), first, wanted=True) as show:
            for step in range(first + 1, 5):
                show(step, {"train/loss": worth, "validation/auc": None})
    assert shown(tmp_path) == {(1, "train/loss"): 1, (2, "train/loss"): 1, (3, "train/loss"): 5, (4, "train/loss"): 5}


def test_without_the_flag_nothing_is_written(tmp_path):
    with progress.board(epath.Path(tmp_path), 0, wanted=False) as show:
        show(1, {"train/loss": 1.0})
    assert not list(tmp_path.iterdir())


def test_what_tensorboard_needs_is_said_before_anything_is_written(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="writes to a local disk, not to gs://bucket/run; read its metrics.jsonl"):
        progress.check_board(epath.Path("gs://bucket/run"))
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    settings = job.config(**{"data.dataset": "demo_speech"})
    with pytest.raises(InputError, match=r"--tensorboard needs tensorboardX; pip install 'dfjax\[tensorboard\]'"):
        main_job.run(settings, tmp_path / "run", name="x", data_dir=tmp_path, tensorboard=True)
    assert not list(tmp_path.iterdir())
