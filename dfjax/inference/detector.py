"""A detector that judges files: their windows or faces scored, and a verdict at the stored threshold.

detector = dfjax.load("runs/audio_focal")
detector("voicemail.mp3")["verdict"]

Nothing here knows how it was trained, or needs what training needs: JAX, NumPy and decoders are enough.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import numbers
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Shaped

from dfjax.decide import known_real
from dfjax.decide.typicality import Typicality, whole
from dfjax.inference import scoring, verdict
from dfjax.media import audio, evidence, faces, images
from dfjax.media.evidence import Evidence
from dfjax.media.facts import sha256
from dfjax.media.properties import looks
from dfjax.records import PARTS, SAMPLE_RATE, Input, InputError
from dfjax.runtime import workers

Source = Any  # a path, or what NumPy makes an array of

MAX_OVERLAP = 0.9  # more would make a window of every few samples
FEW = 8  # files; up to so many are decoded before a worker process would have started


@dataclasses.dataclass(frozen=True)
class KnownReal:
    """Files known to be real, of one place, as a detector scored them: what `adapted` takes, in any process."""

    scores: tuple[float, ...]  # sorted: their order says nothing of a place
    paths: frozenset[str]  # by `_real_path`
    digests: frozenset[str]  # SHA-256 of each

    @classmethod
    def of(cls, found: Sequence[Mapping[str, Any]], *, paths: Iterable[str], digests: Iterable[str]) -> "KnownReal":
        """Those of these verdicts, as `Detector.many` gives them.

        Raises:
          InputError: one of them cannot be judged.
        """
        if skipped := [each for each in found if "skipped" in each]:
            first = skipped[0]
            raise InputError(
                f"{len(skipped)} of {len(found)} files known to be real cannot be judged; first {first['file']}: "
                f"{first['skipped']}; leave them out"
            )
        return cls(tuple(sorted(each["score"] for each in found)), frozenset(paths), frozenset(digests))


@dataclasses.dataclass(frozen=True)
class Detector:
    """A trained detector, ready to judge files: call it, or `many` for a stream of them."""

    architecture: str  # a key of `models.MODELS`
    outputs: Callable[[list[dict]], Mapping[str, Any]]  # up to `batch` examples -> as `scorers.make_judge`
    decision: dict
    model: Input
    heat: Callable[[Array], Array]  # (1, size, size, 3) in [0, 1] -> (1, size, size) heat map
    media: tuple[str, dict]  # how faces were cut out when the training data were prepared
    batch: int = 8  # examples that are scored at once, of one file or of many: the same sums, so the same bits
    typicality: Typicality | None = None  # of what it was trained on; None of a run that did not learn it
    card: str | None = None  # the model card, of a detector that comes with one
    hashes: Callable[[], dict[str, str]] = dict  # SHA-256 of `weights`, and of the files of decision and typicality
    known: KnownReal | None = None  # the files `with_known_real`

    @property
    def threshold(self) -> float:
        """The logit from which on a clip is called fake."""
        return float(self.decision["threshold"])

    def __call__(self, source: Source, *, overlap: float = 0.0) -> dict[str, Any]:
        """The verdict on one file, or on one waveform or picture in memory.

        Args:
          source: a path; or for a detector of voices mono sound at 16 kHz, (samples,) float in [-1, 1] or int16, for
            one of pictures (height, width, 3) uint8 RGB: NumPy's, JAX's, or what else NumPy makes an array of.
          overlap: the share that a recording's windows have in common, from 0 to MAX_OVERLAP.

        Returns:
          `verdict` ('fake', 'real' or 'uncertain'), `reasons` of an uncertain one, in words; `typicality`, `p_value`
          and `reasons` (None if the run did not learn it); `probability` of fake, `log10_likelihood_ratio` (fake over
          real; None without calibration data of both), `score` (logit), `threshold`, `spread`, `above`, which say what
          the score alone would, and the scores along the time line: `windows`, `seconds` and, of a file in a lossy
          format of sound, `coding` (its `codec` and `bit_rate` in bit/s of a channel), or `frames` and
          `frames_without_face`; `lines`, if upsampling left any that are plain: their `rate` in Hz, its `deviations`
          out of noise in the window where they are plainest, and what they add to the `logit`, on the mean over the
          windows; `levels`, if samples take few: how many `per_octave`, and likewise the `logit`; `notes`,
          if there are any, lines on what of the file was not judged, and on those; and of a detector
          `with_known_real` files `known_real`: how many `files`, their `mean_score`, the threshold `without` them, and
          the `p_value`: a real file of their place scores so high with that probability at most.

          A verdict is uncertain if the file is not typical of the training data, as `typicality` says of the mean
          embedding and the median properties of up to `properties.LOOKS` windows or frames, or if the score lies in
          the decision's band without a verdict.

        Raises:
          MediaError: the file cannot be judged; the message is the reason.
          InputError: the array is not of a kind that the detector takes, or the overlap is none.
        """
        check(overlap)
        seen = self._look(source, overlap)
        ((_, found),) = scoring.across_groups(self.outputs, [(None, self.examples(seen))], self.batch)
        return self._noted(source, self.decide(seen.parts, seen.properties, seen.facts, found))

    def with_known_real(
        self, paths: Iterable[str | pathlib.Path], *, overlap: float = 0.0, jobs: int | None = None
    ) -> "Detector":
        """This detector for the place of some files that are known to be real: the same speaker, microphone, channel.

        Their scores say where those of real files of that place lie; threshold and calibration follow, as
        `decide.known_real` tells.

        Args:
          paths: of the files, one or more, in any order; one that is named twice, or by a link, counts once.
          overlap: as a call takes it; give both the same.
          jobs: as `many` takes it.

        Raises:
          InputError: none is given, or one of them cannot be judged; the detector knows nothing of such files: its
            threshold was not chosen on sources left out, or is certified; something else than paths is given.
        """
        known_real.check(self.decision)
        if isinstance(paths, (str, bytes, os.PathLike)):
            raise InputError(f"{paths!r} is one path; give a list of files that are known to be real")
        plain = known_real.plain(self.decision)
        files = {_real_path(path): path for path in map(_path, paths)}
        found = list(dataclasses.replace(self, decision=plain).many(files.values(), overlap=overlap, jobs=jobs))
        digests = {sha256(each["file"]) for each in found if "skipped" not in each}
        return self.adapted(KnownReal.of(found, paths=files, digests=digests))

    def adapted(self, known: KnownReal) -> "Detector":
        """This detector as `with_known_real` makes it, by files that one of the same weights has scored.

        Raises:
          InputError: they are none; the detector knows nothing of such files.
        """
        decision = known_real.adapt(known_real.plain(self.decision), np.array(known.scores, np.float32))
        own = {"scores of files known to be real": hashlib.sha256(json.dumps(known.scores).encode()).hexdigest()}
        hashes = lambda: {**self.hashes(), **own}  # noqa: E731
        return dataclasses.replace(self, decision=decision, hashes=hashes, known=known)

    def _noted(self, source: Source, decided: dict[str, Any]) -> dict[str, Any]:
        """A verdict, with a note where the file is itself one of those known to be real."""
        named = self.known and isinstance(source, (str, os.PathLike))
        return verdict.noted(decided) if named and _real_path(source) in self.known.paths else decided

    def name(self, overlap: float = 0.0) -> str:
        """What verdicts depend on beside the file, as one short word: model, weights, decision, typicality, overlap."""
        modality, options = self.media
        if path := options.get("face_model"):  # its bytes, wherever they lie
            options = options | {"face_model": faces.model_digest(path)}
        words = json.dumps([self.hashes(), (modality, options), overlap], sort_keys=True, default=str)
        return f"{self.architecture}-{hashlib.sha256(words.encode()).hexdigest()[:12]}"

    def many(
        self, paths: Iterable[str | pathlib.Path], *, overlap: float = 0.0, jobs: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """A verdict per file, in order, each with `file`; of one that cannot be judged only `file` and `skipped`.

        They are the verdicts that a call gives of each. Memory does not grow with the number of files.

        Args:
          paths: of the files; read as files are wanted, so it may be a generator.
          overlap: as a call takes it.
          jobs: processes that decode; a crash or a hang of a decoder there costs one file. 0: this process decodes.
            None: one per core, or none for up to FEW files.

        Raises:
          InputError: the paths are one path, or something else is among them; overlap or jobs are none.
        """
        known: dict[int, dict[str, Any]] = {}
        wanted = 0
        for position, found in self.unordered(paths, overlap=overlap, jobs=jobs):
            known[position] = found
            while wanted in known:
                yield known.pop(wanted)
                wanted += 1

    def unordered(
        self, paths: Iterable[str | pathlib.Path], *, overlap: float = 0.0, jobs: int | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """(position, verdict) of every file as `many`, which takes the same, gives it, each as soon as it is known.

        Raises:
          InputError: as of `many`.
        """
        check(overlap, jobs)
        if isinstance(paths, (str, bytes, os.PathLike)):
            raise InputError(f"{paths!r} is one path; call the detector with it, or give a list of paths")

        def groups() -> Iterator[tuple[tuple, list[dict]]]:
            for (position, path), seen, why in self._evidence(paths, overlap, jobs):
                # the samples go with the examples, as soon as they are scored
                rest = (seen.parts, seen.properties, seen.facts) if seen else None
                yield (position, path, rest, why), self.examples(seen) if seen else []

        for (position, path, rest, why), found in scoring.across_groups(self.outputs, groups(), self.batch):
            told = self._noted(path, self.decide(*rest, found)) if rest else {"skipped": why}
            yield position, {"file": path, **told}

    def _evidence(self, paths, overlap: float, jobs: int | None) -> Iterator[tuple[tuple[int, str], Evidence, str]]:
        """((position, path), evidence, reason) of every file, as they are done; evidence or reason."""
        paths = map(_path, paths)
        if jobs is None:
            first = list(itertools.islice(paths, FEW + 1))
            paths, jobs = itertools.chain(first, paths), workers.cores() if len(first) > FEW else 0
        words = (*self.media, self.model.size, overlap, self.typicality is not None)
        tasks = (((k, path), (path, *words), evidence.patience(path)) for k, path in enumerate(paths))
        for key, result, death in workers.run("dfjax.media.evidence:safely", tasks, jobs):
            yield key, *(result or (None, f"{death}"))

    def _look(self, source: Source, overlap: float) -> Evidence:
        described = self.typicality is not None
        if isinstance(source, (str, os.PathLike)):
            words = {"size": self.model.size, "overlap": overlap, "described": described}
            return evidence.of_file(source, *self.media, **words)
        values = _array(source)
        if self.model.modality == "av":
            raise InputError("an array given to a detector that looks and listens; expected the path of a video")
        if self.model.modality != "audio":
            with images.as_file(values) as path:
                return self._look(path, overlap)
        samples = audio.from_array(values)
        return evidence.of_sound(samples, len(samples) / SAMPLE_RATE, overlap=overlap, described=described)

    def examples(self, seen: Evidence) -> list[dict[str, np.ndarray]]:
        """What `outputs` takes of a file's evidence."""
        if self.model.modality != "audio":
            return seen.examples
        return [scoring.audio_example(example["audio"], self.model.samples) for example in seen.examples]

    def decide(self, parts: list[dict], properties: list[dict], facts: dict, found: Mapping) -> dict[str, Any]:
        """The verdict on a file, as a call returns it.

        Args:
          parts: when each window or face is, see `Evidence`.
          properties: of some of them, likewise.
          facts: of the whole, likewise.
          found: what `outputs` said of all windows or faces.
        """
        sound, scores = self.model.modality == "audio", found["score"]
        frames = np.arange(len(scores)) if sound else np.array([part["frame"] for part in parts])
        decided = verdict.of_scores(self.decision, scores, np.unique(frames, return_inverse=True)[1])
        decided |= self._typical(decided, properties, facts.get("coding"), found)
        if "parts" in found:
            decided["parts"] = dict(zip(PARTS, found["parts"].mean(axis=0).tolist(), strict=True))
        notes = list(facts.get("notes", []))
        if lines := verdict.plain_lines(found):
            decided["lines"] = lines
            notes.append(verdict.of_lines(lines))
        if levels := verdict.few_levels(found):
            decided["levels"] = levels
            notes.append(verdict.of_levels(levels))
        facts = {**facts, "notes": notes} if notes else facts
        timeline = [part | {"score": float(score)} for part, score in zip(parts, scores, strict=True)]
        # sound: {'seconds', 'windows'}, pictures: {'frames', 'frames_without_face'}; of both perhaps 'notes'
        return {**decided, **facts, "windows": timeline} if sound else {**decided, "frames": timeline, **facts}

    def _typical(
        self, decided: dict[str, Any], properties: list[dict], coding: dict | None, found: Mapping
    ) -> dict[str, Any]:
        # what changes in a verdict because of what the file is like
        if self.typicality is None:
            return {"typicality": None}
        embeddings = found["embedding"][looks(len(found["embedding"]))]
        columns = {name: np.array([each[name] for each in properties]) for name in properties[0]}
        judged = self.typicality.judge(*whole(embeddings, columns), coding)
        reasons = [*decided["reasons"], *judged["reasons"]]
        changed = {"typicality": {"p_value": judged["p_value"], "reasons": judged["reasons"]}, "reasons": reasons}
        return changed | ({} if judged["typical"] else {"verdict": verdict.UNCERTAIN})


