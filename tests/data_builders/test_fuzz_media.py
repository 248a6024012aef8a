"""Damaged media: every one gives records or a reason, none a crash or a hang."""

import collections
import time

import numpy as np
from etils import epath

from data_builders import decoding
from dfjax.runtime import workers
from tests.data_builders import fixtures

KINDS = ("wav", "flac", "ogg", "mp3", "m4a", "jpg", "png", "webp", "bmp", "mp4", "mkv", "avi", "mpg", "gif", "mov")
MODALITY = dict.fromkeys(("jpg", "png", "webp", "bmp"), "image") | dict.fromkeys(
    ("mp4", "mkv", "avi", "mpg", "gif", "mov"), "video"
)
OPTIONS = {"frames": 4, "size": 32, "faces": "all", "image_format": "jpeg", "detector": "haar", "face_model": None}
SECONDS = 60.0  # a file that takes longer counts as a hang


def originals(folder):
    """A sound and small file of every kind, as bytes."""
    made = {}
    for kind in KINDS:
        path = folder / f"original.{kind}"
        if kind in ("mp4", "mkv", "mov"):
            fixtures.video(path, frames=12, sound=True)
        elif kind == "gif":
            from PIL import Image

            pictures = [Image.fromarray(fixtures.picture((48, 48), k)) for k in range(5)]
            pictures[0].save(path, save_all=True, append_images=pictures[1:])
        elif kind in ("mpg", "avi"):
            fixtures.video(path, frames=12)
        else:
            fixtures.write(path)
        made[kind] = path.read_bytes()
    return made


def damaged(data, how, rng, others):
    """The bytes after one kind of damage."""
    x = np.frombuffer(data, np.uint8).copy()
    if how == "truncated":
        return data[: rng.integers(0, len(data))]
    if how == "bits":  # a few flipped anywhere
        for position in rng.integers(0, len(x), rng.integers(1, 20)):
            x[position] ^= 1 << rng.integers(8)
    elif how == "header":  # the first bytes scrambled, where the sizes are
        positions = rng.integers(4, min(len(x), 200), 12)
        x[positions] = rng.integers(0, 256, len(positions))
    elif how == "absurd":  # four bytes that read as a huge number
        position = rng.integers(4, min(len(x) - 4, 120))
        x[position : position + 4] = (255, 255, 255, 127) if rng.random() < 0.5 else 255
    elif how == "zeroed":  # a stretch lost, as on a bad disk
        start = rng.integers(0, len(x))
        x[start : start + rng.integers(1, len(x))] = 0
    elif how == "renamed":  # another format under this ending
        return others[rng.integers(len(others))]
    elif how == "doubled":
        return data + data[: rng.integers(1, len(data))]
    elif how == "noise":
        return rng.bytes(rng.integers(1, 5_000))
    return x.tobytes()


HOW = ("truncated", "bits", "header", "absurd", "zeroed", "renamed", "doubled", "noise")


def test_500_damaged_files_give_records_or_a_reason(tmp_path):
    made = originals(tmp_path)
    tasks = []
    for k in range(500):
        kind, how = KINDS[k % len(KINDS)], HOW[k // len(KINDS) % len(HOW)]
        rng = np.random.default_rng(k)
        path = tmp_path / f"{k}-{how}.{kind}"
        path.write_bytes(damaged(made[kind], how, rng, list(made.values())))
        for modality in {MODALITY.get(kind, "audio"), "audio"} - ({"audio"} if kind in ("gif", "bmp") else set()):
            key = f"{path.name} as {modality}"
            tasks.append((key, (str(path), modality, OPTIONS, str(tmp_path / f"cache-{k}-{modality}")), SECONDS))
    started = time.monotonic()
    outcomes = {}
    for key, reason, death in workers.run("data_builders.decoding:decode_to_cache", iter(tasks), 2):
        outcomes[key] = reason or death
        assert not death, f"{key}: {death}"
    assert outcomes.keys() == {task[0] for task in tasks}
    assert time.monotonic() - started < 300
    for key, args, _ in tasks:  # a reason, or records that can be read back
        assert outcomes[key] or decoding.read_cached(epath.Path(args[3]))["records"]
    reasons = collections.Counter(reason.split(":")[0] for reason in outcomes.values() if reason)
    assert sum(reasons.values()) > 250, reasons
    # what no decoder raises on purpose has no name of its own
    assert not [
        reason for reason in outcomes.values() if reason.startswith(("TypeError", "AttributeError", "NameError"))
    ]
