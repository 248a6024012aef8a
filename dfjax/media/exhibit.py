"""What a page about one file shows of it: what it says of itself, and the sound or the faces that were judged.

Like all that opens a file that somebody sent it can run in a worker process; nothing here imports JAX.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Int16, UInt8

from dfjax.media import audio, credentials, decoding, evidence, facts


@dataclasses.dataclass(frozen=True)
class Exhibit:
    """One file as people are shown it."""

    facts: dict[str, Any]  # of `facts.of_file`
    credentials: dict[str, str]  # of `credentials.of_file`
    sound: Int16[np.ndarray, " samples"] | None  # mono at 16 kHz; None where pictures alone were judged
    seconds: float | None  # of the recording
    faces: list[UInt8[np.ndarray, "size size 3"]]  # as the detector sees them
    frames: list[int]  # of each face


def of_file(
    path: str | pathlib.Path,
    modality: str,
    options: dict[str, Any],
    size: int | None = None,
    longest: float = audio.MAX_SECONDS,
) -> Exhibit:
    """The exhibit of a file; arguments and errors are those of `evidence.of_file`.

    Raises:
      MediaError: the file is unusable; the message is the reason.
      OSError: it cannot be read.
    """
    told = {"facts": facts.of_file(path), "credentials": credentials.of_file(path)}
    if modality == "audio":
        samples, info = audio.decode(path, longest)
        return Exhibit(**told, sound=samples, seconds=info.seconds, faces=[], frames=[])
    seen = evidence.of_file(path, modality, options, size=size, longest=longest)
    pictures, frames = [each["image"] for each in seen.examples], [part["frame"] for part in seen.parts]
    sound, info = audio.decode(path, longest) if modality == "av" else (None, None)
    return Exhibit(**told, sound=sound, seconds=info and info.seconds, faces=pictures, frames=frames)


def safely(
    path: str, modality: str, options: dict[str, Any], size: int | None, longest: float
) -> tuple[Exhibit | None, str]:
    """(exhibit, '') of `of_file`, or (None, reason): what a worker process calls."""

    def collect(path, modality, options):
        return of_file(path, modality, options, size, longest)

    found, why = decoding.safely(path, modality, options, collect)
    return (None if why else found), why
