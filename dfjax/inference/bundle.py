"""A bundle: a detector in one file, or one folder, which JAX, NumPy and decoders are enough to use.

Its members: `detector.json` (what it takes of a file), `decision.json`, `typicality.npz`, `weights.safetensors`, a
StableHLO program for each shape of its input, its model card, and `manifest.json` with the SHA-256 of every other
member. Whatever does not match is refused. Nothing in it is Python: arrays without pickles, JSON, and programs that
call nothing outside of XLA. As one file they lie in a ZIP, stored; as a folder they are the detector that comes with
dfjax, and what else lies there is not read.
"""

import dataclasses
import functools
import hashlib
import io
import json
import os
import pathlib
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from jax import export
from jaxlib.mlir.dialects import stablehlo
from jaxtyping import Array

from dfjax.decide import decision, typicality
from dfjax.inference import scoring
from dfjax.inference.detector import Detector, digest, with_face_model
from dfjax.records import MAX_SAMPLES, MEDIA, SAMPLE_RATE, Input, InputError
from dfjax.runtime import devices, files

SPEECH = pathlib.Path(__file__).resolve().parent.parent / "shipped" / "speech"  # the detector that comes with dfjax
FORMAT, VERSION = "dfjax bundle", 2  # version 1 had its weights in another format, and ends like any that is not read
MANIFEST, ABOUT, DECISION, CARD = "manifest.json", "detector.json", "decision.json", "README.md"
WEIGHTS, HEAT, PROGRAMS = "weights.safetensors", "heat.stablehlo", "*.stablehlo"
MOST = 16 << 20  # bytes that typicality may unpack to, several times what it holds
PLATFORMS = ("cpu", "cuda", "tpu")  # that programs are for
DATE = (1980, 1, 1, 0, 0, 0)  # of every member: the same detector gives the same bytes
# calls out of a program that it may hold: what checks its shapes, what says how it is spread. Others could reach Python
CALLS = ("shape_assertion", "Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape")


