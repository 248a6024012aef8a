"""Files of many requests to verdicts: decoded by worker processes, scored together."""

import concurrent.futures
import queue
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from dfjax.inference import scoring
from dfjax.inference.detector import Detector
from dfjax.media import MediaError
from dfjax.media.evidence import Evidence
from dfjax.records import SAMPLE_RATE
from dfjax.runtime import workers

DECODER = "dfjax.media.evidence:safely"
STOP = object()  # in a queue: nothing comes after it
LONGEST = 3600.0  # seconds of a recording: a small file can hold hours, and others wait while they are scored
ENOUGH = 1024  # windows or faces that wait to be scored, 130 MB of sound: with more of them decoders wait, a file each


class Judge:
    """`submit` a file; the verdict is the result of what it returns. Threads wait for worker processes and for JAX."""

    def __init__(self, detector: Detector, *, jobs: int, seconds: float, memory: int):
        """Starts nothing.

        Args:
          detector: that judges.
          jobs: processes that decode.
          seconds: that decoding a file may take; its process is ended then.
          memory: bytes that decoding a file may take.
        """
        self.detector, self.seconds, self.memory = detector, seconds, memory
        self.batches: list[int] = []  # files that were scored together, of the last batches
        self.held = 0  # windows or faces that were decoded and are not scored yet
        self._room = threading.Condition()
        self._files: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._decoders = [threading.Thread(target=self._decode, daemon=True) for _ in range(jobs)]
        self._scorer = threading.Thread(target=self._score, daemon=True)

    def start(self) -> None:
        """Compiles what a file can need, then starts."""
        for example in shapes(self.detector):
            self.detector.outputs([example])
        for thread in (*self._decoders, self._scorer):
            thread.start()

    def submit(self, path: str) -> concurrent.futures.Future[dict[str, Any]]:
        """A future: the verdict on a file as a `Detector` returns it, or MediaError that says why there is none."""
        future: concurrent.futures.Future[dict[str, Any]] = concurrent.futures.Future()
        self._files.put((future, path))
        return future

    def close(self) -> None:
        """Finishes what was submitted; returns when all of it is answered."""
        for _ in self._decoders:
            self._files.put(STOP)
        for thread in self._decoders:
            thread.join()
        self._seen.put(STOP)
        self._scorer.join()

    def _decode(self) -> None:
        detector = self.detector
        words = (*detector.media, detector.model.size, 0.0, detector.typicality is not None, LONGEST)
        taken: list[concurrent.futures.Future] = []

        def tasks() -> Iterator[tuple[concurrent.futures.Future, tuple, float]]:
            for future, path in iter(self._files.get, STOP):
                if future.set_running_or_notify_cancel():  # nobody waits for the others any more
                    taken[:] = [future]
                    yield future, (path, *words), self.seconds
            taken.clear()

        while True:
            try:
                for future, result, death in workers.run(DECODER, tasks(), 1, memory=self.memory, ahead=False):
                    seen, why = result or (None, death)
                    if seen is None:
                        future.set_exception(MediaError(why))
                    else:
                        with self._room:
                            self._room.wait_for(lambda: self.held < ENOUGH)
                            self.held += len(seen.examples)
                        self._seen.put((future, seen))
                return
            except workers.WorkerError:  # the machine has no room for a process: this file's turn is over
                taken[0].set_exception(MediaError("no process could be started to decode it"))

    def _score(self) -> None:
        while (first := self._seen.get()) is not STOP:
            waiting = [first]
            while not self._seen.empty():  # what came while the last batch was computed
                waiting.append(self._seen.get())
            stopped = waiting[-1] is STOP
            self._answer([each for each in waiting if each is not STOP])
            if stopped:
                return

    def _answer(self, waiting: list[tuple[concurrent.futures.Future, Evidence]]) -> None:
        self.batches = [*self.batches[-99:], len(waiting)]
        groups = (((future, seen), self.detector.examples(seen)) for future, seen in waiting)
        try:
            for (future, seen), found in scoring.across_groups(self.detector.outputs, groups, self.detector.batch):
                future.set_result(self.detector.decide(seen.parts, seen.properties, seen.facts, found))
        except Exception as error:  # whatever it is, these requests get an answer and the next are judged
            for future, _ in waiting:
                if not future.done():
                    future.set_exception(error)
        with self._room:
            self.held -= sum(len(seen.examples) for _, seen in waiting)
            self._room.notify_all()


def shapes(detector: Detector) -> Iterator[dict[str, np.ndarray]]:
    """An example of every shape that a file can have."""
    takes = detector.model
    if takes.modality == "audio":
        for size in (takes.samples,) if takes.samples else scoring.BUCKETS:
            yield scoring.audio_example(np.ones(size, np.int16), takes.samples)
        return
    picture = {"image": np.zeros((takes.size, takes.size, 3), np.uint8)}
    yield picture | ({"audio": np.zeros(SAMPLE_RATE, np.int16)} if takes.modality == "av" else {})
