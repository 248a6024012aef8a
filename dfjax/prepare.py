"""Prepares a dataset: finds its builder, decodes the user's media on all cores, writes records.

python -m dfjax.prepare folder_audio --source ~/recordings
"""

import collections
import contextlib
import json
import re
import shlex
import sys
from collections.abc import Mapping
from typing import Any

import absl.logging
import ml_collections
import tensorflow_datasets as tfds
from etils import epath

import data_builders
from data_builders import configs, indexing, preparing
from dfjax.data import sources
from dfjax.media import faces
from dfjax.records import LABEL_NAMES, InputError, SourceNeeded
from dfjax.runtime import cli, process

Source = str | epath.PathLike | Mapping[str, epath.PathLike]  # of the user's media, see `prepare_data`


def prepare(
    name: str,
    source: epath.PathLike | None = None,
    data_dir: epath.PathLike | None = None,
    config_name: str | None = None,
    *,
    progress: bool = True,
    jobs: int | None = None,
    beam_runner: str | None = None,
    beam_options: str = "",
    face_model: epath.PathLike | None = None,
    tell: bool = False,
    **crop_options,
) -> epath.Path:
    """The folder of a prepared dataset, prepared now if it is not there yet.

    Args:
      name: a key of data_builders.DATASETS.
      source: the folder with the media; not needed where it is prepared already or makes its own.
      data_dir: where prepared datasets lie; default TFDS_DATA_DIR or ~/tensorflow_datasets.
      config_name: one of the dataset's configs, or the name of a prepared folder; default its first.
      progress: whether to show progress bars.
      jobs: worker processes; default one per core.
      beam_runner: name of an Apache Beam runner that decodes instead of our worker processes.
      beam_options: that runner's own options, as on a command line.
      face_model: YuNet's ONNX file, its path or an http(s) address that is downloaded once; faces are then found
        by it.
      tell: whether to say on standard error what was found and left out, where it is prepared now.
      **crop_options: frames, size, faces or image_format unlike the config's.

    Returns:
      `<data_dir>/<name>/<config>/<version>`, complete.

    Raises:
      InputError: unknown names, nothing usable in `source`, contradicting labels, a dataset that was prepared from
        another source or by another face model, or (SourceNeeded) one that is not prepared without any.
    """
    cls = data_builders.load(name)
    if face_model is not None:
        face_model = face_model_file(face_model, _root(data_dir, cls).parent / "downloads")
    _check_arguments(data_dir, jobs, face_model, crop_options)
    if beam_options and beam_runner is None:
        raise InputError("--beam_options are of a --beam_runner; give one, such as DirectRunner")
    given = [option for option, value in crop_options.items() if value is not None]
    given += ["face_model"] if face_model is not None else []
    with quiet():
        if not issubclass(cls, preparing.MediaBuilder):
            if source is not None or given:
                raise InputError(f"{name} makes its own data; leave out --{given[0] if given else 'source'}")
            builder = _own_builder(cls, data_dir, config_name)
            builder.download_and_prepare(file_format="array_record")
            _write_missing_indexes(builder)
            return epath.Path(builder.data_dir)
        if source is None and not given and (found := _prepared(cls, data_dir, config_name)) is not None:
            return found
        if source is None and cls.CONFIG_PER_SOURCE:
            there = prepared(name, data_dir)
            ways = f"in an experiment --config.data.config_name, among --datasets {name}/{(there or [''])[0]}"
            known = f" Prepared already, for --config_name: {there} ({ways})." if there else ""
            raise SourceNeeded(f"{name} needs --source. {cls.MANUAL_DOWNLOAD_INSTRUCTIONS}{known}")
        config = _config(cls, config_name)
        if config.modality in ("video", "av") or (config.modality == "image" and cls.PICTURES_AND_VIDEOS):
            detector = None if face_model is None else "yunet"
            config = configs.with_options(config, detector=detector, **crop_options)
        elif given:
            held = {"audio": "sound", "image": "pictures, which are taken as they are", "index": "paths alone"}
            raise InputError(
                f"--{given[0]} is of pictures and videos whose faces are cut out; {name} holds {held[config.modality]}"
            )
        if source is None and (found := _prepared(cls, data_dir, config.name)) is not None:
            _check_face_model(face_model, found)
            return found
        builder = cls(
            source=source, data_dir=data_dir, config=config, face_model=face_model, jobs=jobs, progress=progress
        )
        directory = epath.Path(builder.data_dir)
        if directory.exists():
            _check_source(builder, directory)
            _check_face_model(face_model, directory)
            return directory
        builder.load_index(epath.Path(builder.data_dir_root, "downloads", "manual"))
        here = builder.download_and_prepare(download_config=_beam(beam_runner, beam_options))
        if not here:  # another process was faster
            _check_source(builder, directory)
            _check_face_model(face_model, directory)
    if tell and here:
        print(describe(summary(directory), directory), file=sys.stderr)
    return directory