def program_name(shape: int) -> str:
    """The member that holds the program for clips of so many samples, or pictures of so many pixels a side."""
    return f"score-{shape}.stablehlo"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A bundle's members, checked against its manifest."""

    path: str
    members: Mapping[str, bytes]

    def json(self, name: str) -> Any:
        """The value of a JSON member."""
        return json.loads(self.members[name])

    def weights(self) -> dict[str, np.ndarray]:
        """The arrays of WEIGHTS, which take no more memory than the file."""
        return safetensors.numpy.load(self.members[WEIGHTS])

    @property
    def again(self) -> str:
        """What to do where it cannot be used."""
        return _again(self.path)


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of WEIGHTS."""
    return safetensors.numpy.save({name: np.asarray(leaf, order="C") for name, leaf in arrays.items()})


def is_bundle(path: str | pathlib.Path) -> bool:
    """Whether it is a file, or a folder with what a bundle alone has, and so no run.

    Raises:
      InputError: there is nothing of this name.
    """
    if "://" in str(path):  # in a bucket, where runs may lie
        return False
    if not os.path.exists(path):
        raise InputError(f"{path} does not exist; give the workdir of a finished run, or a bundle of dfjax.export")
    # by either: without its manifest it is a damaged bundle, and nothing that is judged by unsealed
    return any(map(os.path.isfile, (path, os.path.join(path, MANIFEST), os.path.join(path, ABOUT))))


def write(path: str | pathlib.Path, members: Mapping[str, bytes]) -> str:
    """Writes a bundle of these members and its manifest, as a whole; returns the file's SHA-256.

    Raises:
      InputError: the file cannot be written.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {MANIFEST: _manifest(members), **members}.items():
            archive.writestr(zipfile.ZipInfo(name, DATE), content)
    files.write(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def unpack(folder: pathlib.Path, members: Mapping[str, bytes]) -> None:
    """Writes these members and their manifest as a folder, and removes programs and typicality that are none of them.

    Raises:
      InputError: a file cannot be written.
    """
    for name, content in {**members, MANIFEST: _manifest(members)}.items():
        files.write(folder / name, content)
    for path in (*folder.glob(PROGRAMS), folder / typicality.TYPICALITY):  # what `trained` reads if it is there, too
        if path.name not in members:
            path.unlink(missing_ok=True)


def _manifest(members: Mapping[str, bytes]) -> bytes:
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    return json.dumps({"format": FORMAT, "version": VERSION, "sha256": hashes}, indent=2).encode()


def _again(path: str | pathlib.Path) -> str:
    comes_along = os.path.realpath(path) == str(SPEECH)
    return "install dfjax again" if comes_along else "export it again: python -m dfjax.export"


def read(path: str | pathlib.Path) -> Bundle:
    """The members of a bundle, each as its manifest says.

    Args:
      path: of the file, or the folder.

    Raises:
      InputError: no bundle, one of another version, or one that is damaged or was altered.
    """
    try:
        members = _members(path)
        manifest = json.loads(members.pop(MANIFEST))
        known = manifest["format"] == FORMAT and isinstance(manifest["version"], int)
        hashes = dict(manifest["sha256"])
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged ZIP makes zipfile raise half a dozen kinds of error
        raise InputError(f"{path} is no bundle, or a damaged one ({_words(error)}); {_again(path)}") from error
    if not known or manifest["version"] != VERSION:
        raise InputError(
            f"{path} is a {manifest['format']!r} of version {manifest['version']!r}; this dfjax reads a {FORMAT!r} of "
            f"version {VERSION}; {_again(path)}"
        )
    found = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    if wrong := sorted(name for name in found.keys() | hashes.keys() if found.get(name) != hashes.get(name)):
        raise InputError(f"{path} is damaged or was altered: {', '.join(map(repr, wrong[:3]))}; {_again(path)}")
    return Bundle(str(path), members)


def _members(path: str | pathlib.Path) -> dict[str, bytes]:
    path = pathlib.Path(path)
    if path.is_dir():
        manifest = (path / MANIFEST).read_bytes()
        # a name that leads out of the folder is none of its files, and is missing
        named = {name: path / name for name in json.loads(manifest)["sha256"] if pathlib.PurePath(name).name == name}
        there = {name: file.read_bytes() for name, file in named.items() if file.is_file()}
        return {MANIFEST: manifest, **there}
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        stored = all(map(_is_stored, entries))
        # no member unpacks to more than the file holds, and none hides another
        if not stored or sum(e.file_size for e in entries) > size or len({e.filename for e in entries}) < len(entries):
            raise InputError(f"{path} is no bundle of dfjax: its members are packed or doubled; {_again(path)}")
        return {entry.filename: archive.read(entry) for entry in entries}


def _is_stored(entry: zipfile.ZipInfo) -> bool:
    return entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1


def load(path: str | pathlib.Path, face_model: str | None = None) -> Detector:
    """The detector of a bundle, ready to judge files.

    Args:
      path: of the bundle, a file or a folder.
      face_model: YuNet's ONNX file, for a detector whose training faces were found by it.

    Raises:
      InputError: see `read`; or its parts do not fit together, or it is for other platforms, or prepares media in
        another way than this dfjax does.
    """
    found = read(path)
    try:
        detector, kinds = _detector(found, face_model)
        for kind in kinds:
            _try(detector, kind)
        return detector
    except InputError:
        raise
    except Exception as error:  # every member is as it was written, but not by dfjax.export
        raise InputError(f"{path} was not written by dfjax.export ({_words(error)}); {found.again}") from error


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _try(detector: Detector, kind: Mapping[str, jax.core.ShapedArray]) -> None:
    """A verdict on outputs of this kind, all zero: what decision and typicality lack shows here, not at a file.

    Raises:
      ValueError: it is no verdict of finite numbers; or another error of what the two hold.
    """
    sound = detector.model.modality == "audio"
    parts = [{"start": 0.0, "end": 1.0} if sound else {"frame": 0, "seconds": 0.0}]
    properties = [dict.fromkeys(detector.typicality.ranges, 1e9)] if detector.typicality else []  # out of any range
    outputs = {name: np.zeros((1, *value.shape[1:]), value.dtype) for name, value in kind.items()}
    try:
        json.dumps(detector.decide(parts, properties, {}, outputs), allow_nan=False)
    except InputError as error:
        raise ValueError(error) from error


def _own_decision(found: Bundle) -> dict[str, Any]:
    try:
        chosen = decision.parse(found.members[DECISION].decode(), DECISION)
    except InputError as error:  # of a bundle, which nobody tunes: it is exported again
        raise ValueError(error) from error
    if not isinstance(chosen["threshold"], int | float):
        raise ValueError(f"{DECISION} has the threshold {chosen['threshold']!r}, expected a finite number")
    return chosen


def _own_typicality(found: Bundle) -> typicality.Typicality | None:
    if typicality.TYPICALITY not in found.members:
        return None
    content = found.members[typicality.TYPICALITY]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MOST:
            raise ValueError(f"{typicality.TYPICALITY} unpacks to more than {MOST >> 20} MB")
    return typicality.parse(content, found.path)


def _detector(found: Bundle, face_model: str | None) -> tuple[Detector, list[Mapping[str, jax.core.ShapedArray]]]:
    """The detector, and what each of its programs puts out."""
    about = found.json(ABOUT)
    takes = Input(**{name: about["input"][name] for name in ("modality", "size", "samples")})
    prepared = about["sample_rate"], about["window"]
    if takes.modality not in MEDIA or prepared != (SAMPLE_RATE, MAX_SAMPLES):
        raise InputError(
            f"{found.path} prepares media as this dfjax does not ({takes.modality}, {prepared}); install the dfjax of "
            f"version {about['dfjax']}, or {found.again}"
        )
    modality, options = about["media"]
    media = with_face_model((modality, options), face_model)
    mesh = devices.make_mesh()
    weights = found.weights()
    if tuple(about["shapes"]) != scoring.shapes(takes):
        raise ValueError(f"programs for {about['shapes']}, expected {list(scoring.shapes(takes))}")
    if digest(weights) != about["weights"]:
        raise ValueError(f"{WEIGHTS} holds other weights than {ABOUT} names")
    programs = [_scorer(found, takes, shape, weights) for shape in about["shapes"]]
    parameters, sharding = jax.device_put(weights, devices.replicated(mesh)), devices.split_batch(mesh)
    each = scoring.EACH_OF_FILES if jax.default_backend() == "cpu" else scoring.EACH

    def outputs(examples: list[dict]) -> Mapping[str, Array]:
        batch = devices.put(scoring.stack(examples, each * mesh.size), sharding)
        shape = batch["audio" if takes.modality == "audio" else "image"].shape[1]
        return _compiled(found.members[program_name(shape)], mesh)(parameters, batch)

    detector = Detector(
        architecture=about["model"],
        outputs=outputs,
        decision=_own_decision(found),
        model=takes,
        heat=_heat(found, weights),
        media=media,
        batch=each * mesh.size,
        typicality=_own_typicality(found),
        card=found.members[CARD].decode() if CARD in found.members else None,
        hashes=functools.partial(_hashes, found, about["weights"]),
    )
    return detector, [jax.tree.unflatten(each.out_tree, each.out_avals) for each in programs]


@functools.lru_cache(maxsize=8)
def _compiled(program: bytes, mesh: jax.sharding.Mesh) -> Callable[..., Mapping[str, Array]]:
    """A program as each device runs it: one for the same bytes, so a detector that is loaded again compiles nothing."""
    return devices.each_alone(export.deserialize(bytearray(program)).call, mesh)


def _hashes(found: Bundle, weights: str) -> dict[str, str]:
    members = [name for name in (DECISION, typicality.TYPICALITY) if name in found.members]
    return {"weights": weights} | {name: hashlib.sha256(found.members[name]).hexdigest() for name in members}


def _heat(found: Bundle, weights: dict) -> Callable[[Array], Array]:
    if HEAT not in found.members:

        def nothing(x: Any) -> Array:
            raise InputError(f"the detector of {found.path} has no heat map; expected one of pictures")

        return nothing
    return functools.partial(jax.jit(_program(found, HEAT, weights).call), weights)


def _scorer(found: Bundle, takes: Input, shape: int, weights: dict) -> export.Exported:
    """The program for examples of this shape, if it takes such."""
    program = _program(found, program_name(shape), weights)
    batch = jax.tree.unflatten(program.in_tree, program.in_avals)[0][1]
    wanted: dict[str, tuple[int, ...]] = {"audio": (shape,), "length": ()}
    if takes.modality != "audio":
        wanted = {"image": (shape, shape, 3)} | ({"audio": (SAMPLE_RATE,)} if takes.modality == "av" else {})
    if {name: x.shape[1:] for name, x in batch.items()} != wanted:
        raise ValueError(f"{program_name(shape)} takes examples of another shape")
    return program


def _program(found: Bundle, name: str, weights: dict) -> export.Exported:
    """A program of the bundle, if it calls nothing outside of XLA and takes these weights."""
    program = export.deserialize(bytearray(found.members[name]))
    if _newer(program):
        theirs = found.json(ABOUT)["jax"]
        raise InputError(
            f"{found.path} was exported with jax {theirs}, whose programs jax {jax.__version__} cannot read; install "
            f"jax {theirs}, or export it with jax {jax.__version__}"
        )
    if strange := outside_calls(program):
        raise InputError(f"{found.path} holds a program that calls {strange}; it was not written by dfjax.export")
    wanted = jax.tree.unflatten(program.in_tree, program.in_avals)[0][0]
    if {k: (x.shape, x.dtype) for k, x in weights.items()} != {k: (x.shape, x.dtype) for k, x in wanted.items()}:
        raise InputError(f"{found.path} holds weights of another detector than its programs; {found.again}")
    platform = jax.default_backend().replace("gpu", "cuda")
    if platform not in program.platforms:
        raise InputError(
            f"{found.path} runs on {', '.join(program.platforms)}, and jax has {platform} here; set JAX_PLATFORMS=cpu"
        )
    return program


def _newer(program: export.Exported) -> bool:
    """Whether a program is in a version of StableHLO that this JAX does not know; reading it prints lines of C++."""
    version = re.search(rb"StableHLO_v(\d+)\.(\d+)\.(\d+)", program.mlir_module_serialized[:64])
    known = tuple(map(int, stablehlo.get_current_version().split(".")))
    return version is not None and tuple(map(int, version.groups())) > known


def outside_calls(program: export.Exported) -> list[str]:
    """What a program calls by name beside CALLS: a name can stand for a function of the host."""
    text = program.mlir_module()
    named = re.findall(r'custom_call(?: @([\w.]+)\(|"?.*?call_target_name = "([^"]*)")?', text)
    return sorted({one or two or "something unnamed" for one, two in named} - set(CALLS))
