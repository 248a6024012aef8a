"""The service's log: one JSON object a line. It says nothing of a file, neither its name nor what is in it."""

import json
import logging
import os
import time
from typing import Any

LOG = logging.getLogger("dfjax.serve")


class Lines(logging.Formatter):
    """What the server below the service says becomes such a line, too; of an error that it met, the kind."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        if record.name == LOG.name:
            return record.getMessage()
        kind = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        return _line("server", words=record.getMessage(), kind=kind)


def start() -> None:
    """Writes to standard error: of the service all, of the server below it what goes wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    LOG.setLevel(logging.INFO)


def say(event: str, **facts: Any) -> None:
    """One line."""
    LOG.info(_line(event, **facts))


def _line(event: str, **facts: Any) -> str:
    return json.dumps({"time": round(time.time(), 3), "process": os.getpid(), "event": event, **facts})
