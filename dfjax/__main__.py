"""The commands as sub-commands: `dfjax run --config ...` is `python -m dfjax.run --config ...`.

`dfjax --completion bash` prints what completes commands and files in that shell; `eval "$(dfjax --completion bash)"`.
"""

import argparse
import importlib
import sys

import dfjax
from dfjax.records import InputError
from dfjax.runtime import cli

COMMANDS = {
    "run": "the main job: prepare, train, score, tune, report",
    "stats": "count real and fake, before and after preparation",
    "prepare": "prepare a dataset",
    "tune": "choose the threshold again, without training",
    "evaluate": "one detector on many datasets, or on corrupted media",
    "predict": "verdicts for files and folders",
    "crossval": "leave each source out once and judge what was left out",
    "benchmark": "every dataset below a folder: prepare, train, compare, one report",
    "compare": "several experiments and seeds, with paired intervals",
    "rebalance": "fit the head of a run again on resampled embeddings",
    "export": "a detector as one file, to be used without the training folder",
    "serve": "verdicts over HTTP",
    "import_weights": "make a workdir of released weights",
}


def usage() -> str:
    """What `dfjax --help` prints."""
    rows = [f"  {name:<15} {text}" for name, text in COMMANDS.items()]
    end = ["dfjax COMMAND --help says more.", "dfjax --completion SHELL completes commands in bash, zsh or tcsh."]
    return "\n".join(["usage: dfjax COMMAND ...", "", *rows, "", *end])


def completion(shell: str) -> str:
    """A script that completes the commands, and files after them, in one of shtab's shells.

    Raises:
      InputError: there is no such shell.
    """
    import shtab

    if shell not in shtab.SUPPORTED_SHELLS:
        raise InputError(f"--completion {shell}: expected one of {', '.join(shtab.SUPPORTED_SHELLS)}")
    parser = argparse.ArgumentParser("dfjax")
    commands = parser.add_subparsers()
    for name, text in COMMANDS.items():
        words = commands.add_parser(name, help=text).add_argument("word", nargs="*")
        words.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell=shell)


def command() -> None:
    """Runs the sub-command that the command line names; one that does not exist raises InputError."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(usage())
    elif name == "--version":
        print(dfjax.__version__)
    elif name == "--completion":
        print(completion(*rest[:1] or [""]))
    elif name not in COMMANDS:
        near = cli.did_you_mean(name, COMMANDS)
        raise InputError(f"Unknown command {name!r}{near or f'; expected one of {list(COMMANDS)}'}")
    else:
        sys.argv = [f"dfjax {name}", *rest]
        importlib.import_module(f"dfjax.{name}").main()


def main() -> None:
    """As every command: a user's mistake ends in one line and exit code 2."""
    cli.main(command)


if __name__ == "__main__":
    main()
