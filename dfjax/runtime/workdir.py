"""A run's folder: its lock, its resolved experiment, the environment it ran in."""

import contextlib
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess

import jax
import ml_collections
from etils import epath

from dfjax.records import InputError
from dfjax.runtime import files, process

PACKAGES = (
    "dfjax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "numpy",
    "librosa",
)


@contextlib.contextmanager
def lock(workdir: epath.Path):
    """Holds the folder for this process; the kernel lets go when the process ends, however it ends.

    Of several processes of one run the first holds it for all.

    Raises:
      InputError: another process holds it, or it cannot be written to.
    """
    with contextlib.ExitStack() as held:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            if not files.remote(workdir) and process.first_process():  # object stores have no locks
                file = held.enter_context(open(workdir / ".lock", "w"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another process is running in {workdir}; wait for it or give another --workdir"
            ) from error
        except OSError as error:
            if error.errno in files.FULL:
                raise
            why = error.strerror or error
            raise InputError(f"cannot write to --workdir {workdir}: {why}; give another place") from error
        yield


def write_json(path: epath.Path, value) -> None:
    """Strict JSON, replaced whole; only the first process writes."""
    if process.first_process():
        files.write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def check(workdir: epath.Path, config: ml_collections.ConfigDict) -> None:
    """Makes sure, without writing, that the folder is new, empty, or holds a run of this very experiment.

    Raises:
      InputError: it does not; the message shows what differs.
    """
    if not workdir.exists():
        return
    if not workdir.is_dir():
        raise InputError(f"--workdir {workdir} is a file; give a folder, new or of an earlier run")
    path = workdir / "config.json"
    if path.exists():
        if differences := _differences(read_config(workdir).to_dict(), json.loads(config.to_json())):
            raise InputError(
                f"--workdir {workdir} holds another experiment: {'; '.join(differences[:5])}; give another --workdir"
            )
    elif others := [p.name for p in workdir.iterdir() if not p.name.startswith(".")]:
        raise InputError(
            f"--workdir {workdir} holds other files ({', '.join(sorted(others)[:3])}); give a new or empty folder"
        )


def claim(workdir: epath.Path, config: ml_collections.ConfigDict) -> None:
    """Writes config.json, or makes sure that the one there is the same; raises InputError as `check`."""
    check(workdir, config)
    if not (workdir / "config.json").exists():
        write_json(workdir / "config.json", json.loads(config.to_json()))


def read_config(workdir: epath.PathLike) -> ml_collections.ConfigDict:
    """The resolved experiment of a run.

    Raises:
      InputError: there is no run in the folder.
    """
    path = epath.Path(workdir) / "config.json"
    try:
        return ml_collections.ConfigDict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{workdir} holds no run (no readable config.json); give the --workdir of a dfjax.run"
        ) from error


def environment(facts: dict) -> dict:
    """What environment.json holds: versions, devices, git revision, and `facts`, what the caller says of the data."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "versions": versions,
        "devices": [device.device_kind for device in jax.devices()],
        "processes": jax.process_count(),
        "revision": revision(),
        **facts,
    }


def revision() -> str | None:
    """The git revision of the source, with '+' when files differ from it; None outside a checkout."""

    def git(*words):
        root = pathlib.Path(__file__).parent
        return subprocess.run(("git", "-C", root, *words), capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _differences(old: dict, new: dict, prefix: str = "config") -> list[str]:
    found = []
    for name in sorted(old.keys() | new.keys()):
        a, b = old.get(name), new.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}.{name}")
        elif a != b:
            found.append(f"{prefix}.{name} is {a!r} there and {b!r} here")
    return found
