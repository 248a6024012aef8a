"""Small synthetic media, written where a test wants them. The same seed gives the same bytes."""

import pathlib
import types

import av
import cv2
import numpy as np
import soundfile


def samples(seconds=1.0, rate=16_000, channels=1, seed=0):
    """A voice-like sum of harmonics with noise, float64 (n, channels), peak 0.5; unlike for every seed."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    pitch = rng.uniform(90, 250)
    x = sum(rng.uniform(0.2, 1) / k * np.sin(2 * np.pi * k * pitch * t) for k in range(1, 6))
    x = x[:, None] + 0.01 * rng.standard_normal((len(t), channels))
    return 0.5 * x / np.abs(x).max()


def audio(path, seconds=1.0, rate=16_000, channels=1, seed=0, subtype=None):
    """A sound file in the format of its ending: by libsndfile, or AAC for .m4a, .mp4 and .mkv."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    x = samples(seconds, rate, channels, seed)
    if path.suffix.lower() not in (".m4a", ".mp4", ".aac", ".mkv"):
        soundfile.write(path, x, rate, subtype=subtype)
        return path
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="stereo" if channels == 2 else "mono")
        _encode_sound(container, stream, x, rate)
    return path


def encoded(path, codec, seconds=4.0, rate=48_000, channels=1, **options):
    """A sound file as FFmpeg's encoder and, with `options`, its container write it; '-' in front of its name: streamed.

    What is streamed cannot be gone back into, so a header tells no length.
    """
    path = pathlib.Path(path)
    streamed = path.with_name(path.name.removeprefix("-"))
    with streamed.open("wb") as file:
        target = types.SimpleNamespace(write=file.write) if streamed != path else file
        with av.open(target, "w", format=path.suffix[1:], options=options) as container:
            stream = container.add_stream(codec, rate=rate, layout="stereo" if channels == 2 else "mono")
            _encode_sound(container, stream, samples(seconds, rate, channels), rate)
    return streamed


def picture(size=(64, 64), seed=0):
    """A smooth coloured pattern with noise, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (4, 4, 3)).astype(np.float32)
    x = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.clip(x + rng.normal(0, 4, x.shape), 0, 255).astype(np.uint8)


def image(path, size=(64, 64), seed=0, pixels=None):
    """A picture file in the format of its ending; `pixels` (RGB) instead of the pattern of `seed`."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = picture(size, seed) if pixels is None else pixels
    assert cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return path


def video(path, frames=8, size=(64, 64), fps=25, seed=0, sound=False, pixel_format="yuv420p", pictures=None):
    """An H.264 video of a moving pattern, or of `pictures` (RGB), with AAC sound on request."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if pictures is None:
        pictures = [np.roll(picture(size, seed), 2 * k, axis=1) for k in range(frames)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.options = {"crf": "10", "preset": "ultrafast"}
        voice = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        for rgb in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
        if voice is not None:
            _encode_sound(container, voice, samples(len(pictures) / fps, 16_000, 1, seed), 16_000)
    return path


def _encode_sound(container, stream, x, rate):
    layout = "stereo" if x.shape[1] == 2 else "mono"
    frame = av.AudioFrame.from_ndarray(x.T.astype(np.float32).copy(), format="fltp", layout=layout)
    frame.sample_rate = rate
    container.mux(stream.encode(frame))
    container.mux(stream.encode())


def text(path, content):
    """A text file, written as it is (line ends included)."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())
    return path


def junk(folder):
    """What operating systems leave behind: never media."""
    folder = pathlib.Path(folder)
    text(folder / ".DS_Store", "x")
    text(folder / "._a.jpg", "x")
    text(folder / "Thumbs.db", "x")
    text(folder / "__MACOSX" / "a.jpg", "x")


def write(path, seed=0, **kwargs):
    """A media file of the kind that its ending names."""
    suffix = pathlib.Path(path).suffix.lower()
    if suffix in (".wav", ".flac", ".ogg", ".mp3", ".m4a"):
        return audio(path, seed=seed, **kwargs)
    if suffix in (".jpg", ".jpeg", ".png", ".bmp", ".webp"):
        return image(path, seed=seed, **kwargs)
    return video(path, seed=seed, **kwargs)


def tree(root, paths, **kwargs):
    """Writes every path (relative, '/' separated) as a small media file; returns the root."""
    for seed, path in enumerate(paths):
        write(pathlib.Path(root) / path, seed=seed, **kwargs)
    return pathlib.Path(root)