def prepare_data(
    data: ml_collections.ConfigDict,
    source: Source | None = None,
    data_dir: epath.PathLike | None = None,
    *,
    progress: bool = True,
) -> dict[str, epath.Path]:
    """Name -> folder of every dataset that an experiment trains on, prepared now where they are not yet.

    Args:
      data: `config.data`: `dataset` and `config_name`; or `datasets`, whose names are NAME or NAME/CONFIG. For a
        user's own folders CONFIG is the folder's name, with '-whole' where all of it is to be trained on. What
        each is known by: see `sources.names_of`.
      source: the user's folder; of several datasets their folders, separated by commas, each found by its name or
        given as NAME=FOLDER, or name -> folder.
      data_dir: where prepared datasets lie.
      progress: whether to show progress.

    Raises:
      InputError: see `prepare`; or a folder fits none of the datasets, or two.
    """
    if not data.get("datasets"):
        if isinstance(source, Mapping):
            raise InputError(f"folders by name are of several datasets; {data.dataset} takes one folder")
        words = (data.dataset, source, data_dir, data.config_name or None)
        return {data.dataset: process.in_turn(lambda: prepare(*words, progress=progress, tell=progress))}
    folders = _by_name(source)
    found: dict[str, epath.Path] = {}
    for entry, known in sources.names_of(data.datasets).items():
        dataset, _, wanted = entry.partition("/")
        per_source = getattr(data_builders.load(dataset), "CONFIG_PER_SOURCE", False)
        names = [entry, wanted, configs.stem(wanted.removesuffix("-whole")) if per_source and wanted else "", dataset]
        folder = next((folders.pop(name) for name in names if name and name in folders), None)
        if per_source:
            config_name = "folder-whole" if wanted.endswith("-whole") else None
            if folder is None:
                config_name = _prepared_config(dataset, wanted, data_dir)
        else:
            config_name = wanted or None
        words = (dataset, folder, data_dir, config_name)
        if known in found:
            raise InputError(f"two of the datasets {list(data.datasets)} are called {known}; rename a folder")
        found[known] = process.in_turn(lambda words=words: prepare(*words, progress=progress, tell=progress))
    if folders:
        raise InputError(
            f"--source {min(folders)} fits none of the datasets {list(data.datasets)}; name it as one of them is "
            "called: --source NAME=FOLDER"
        )
    return found


def _by_name(source: Source | None) -> dict[str, epath.Path]:
    """The folders of a list 'A,NAME=B' by name, a folder's own where none is given."""
    if isinstance(source, Mapping):
        return {name: epath.Path(folder) for name, folder in source.items()}
    found: dict[str, epath.Path] = {}
    for text in str(source).split(",") if source else ():
        name, separator, folder = text.strip().rpartition("=")
        path = epath.Path(folder if separator else text.strip())
        name = name if separator else configs.folder_stem(path)
        if name in found:
            raise InputError(f"--source names two folders {name!r}; tell them apart: --source NAME=FOLDER,...")
        found[name] = path
    return found


def _prepared_config(dataset: str, wanted: str, data_dir: epath.PathLike | None) -> str:
    """The config of a user's folder that was prepared earlier: its name, a digest, and what follows."""
    stem, suffix = configs.stem(wanted.removesuffix("-whole")), "-whole" if wanted.endswith("-whole") else ""
    fits = re.compile(rf"{stem}-[0-9a-f]{{8}}{suffix}")
    found = [name for name in prepared(dataset, data_dir) if fits.fullmatch(name)]
    if len(found) != 1:
        what = f"was prepared {len(found)} times ({', '.join(found)})" if found else "is not prepared yet"
        raise InputError(f"{dataset}/{wanted} {what}; give its folder: --source {stem}=FOLDER")
    return found[0]


