"""What a file says of itself: its bytes' SHA-256, container, streams, metadata. For people; no detector looks at it.

Headers and metadata may say anything. Nothing here decodes sound or pictures, and nothing reaches out of the file.
"""

import hashlib
import html
import os
import pathlib
import re
from collections.abc import Mapping
from typing import IO, Any

import av
import soundfile
from etils import epath
from PIL import ExifTags, Image

from dfjax.media import MediaError, containers, images

HEAD = 256  # bytes at the beginning of a file that hold its length, wherever a container has it
WHOLE = 0.99  # share of its bytes from which on a file counts as whole: writers of headers are a few bytes off
STREAMED = 0x7FFFFF00  # lengths from here on say in a WAV that its end was not known
BOXES = 100_000  # of an MP4 that are walked through, at most
EBML, SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"  # the elements that a Matroska file is made of
OGG = b"OggS"  # what a page begins with
PAGE_HEAD, PAGE = 27, 27 + 255 + 255 * 255  # bytes of an Ogg page, RFC 3533: without its table of lengths; at most
LENGTHS = re.compile(b"Xing|Info|VBRI")  # what encoders put into an MP3's first frame, with its length
CHUNK = 1 << 20  # bytes read at once
MOST = 100  # entries of metadata that are kept
LONGEST = 500  # characters of one that are kept
XMP_MOST = 1 << 18  # characters of XMP that are looked through
XMP_BEGIN, XMP_END = b"<x:xmpmeta", b"</x:xmpmeta>"  # of a packet
# properties of XMP that cameras, editors and generators write of how something was made, whatever their prefix
XMP_NAMES = (
    "DigitalSourceType",
    "DigitalSourceFileType",
    "CreatorTool",
    "softwareAgent",
    "Software",
    "AISystemUsed",
    "AISystemVersionUsed",
    "AIPromptInformation",
    "AIPromptWriterName",
    "Credit",
    "creator",
    "description",
    "parameters",
    "UserComment",
)
# as an attribute, name="value", or as an element around a value; every length is bounded, so that no text takes long
XMP_PROPERTY = re.compile(
    rf"[<\s](?:[\w.-]{{1,40}}:)?(?P<name>{'|'.join(XMP_NAMES)})\b\s{{0,9}}(?:"
    r"=\s{0,9}(?P<quote>[\"'])(?P<attribute>.{0,2000}?)(?P=quote)"
    r"|(?P<rest>[^<>]{0,2000}?)(?:/>|>(?P<inner>.{0,2000}?)</(?:[\w.-]{1,40}:)?(?P=name)\s{0,9}>))",
    re.DOTALL,
)
RESOURCE = re.compile(r"""resource\s{0,9}=\s{0,9}["']([^"']{0,2000})""")
UNREAD = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    MemoryError,
    MediaError,
    av.FFmpegError,
    soundfile.SoundFileError,
)
POINTERS = {ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop}  # tags that say where other tables lie


def of_file(path: str | pathlib.Path) -> dict[str, Any]:
    """The facts of a file that can be read.

    Returns:
      `sha256`, `bytes`, `container`, `seconds` and `bit_rate` (bit/s; None where unknown), `streams`, a list of dicts
      of what is known of each (kind, codec, sample rate in Hz, channels, width and height in pixels, frame rate), and
      `metadata`, name -> text as the file has it; `read`, whether these could be looked for.

    Raises:
      OSError: the file cannot be read.
    """
    digest, size, packet = _through(path)
    found: dict[str, Any] = {"sha256": digest, "bytes": size, "container": None, "seconds": None}
    found |= {"bit_rate": None, "streams": [], "metadata": {}, "read": False}
    # FFmpeg takes anything that is named as a picture for one; libsndfile looks inside
    for read in (_picture if images.is_picture(path) else _media, _sound):
        try:
            found |= read(path) | {"read": True}
            break
        except UNREAD:
            pass  # what could be decoded may still have a header that nobody else reads
    if "XMP" not in found["metadata"]:
        found["metadata"] = _xmp(packet) | found["metadata"]
    return found | {"metadata": dict(list(found["metadata"].items())[:MOST])}


