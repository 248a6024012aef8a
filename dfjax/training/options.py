"""The options of an experiment, by `option_table`: checked before anything is written, read from --config.NAME=VALUE.

Standard library only: neither jax nor NumPy is imported.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dfjax.records import InputError
from dfjax.training.kinds import Flag, Group, Rates
from dfjax.training.option_table import MODALITIES, OPTIONS, STREAMS, Option

BY_NAME: dict[str, list[Option]] = {}
for _row in OPTIONS:
    BY_NAME.setdefault(_row.name, []).append(_row)
REQUIRED = [name for name, of in BY_NAME.items() if any(row.default is ... for row in of)]
GROUPS = {".".join(row.name.split(".")[:depth]) for row in OPTIONS for depth in range(1, row.name.count(".") + 1)}
GROUPS |= {row.name for row in OPTIONS if isinstance(row.kind, Group)}
MISSING = object()
# what training by gradients does, and Newton steps do not: the value that is nothing
GRADIENT_ALONE = {
    "optim.ema": 0.0,
    "optim.swa": False,
    "optim.weight_decay": 0.0,
    "optim.clip_norm": None,
    "loss.uniformity": 0.0,
    "loss.alignment": 0.0,
    "train.accumulate": 1,
    "train.fsdp": False,
    "model.dtype": "float32",
}


def rows(name: str) -> list[Option]:
    """The rows of an option: one, or one for each kind of detector or loss that has it, or none.

    The options of a detector's streams are those of a detector, and a rate by name is one of the rates.
    """
    for stream in STREAMS:
        if name.startswith(f"{stream}."):
            return BY_NAME.get(f"model.kwargs{name.removeprefix(stream)}", [])
    parents = BY_NAME.get(name.rpartition(".")[0], [])
    kinds = [kind for row in parents for kind in getattr(row.kind, "kinds", (row.kind,))]
    rates = [Option(name, kind.item, "one of several rates") for kind in kinds if isinstance(kind, Rates)]
    return BY_NAME.get(name, rates)


def check(config: Any) -> None:
    """Makes sure that each option of an experiment exists and has a value that it may have, and that none is missing.

    Args:
      config: the experiment, a ConfigDict or what config.json holds.

    Raises:
      InputError: one is wrong; in one line, with what is expected.
    """
    given = flat(config)
    for name in ("model.name", "loss.name"):  # on which others depend
        _check_value(name, given.get(name, MISSING), given)
    for name, value in given.items():
        _check_value(name, value, given)
    for name in ("model.kwargs", "loss.kwargs", *REQUIRED):
        _check_value(name, given.get(name, MISSING), given)
    _check_together(given)


def flat(config: Any) -> dict[str, Any]:
    """Name -> value of all options of an experiment, and of its groups."""
    return dict(_leaves(config.to_dict() if hasattr(config, "to_dict") else config))


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        yield name, value
        if isinstance(value, Mapping) and all(isinstance(row.kind, Group) for row in rows(name)):
            yield from _leaves(value, f"{name}.")


def row_of(name: str, given: Mapping[str, Any]) -> Option | None:
    """The row of an option that is the experiment's, if there is one; `given` as from `flat`."""
    found = rows(name)
    whose = _whose(name, given) if any(row.of for row in found) else []
    return next((row for row in found if not row.of or any(who in row.of for who in whose)), None)


def _whose(name: str, given: Mapping[str, Any]) -> list[Any]:
    """What may have the option: the experiment's loss, its detector and modality, or a stream of its detector."""
    if name.startswith("loss.kwargs."):
        return [given.get("loss.name")]
    for stream, choice in STREAMS.items():
        if name.startswith(f"{stream}."):
            return [given.get(choice, BY_NAME[choice][0].default)]
    model = given.get("model.name")
    modalities = [modality for modality, models in MODALITIES.items() if model in models]
    if modalities != ["av"] or not name.startswith("augment."):
        return [model, *modalities]
    picture = "model.kwargs.picture"  # what it takes is what is made for it
    return [model, *modalities, given.get(picture, BY_NAME[picture][0].default)]


def _check_value(name: str, value: Any, given: Mapping[str, Any]) -> None:
    """Raises InputError unless the option is one of the experiment's and may have the value, or be MISSING."""
    known, row = rows(name), row_of(name, given)
    if value is MISSING:
        if row is not None and row.default is ...:
            raise InputError(f"config.{name} is missing: expected {row}")
        if name in GROUPS and not known:
            raise InputError(f"config.{name} is missing: expected a group of options, {{}} for none")
    elif known and row is None:
        owners = dict.fromkeys(owner for row in known for owner in row.of)
        here = _whose(name, given)[0]
        raise InputError(f"config.{name} is an option of {', '.join(owners)}; this experiment has {here}")
    elif name in GROUPS:
        if not isinstance(value, Mapping) and not (row is not None and row.kind.takes(value)):
            raise InputError(f"config.{name}={_shown(value)}: expected a group of options")
    elif row is None:
        raise unknown(name)
    elif not row.kind.takes(value):
        raise InputError(f"config.{name}={_shown(value)}: expected {row}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def unknown(name: str) -> InputError:
    """The error for an option that does not exist, with the name nearest to it."""

    def likeness(known: str) -> float:
        ends = (text.rpartition(".")[2] for text in (name, known))
        return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in ((name, known), ends))

    kwargs = [row.name.removeprefix("model.kwargs") for row in OPTIONS if row.name.startswith("model.kwargs.")]
    names = [row.name for row in OPTIONS] + [stream + end for stream in STREAMS for end in kwargs]
    return InputError(f"config.{name} is no option; did you mean config.{max(names, key=likeness)}?")