def prepared(dataset: str, data_dir: epath.PathLike | None) -> list[str]:
    """The configs of a dataset that are prepared below `data_dir`, sorted."""
    cls = data_builders.load(dataset)
    return sorted(path.parent.parent.name for path in _root(data_dir, cls).glob(f"*/{cls.VERSION}/preparation.json"))


def summary(directory: epath.PathLike) -> dict[str, Any]:
    """What `preparation.json` of a prepared dataset says: what was found, counted, skipped and dropped.

    Raises:
      InputError: it is damaged.
    """
    path = epath.Path(directory, "preparation.json")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} cannot be read ({error}); {sources.AGAIN}") from error


def describe(facts: dict[str, Any], directory: epath.PathLike) -> str:
    """The summary as text: counts per split, what was left out, where it lies."""
    lines = [f"{facts['dataset']}/{facts['config']} {facts['version']}, layout {facts['variant']}"]
    for split, counts in facts["counts"].items():
        found = ", ".join(f"{counts[name]['files']} {name}" for name in LABEL_NAMES)
        records = sum(counts[name]["records"] for name in LABEL_NAMES)
        lines.append(f"  {split:<11}{found} ({records} records)")
    for kind in ("skipped", "dropped"):
        reasons = collections.Counter(reason for _, reason in facts[kind])
        named = {reason: id_ for id_, reason in reversed(facts[kind])}
        lines += [f"  {kind} {count}: {reason}; first {named[reason]}" for reason, count in reasons.most_common(5)]
        if len(reasons) > 5:
            lines.append(f"  {kind} for {len(reasons) - 5} more reasons")
    if faceless := facts.get("frames_without_face"):
        lines.append(f"  {sum(faceless.values())} frames without a face in {len(faceless)} clips")
    if several := facts.get("pictures_in_file"):
        first, held = next(iter(several.items()))
        lines.append(f"  only the first picture was taken of {len(several)} files of several; first {first}, of {held}")
    lines += [f"  warning: {warning}" for warning in facts["warnings"]]
    return "\n".join([*lines, f"  prepared in {directory}; preparation.json lists everything left out"])


def face_model_file(given: epath.PathLike, downloads: epath.Path) -> epath.Path:
    """The file of a face model: as given, or fetched into `downloads` by TFDS, once.

    Raises:
      InputError: the address gives nothing.
    """
    if not str(given).startswith(("http://", "https://")):
        return epath.Path(given)
    try:
        with quiet():
            return tfds.download.DownloadManager(download_dir=downloads).download(str(given))
    except Exception as error:  # whatever the network, the server or its certificate did
        raise InputError(f"--face_model {given} could not be downloaded: {error}") from error


@contextlib.contextmanager
def quiet():
    """TFDS's own bars and log lines off: ours say what is going on."""
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    tfds.disable_progress_bar()
    try:
        yield
    finally:
        tfds.enable_progress_bar()
        absl.logging.set_verbosity(verbosity)


def _check_arguments(data_dir, jobs, face_model, crop_options) -> None:
    if data_dir is not None and epath.Path(data_dir).exists() and not epath.Path(data_dir).is_dir():
        raise InputError(f"--data_dir {data_dir} is a file; give a folder")
    if face_model is not None and not epath.Path(face_model).is_file():
        raise InputError(f"--face_model {face_model} is not a file; give the path of a YuNet .onnx model")
    if face_model is not None:
        faces.check_model(face_model)
    for name, value, low in (("jobs", jobs, 0), *((n, crop_options.get(n), 1) for n in ("frames", "size"))):
        if value is not None and value < low:
            raise InputError(f"--{name} {value} is too small; expected {low} or more")


def _beam(runner: str | None, options: str) -> tfds.download.DownloadConfig:
    """How TFDS is to use Apache Beam, which is asked for by naming a runner."""
    if runner is None:
        return tfds.download.DownloadConfig()
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(f"--beam_runner {runner} needs Apache Beam: pip install 'dfjax[beam]'") from error
    try:
        # without a list of options Beam would read our own command line
        known = PipelineOptions(shlex.split(options), runner=runner)
    except ValueError as error:
        raise InputError(f"--beam_options '{options}': {error}") from error
    return tfds.download.DownloadConfig(beam_runner=runner, beam_options=known)