def sha256(path: epath.PathLike) -> str:
    """Of a file's bytes, in hexadecimal digits.

    Raises:
      OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with epath.Path(path).open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def cut_short(path: epath.PathLike) -> str | None:
    """A line on a file that clearly lacks its end; None of others.

    WAV, AVI, Matroska, WebM, MP4, and an MP3 whose encoder noted it, tell how long they are, an Ogg stream how long
    each of its pages is. That its last page is not marked as the end says nothing: recorders of phones leave that out.

    Raises:
      OSError: the file cannot be read.
    """
    there = epath.Path(path).stat().length
    with epath.Path(path).open("rb") as file:
        head = file.read(HEAD)
        if head.startswith(OGG):
            return "cut short: the last page of its Ogg stream is not all there" if _breaks_off(file, there) else None
        told = _boxes(file, there) if head[4:8] == b"ftyp" else _riff(head) or _matroska(head) or _mp3(file, head)
    if there >= WHOLE * told:
        return None
    return f"cut short: {there:,} of the {told:,} bytes that its header tells are there"


def _riff(head: bytes) -> int:
    told = int.from_bytes(head[4:8], "little")
    return 8 + told if head[:4] == b"RIFF" and told < STREAMED else 0


def _matroska(head: bytes) -> int:
    """Its length is that of its second element, the segment; one that was streamed says all ones."""
    if not head.startswith(EBML):
        return 0
    at, length, _ = _number(head, len(EBML))
    if not head[at + length :].startswith(SEGMENT):
        return 0
    at, length, known = _number(head, at + length + len(SEGMENT))
    return at + length if known else 0


def _number(head: bytes, at: int) -> tuple[int, int, bool]:
    """(where it ends, value, whether it is known) of a number of Matroska, whose leading zeros tell how long it is."""
    size = 9 - head[at].bit_length() if at < len(head) else 1
    value, ones = int.from_bytes(head[at : at + size]), (1 << 7 * size) - 1
    return at + size, value & ones, value & ones != ones


def notes_length(file: IO[bytes]) -> bool:
    """Whether the encoder of an MP3 noted its length in it; else it is a guess. Reads from where the file stands."""
    return _note(file, file.read(HEAD))[2] is not None


def _mp3(file: IO[bytes], head: bytes) -> int:
    """Where its frames end, as the first of them tells; 0 where it does not."""
    at, head, found = _note(file, head)
    if not found:
        return 0
    rest = head[found.end() :]
    if found[0] == b"VBRI":
        return at + int.from_bytes(rest[6:10])
    flags = int.from_bytes(rest[:4])  # 1: its frames are told, 2: its bytes
    return at + int.from_bytes(rest[4 + 4 * (flags & 1) :][:4]) if flags & 2 else 0


def _note(file: IO[bytes], head: bytes) -> tuple[int, bytes, re.Match[bytes] | None]:
    """(where the first frame of an MP3 begins, behind a tag; what is there; where in that its length is noted)."""
    at = 0
    if head.startswith(b"ID3"):
        for byte in head[6:10]:
            at = at << 7 | byte & 127
        at += 20 if int.from_bytes(head[5:6]) & 16 else 10  # a footer is as long as the header
        file.seek(at)
        head = file.read(HEAD)
    found = LENGTHS.search(head, 4, 42)
    if not found or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # of a frame of layer III
        return at, head, None
    return at, head, found


def _breaks_off(file: IO[bytes], there: int) -> bool:
    """Whether the last page of an Ogg stream is longer than what is there of it."""
    file.seek(max(there - PAGE, 0))
    tail = file.read(PAGE)
    page = tail[tail.rfind(OGG) :] if OGG in tail else b""
    if len(page) < PAGE_HEAD:
        return bool(page)
    count = page[PAGE_HEAD - 1]  # of the lengths that follow, of what follows them
    return len(page) < PAGE_HEAD + count + sum(page[PAGE_HEAD:][:count])


def _boxes(file: IO[bytes], there: int) -> int:
    """Where the last box of an MP4 ends, or would."""
    at = 0
    for _ in range(BOXES):
        file.seek(at)
        head = file.read(16)
        size = int.from_bytes(head[:4])
        size = int.from_bytes(head[8:]) if size == 1 else size
        if len(head) < 16 or size < 8 or not head[4:8].isalnum():  # the last, as long as the file is; or no box
            break
        at += size
        if at >= there:
            break
    return at


def _through(path: str | pathlib.Path) -> tuple[str, int, bytes]:
    """SHA-256, size in bytes, and the first packet of XMP or b'': it lies in one piece wherever a format puts it."""
    digest, size, last, begin = hashlib.sha256(), 0, b"", None
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            if begin is None and (at := (last + chunk).find(XMP_BEGIN)) >= 0:
                begin = size - len(last) + at
            size, last = size + len(chunk), (last + chunk)[1 - len(XMP_BEGIN) :]
        if begin is None:
            return digest.hexdigest(), size, b""
        file.seek(begin)
        packet, end, _ = file.read(XMP_MOST).partition(XMP_END)
        return digest.hexdigest(), size, packet + end


def _media(path) -> dict[str, Any]:
    with containers.opened(os.path.abspath(path), metadata_errors="replace") as media:
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


def _sound(path) -> dict[str, Any]:
    """Of the few formats that libsndfile reads and FFmpeg does not, and of sound that is named as a picture."""
    with soundfile.SoundFile(os.path.abspath(path)) as file:
        told = {"kind": "audio", "codec": file.subtype_info, "sample rate": f"{file.samplerate:,} Hz"}
        known = 0 < file.samplerate and file.frames <= 2**62  # a header of unknown length says the largest integer
        return {
            "container": file.format_info,
            "seconds": file.frames / file.samplerate if known else None,
            "streams": [told | {"channels": file.channels}],
            "metadata": {name: _text(value) for name, value in file.copy_metadata().items()},
        }


def _picture(path) -> dict[str, Any]:
    with open(path, "rb") as file, images.opened(file.read()) as image:
        told = {"kind": "picture", "pixels": f"{image.width} x {image.height}", "mode": image.mode}
        told |= {"pictures": held} if (held := images.count(image)) > 1 else {}
        xmp = image.info.get("xmp") or b""
        metadata = _xmp(xmp)
        metadata |= {
            str(name): _text(value)
            for name, value in image.info.items()
            if isinstance(value, str | int | float) and name != "XML:com.adobe.xmp" or name == "comment"
        }
        metadata |= _exif(image.getexif())
        return {"container": image.format, "streams": [told], "metadata": metadata}


def _exif(exif: Image.Exif) -> dict[str, str]:
    """Every table of EXIF by its own names: the same number is another tag in each."""
    tables: tuple[tuple[str, Mapping[int, str], Mapping[int, Any]], ...] = (
        ("EXIF", ExifTags.TAGS, exif),
        ("EXIF", ExifTags.TAGS, exif.get_ifd(ExifTags.IFD.Exif)),
        ("EXIF GPS", ExifTags.GPSTAGS, exif.get_ifd(ExifTags.IFD.GPSInfo)),
    )
    found: dict[str, str] = {}
    for prefix, names, tags in tables:
        for tag, value in tags.items():
            label = f"{prefix} {str(names.get(tag, f'tag {tag}')).removeprefix('GPS')}"
            if prefix == "EXIF GPS" or tag not in POINTERS:
                found[f"{label} (second)" if label in found else label] = _text(value)
    return found


def _xmp(packet: bytes | str) -> dict[str, str]:
    """What XMP says of how media were made, and under `XMP` its text; nothing of an empty packet.

    Read as text: packets that are no good XML are read, too.
    """
    found: dict[str, list[str]] = {}
    for match in XMP_PROPERTY.finditer(_decoded(packet)[:XMP_MOST]):
        value = match["attribute"] if match["quote"] else match["inner"]
        if value is None:
            resource = RESOURCE.search(match["rest"])
            value = resource[1] if resource else ""
        value = html.unescape(" ".join(re.sub("<[^<>]{0,2000}>", " ", value).split()))
        if value and value not in found.setdefault(match["name"], []):
            found[match["name"]].append(value)
    told = {f"XMP {name}": _text("; ".join(values)) for name, values in found.items() if values}
    return told | ({"XMP": _text(packet)} if packet else {})


def _decoded(value: bytes | str) -> str:
    """Bytes of metadata as text: UTF-8, or UTF-16 as the zeros of plain letters tell, without EXIF's name of a code."""
    if isinstance(value, str):
        return value
    for code in (b"ASCII\0\0\0", b"UNICODE\0", bytes(8)):
        value = value.removeprefix(code)
    wide = next(
        (name for k, name in ((1, "utf-16-le"), (0, "utf-16-be")) if value[k::2].count(0) * 4 > len(value)), None
    )
    return value.decode(wide or "utf-8", "replace").strip("\0")


def _text(value: object) -> str:
    text = str(value)
    if isinstance(value, bytes):
        text = _decoded(value)
        legible = sum((c.isprintable() or c.isspace()) and c != "\ufffd" for c in text[:LONGEST])
        if legible < 0.9 * len(text[:LONGEST]):
            return f"{len(value):,} bytes that are no text"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text):,} characters)"