def digest(arrays: Mapping[str, Any]) -> str:
    """SHA-256 of a detector's weights with their names, types and shapes: the same wherever they lie.

    Args:
      arrays: name -> array, as `weights.flatten` names them.
    """
    found = hashlib.sha256()
    for name in sorted(arrays):
        leaf = np.asarray(arrays[name])
        found.update(f"{name} {leaf.dtype} {leaf.shape}\n".encode())
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.hexdigest()


def check(overlap: float, jobs: int | None = None) -> None:
    """Raises InputError where a detector takes no such overlap of windows, or no such number of processes."""
    if not isinstance(overlap, numbers.Real) or not 0 <= overlap <= MAX_OVERLAP:  # nan is not, either
        raise InputError(f"overlap {overlap!r}: expected a share from 0 to {MAX_OVERLAP}")
    if jobs is not None and (not isinstance(jobs, numbers.Integral) or jobs < 0):
        raise InputError(f"jobs {jobs!r}: expected 0 or more processes, or None")


def _path(given: Any) -> str:
    if not isinstance(given, (str, os.PathLike)):
        kind = type(given).__name__
        raise InputError(f"{kind} among the paths; expected a str or a Path (an array in memory: call the detector)")
    return str(given)


def _real_path(path: str | os.PathLike) -> str:
    """The same for all names of a file."""
    return os.path.abspath(path) if "\0" in str(path) else os.path.realpath(path)


