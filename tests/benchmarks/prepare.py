"""What preparation costs beyond its unavoidable work: python -m tests.benchmarks.prepare SOURCE [YUNET.onnx].

SOURCE is a folder_image tree of videos. Reference: the same worker processes decode the same frames and
find the faces in them, no more. Preparation also starts up, indexes, compares contents, crops,
encodes, keeps a resumable cache, writes records and reads them back. The two alternate; medians are compared.
Expected: at most 1.3.
"""

import statistics
import sys
import tempfile
import time

from etils import epath

from data_builders import preparing
from data_builders.folder_image.folder_image_dataset_builder import index
from dfjax import prepare
from dfjax.media import faces, video
from dfjax.runtime import workers

ROUNDS = 3
FRAMES = 32


def decode_and_detect(path, detector, model):
    """The unavoidable work on one clip; returns the number of faces."""
    find = faces.find_with(detector, model)
    return sum(len(find(frame.image)[:1]) for frame in video.frames(path, FRAMES))


def main():
    source, model = sys.argv[1], (sys.argv[2:] or [None])[0]
    detector = "haar" if model is None else "yunet"
    clips = [str(item.path) for item in index(epath.Path(source), preparing.MediaConfig()).items]
    times = {"reference": [], "preparation": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        tasks = ((clip, (clip, detector, model), 600.0) for clip in clips)
        found = sum(n for _, n, _ in workers.run(f"{__spec__.name}:decode_and_detect", tasks, workers.cores()))
        times["reference"].append(time.perf_counter() - start)
        with tempfile.TemporaryDirectory() as out:
            start = time.perf_counter()
            directory = prepare.prepare("folder_image", source, out, progress=False, face_model=model, frames=FRAMES)
            times["preparation"].append(time.perf_counter() - start)
            counts = prepare.summary(directory)["counts"]
        records = sum(kind["records"] for split in counts.values() for kind in split.values())
        assert records == found, (records, found)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = medians["preparation"] / medians["reference"]
    print(f"{len(clips)} clips, {found} crops, {detector}, {workers.cores()} workers")
    print(*(f"{name} {value:.2f} s" for name, value in medians.items()), f"ratio {ratio:.2f}", sep=", ")


if __name__ == "__main__":
    main()
