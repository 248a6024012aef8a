"""The main job: prepare if needed, train, score, tune the threshold, report.

    python -m dfjax.run --config experiments/audio_focal.py
    python -m dfjax.run --config experiments/audio_focal.py:folder_audio --source RECORDINGS --config.data.copies=2

The same command continues a run that was killed.
"""

import gc
import json
import signal
import sys
import types

import ml_collections
from absl import flags
from ml_collections import config_flags

from dfjax.records import InputError
from dfjax.runtime import cli, pages
from dfjax.training import option_reference, options

# without the words of the command line: `options` reads --config.NAME=VALUE
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "experiment file, with :DATASET to train on another dataset", lock_config=True, sys_argv=[]
)
_WORKDIR = flags.DEFINE_string("workdir", None, "where results go (default runs/<experiment>)")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "where prepared datasets lie (default ~/tensorflow_datasets)")
_SOURCE = flags.DEFINE_string("source", None, "folder with your media; needed once, to prepare")
_TENSORBOARD = flags.DEFINE_bool(
    "tensorboard", False, "show training on TensorBoard, from WORKDIR/tensorboard (pip install 'dfjax[tensorboard]')"
)
_PROFILE = flags.DEFINE_bool("profile", False, "leave a trace of ten training steps in WORKDIR/profile")
_JSON = flags.DEFINE_bool("json", False, "print the report as one JSON line and nothing else")


def parse(argv: list[str], module: types.ModuleType) -> tuple[ml_collections.ConfigDict, str]:
    """The experiment of a command line, with its overrides, and its name; `module` is the command, for --help.

    Raises:
      InputError: a flag or the experiment cannot be read, or an option is wrong.
    """
    if {"-h", "--help", "-help"} & set(argv):
        modules = dict.fromkeys((module, sys.modules[__name__]))
        own = [flags.FLAGS.module_help(of) for of in modules]
        print(module.__doc__, *own, "", option_reference.help_text(), sep="\n")
        sys.exit(0)
    words, changes = options.split(argv)
    given = ""
    for i, word in enumerate(words):
        if word in ("--config", "-config") and i + 1 < len(words):
            given = words[i + 1] = cli.experiment_file(words[i + 1])
        elif word.startswith(("--config=", "-config=")):
            given = cli.experiment_file(word.partition("=")[2])
            words[i] = f"--config={given}"
    path = given.partition(":")[0]
    try:
        rest = flags.FLAGS(words)
        if _CONFIG.value is None and not given:
            raise InputError("--config is missing; give an experiment, such as --config experiments/audio_focal.py")
        getattr(_CONFIG.value, "to_dict", None)  # of a file that could not be read raises why
    except (InputError, MemoryError):
        raise
    except Exception as error:  # whatever the file does
        if failed := cli.failed_experiment(path, error):
            raise failed from error
        if isinstance(error, AttributeError) and error.name == "get_config":
            raise InputError(f"--config: {path} is no experiment file (it has no get_config)") from error
        last = (str(error).strip().splitlines() or [""])[-1]  # before it, of an experiment that fails, its traceback
        if isinstance(error, OSError | SyntaxError | ImportError):
            raise InputError(f"--config: {path} is no experiment file ({last})") from error
        if not isinstance(error, flags.Error | AttributeError | KeyError | TypeError | ValueError):
            raise
        raise InputError(f"cannot read the command line: {last}") from error
    if not isinstance(_CONFIG.value, ml_collections.ConfigDict):
        raise InputError(cli.no_config(path, _CONFIG.value))
    if len(rest) > 1:
        raise InputError(f"unexpected argument {rest[1]!r}; options start with --, see --help")
    options.override(_CONFIG.value, changes)
    options.check(_CONFIG.value)
    path, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    words = [path.rpartition("/")[2].removesuffix(".py"), argument.replace("/", "-")]  # a folder's name
    return _CONFIG.value, "-".join(word for word in words if word)


def main() -> None:
    """Flags, then one call."""
    config, name = parse(sys.argv, sys.modules[__name__])
    pages.ask_for_large(config)
    gc.disable()  # modules stay, and looking through them for garbage takes a third of a second
    import jax  # with all that follows 2 s, wanted neither by --help nor by a mistake

    from dfjax.run import main_job
    from dfjax.runtime import process

    gc.freeze()
    gc.enable()
    process.use_all_cores()
    process.connect()
    process.keep_compilations()
    if jax.process_count() == 1:  # of several, jax listens itself
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # training alone has something to save
    folder = _WORKDIR.value or f"runs/{name}"
    words = {"data_dir": _DATA_DIR.value, "source": _SOURCE.value, "progress": not _JSON.value}
    result = main_job.run(config, folder, name=name, **words, profile=_PROFILE.value, tensorboard=_TENSORBOARD.value)
    if _JSON.value and process.first_process():
        print(json.dumps(result, allow_nan=False))
