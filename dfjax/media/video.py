"""Frames of a video, evenly spread over it, by FFmpeg in software (which reads yuv444p H.264 too)."""

import contextlib
import dataclasses
from collections.abc import Iterator

import av
import numpy as np
from av.stream import Disposition
from etils import epath
from jaxtyping import UInt8

from dfjax.media import MediaError, containers
from dfjax.media.audio import av_reason, local

MAX_PIXELS = 1 << 26  # per frame, 8192 x 8192: larger is a damaged header
MIN_SIDE = 16  # pixels
COVER = Disposition.attached_pic


@dataclasses.dataclass(frozen=True)
class Frame:
    """One decoded frame."""

    index: int  # of the frame in the video, from 0
    seconds: float  # from the first frame
    image: UInt8[np.ndarray, "height width 3"]  # RGB, turned upright


def frames(path: epath.PathLike, count: int, threads: int = 1) -> Iterator[Frame]:
    """`count` frames at the middles of `count` equal stretches of the video; all frames of a shorter one.

    Packets are counted first, since headers may lie; then the video is decoded up to the last frame wanted.

    Args:
      path: of the video.
      count: how many frames.
      threads: of the decoder; 0 for as many as there are cores.

    Raises:
      MediaError: unreadable or corrupt, no picture stream, or sizes that no video has.
    """
    path = epath.Path(path)
    with _opened(path) as (container, stream):
        # a clip that was cut out without encoding begins with frames that only the others need, which nobody is shown
        stamps = [packet.dts for packet in container.demux(stream) if packet.size and not packet.is_discard]
    total = len(stamps)
    if total == 0:
        raise MediaError("no frames")
    wanted = sorted({int((k + 0.5) * total / count) for k in range(count)})
    found = 0
    with _opened(path) as (container, stream):
        stream.codec_context.thread_count = threads
        stream.thread_type = "AUTO"
        # AVI holds no times of its frames: FFmpeg's are in the file's order, which with B-frames is not theirs
        in_order = container.format.name == "avi" and None not in stamps
        start = None
        for index, frame in enumerate(container.decode(stream)):
            # packets and frames are as many, and one after the other both
            time = float(stamps[min(index, total - 1)] * stream.time_base) if in_order else frame.time or 0.0
            start = time if start is None else start
            if index == wanted[found]:
                seconds = max(time - start, 0.0)
                yield Frame(index, seconds, _upright(frame.to_ndarray(format="rgb24"), frame.rotation))
                found += 1
                if found == len(wanted):
                    return
    # a few frames at the start or end may lack the frame they refer to
    if found < 0.5 * len(wanted):
        raise MediaError(f"truncated: only {found} of {len(wanted)} frames could be decoded")


@contextlib.contextmanager
def _opened(path: epath.Path):
    """The container and its first stream of pictures that is no cover, with FFmpeg's errors as MediaError."""
    with local(path) as source:
        try:
            with containers.opened(source) as container:
                # a sound file's cover is a stream of one picture
                moving = [found for found in container.streams.video if not found.disposition & COVER]
                if not moving:
                    raise MediaError("no picture stream")
                stream = moving[0]
                if stream.codec_context is None:
                    raise MediaError("no decoder for its pictures")
                width, height = stream.codec_context.width, stream.codec_context.height
                if min(width, height) < MIN_SIDE or width * height > MAX_PIXELS:
                    raise MediaError(f"frames of {width} x {height} pixels")
                yield container, stream
        except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
            raise MediaError(f"corrupt: {av_reason(error)}") from error


def _upright(image: UInt8[np.ndarray, "height width 3"], rotation: int) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """The picture as a player shows it; `rotation`: degrees counterclockwise, from the display matrix."""
    return np.ascontiguousarray(np.rot90(image, round(rotation / 90) % 4))
