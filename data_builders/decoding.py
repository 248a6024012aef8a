"""The expensive map, media file to the parts of its records, with its cache.

`decode_to_cache` runs in worker processes, so everything here is importable, picklable and free of state.
"""

import hashlib
import os
import pickle
from collections.abc import Iterator
from typing import Any

from etils import epath

from data_builders.indexing import Item
from dfjax.media.decoding import safely

NO_MEDIA: dict[str, Any] = {"records": [{"position": 0}]}  # what an index-only dataset decodes
MEDIA_VERSION = 1  # raise it when the same file would give other records: old cached results are ignored


def reason(path: epath.PathLike, modality: str, options: dict[str, Any]) -> str:
    """Why a file cannot be decoded, or ''; `modality` and `options` are those of `media.decoding.decode_item`."""
    return safely(path, modality, options)[1]


def decode_to_cache(path: str, modality: str, options: dict[str, Any], cached: str) -> str:
    """Decodes a file into the file `cached`, or else writes into `reason_file` why that cannot be; returns why, or ''.

    `modality` and `options` are those of `media.decoding.decode_item`. Raises OSError where the disk is full.
    """
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
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:  # of a full disk what was written of it is given back
        partial.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def examples(
    item: Item, result: dict[str, Any], dataset: str, fields: tuple[str, ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(key, record) of every window, picture or crop of an item; the key is the record's id.

    A clip of one record has the item's id; otherwise "#" and the start sample, or frame (and face), follow.

    Args:
      item: the file.
      result: what was decoded of it.
      dataset: name of the builder.
      fields: of the records.
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
            "domain": item.domain or dataset,
            "picture": item.picture,
            "sound": item.sound,
        }
        yield record["id"], {name: record.get(name, "") for name in fields}
