"""Large pages of memory: glibc asks the kernel for them only if it is told to before the process starts."""

import os
import pathlib
import platform
import sys

import ml_collections

TUNABLE = "GLIBC_TUNABLES"
ASK = "glibc.malloc.hugetlb=1"
SINCE = (2, 35)  # glibc that knows it
KERNEL = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def ask_for_large(*configs: ml_collections.ConfigDict) -> None:
    """Starts this command again with large pages, where the kernel gives them to who asks; else it returns.

    XLA gives a step's memory on a CPU back after it, and the kernel clears it anew, page by page. In large pages the
    training of image networks takes .5 to .85 of the time, that of AASIST a little more. It must come before anything
    is done. A process that is no command of dfjax, or whose GLIBC_TUNABLES is set, even to nothing, stays as it is.

    Args:
      configs: experiments; one that takes sound alone, so that cuts have a length in seconds, keeps pages small.
    """
    sounds = any("seconds" in config.data for config in configs)
    if not sounds and _command(sys.orig_argv) and (more := variables()):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | more)


def variables() -> dict[str, str]:
    """What to add to the environment of a process that is to have large pages; nothing where it changes nothing."""
    return {TUNABLE: ASK} if TUNABLE not in os.environ and _on_request() else {}


def _command(words: list[str]) -> bool:
    """Whether a process was started with these words as `python -m dfjax...` or `dfjax ...`."""
    if words[1:2] == ["-m"]:
        return words[2].split(".")[0] == "dfjax"
    return len(words) > 1 and pathlib.Path(words[1]).name == "dfjax"


def _on_request() -> bool:
    """Whether the kernel gives large pages to a process that asks, and to no other, and its C library can ask."""
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split(".")[:2])) < SINCE:
        return False
    try:
        return "[madvise]" in KERNEL.read_text()
    except OSError:
        return False
