"""What every command shares: how a user's mistake ends (one line on stderr, exit code 2, no traceback)."""

import argparse
import difflib
import importlib.util
import os
import pathlib
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import NoReturn

from dfjax.records import Diverged, InputError

CORE = (  # modules of what is installed without an extra
    *("PIL", "av", "cv2", "etils", "flatbuffers", "jax", "jaxlib", "jaxtyping", "numpy", "safetensors", "scipy"),
    *("shtab", "soundfile", "soxr", "tqdm"),
)
EXTRAS = {"matplotlib": "draw"}  # of which a module is; of all others that are not installed: train
UNMAPPED = "failed to map segment"  # the loader's words for a library that does not fit into memory


def main(command: Callable[[], None]) -> None:
    """Runs `command`; a user's mistake ends in one line and exit code 2, Ctrl-C in exit code 130.

    Such a mistake is an InputError, a full disk, too little memory, a process that does not start, a training that
    diverged, or a module that is not installed and not dfjax's own.

    A '~' behind the '=' of an option, which shells leave there, is the user's folder, as elsewhere in a command line.

    Where nobody reads the output any more, as after `| head`, it ends without a word and with exit code 141. What the
    terminal's encoding lacks, as of a file's name that is no UTF-8, is printed as an escape.
    """
    if getattr(sys.stdout, "errors", "") == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.argv[1:] = map(_at_home, sys.argv[1:])
    try:
        try:
            command()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _unread():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes when it ends
        sys.exit(128 + signal.SIGPIPE)
    except (InputError, Diverged) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except ImportError as error:
        _end_without(error)
        raise
    except OSError as error:
        from dfjax.runtime.files import FULL  # and with it etils, which takes a moment

        if error.errno not in FULL:
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror}{where}; make room, the same command continues", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        from dfjax.runtime.workers import WorkerError

        if not isinstance(error, WorkerError):
            raise
        how = "give fewer --jobs, or allow it more; the same command continues"
        print(f"error: {' '.join(str(error).split())}; {how}", file=sys.stderr)
        sys.exit(2)
    except MemoryError as error:
        text = " ".join(str(error).split())
        how = "end other programs, or allow it more; the same command continues"
        print(f"error: too little memory{text and f' ({text})'}; {how}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        sys.exit(130)


def _at_home(word: str) -> str:
    """'--option=~/folder' with the user's folder in place of '~'; another word as it is."""
    option, equals, value = word.partition("=")
    return option + equals + os.path.expanduser(value) if option.startswith("--") else word


def end_without_modules() -> None:
    """Makes a module that is not installed end as `main` says where a command's own file imports it, before `main`.

    So ends what there is too little memory to import.
    """
    otherwise = sys.excepthook

    def hook(kind, error, traceback) -> None:
        if isinstance(error, ImportError | MemoryError):
            _end_without(error)
        otherwise(kind, error, traceback)

    sys.excepthook = hook


def _end_without(error: ImportError | MemoryError) -> None:
    """Ends where a module is not installed or memory is too small for it; returns where it is one that dfjax lacks."""
    name = getattr(error, "name", None)
    if name and name.partition(".")[0] == "dfjax":
        return
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError) or UNMAPPED in text:
        text, how = f"too little memory to load {name or 'what this needs'}", "; end other programs, or allow it more"
    else:
        # without a name the text says it
        how = f"; {installing(name)}" if name else ""
        if isinstance(error, ModuleNotFoundError):
            text = f"{_command()} needs {name}, which is not installed"
    print(f"error: {text}{how}", file=sys.stderr)
    sys.exit(2)


def installing(module: str) -> str:
    """The command that installs what a missing module is of: dfjax as it is, where every installation needs it."""
    name = module.partition(".")[0]
    return "pip install dfjax" if name in CORE else f"pip install 'dfjax[{EXTRAS.get(name, 'train')}]'"


def _command() -> str:
    """What runs, as the user called it: 'dfjax run', or dfjax.run."""
    if sys.argv[0].startswith("dfjax "):
        return sys.argv[0]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec else "this"


class Parser(argparse.ArgumentParser):
    """Reads a command's words; a wrong one raises InputError, so that it ends as any mistake: in one line."""

    def parse_args(self, args=None, namespace=None):
        """As argparse's, but of an unknown option it names the nearest.

        Raises:
          InputError: a word is unknown, missing or of the wrong kind.
        """
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            option = unknown[0].partition("=")[0]
            near = did_you_mean(option, self._option_string_actions)
            raise InputError(f"unexpected {option}{near or f'; {self.prog} --help says more'}")
        return found

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        raise InputError(f"{message}; {self.prog} --help says more")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Text that names the known word most like this one, to be appended to what is said against it; '' if none is."""
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _unread() -> bool:
    """Whether what is printed goes to a pipe that its reader has closed."""
    pipe = select.poll()
    pipe.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in pipe.poll(0))


def local_folder(text: str) -> pathlib.Path:
    """The type of an option that names a folder on this machine's disk; a bucket raises argparse.ArgumentTypeError."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text} lies in a bucket; this command works on a disk: give a local folder")
    return pathlib.Path(text)


def experiment_file(text: str) -> str:
    """FILE.py[:ARGUMENT] as it is where the file exists; else the committed experiment of that name, if there is one.

    So `experiments/audio_focal.py`, or `audio_focal`, is found wherever dfjax is used from.

    Raises:
      InputError: there is neither.
    """
    path, separator, argument = text.partition(":")
    if pathlib.Path(path).is_file():
        return text
    spec = importlib.util.find_spec("experiments")
    folders = [pathlib.Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    known = {file.stem: file for folder in folders for file in sorted(folder.glob("[!_]*.py"))}
    found = known.get(pathlib.PurePath(path).stem)
    if found is None:
        raise InputError(f"there is no experiment {path}; give a file, or one of {', '.join(known) or 'your own'}")
    return f"{found}{separator}{argument}"


def failed_experiment(path: str, error: BaseException | None) -> InputError | None:
    """What is said of an experiment file in which `error`, or one that it was made of, was raised: where and which.

    None where none was raised there, or where `get_config` refuses its argument by a ValueError, which says enough, as
    does an InputError, wherever it is raised.
    """
    while error is not None:
        text = str(error)
        frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_same(f.filename, path)]
        line = frames[-1].lineno if frames else None
        if isinstance(error, SyntaxError) and error.filename and _is_same(error.filename, path):
            text, line = error.msg, error.lineno
        if line is not None:
            if isinstance(error, InputError):
                return InputError(text)
            if type(error) is ValueError and all(frame.name != "<module>" for frame in frames):
                return None
            kind = f"{type(error).__name__}{text and ': '}{text}"
            return InputError(f"{path} fails in line {line}: {kind}; correct the experiment file")
        error = error.__cause__ or error.__context__
    return None


def no_config(path: str, found: object) -> str:
    """What is said of an experiment whose `get_config` returns something else, often nothing."""
    return f"get_config of {path} returned a {type(found).__name__}, expected an ml_collections.ConfigDict; return that"


def _is_same(one: str, other: str) -> bool:
    """Whether two paths name one file."""
    return os.path.abspath(one) == os.path.abspath(other)
