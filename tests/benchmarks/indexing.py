"""Time and memory of indexing 100,000 files: python -m tests.benchmarks.indexing [dataset ...].

Every dataset runs in a process of its own; memory is the growth of its peak resident set over the imports.
Expected: 1 to 3 s of CPU time and 8 to 16 MiB for each, whatever the layout; wall time is the disk's.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from tests.data_builders import trees

FILES = 100_000


def faces_140k(root):
    """50,000 pictures per class, with their CSVs."""
    for split, share in (("train", 0.7), ("valid", 0.15), ("test", 0.15)):
        rows = ["a,original_path,id,label,label_str,path"]
        for i in range(int(FILES * share) // 2):
            for label in ("real", "fake"):
                rows.append(f"0,/x,{i},{int(label == 'real')},{label},{split}/{label}/{i}.jpg")
        _touch(root, [row.rpartition(",")[2] for row in rows[1:]])
        trees.put(root, f"{split}.csv", data="\n".join(rows).encode())


def asvspoof2019_la(root):
    """The published protocols in number: 9 spoofed to 1."""
    for part, letter, kind, share in (("train", "T", "trn", 0.2), ("dev", "D", "trl", 0.2), ("eval", "E", "trl", 0.6)):
        names = [f"LA_{letter}_{1_000_000 + i}" for i in range(int(FILES * share))]
        lines = [
            f"LA_{letter}{i % 20:03d} {name} - " + ("- bonafide" if i % 10 == 0 else "A01 spoof")
            for i, name in enumerate(names)
        ]
        _touch(root, [f"ASVspoof2019_LA_{part}/flac/{name}.flac" for name in names])
        path = f"ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{part}.{kind}.txt"
        trees.put(root, path, data="\n".join(lines).encode())


def wavefake(root):
    """One real corpus and seven vocoders; the split is made here, by utterance."""
    names = [f"LJ{i // 300:03d}-{i % 300:04d}" for i in range(FILES // 8)]
    _touch(root, [f"LJSpeech-1.1/wavs/{name}.wav" for name in names])
    vocoders = "melgan melgan_large full_band_melgan multi_band_melgan parallel_wavegan hifiGAN waveglow".split()
    for vocoder in vocoders:
        _touch(root, [f"generated_audio/ljspeech_{vocoder}/{name}_gen.wav" for name in names])


def faceforensics(root):
    """Extracted frames: 16 of each of 1,000 originals and 5,000 fakes."""
    trees.ff_lists(root)
    pairs = [pair for name in ("train", "val", "test") for pair in json.loads((root / f"{name}.json").read_text())]
    frames = [f"{i:04d}.png" for i in range(FILES // 6000)]
    for a, b in pairs:
        originals = [f"original_sequences/youtube/c23/frames/{i}/{f}" for i in (a, b) for f in frames]
        fakes = [
            f"manipulated_sequences/{method}/c23/frames/{stem}/{f}"
            for method in ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")
            for stem in (f"{a}_{b}", f"{b}_{a}")
            for f in frames
        ]
        _touch(root, originals + fakes)


def _touch(root, names):
    for folder in {name.rpartition("/")[0] for name in names}:
        pathlib.Path(root, folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        with open(f"{root}/{name}", "wb") as file:
            file.write(b"x")


TREES = {tree.__name__: tree for tree in (faces_140k, asvspoof2019_la, wavefake, faceforensics)}

MEASURE = """
import resource, sys, time
import data_builders
from tests.benchmarks import rows
module = sys.modules[data_builders.load(sys.argv[1]).__module__]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, start, cpu = peak(), time.perf_counter(), time.process_time()
index = module.index(sys.argv[2])
wall, used = time.perf_counter() - start, time.process_time() - cpu
rows.show(sys.argv[1], wall, "s", files=len(index.items), cpu_seconds=used)
rows.show(f"{sys.argv[1]}, growth", peak() - before, "MiB", peak_mib=peak())
"""


def main():
    """Prints two rows per dataset."""
    for name in sys.argv[1:] or TREES:
        with tempfile.TemporaryDirectory() as folder:
            TREES[name](pathlib.Path(folder))
            subprocess.run([sys.executable, "-c", MEASURE, name, folder], check=True)


if __name__ == "__main__":
    main()
