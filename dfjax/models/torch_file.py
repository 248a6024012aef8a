"""Reads a PyTorch checkpoint without PyTorch, and without ever executing what the file says.

A `.pth` written by `torch.save` since PyTorch 1.6 is a zip archive: `<top>/data.pkl` is a pickle that
describes a tree of containers and tensors, `<top>/data/<key>` are the raw bytes of the storages. A pickle is
a program for a stack machine, and Python's own machine calls whatever the program names. The one below knows
only the instructions that a tree of tensors needs. A global is never imported: it stays an inert `_Global`
on the stack, and only the few names in `_CALLS` mean anything when "called". Everything else raises
InputError with the name that was refused.
"""

import dataclasses
import errno
import math
import pathlib
import pickletools
import re
import zipfile
from typing import Any

import ml_dtypes
import numpy as np

from dfjax.records import InputError

STORAGES = {  # pickled global -> element type
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
}
MAX_PICKLE = 64 << 20  # bytes; the description of a checkpoint with 10,000 tensors takes about 2 MB
DESCRIPTION = r"[^/\\]+/data\.pkl"
# keys under which training scripts nest the weights
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params")


@dataclasses.dataclass(frozen=True)
class _Global:
    """A name that the pickle refers to. It is never looked up."""

    name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    size: int  # elements


class _Mark:
    """Where a variable-length argument list starts on the stack."""


