"""decision.json: the threshold of a run and what it was chosen for, written whole and read back. Strict JSON."""

import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from dfjax.records import InputError
from dfjax.runtime import files


def write_decision(path: epath.PathLike, decision: Mapping[str, Any]) -> None:
    """Writes decision.json, strict JSON, replaced whole."""
    files.write(path, json.dumps(decision, indent=2, allow_nan=False) + "\n")


def read_decision(path: epath.PathLike) -> dict[str, Any]:
    """The decision that `write_decision` wrote.

    Raises:
      InputError: no such file, not JSON, or no decision.
    """
    try:
        decision = json.loads(epath.Path(path).read_text())
    except OSError as error:
        raise InputError(f"cannot read the decision {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(decision, dict) or not {"threshold", "status", "criterion"} <= decision.keys():
        raise InputError(f"{path} is no decision; expected what dfjax.tune or dfjax.run writes")
    return decision