def _check_together(given: Mapping[str, Any]) -> None:
    """Raises InputError where two values do not go together and nothing else would say so before training."""

    def value(name: str) -> Any:
        return given.get(name, rows(name)[0].default)

    members = value("model.kwargs.members") if value("model.name") == "texture" else 1
    for name in ("loss.uniformity", "loss.alignment"):
        if value(name) and members > 1:
            raise InputError(f"config.{name} is of whole embeddings; set config.model.kwargs.members=1")
    if value("loss.uniformity") and value("train.batch") // value("train.accumulate") < 2:
        raise InputError(
            "config.loss.uniformity is of pairs of embeddings; expected a config.train.batch, over "
            "config.train.accumulate if given, of 2 or more"
        )
    if value("optim.swa") and value("train.eval_every") > value("train.steps"):
        raise InputError(
            f"config.train.eval_every={value('train.eval_every')}: expected at most config.train.steps="
            f"{value('train.steps')}, since config.optim.swa takes the mean of what was evaluated"
        )
    for name, off in GRADIENT_ALONE.items() if value("model.name") == "band_kernel" else ():
        if value(name) != off:
            raise InputError(
                f"config.{name}={_shown(value(name))}: band_kernel learns by Newton steps on all clips at once, not by "
                f"gradients of batches; set it to {_shown(off)}"
            )
    if value("model.name") == "band_kernel" and value("model.kwargs.kinds") > 1 and not value("augment.self_fakes"):
        raise InputError(
            f"config.model.kwargs.kinds={value('model.kwargs.kinds')}: the second logit learns from fakes made by the "
            "run; set config.augment.self_fakes above 0"
        )
    if (value("data.leave_out.by") is None) != (value("data.leave_out.value") is None):
        raise InputError("config.data.leave_out: expected both of by and value")


# The command line


def split(argv: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The words of a command line that are not --config.NAME=VALUE, and (NAME, VALUE) of those that are.

    Raises:
      InputError: an option does not exist or has no value.
    """
    rest, changes = [], []
    words = iter(argv)
    for word in words:
        if word == "--":
            return [*rest, word, *words], changes
        found = re.fullmatch(r"--?(no)?config\.([^=]+)(?:=(.*))?", word, re.DOTALL)
        if found is None:
            rest.append(word)
            continue
        no, name, text = found.groups()
        if not rows(name) and name not in GROUPS:
            raise unknown(name)
        flag = any(isinstance(row.kind, Flag) for row in rows(name))
        if no and (not flag or text is not None):
            raise InputError(f"{word}: expected --config.{name}=VALUE")
        if text is None:
            text = str(not no) if flag else next(words, None)
        if text is None:
            raise InputError(f"{word}: expected --config.{name}=VALUE")
        changes.append((name, text))
    return rest, changes


def override(config: Any, changes: Sequence[tuple[str, str]]) -> None:
    """Sets options of an experiment to what words of the command line say; those that its file leaves out, too.

    Args:
      config: the experiment, a ConfigDict; changed in place.
      changes: (name, text) as from `split`. Values are not checked, see `check`.

    Raises:
      InputError: a name stands below an option that is no group, or one within a value has a dot.
    """
    with config.unlocked(), config.ignore_type():
        for name, text in changes:
            *groups, last = name.split(".")
            at = config
            for group in groups:
                if at.get(group) is None:
                    at[group] = {}
                at = at[group]
                if not hasattr(at, "to_dict"):
                    raise InputError(f"config.{name}: config.{name.rpartition('.')[0]} is {_shown(at)}, no group")
            value = _read(name, text, flat(config))
            try:
                at[last] = value
            except (TypeError, ValueError) as error:  # of ConfigDict
                raise InputError(
                    f"config.{name}={_shown(value)}: expected names that are text without a dot"
                ) from error


def _read(name: str, text: str, given: Mapping[str, Any]) -> Any:
    """The value that a word stands for; of several kinds, that of this experiment's detector or loss comes first."""
    own = row_of(name, given)
    kinds = [row.kind for row in sorted(rows(name), key=lambda row: row is not own)]
    values = [(kind, kind.read(text)) for kind in kinds or [Group()]]
    return next((value for kind, value in values if kind.takes(value)), values[0][1])
