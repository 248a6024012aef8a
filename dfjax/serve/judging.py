"""Files of many requests to verdicts and pages: decoded by worker processes, scored together, drawn one by one."""

import concurrent.futures
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from dfjax.inference import scoring
from dfjax.inference.detector import Detector
from dfjax.media import MediaError
from dfjax.media.evidence import Evidence
from dfjax.records import SAMPLE_RATE
from dfjax.runtime import workers
from dfjax.serve import log

DECODER, EXHIBITOR = "dfjax.media.evidence:safely", "dfjax.media.exhibit:safely"  # what worker processes call
STOP = object()  # in a queue: nothing comes after it
LONGEST = 3600.0  # seconds of a recording: a small file can hold hours, and others wait while they are scored
ENOUGH = 1024  # windows or faces that wait to be scored, 130 MB of sound: with more of them decoders wait, a file each


class Judge:
    """`submit` a file, or `draw` its page; the result of what they return is the verdict, or the page.

    Threads wait for worker processes and for JAX.
    """

    def __init__(self, detector: Detector, *, jobs: int, seconds: float, memory: int):
        """Starts nothing.

        Args:
          detector: that judges.
          jobs: processes that decode.
          seconds: that decoding a file may take; its process is ended then.
          memory: bytes that decoding a file may take.
        """
        self.detector, self.seconds, self.memory = detector, seconds, memory
        self.scored: Callable[[int], Any] = lambda files: None  # called with the files of each batch
        self.held = 0  # windows or faces that were decoded and are not scored yet
        self._room = threading.Condition()
        self._files: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._seen: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._drawn: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._decoders = [threading.Thread(target=self._decode, daemon=True) for _ in range(jobs)]
        self._scorer = threading.Thread(target=self._score, daemon=True)
        self._drawer = threading.Thread(target=self._draw, daemon=True)

    def start(self) -> None:
        """Compiles what a file can need, then starts."""
        for example in shapes(self.detector):
            self.detector.outputs([example])
        for thread in (*self._decoders, self._scorer, self._drawer):
            thread.start()

    def submit(self, path: str, detector: Detector | None = None) -> concurrent.futures.Future[dict[str, Any]]:
        """A future: the verdict on a file as a `Detector` returns it, or MediaError that says why there is none.

        Args:
          path: of the file.
          detector: that decides; this one, `adapted` to another place.
        """
        future: concurrent.futures.Future[dict[str, Any]] = concurrent.futures.Future()
        self._files.put((future, path, detector or self.detector))
        return future

    def draw(
        self, path: str, result: Mapping[str, Any], detector: Detector | None = None
    ) -> concurrent.futures.Future[str]:
        """The page about a file that was judged, when it is drawn; one is drawn at a time.

        Args:
          path: of the file.
          result: its verdict, with `file`, the name that the page tells.
          detector: that decided, as `submit` takes it.
        """
        future: concurrent.futures.Future[str] = concurrent.futures.Future()
        self._drawn.put((future, path, (result, detector or self.detector)))
        return future

    def alive(self) -> bool:
        """Whether all threads work; one that ended leaves files without an answer."""
        return all(thread.is_alive() for thread in (*self._decoders, self._scorer, self._drawer))

    def close(self) -> None:
        """Finishes what was submitted; returns when all of it is answered."""
        for _ in self._decoders:
            self._files.put(STOP)
        for thread in self._decoders:
            thread.join()
        self._seen.put(STOP)
        self._scorer.join()
        self._drawn.put(STOP)
        self._drawer.join()

    def _looked(self, function: str, files: queue.SimpleQueue[Any], *words: Any) -> Iterator[tuple]:
        """(future, what came with it, what a worker process made of the file) up to STOP; the others are told why."""
        taken: list[concurrent.futures.Future] = []

        def tasks() -> Iterator[tuple[tuple, tuple, float]]:
            for future, path, rest in iter(files.get, STOP):
                if future.set_running_or_notify_cancel():  # nobody waits for the others any more
                    taken[:] = [future]
                    yield (future, rest), (path, *words), self.seconds
            taken.clear()

        while True:
            try:
                for (future, rest), result, death in workers.run(function, tasks(), 1, memory=self.memory, ahead=False):
                    found, why = result or (None, death)
                    if found is None:
                        future.set_exception(MediaError(why))
                    else:
                        yield future, rest, found
                return
            except (workers.WorkerError, ImportError) as error:  # no room for a process, or it lacks a module
                log.say("error", kind=type(error).__name__, words=str(error))
                taken[0].set_exception(MediaError("no process could be started to decode it"))  # its turn is over

    def _decode(self) -> None:
        detector = self.detector
        words = (*detector.media, detector.model.size, 0.0, detector.typicality is not None, LONGEST)
        for future, decider, seen in self._looked(DECODER, self._files, *words):
            with self._room:
                self._room.wait_for(lambda: self.held < ENOUGH)
                self.held += len(seen.examples)
            self._seen.put((future, decider, seen))

    def _draw(self) -> None:
        detector = self.detector
        words = (*detector.media, detector.model.size, LONGEST)
        for future, (result, decider), shown in self._looked(EXHIBITOR, self._drawn, *words):
            try:
                from dfjax.reporting import file_page  # and with it matplotlib, which verdicts do not need

                future.set_result(file_page.page(decider, result, shown))
            except Exception as error:  # this request gets an answer and the next is drawn
                future.set_exception(error)

    def _score(self) -> None:
        while (first := self._seen.get()) is not STOP:
            waiting = [first]
            while not self._seen.empty():  # what came while the last batch was computed
                waiting.append(self._seen.get())
            stopped = waiting[-1] is STOP
            self._answer([each for each in waiting if each is not STOP])
            if stopped:
                return

    def _answer(self, waiting: list[tuple[concurrent.futures.Future, Detector, Evidence]]) -> None:
        groups = (((future, decider, seen), self.detector.examples(seen)) for future, decider, seen in waiting)
        try:
            if waiting:
                self.scored(len(waiting))
            for key, found in scoring.across_groups(self.detector.outputs, groups, self.detector.batch):
                future, decider, seen = key
                future.set_result(decider.decide(seen.parts, seen.properties, seen.facts, found))
        except Exception as error:  # whatever it is, these requests get an answer and the next are judged
            for future, *_ in waiting:
                if not future.done():
                    future.set_exception(error)
        with self._room:
            self.held -= sum(len(seen.examples) for *_, seen in waiting)
            self._room.notify_all()


def shapes(detector: Detector) -> Iterator[dict[str, np.ndarray]]:
    """An example of every shape that a file can have."""
    takes = detector.model
    if takes.modality == "audio":
        for size in scoring.shapes(takes):
            yield scoring.audio_example(np.ones(size, np.int16), takes.samples)
        return
    picture = {"image": np.zeros((takes.size, takes.size, 3), np.uint8)}
    yield picture | ({"audio": np.zeros(SAMPLE_RATE, np.int16)} if takes.modality == "av" else {})
