"""What a file says of itself: its bytes' SHA-256, container, streams, metadata. For people; no detector looks at it.

Headers and metadata may say anything. Nothing here decodes sound or pictures, and nothing reaches out of the file.
"""

import hashlib
import io
import os
import pathlib
from typing import Any

import av
from PIL import ExifTags, Image

from dfjax.media import IMAGE_SUFFIXES

CHUNK = 1 << 20  # bytes read at once
MOST = 100  # entries of metadata that are kept
LONGEST = 500  # characters of one that are kept


def of_file(path: str | pathlib.Path) -> dict[str, Any]:
    """The facts of a file that can be read.

    Returns:
      `sha256`, `bytes`, `container`, `seconds` and `bit_rate` (bit/s; None where unknown), `streams`, a list of dicts
      of what is known of each (kind, codec, sample rate in Hz, channels, width and height in pixels, frame rate), and
      `metadata`, name -> text as the file has it.

    Raises:
      OSError: the file cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    found: dict[str, Any] = {"sha256": digest.hexdigest(), "bytes": size, "container": None, "seconds": None}
    found |= {"bit_rate": None, "streams": [], "metadata": {}}
    read = _picture if os.fspath(path).lower().endswith(IMAGE_SUFFIXES) else _media
    try:
        found |= read(path)
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, av.FFmpegError, Image.DecompressionBombError):
        pass  # what could be decoded may still have a header that nobody else reads
    return found | {"metadata": dict(list(found["metadata"].items())[:MOST])}


def _media(path) -> dict[str, Any]:
    # playlists must not reach out to other files or the network
    with av.open(os.path.abspath(path), metadata_errors="replace", options={"protocol_whitelist": "file"}) as media:
        streams, metadata = [], {name: _text(value) for name, value in media.metadata.items()}
        for k, stream in enumerate(media.streams):
            metadata |= {f"stream {k}: {name}": _text(value) for name, value in stream.metadata.items()}
            codec = stream.codec_context
            told: dict[str, Any] = {"kind": stream.type, "codec": codec.name if codec else None}
            if stream.type == "audio" and codec:
                told |= {"sample rate": f"{codec.sample_rate:,} Hz", "channels": codec.channels}
            if stream.type == "video" and codec:
                told |= {"pixels": f"{codec.width} x {codec.height}", "pixel format": codec.pix_fmt}
                told |= {"frame rate": f"{float(stream.average_rate):.6g} a second"} if stream.average_rate else {}
            streams.append({name: value for name, value in told.items() if value})
        return {
            "container": media.format.long_name or media.format.name,
            "seconds": media.duration / 1e6 if media.duration else None,
            "bit_rate": media.bit_rate or None,
            "streams": streams,
            "metadata": metadata,
        }


def _picture(path) -> dict[str, Any]:
    with open(path, "rb") as file, Image.open(io.BytesIO(file.read())) as image:
        told = {"kind": "picture", "pixels": f"{image.width} x {image.height}", "mode": image.mode}
        metadata = {
            str(name): _text(value) for name, value in image.info.items() if isinstance(value, str | int | float)
        }
        exif = image.getexif()
        tags = dict(exif) | dict(exif.get_ifd(ExifTags.IFD.Exif)) | dict(exif.get_ifd(ExifTags.IFD.GPSInfo))
        metadata |= {f"EXIF {ExifTags.TAGS.get(tag, tag)}": _text(value) for tag, value in tags.items()}
        return {"container": image.format, "streams": [told], "metadata": metadata}


def _text(value: object) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text):,} characters)"
