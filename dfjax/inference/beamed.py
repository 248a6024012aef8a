"""Verdicts by an Apache Beam pipeline, for archives beyond one machine: the files of a list spread over workers.

A process of a worker loads the detector once and judges the files that it is handed in full batches, as `predict`
does on one machine; a decoder's crash or hang costs one file there, too. Workers need dfjax, and see detector and
files under the same names: on a shared file system, or the files in gs://. A pipeline that was stopped starts anew.
"""

import collections
import functools
import json
import os
import pathlib
import shlex
import threading
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from dfjax.inference import load
from dfjax.inference.detector import Detector, KnownReal
from dfjax.records import InputError

FILES = 512  # that a worker is handed at once, at most
SKIPPED = "skipped"  # counted beside the verdicts


LOADING = threading.Lock()  # of a process's threads one loads, the others take what it found


@functools.cache
def loaded(folder: str | None, face_model: str | None) -> Detector:
    """`dfjax.load`, once in a process."""
    return load(folder, face_model)


class Judge(beam.DoFn):
    """Names of files, as bytes, to their rows as lines of JSON."""

    def __init__(self, folder: str | None, face_model: str | None, overlap: float, known: KnownReal | None):
        """As `dfjax.load`, a detector's call and `Detector.adapted` take them."""
        self.words, self.overlap, self.known = (folder, face_model), overlap, known

    def setup(self) -> None:
        """Once on each thread of a worker."""
        with LOADING:
            self.detector = loaded(*self.words)
        if self.known:
            self.detector = self.detector.adapted(self.known)
        self.name = self.detector.name(self.overlap)

    def process(self, names: list[bytes]) -> Iterator[str]:
        for row in self.detector.many(map(os.fsdecode, names), overlap=self.overlap, jobs=1):
            beam.metrics.Metrics.counter("verdicts", row.get("verdict", SKIPPED)).inc()
            yield json.dumps({**row, "detector": self.name}, allow_nan=False)


def judge(
    paths: Iterable[str],
    output: str,
    *,
    folder: str | None,
    face_model: str | None,
    overlap: float,
    known: KnownReal | None,
    runner: str,
    options: str,
) -> collections.Counter[str]:
    """Writes the rows of `predict --output` to NAME-00000-of-00001.jsonl and so on, whole or not at all.

    Args:
      paths: of the files; one that is named twice is judged once.
      output: NAME.jsonl.
      folder: of the run, or the bundle; None for the detector that comes with dfjax.
      face_model: as `dfjax.load` takes it.
      overlap: share that the windows of a recording have in common.
      known: files known to be real, which adapt the detector; scored by this one.
      runner: of Beam, such as DirectRunner.
      options: of that runner, as on a command line.

    Returns:
      Files by verdict, and `skipped`.

    Raises:
      InputError: `output` ends in something else, or tables of it are there already; Beam knows no such runner or
        option.
    """
    prefix, suffix = os.path.splitext(output)
    if suffix != ".jsonl":
        raise InputError(f"--output {output}: a pipeline writes JSON lines; expected a name that ends in .jsonl")
    if "://" not in output:
        pathlib.Path(output).parent.mkdir(parents=True, exist_ok=True)
    if before := FileSystems.match([f"{prefix}-*-of-*{suffix}"])[0].metadata_list:
        raise InputError(f"--output {output}: {before[0].path} is there already; remove it or give another name")
    names = [os.fsencode(path) for path in dict.fromkeys(paths)]
    try:
        pipeline = beam.Pipeline(options=PipelineOptions(shlex.split(options), runner=runner))
    except ValueError as error:
        raise InputError(f"--beam_runner {runner} --beam_options '{options}': {error}") from error
    (
        pipeline
        | beam.Create(names)
        | beam.Reshuffle()
        | beam.BatchElements(min_batch_size=16, max_batch_size=FILES)
        | beam.ParDo(Judge(folder, face_model, overlap, known))
        | beam.io.WriteToText(prefix, file_name_suffix=suffix)
    )
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query(beam.metrics.MetricsFilter().with_namespace("verdicts"))["counters"]
    return collections.Counter({each.key.metric.name: each.result for each in counters})
