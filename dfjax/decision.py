"""decision.json: the threshold of a run and what it was chosen for, written whole and read back. Strict JSON."""

import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

from dfjax.records import InputError


def write_decision(path: str | os.PathLike, decision: Mapping[str, Any]) -> None:
    """Writes decision.json, strict JSON, replaced whole."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(decision, indent=2, allow_nan=False) + "\n")
        os.chmod(temporary, 0o644)  # mkstemp makes it private
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_decision(path: str | os.PathLike) -> dict[str, Any]:
    """The decision that `write_decision` wrote.

    Raises:
      InputError: no such file, not JSON, or no decision.
    """
    try:
        decision = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the decision {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(decision, dict) or not {"threshold", "status", "criterion"} <= decision.keys():
        raise InputError(f"{path} is no decision; expected what dfjax.tune or dfjax.run writes")
    return decision
