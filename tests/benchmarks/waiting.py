"""How long the steps of the default detectors wait for the streaming feed: python -m tests.benchmarks.waiting

Trains as `dfjax.run` does, on prepared clips of 2 s and on JPEGs of 512 pixels, once from the stream and once with the split in
memory. `waiting` is the share of the loop, from the end of the first step on and without validation, in which it fetches data:
reading that steps before hide is not in it. `times` is the rate of the stream by that of the split in memory.
"""

import dataclasses
import pathlib
import tempfile
import time
from unittest import mock

from dfjax.data import feeds
from dfjax.runtime import process
from dfjax.training import train
from experiments import audio_texture, image_focal
from tests import prepared
from tests.benchmarks import rows

COUNTS = {"train": (900, 100), "validation": (12, 6)}
DETECTORS = {  # name -> experiment, words of its data, steps
    "texture": (audio_texture.get_config("made"), {"seconds": 2.0}, 100),
    "cnn_small": (image_focal.get_config("folder_image"), {"modality": "image", "jpeg": 512}, 30),
}


def loop(config, workdir: pathlib.Path, directory: pathlib.Path) -> tuple[float, float]:
    """(seconds of the loop, share of them spent waiting) of a training."""
    waits, make = [], feeds.make

    def timed(*args, **words):
        feed = make(*args, **words)

        def take(step):
            began = time.perf_counter()
            data = feed.take(step)
            waits.append(time.perf_counter() - began)
            return data

        return dataclasses.replace(feed, take=take)

    with mock.patch.object(feeds, "make", timed):
        found = train.train(config, workdir, directory, progress=False)
    seconds = found["seconds"] - found["first_step_seconds"] - sum(found["judged"])
    return seconds, sum(waits[1:]) / seconds


def main() -> None:
    """Prints two rows per detector."""
    for name, (config, words, steps) in DETECTORS.items():
        config.train.update({"steps": steps, "eval_every": steps})
        config.optim.warmup_steps = 5
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            directory = prepared.make(folder / "data", counts=COUNTS, **words)
            found = {}
            for feed in ("resident", "streaming"):
                config.data.feed = feed
                found[feed] = loop(config, folder / feed, directory)
        (whole, _), (streamed, waiting) = found["resident"], found["streaming"]
        examples = (steps - 1) * config.train.batch
        rows.show(f"{name}, streaming", examples / streamed, "examples/s", whole / streamed)
        rows.show(f"{name}, waiting for data", 100 * waiting, "%")


if __name__ == "__main__":
    process.use_all_cores()
    main()