def _config(cls, config_name: str | None):
    if config_name is None:
        return cls.BUILDER_CONFIGS[0]
    if config_name not in cls.builder_configs:
        raise InputError(f"Unknown config {config_name!r} of {cls.name}; expected one of {sorted(cls.builder_configs)}")
    return cls.builder_configs[config_name]


def _own_builder(cls, data_dir, config_name: str | None):
    """A builder that makes its own data."""
    if config_name is not None:
        _config(cls, config_name)
    return cls(data_dir=data_dir, config=config_name)


def _prepared(cls, data_dir, config_name: str | None) -> epath.Path | None:
    """The prepared dataset that can be used without its source."""
    if config_name is None:
        if cls.CONFIG_PER_SOURCE:
            return None
        config_name = cls.BUILDER_CONFIGS[0].name
    directory = _root(data_dir, cls) / config_name / str(cls.VERSION)
    return directory if (directory / "preparation.json").exists() else None


def _root(data_dir, cls) -> epath.Path:
    return epath.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser() / cls.name


def _check_source(builder, directory: epath.Path) -> None:
    """Makes sure that what is prepared was prepared from this source."""
    if builder.source is None:
        return
    facts = summary(directory)
    prepared, way = facts["source_digest"], "delete that folder or give another --data_dir"
    if not builder.CONFIG_PER_SOURCE and (given := indexing.source_digest(builder.load_index())) != prepared:
        raise InputError(
            f"{directory} was prepared from other files (digest {prepared}) than --source {builder.source} "
            f"({given}); {way}"
        )
    if (name := builder.changed(facts.get("content", {}))) is not None:
        raise InputError(
            f"{name} of --source {builder.source} has the size but not the content that it had when {directory} was "
            f"prepared; {way}"
        )


def _check_face_model(given: epath.PathLike | None, directory: epath.Path) -> None:
    """Makes sure that the faces of what is prepared were found by this model; earlier versions did not note theirs."""
    known = summary(directory).get("face_model")
    if given is not None and known and (digest := faces.model_digest(given)) != known:
        raise InputError(
            f"{directory} was prepared by another YuNet (SHA-256 {known}) than --face_model {given} ({digest}); "
            "give that one, delete the folder or give another --data_dir"
        )


def _write_missing_indexes(builder) -> None:
    for split in builder.info.splits:
        if not epath.Path(builder.data_dir, f"index.{split}.npz").exists():
            preparing.write_index(builder, split)


def parser() -> cli.Parser:
    """The command line."""
    result = cli.Parser(prog="python -m dfjax.prepare", description="Prepare a dataset.")
    result.add_argument("name", help=f"one of {', '.join(sorted(data_builders.DATASETS))}")
    result.add_argument("--source", help="folder with the media")
    result.add_argument("--data_dir", help="where prepared datasets lie (default ~/tensorflow_datasets)")
    result.add_argument("--config_name", help="protocol or variant (default the dataset's first)")
    result.add_argument("--frames", type=int, help="frames per video, evenly spread")
    result.add_argument("--size", type=int, help="side of a face crop in pixels")
    result.add_argument("--faces", choices=("largest", "all"), help="which faces of a frame are kept")
    result.add_argument("--image_format", choices=("jpeg", "png"), help="of face crops")
    result.add_argument("--face_model", help="YuNet .onnx file or its http(s) address (default: OpenCV's Haar cascade)")
    result.add_argument("--jobs", type=int, help="worker processes (default one per core)")
    result.add_argument("--beam_runner", help="Apache Beam runner, such as DirectRunner")
    result.add_argument("--beam_options", default="", help="its options, such as '--project=p --region=r'")
    result.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return result


def main() -> None:
    """Prepares and says what came of it."""
    flags = vars(parser().parse_args())
    as_json = flags.pop("json")
    directory = prepare(flags.pop("name"), **flags)
    facts = {"directory": str(directory)}
    if (directory / "preparation.json").exists():
        facts |= summary(directory)
    if as_json:
        print(json.dumps(facts, allow_nan=False))
    elif "counts" in facts:
        print(describe(facts, directory))
    else:
        print(f"prepared in {directory}")


if __name__ == "__main__":
    cli.main(main)
