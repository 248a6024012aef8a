"""One device, eight simulated ones and two processes train and score alike."""

import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

from dfjax import models
from dfjax.decide import score_file
from dfjax.records import MEDIA, InputError
from dfjax.runtime import devices, process
from dfjax.training import losses, train_step
from tests import job, prepared, test_rebalance

ROOT = pathlib.Path(__file__).resolve().parents[2]
LARGE = (
    "efficientnet_b4",
    "clip_base",
    "clip_large",
    "wav2vec2",
    "wav2vec2_frozen",
)  # minutes; others of their kind stay
NAMES = [name for name in models.MODELS if name not in LARGE]


def start(folder, directory, *settings, **environment):
    return python("tests.job", folder, directory, *settings, **environment)


def python(*words, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, words)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def pair():
    """The environments of two processes with a device each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": "2", "JAX_NUM_CPU_DEVICES": "1"}
    return [words | {"JAX_PROCESS_ID": str(i)} for i in range(2)]


def finish(*jobs):
    said = [one.communicate(timeout=500)[0] for one in jobs]
    for one, out in zip(jobs, said, strict=True):
        assert one.returncode == 0, out
    return said


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return prepared.make(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def single(directory, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    finish(start(folder, directory, JAX_NUM_CPU_DEVICES="1"))
    return folder


def assert_alike(folder, single):
    """Equal losses up to the order of sums, and the scores of what was trained."""
    one, other = job.losses(single), job.losses(folder)
    assert sorted(one) == sorted(other)
    np.testing.assert_allclose([other[s] for s in one], list(one.values()), rtol=1e-6)
    np.testing.assert_allclose(job.scores(folder), job.scores(single), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("feed", ["resident", "streaming"])
def test_eight_devices_equal_one(single, directory, tmp_path, feed):
    settings = [] if feed == "resident" else ["data.feed=streaming"]
    finish(start(tmp_path / "eight", directory, *settings, JAX_NUM_CPU_DEVICES="8"))
    if feed == "streaming":
        finish(start(tmp_path / "one", directory, *settings, JAX_NUM_CPU_DEVICES="1"))
    assert_alike(tmp_path / "eight", single if feed == "resident" else tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("feed", ["resident", "streaming"])
def test_two_processes_equal_one(single, directory, tmp_path, feed):
    settings = [] if feed == "resident" else ["data.feed=streaming"]
    folder = tmp_path / "two"
    finish(*[start(folder, directory, *settings, **words) for words in pair()])
    if feed == "streaming":
        finish(start(tmp_path / "one", directory, *settings, JAX_NUM_CPU_DEVICES="1"))
    assert_alike(folder, single if feed == "resident" else tmp_path / "one")


@pytest.mark.slow
def test_two_processes_compare_refit_and_evaluate_as_one(tmp_path):
    study = tmp_path / "study.py"
    study.write_text("from tests.test_rebalance import experiment as get_config\nARMS = ('plain', 'smote_head')\n")
    test_rebalance.recordings(tmp_path / "media")
    words = ("--data_dir", tmp_path / "data", "--source", tmp_path / "media", "--seeds", 1, "--configs", study)
    one, two = tmp_path / "one", tmp_path / "two"
    finish(python("dfjax.compare", *words, "--workdir", one, JAX_NUM_CPU_DEVICES="2"))
    said = finish(*[python("dfjax.compare", *words, "--workdir", two, **words_of) for words_of in pair()])
    assert "# 2 experiments" in said[0] and "# 2 experiments" not in said[1]
    assert (two / "compare.json").exists()
    for arm in ("plain", "smote_head"):
        file = f"{arm}-seed0/scores/folder_audio.test.csv"
        expected = score_file.read(one / file).score
        np.testing.assert_allclose(score_file.read(two / file).score, expected, rtol=1e-4, atol=1e-4)
    (two / file).unlink()
    prepared_as = next((tmp_path / "data/folder_audio").glob("media-*")).name
    words = (
        "--workdir",
        (two / file).parents[1],
        "--datasets",
        f"folder_audio/{prepared_as}",
        "--data_dir",
        tmp_path / "data",
    )
    said = finish(*[python("dfjax.evaluate", *words, **words_of) for words_of in pair()])
    assert "| folder_audio" in said[0] and "| folder_audio" not in said[1]
    (again,) = (two / file).parent.glob("folder_audio*.test.csv")
    np.testing.assert_allclose(score_file.read(again).score, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_run_continues_on_another_number_of_devices(single, directory, tmp_path):
    finish(start(tmp_path / "w", directory, "train.steps=12", "train.eval_every=4", JAX_NUM_CPU_DEVICES="8"))
    import shutil

    shutil.rmtree(tmp_path / "w" / "checkpoints" / "12")
    finish(start(tmp_path / "w", directory, "train.steps=12", "train.eval_every=4", JAX_NUM_CPU_DEVICES="1"))
    assert_alike(tmp_path / "w", single)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_detector_has_the_same_loss_and_gradient_on_two_devices(name):
    """Of one update. Through many, a deep network with rectifiers and Adam lets rounding grow without bound.

    Another order of sums changes last bits. What those are worth in the loss each network says itself, by what it
    makes of clips or pictures whose own last bits are changed.
    """
    takes = models.input_of(name, {})
    shapes = {"audio": (8, takes.samples or 16_000), "image": (8, takes.size, takes.size, 3)}
    keys = dict(zip(shapes, jax.random.split(jax.random.key(0)), strict=True))
    x = {medium: jax.random.uniform(keys[medium], shapes[medium]) for medium in MEDIA[takes.modality]}
    # of noise at one level, all pictures are one to a pooled network
    level = np.linspace(0.1, 1, 8, dtype=np.float32)
    x = {medium: np.asarray(jax.vmap(jax.numpy.multiply)(values, level)) for medium, values in x.items()}
    labels = jax.numpy.arange(8) % 2
    labels = labels[:, None].repeat(3, axis=1) if takes.modality == "av" else labels
    rng = np.random.default_rng(0)
    towards = (np.float32(-np.inf), np.float32(np.inf))
    changed = [
        {medium: np.nextafter(values, rng.choice(towards, values.shape)) for medium, values in x.items()}
        for _ in range(3)
    ]
    build = lambda rngs: models.build(name, rngs=rngs)
    loss = lambda logits, labels, step: losses.focal(logits, labels, gamma=2.0)

    def step_on(count):
        mesh = jax.make_mesh((count,), ("data",), (AxisType.Auto,), devices=jax.devices()[:count])
        everywhere, split = devices.replicated(mesh), devices.split_batch(mesh)
        graphdef, state = train_step.create(
            build, tx := optax.sgd(1.0), jax.random.key(0), ema=False, sharding=everywhere
        )
        words = {"graphdef": graphdef, "tx": tx, "loss": loss}
        step = jax.jit(devices.shared_by(mesh)(lambda *of: train_step.update(*of, **words)[1]))
        key = jax.device_put(jax.random.key(1), everywhere)
        put = lambda x: jax.device_put(x if takes.modality == "av" else x[takes.modality], split)
        return lambda x: step(state, put(x), jax.device_put(labels, split), key)

    one_device = step_on(1)
    one, two = one_device(x), step_on(2)(x)
    rounding = max(abs(one_device(values)["loss"] - one["loss"]) for values in changed)
    assert rounding < 1e-5 * one["loss"]  # statistics of each device alone would change more than a hundredth
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-6, atol=2 * rounding)
    np.testing.assert_allclose(two["grad_norm"], one["grad_norm"], rtol=1e-4)


def test_virtual_devices_are_left_out_until_they_share_the_batch():
    assert jax.device_count() == 2
    assert [devices.make_mesh(batch).size for batch in (8, 7, 1)] == [2, 1, 1]


def test_processes_agree_on_the_smallest(monkeypatch):
    assert devices.least(2**40 + 1) == 2**40 + 1
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(devices.multihost_utils, "process_allgather", lambda x: np.array([x, x / 2]))
    assert devices.least(2**40) == 2**39


def test_a_command_for_one_process_says_so_in_one_line(monkeypatch, capsys):
    from dfjax import predict
    from dfjax.runtime import cli

    process.check_alone("dfjax.predict")
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:9")
    monkeypatch.setattr(sys, "argv", ["predict", "--workdir", "w", "a.wav"])
    with pytest.raises(SystemExit) as ended:
        cli.main(predict.main)
    err = capsys.readouterr().err
    assert ended.value.code == 2 and err.count("\n") == 1
    assert "JAX_COORDINATOR_ADDRESS asks for several processes and dfjax.predict works in one; unset it" in err


@pytest.mark.parametrize(("first", "order"), [(True, ["call", "wait"]), (False, ["wait", "call"])])
def test_the_first_process_calls_before_the_others(monkeypatch, first, order):
    seen = []
    monkeypatch.setattr(process, "first_process", lambda: first)
    monkeypatch.setattr(process, "barrier", lambda name: seen.append("wait"))
    assert process.in_turn(lambda: seen.append("call") or 3) == 3
    assert seen == order


@pytest.mark.parametrize("name", ["JAX_NUM_PROCESSES", "JAX_PROCESS_ID"])
def test_a_cluster_variable_that_is_no_number_is_refused(monkeypatch, name):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:9")
    monkeypatch.setenv(name, "two")
    with pytest.raises(InputError, match=f"{name}='two' is not a number"):
        process.connect()


def test_more_memory_than_there_is_is_refused_in_one_line(monkeypatch):
    large = jax.jit(lambda x: (x[:, None] * x[None]).sum()).lower(jax.ShapeDtypeStruct((1000,), np.float32)).compile()
    process.check_memory(large, "config.train.batch=8")
    monkeypatch.setattr(process, "free_memory", lambda: -1)
    with pytest.raises(InputError, match=r"config.train.batch=8 needs .* GiB on each device, .* are free; lower it"):
        process.check_memory(large, "config.train.batch=8")


class Accelerator:
    device_kind = "TPU v5 lite"


def test_compiled_programs_are_kept_on_accelerators_only_each_kind_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    assert process.keep_compilations() is None and not list(tmp_path.iterdir())
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [Accelerator()])
    try:
        folder = process.keep_compilations()
        assert jax.config.jax_compilation_cache_dir == str(folder)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert folder.parent == tmp_path / "dfjax" / "compiled" and folder.stat().st_mode & 0o777 == 0o700
    assert folder.name.startswith(f"TPU-v5-lite-jax-{jax.__version__}-jaxlib-")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "mine")
    assert process.keep_compilations() is None


def test_a_user_without_a_folder_compiles_each_time(monkeypatch, tmp_path):
    """As in a container whose user has no home, or a read-only one; run, crossval, benchmark ended in a traceback."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [Accelerator()])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # nothing can be made below it
    assert process.keep_compilations() is None
    monkeypatch.setenv("XDG_CACHE_HOME", "~nobody-of-this-name/cache")  # as '~' without HOME and an entry in passwd
    assert process.keep_compilations() is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind processes to cores")
def test_a_process_has_a_device_for_each_core_that_it_may_use(monkeypatch):
    """A cluster's job has some of a machine's cores."""
    asked = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 8})
    monkeypatch.setattr(jax.config, "update", lambda *words: asked.append(words))
    monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
    process.use_all_cores()
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")
    process.use_all_cores()
    assert asked == [("jax_num_cpu_devices", 3)]


SCORE = """
import sys
from etils import epath
from dfjax.data import sources
from dfjax.inference import trained
from dfjax.runtime import process
process.use_all_cores()
from tests import job
trained.score(epath.Path(sys.argv[1]), sources.open_split(sys.argv[2], "test"), job.HEADER)
"""


@pytest.mark.slow
def test_score_files_of_a_checkpoint_are_the_same_bytes_on_any_number_of_devices(single, directory):
    path, seen = single / "scores" / "made.test.csv", set()
    for count in ("1", "2", "8"):
        path.unlink()
        words = sys.executable, "-c", SCORE, single, directory
        subprocess.run(words, cwd=ROOT, env=os.environ | {"JAX_NUM_CPU_DEVICES": count}, check=True)
        seen.add(path.read_bytes())
    assert len(seen) == 1
