"""What every command shares: how a user's mistake ends (one line on stderr, exit code 2, no traceback)."""

import sys
from collections.abc import Callable

from dfjax.records import InputError


def main(command: Callable[[], None]) -> None:
    """Runs `command`; turns an InputError into one line and exit code 2, Ctrl-C into exit code 130."""
    try:
        command()
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        sys.exit(130)
