"""Files of sound and moving pictures as FFmpeg opens them: each by itself, whatever it names."""

from typing import IO

import av
from av.container import InputContainer

from dfjax.media import MediaError

LISTS = {"concat", "hls", "applehttp", "dash", "webm_dash_manifest", "imf"}  # names of FFmpeg's demuxers


def opened(source: str | IO[bytes], metadata_errors: str = "ignore") -> InputContainer:
    """A container to be read from its beginning; nothing is read over the network.

    Args:
      source: name of a local file, or an open one.
      metadata_errors: what becomes of texts that are no UTF-8, as `bytes.decode` names it.

    Raises:
      MediaError: it is a list of other files, whose sound or pictures would be taken for its own.
      av.FFmpegError, OSError, ValueError, MemoryError: it cannot be read.
    """
    if not isinstance(source, str):
        source.seek(0)
    container = av.open(source, metadata_errors=metadata_errors, options={"protocol_whitelist": "file"})
    if LISTS.intersection(container.format.name.split(",")):
        container.close()
        raise MediaError("a list of other files; give those")
    return container
