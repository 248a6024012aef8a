"""The expensive map: one media file to the parts of its records that come from the media, and its cache.

`decode_to_cache` runs in worker processes, so everything here is importable, picklable and free of state.
"""

import hashlib
import os
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
from etils import epath

from data_builders.indexing import VIDEO_SUFFIXES, Item
from dfjax.media import MediaError

NO_MEDIA: dict[str, Any] = {"records": [{"position": 0}]}  # what an index-only dataset decodes
MEDIA_VERSION = 1  # raise it when the same file would give other records: old cached results are ignored


def decode_item(path: epath.PathLike, modality: str, options: dict[str, Any]) -> dict[str, Any]:
    """One media file as {'records': [...]} with the fields that come from the media, in order.

    Args:
      path: of the file.
      modality: 'audio', 'image' (as they are; of a video the face crops), 'video' (face crops of either) or 'av'
        (face crops of a video, each with the second of sound around it).
      options: of the face crops, for `dfjax.media.faces.crop_records`.

    Raises:
      MediaError: the file is unusable.
    """
    path = epath.Path(path)
    if modality == "audio":
        from dfjax.media import audio  # each worker loads only the decoders it needs

        samples, info = audio.decode(path)
        seconds = np.float32(info.seconds)
        parts = audio.windows(samples)
        return {"records": [{"position": start, "audio": x, "duration": seconds} for start, x in parts]}
    if modality == "image" and not path.name.lower().endswith(VIDEO_SUFFIXES):
        from dfjax.media import images

        data, (height, width) = images.read(path)
        box = np.array([0, 0, width, height], np.float32)
        return {"records": [{"position": 0, "image": data, "frame": 0, "box": box}]}
    from dfjax.media import faces

    if modality == "av":
        return _with_sound(path, options)
    return faces.crop_records(path, **options)


def _with_sound(path: epath.Path, options: dict[str, Any]) -> dict[str, Any]:
    """The face crops of a video, each with the sound of its frame's second.

    Both are timed from their own first frame or sample: a container's offset between the two, some
    milliseconds as a rule, is not looked at.
    """
    from dfjax.media import audio, faces

    samples, info = audio.decode(path)  # first: a file without sound is not worth its frames
    result = faces.crop_records(path, **options)
    for record in result["records"]:
        record["audio"] = audio.around(samples, record["seconds"])
        record["duration"] = np.float32(info.seconds)
    return result


def safely(path: epath.PathLike, modality: str, options: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """(result, '') of `decode_item`, or ({}, reason): no media file may stop the others."""
    try:
        return decode_item(path, modality, options), ""
    except MediaError as error:
        return {}, str(error)
    except MemoryError:
        return {}, "needs too much memory"
    except Exception as error:  # a decoder's own error that nobody has met yet
        return {}, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def reason(path: epath.PathLike, modality: str, options: dict[str, Any]) -> str:
    """Why the item cannot be decoded, or ''."""
    return safely(path, modality, options)[1]


def decode_to_cache(path: str, modality: str, options: dict[str, Any], cached: str) -> str:
    """Decodes one item into the file `cached`, or the reason why it cannot be; returns the reason or ''."""
    result, why = safely(path, modality, options)
    target = epath.Path(cached)
    if why:
        _write(reason_file(target), why.encode())
    else:
        data = pickle.dumps(result, protocol=5)
        _write(target, hashlib.blake2b(data, digest_size=16).digest() + data)
    return why


def cache_name(item: Item, modality: str, options: dict[str, Any]) -> str:
    """Where an item's result lies in the cache: it changes with the media file, the options and the code."""
    stat = item.path.stat()
    options = {} if modality == "audio" else options
    key = repr([MEDIA_VERSION, modality, sorted(options.items()), item.id, stat.length, stat.mtime])
    name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
    return f"{name[:2]}/{name[2:]}"


def reason_file(cached: epath.Path) -> epath.Path:
    """Where the reason lies if the item could not be decoded."""
    return cached.with_name(cached.name + ".reason")


def read_cached(path: epath.Path) -> dict[str, Any] | None:
    """A stored result; None if it is damaged, as a power cut can do even to a file renamed into place."""
    data = path.read_bytes()
    if hashlib.blake2b(data[16:], digest_size=16).digest() != data[:16]:
        return None
    return pickle.loads(data[16:])


def _write(path: epath.Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    partial.write_bytes(data)
    partial.replace(path)


def examples(
    item: Item, result: dict[str, Any], dataset: str, fields: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, record) of every window, picture or crop of an item; the key is the record's id.

    A clip of one record has the item's id; otherwise "#" and the start sample, or frame (and face), follow.
    """
    for part in result["records"]:
        whole = part["position"] == 0 and len(result["records"]) == 1
        record = dict(item.subgroups) | part
        record |= {
            "id": item.id if whole else f"{item.id}#{part['position']}",
            "label": item.label,
            "group": item.group,
            "clip": item.clip,
            "method": item.method,
            "dataset": dataset,
            "picture": item.picture,
            "sound": item.sound,
        }
        yield record["id"], {name: record.get(name, "") for name in fields}
