"""Time and memory of `dfjax.stats FOLDER`: python -m tests.benchmarks.survey [files in thousands ...].

A folder with the names of eight datasets, the files shared among them; memory is the peak resident set of the process. The files
hold no media, so nothing is decoded. Expected on 2 cores: 300,000 files in under 30 s; memory grows with the largest dataset, by
.1 KiB for each of its files, not with the folder.
"""

import pathlib
import subprocess
import sys
import tempfile

from tests.benchmarks import indexing

MEASURE = """
import json, resource, sys, time
from dfjax.planning import survey
peak = lambda: round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
before, start, cpu = peak(), time.perf_counter(), time.process_time()
found = survey.of_folder(sys.argv[1], int(sys.argv[2]))
wall, used = time.perf_counter() - start, time.process_time() - cpu
clips = sum(facts["splits"]["all"]["total"] for facts in found["datasets"])
names = [facts["dataset"] for facts in found["datasets"]]
print(json.dumps({"clips": clips, "datasets": len(names), "problems": len(found["problems"]), "audited": int(sys.argv[2]),
    "seconds": round(wall, 1), "cpu_seconds": round(used, 1), "imports_mb": before, "peak_mb": peak()}))
"""


def main():
    """Prints one JSON line per size, with and without the audit of headers."""
    for thousands in map(int, sys.argv[1:] or ("100", "300")):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            indexing.FILES = thousands * 1000 // 4
            for i, tree in enumerate(indexing.TREES.values()):
                tree(root / f"user {i}" / "archive")
            for audited in ("0", "1000"):
                subprocess.run([sys.executable, "-c", MEASURE, folder, audited], check=True)


if __name__ == "__main__":
    main()