def _array(source: Any) -> Shaped[np.ndarray, "..."]:
    """What is in memory as NumPy's array, in the byte order of this machine."""
    kind = type(source).__name__
    if not np.ma.isMaskedArray(source):  # what its mask hides would be judged as if it were not
        with contextlib.suppress(TypeError, ValueError, RuntimeError):  # (samples, rate), another device's tensor
            array = np.asarray(source)
            if array.ndim and array.dtype.kind in "biufc":
                return array.astype(array.dtype.newbyteorder("="), copy=False)
    raise InputError(
        f"{kind} given; expected a path, or an array: sound at 16 kHz, (samples,) int16 or float in [-1, 1], or a "
        "picture, (height, width, 3) uint8"
    )


def with_face_model(media: tuple[str, dict], face_model: str | None) -> tuple[str, dict]:
    """How a detector's media are prepared, with the file that finds their faces, where there are any.

    Args:
      media: modality and crop options, which may have the SHA-256 of the file that found the training faces as
        `face_model`; data prepared by earlier versions did not note it.
      face_model: the file given.

    Raises:
      InputError: the faces of its training data were found by YuNet, and its file is not given; or a file is given
        that does not exist, that is not YuNet, that is another than theirs, or that finds nothing since they were not
        found by YuNet.
    """
    modality, options = media
    yunet = modality != "audio" and options.get("detector") == "yunet"
    if face_model is not None and not yunet:
        raise InputError(f"--face_model {face_model} is for detectors whose faces were found by YuNet; leave it out")
    if yunet and face_model is None:
        raise InputError("the faces of this run's data were found by YuNet; give its .onnx file as --face_model")
    if yunet and not os.path.isfile(str(face_model)):
        raise InputError(f"--face_model {face_model} is not a file; give the path of a YuNet .onnx model")
    if modality == "audio":
        return modality, options
    if face_model is not None:
        faces.check_model(face_model)
        if (known := options.get("face_model")) not in (None, faces.model_digest(face_model)):
            raise InputError(
                f"--face_model {face_model} is another YuNet than the one that found the faces of this run's data; "
                f"give that one, whose SHA-256 is {known}"
            )
    return modality, options | {"face_model": face_model}
