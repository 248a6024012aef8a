"""One device, eight simulated ones and two processes train and score alike."""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from dfjax import devices
from dfjax.records import InputError
from tests import job, prepared

ROOT = pathlib.Path(__file__).resolve().parent.parent


def start(folder, directory, *settings, **environment):
    words = [sys.executable, "-m", "tests.job", str(folder), str(directory), *settings]
    return subprocess.Popen(
        words,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*jobs):
    for one in jobs:
        out, _ = one.communicate(timeout=500)
        assert one.returncode == 0, out


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return prepared.make(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def single(directory, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    finish(start(folder, directory, JAX_NUM_CPU_DEVICES="1"))
    return folder


def assert_alike(folder, single, rtol):
    """Equal losses up to the order of sums; rounding grows through the updates, and the scores follow it."""
    one, other = job.losses(single), job.losses(folder)
    assert sorted(one) == sorted(other)
    np.testing.assert_allclose(other[1], one[1], rtol=2e-6)  # one example per device sums in another order
    np.testing.assert_allclose([other[s] for s in one], list(one.values()), rtol=rtol)
    np.testing.assert_allclose(job.scores(folder), job.scores(single), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("feed", ["resident", "streaming"])
def test_eight_devices_equal_one(single, directory, tmp_path, feed):
    settings = [] if feed == "resident" else ["data.feed=streaming"]
    finish(start(tmp_path / "eight", directory, *settings, JAX_NUM_CPU_DEVICES="8"))
    if feed == "streaming":
        finish(start(tmp_path / "one", directory, *settings, JAX_NUM_CPU_DEVICES="1"))
    assert_alike(tmp_path / "eight", single if feed == "resident" else tmp_path / "one", rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("feed", ["resident", "streaming"])
def test_two_processes_equal_one(single, directory, tmp_path, feed):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_NUM_CPU_DEVICES": "1",
    }
    settings = [] if feed == "resident" else ["data.feed=streaming"]
    folder = tmp_path / "two"
    finish(*[start(folder, directory, *settings, **environment, JAX_PROCESS_ID=str(i)) for i in range(2)])
    if feed == "streaming":
        finish(start(tmp_path / "one", directory, *settings, JAX_NUM_CPU_DEVICES="1"))
    assert_alike(folder, single if feed == "resident" else tmp_path / "one", rtol=1e-6)


@pytest.mark.slow
def test_a_run_continues_on_another_number_of_devices(single, directory, tmp_path):
    finish(start(tmp_path / "w", directory, "train.steps=12", "train.eval_every=4", JAX_NUM_CPU_DEVICES="8"))
    import shutil

    shutil.rmtree(tmp_path / "w" / "checkpoints" / "12")
    finish(start(tmp_path / "w", directory, "train.steps=12", "train.eval_every=4", JAX_NUM_CPU_DEVICES="1"))
    assert_alike(tmp_path / "w", single, rtol=1e-4)


def test_virtual_devices_are_left_out_until_they_share_the_batch():
    assert jax.device_count() == 2
    assert [devices.make_mesh(batch).size for batch in (8, 7, 1)] == [2, 1, 1]


@pytest.mark.parametrize("name", ["JAX_NUM_PROCESSES", "JAX_PROCESS_ID"])
def test_a_cluster_variable_that_is_no_number_is_refused(monkeypatch, name):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:9")
    monkeypatch.setenv(name, "two")
    with pytest.raises(InputError, match=f"{name}='two' is not a number"):
        devices.connect()


def test_more_memory_than_there_is_is_refused_in_one_line(monkeypatch):
    large = (
        jax.jit(lambda x: (x[:, None] * x[None]).sum()).lower(jax.ShapeDtypeStruct((1000,), np.float32)).compile()
    )
    devices.require(large, "config.train.batch=8")
    monkeypatch.setattr(devices, "free_memory", lambda: -1)
    with pytest.raises(
        InputError, match=r"config.train.batch=8 needs .* GiB on each device, .* are free; lower it"
    ):
        devices.require(large, "config.train.batch=8")