def read(path: str | pathlib.Path) -> Any:
    """The object in a zip-format `.pth`: dicts, lists, numbers, text, and a read-only array per tensor.

    Raises:
      InputError: the file is missing, is not such an archive, is damaged, or its pickle does anything but rebuild
        tensors and plain containers.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            return _run(_description(archive, path), _Storages(archive, path), path)
    except InputError:
        raise
    # zipfile says RuntimeError of an encrypted entry and NotImplementedError of an unknown zip version; of a damaged
    # one also EOFError, of its name ValueError, of its place errno EINVAL
    except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise InputError(
            f"{path} is not a zip-format PyTorch checkpoint ({str(error) or 'damaged'}); PyTorch >= 1.6 writes one"
        ) from error


def state_dict(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """The weights in a checkpoint, name -> array, also where nested under one of WRAPPERS.

    The prefix `module.` of a model saved inside DataParallel is removed.

    Raises:
      InputError: see `read`; or there are no named tensors.
    """
    tree = read(path)
    for _ in WRAPPERS:  # so many levels: a damaged file may hold a dict that lies in itself
        if not isinstance(tree, dict) or any(isinstance(v, np.ndarray) for v in tree.values()):
            break
        tree = next((tree[name] for name in WRAPPERS if isinstance(tree.get(name), dict)), tree)
    pairs = tree.items() if isinstance(tree, dict) else ()
    weights = {name: value for name, value in pairs if isinstance(name, str) and isinstance(value, np.ndarray)}
    if not weights:
        raise InputError(f"{path} holds no state dict; expected named tensors, at the top or under {list(WRAPPERS)}")
    if all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
    return weights


def _description(archive: zipfile.ZipFile, path: pathlib.Path) -> bytes:
    """The bytes of the one `<top>/data.pkl`, once the archive's claims are checked against the file."""
    entries = archive.infolist()
    # torch.save never compresses, so a few bytes cannot unfold into many
    packed = [e.filename for e in entries if e.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise InputError(f"{path}: entry {packed[0]!r} is compressed; torch.save stores entries uncompressed")
    claimed, actual = sum(e.file_size for e in entries), path.stat().st_size
    if claimed > actual:
        raise InputError(f"{path}: its entries claim {claimed} bytes, the file has {actual}")
    found = [e for e in entries if re.fullmatch(DESCRIPTION, e.filename)]
    if len(found) != 1:
        raise InputError(f"{path}: expected exactly one entry '<name>/data.pkl', found {len(found)}")
    if found[0].file_size > MAX_PICKLE:
        raise InputError(f"{path}: data.pkl has {found[0].file_size} bytes, the limit is {MAX_PICKLE}")
    top = found[0].filename.split("/")[0]
    if f"{top}/byteorder" in archive.namelist() and archive.read(f"{top}/byteorder") != b"little":
        raise InputError(f"{path} was written on a big-endian machine; only little-endian checkpoints are read")
    return archive.read(found[0])


class _Storages:
    """Raw storages by key, read once each and checked against their claimed sizes."""

    def __init__(self, archive: zipfile.ZipFile, path: pathlib.Path):
        self.archive, self.path, self.cache = archive, path, {}
        self.names = frozenset(archive.namelist())
        self.top = next(n.split("/")[0] for n in self.names if re.fullmatch(DESCRIPTION, n))

    def __call__(self, storage: _Storage) -> np.ndarray:
        if storage not in self.cache:
            name = f"{self.top}/data/{storage.key}"
            if name not in self.names:
                raise InputError(f"{self.path}: storage {storage.key!r} is not in the archive")
            raw = self.archive.read(name)
            if len(raw) != storage.size * storage.dtype.itemsize:
                expected = f"{storage.size} x {storage.dtype}"
                raise InputError(f"{self.path}: storage {storage.key!r} has {len(raw)} bytes, expected {expected}")
            self.cache[storage] = np.frombuffer(raw, storage.dtype)
        return self.cache[storage]


def _run(program: bytes, storages: _Storages, path: pathlib.Path) -> Any:
    """Interprets the pickle. The cases are all its instructions; no value on the stack is called."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def refuse(what: str):
        return InputError(f"{path}: refused {what}; a checkpoint may only rebuild tensors and plain containers")

    def pop_to_mark() -> list[Any]:
        at = max(i for i, value in enumerate(stack) if value is _Mark)
        items = stack[at + 1 :]
        del stack[at:]
        return items

    try:
        for opcode, arg, _ in pickletools.genops(program):
            match opcode.name:
                case "PROTO" | "FRAME":
                    pass
                case "STOP":
                    (value,) = stack
                    return _plain(value, refuse)
                case "NONE":
                    stack.append(None)
                case "NEWTRUE" | "NEWFALSE":
                    stack.append(opcode.name == "NEWTRUE")
                case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                    stack.append(arg)
                case "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8":
                    stack.append(arg)
                case "EMPTY_DICT":
                    stack.append({})
                case "EMPTY_LIST":
                    stack.append([])
                case "EMPTY_TUPLE":
                    stack.append(())
                case "MARK":
                    stack.append(_Mark)
                case "TUPLE":
                    stack.append(tuple(pop_to_mark()))
                case "TUPLE1" | "TUPLE2" | "TUPLE3":
                    n = int(opcode.name[-1])
                    stack[-n:] = [tuple(stack[-n:])]
                case "APPEND":
                    value = stack.pop()
                    _of(list, stack[-1]).append(value)
                case "APPENDS":
                    values = pop_to_mark()
                    _of(list, stack[-1]).extend(values)
                case "SETITEM":
                    value, key = stack.pop(), stack.pop()
                    _of(dict, stack[-1])[_key(key)] = value
                case "SETITEMS":
                    values = pop_to_mark()
                    _of(dict, stack[-1]).update((_key(k), v) for k, v in zip(values[::2], values[1::2], strict=True))
                case "BINPUT" | "LONG_BINPUT":
                    memo[arg] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[arg])
                case "GLOBAL":
                    stack.append(_known(arg.replace(" ", "."), refuse))
                case "STACK_GLOBAL":
                    name, module = stack.pop(), stack.pop()
                    stack.append(_known(f"{_of(str, module)}.{_of(str, name)}", refuse))
                case "BINPERSID":
                    stack.append(_storage(stack.pop(), refuse))
                case "REDUCE":
                    args, function = stack.pop(), stack.pop()
                    if not isinstance(function, _Global) or function.name not in _CALLS:
                        raise refuse(f"a call of {getattr(function, 'name', type(function).__name__)!r}")
                    stack.append(_CALLS[function.name](_of(tuple, args), storages))
                case "BUILD":  # attributes of an object; state dicts carry `_metadata` of layer versions, which we drop
                    stack.pop()
                    _of(dict, stack[-1])
                case _:
                    raise refuse(f"pickle instruction {opcode.name}")
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, EOFError) as error:
        raise InputError(f"{path}: data.pkl is damaged ({type(error).__name__}: {error})") from error
    raise InputError(f"{path}: data.pkl has no end")


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {type(value).__name__}")
    return value


def _key(value: Any) -> str | int:
    if type(value) not in (str, int):
        raise TypeError(f"a dict key is a {type(value).__name__}")
    return value


def _known(name: str, refuse) -> _Global:
    if name not in _CALLS and name not in STORAGES:
        raise refuse(f"the name {name!r}")
    return _Global(name)


def _plain(value: Any, refuse) -> Any:
    """The result, after a check that no inert name or storage is left in it."""
    pending, seen = [value], set()
    while pending:
        item = pending.pop()
        if isinstance(item, (_Global, _Storage)) or item is _Mark:
            raise refuse(f"a bare {type(item).__name__.strip('_').lower()} as a value")
        if isinstance(item, (dict, list, tuple)) and id(item) not in seen:
            seen.add(id(item))
            pending.extend(item.values() if isinstance(item, dict) else item)
    return value


def _storage(pid: Any, refuse) -> _Storage:
    """A persistent id: ('storage', type, key, device, elements)."""
    kind, dtype, key, _, size = _of(tuple, pid)
    if kind != "storage" or not isinstance(dtype, _Global) or dtype.name not in STORAGES:
        raise refuse(f"a persistent object of kind {kind!r}")
    if not re.fullmatch(r"[0-9A-Za-z_]+", _of(str, key)):
        raise refuse(f"the storage key {key!r}")
    return _Storage(key, STORAGES[dtype.name], _of(int, size))


def _rebuild_tensor(args: tuple, storages: _Storages) -> np.ndarray:
    """A read-only view: (storage, offset, shape, strides, ...). No copy, so many views cost nothing."""
    storage, offset, shape, strides = args[:4]
    shape, strides = (tuple(_of(int, n) for n in _of(tuple, shape)), tuple(_of(int, n) for n in _of(tuple, strides)))
    if len(shape) != len(strides) or min((_of(int, offset), *shape, *strides), default=0) < 0:
        raise ValueError(f"shape {shape}, strides {strides}, offset {offset}")
    data = storages(_of(_Storage, storage))
    if 0 in shape:
        return np.zeros(shape, data.dtype)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    # an expanded view could describe far more elements than the file holds
    if last >= data.size or math.prod(shape) > data.size:
        raise ValueError(f"shape {shape} with strides {strides} at {offset} does not fit {data.size} elements")
    bytes_apart = tuple(s * data.itemsize for s in strides)
    return np.lib.stride_tricks.as_strided(data[offset:], shape, bytes_apart, writeable=False)


_CALLS = {  # what a "call" of a name means here: (arguments, storages) -> value
    "collections.OrderedDict": lambda args, _: dict(*(_pairs(a) for a in args)),
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda args, _: _of(np.ndarray, args[0]),
}


def _pairs(items: Any) -> list[tuple]:
    return [(_key(k), v) for k, v in _of(list, items)]
