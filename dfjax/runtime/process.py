"""The process: its cores and memory, the other processes of a run, signals, compilations."""

import contextlib
import os
import pathlib
import platform
import re
import resource
import signal
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import jax
import jaxlib
from jax.experimental import multihost_utils

from dfjax.records import InputError
from dfjax.runtime import workers

T = TypeVar("T")


# Set where several processes are to work as one; jax finds the coordinator of the last three by itself.
CLUSTERS = ("JAX_COORDINATOR_ADDRESS", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES")


def use_all_cores() -> None:
    """One virtual CPU device per core that this process may use; must come before the first use of jax.

    JAX_NUM_CPU_DEVICES says another number.
    """
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", workers.cores())


def connect() -> None:
    """Joins the other processes where the environment asks for it; must come before the first use of a device.

    By hand: JAX_COORDINATOR_ADDRESS=host:port, JAX_NUM_PROCESSES and JAX_PROCESS_ID. Slurm, Open MPI and TPU pod
    slices are recognised by the variables that they set.

    Raises:
      InputError: the variables do not say how many processes there are, or which one this is.
    """
    asked = _asked()
    if not asked:
        return
    numbers = {}
    for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        text = os.environ.get(name, "")
        if text and not text.isdecimal():
            raise InputError(f"{name}={text!r} is not a number")
        numbers[name] = int(text) if text else None
    try:
        jax.distributed.initialize(num_processes=numbers["JAX_NUM_PROCESSES"], process_id=numbers["JAX_PROCESS_ID"])
    except ValueError as error:
        raise InputError(f"{asked[0]} is set, but jax cannot join the other processes: {error}") from error


def check_alone(command: str) -> None:
    """Raises InputError where the environment asks for several processes, which `command` has no use for."""
    if asked := _asked():
        raise InputError(
            f"{asked[0]} asks for several processes and {command} works in one; unset it, and give each process "
            "files of its own"
        )


def keep_compilations() -> pathlib.Path | None:
    """Keeps compiled programs from run to run on an accelerator, in a folder for its user, device kind and versions.

    Not on CPU. What is kept there is machine code, and XLA's check of the machine that loads it has refused every entry
    on the very machine that wrote it (openxla/xla issue 44565, jax issue 38445) and warns of illegal instructions
    otherwise; the virtual machines that share a home need not share a CPU. JAX_COMPILATION_CACHE_DIR still turns it on.

    Returns:
      The folder, below XDG_CACHE_HOME (default ~/.cache) in dfjax/compiled; None on CPU, or where none can be made.
    """
    if jax.default_backend() == "cpu" or os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return None
    versions = f"jax-{jax.__version__} jaxlib-{jaxlib.__version__}"
    key = re.sub(r"[^\w.]+", "-", f"{jax.local_devices()[0].device_kind} {versions} {platform.machine()}")
    try:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        folder = cache / "dfjax" / "compiled" / key
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError):  # a user without a folder, as in a container: programs are compiled each time
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder


def _asked() -> list[str]:
    """The variables of the environment that ask for several processes."""
    return [name for name in CLUSTERS if os.environ.get(name, "1") not in ("", "1", "localhost")]


def first_process() -> bool:
    """Whether this process writes the files of a run."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Waits until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def in_turn(call: Callable[[], T]) -> T:
    """What `call` returns in each process; the first calls before the others.

    They then find its work done, or have a disk of their own and do it again.
    """
    if first_process():
        result = call()
    barrier("in turn")
    return result if first_process() else call()


def free_memory() -> int:
    """Bytes that one device can still take; for virtual CPU devices their part of the free main memory."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return workers.free_memory() // jax.local_device_count()
    found = device.memory_stats() or {}
    return found["bytes_limit"] - found["bytes_in_use"] if "bytes_limit" in found else sys.maxsize


def peak_memory() -> int:
    """The most bytes in use so far: on the first device of this process, or of the process where that is a CPU."""
    found = jax.local_devices()[0].memory_stats() or {}
    return found.get("peak_bytes_in_use") or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def compiler_options() -> dict[str, str]:
    """Options of XLA for the training step, name -> value.

    On a CPU: keep the barriers. XLA drops them there and then merges what is to be computed again with what was kept.
    """
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if jax.default_backend() == "cpu" else {}


def compiled_once() -> dict[str, int]:
    """Options of XLA for a program that runs once, name -> value: on a CPU to optimise it less, to the same numbers."""
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


def check_memory(compiled: jax.stages.Compiled, what: str) -> None:
    """Compares what a compiled function will allocate with what is free, before it is called.

    Args:
      compiled: from `jax.jit(...).lower(...).compile()`.
      what: the setting that decides the size, for the message.

    Raises:
      InputError: there is not enough.
    """
    sizes = compiled.memory_analysis()
    if sizes is None:  # not every backend tells
        return
    needed = sizes.temp_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    if needed > (free := free_memory()):
        raise InputError(
            f"{what} needs {needed / 2**30:.1f} GiB on each device, {free / 2**30:.1f} GiB are free; lower it"
        )


@contextlib.contextmanager
def termination():
    """Within it SIGTERM does not kill; yields a function of the step that says whether it has arrived.

    It says so at the same step in all processes.
    """
    if jax.process_count() > 1:  # jax listens, and agrees with the other processes
        yield multihost_utils.reached_preemption_sync_point
        return
    if threading.current_thread() is not threading.main_thread():  # only the main thread may listen
        yield lambda step: False
        return
    arrived = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: arrived.set())
    try:
        yield lambda step: arrived.is_set()
    finally:
        signal.signal(signal.SIGTERM, before)
