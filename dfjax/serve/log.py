"""The service's log: one JSON object a line. It says nothing of a file, neither its name nor what is in it."""

import json
import logging
import os
import time
from typing import Any

LOG = logging.getLogger("dfjax.serve")


def start() -> None:
    """Writes to standard error: of the service all, of the server below it what goes wrong."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    LOG.setLevel(logging.INFO)


def say(event: str, **facts: Any) -> None:
    """One line."""
    LOG.info(json.dumps({"time": round(time.time(), 3), "process": os.getpid(), "event": event, **facts}))
