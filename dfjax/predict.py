"""Verdicts for any media: decode, window or crop as in training, score, probability, verdict at the stored threshold.

python -m dfjax.predict voicemail.mp3
python -m dfjax.predict --workdir runs/audio_focal voicemail.mp3 interviews/
python -m dfjax.predict --workdir runs/image_focal --heatmap maps --timeline plots portrait.jpg interview.mp4
find /archive -name '*.wav' | python -m dfjax.predict --output verdicts.jsonl -

Files are decoded by worker processes and scored in batches that are filled across files; the verdict on a file is
the same to the last bit whether it is judged alone or among a million. With --output the same command continues a run
that was killed: no file is judged twice and none is lost; --retry_skipped tries files again that could not be judged,
as of a disk that was away. --report writes a page per file. --beam_runner makes the same
rows by an Apache Beam pipeline, on as many machines as its runner has.

--known_real names files that are known to be real and from the place of those to be judged: places differ in where
scores lie, and the threshold moves there. A pipeline's workers judge at the threshold that was found where it was
built.

A file unlike what the run was trained on is `uncertain`, with the reasons, and the exit status is 3 then.

The run decides what files are taken for: a detector of voices hears them, one of faces looks at them, an audio-visual
one does both and prints the logits of picture and sound by themselves, too.
"""

import argparse
import collections
import importlib
import json
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator

import numpy as np
from etils import epath

from dfjax.decide import known_real
from dfjax.inference import load
from dfjax.inference.detector import Detector, KnownReal, check
from dfjax.inference.verdict import UNCERTAIN, along
from dfjax.media import MediaError
from dfjax.records import InputError
from dfjax.reporting import verdicts
from dfjax.runtime import cli, files, process, progress
from dfjax.runtime.listing import files_of

UNSURE = 3  # exit status where a verdict is uncertain
BARS = "▁▂▃▄▅▆▇█"
WANTED = {
    "audio": "sound that soundfile or FFmpeg reads",
    "image": "pictures or videos with a face",
    "av": "videos with a face and sound",
}


def shown(text: object) -> str:
    """A file's name for a terminal: one line, nothing that moves the cursor, bytes that are no text as '?'."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def bars(values: list[float], low: float, high: float) -> str:
    """A time line in one line of text: one block per window, taller = more likely fake, from `low` to `high`."""
    scale = (np.clip(values, low, high) - low) / (high - low or 1)
    return "".join(BARS[int(value * (len(BARS) - 1))] for value in scale)


def line(result: dict) -> str:
    """A verdict on one line: probability, time line, spread, logits of parts, file, why uncertain, what was not judged.

    In front of the file also how many frames had no face, and so no place in the time line.
    """
    told = bars(along(result)[1], result["threshold"] - 4, result["threshold"] + 4)
    told += "" if result["spread"] is None else f"  ±{result['spread']:.1f}"
    told += "".join(f"  {part} {logit:+.1f}" for part, logit in result.get("parts", {}).items())
    if faceless := result.get("frames_without_face"):
        told += f"  {faceless} of {faceless + len(along(result)[1])} frames without a face"
    reasons = "".join(f"  ({words})" for words in (*result["reasons"], *result.get("notes", ())))
    return f"{result['verdict']:<9}{result['probability']:6.1%} fake  {told}  {shown(result['file'])}{reasons}"


def parser() -> cli.Parser:
    """The command line."""
    result = cli.Parser(
        prog="python -m dfjax.predict",
        description="Verdicts for media files: fake, real, or uncertain with the reasons.",
        epilog="Exit status: 0 if every file judged got a verdict, 3 if some are uncertain, 2 after a mistake or if no "
        "file could be judged, 130 after Ctrl-C. Files that cannot be read, or not any more when they are drawn, are "
        "named, with the reason, and change nothing of it. With --output it is of all rows of the table, those of "
        "earlier runs too.",
    )
    result.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="media files or folders, without what is hidden and linked folders in them; '-': read them from stdin",
    )
    result.add_argument(
        "--files",
        metavar="LIST",
        action="append",
        default=[],
        help="text file of paths, one a line ('-': stdin), to be judged as well; may be given several times",
    )
    result.add_argument(
        "--workdir",
        metavar="RUN",
        help="a finished run, or a bundle of dfjax.export (default: the detector of speech that comes with dfjax)",
    )
    result.add_argument(
        "--known_real",
        metavar="PATH",
        action="append",
        default=[],
        help="a file, or a folder of them, known to be real and from the same place (speaker, microphone, channel) as "
        "those to be judged: the threshold moves to where real ones of that place lie; may be given several times",
    )
    result.add_argument("--heatmap", metavar="DIR", help="write where each file's most suspicious face looks fake")
    result.add_argument("--timeline", metavar="DIR", help="write a plot of score over time per file")
    result.add_argument(
        "--overlap", type=float, default=0.0, help="share that the windows of a recording have in common"
    )
    result.add_argument("--face_model", help="YuNet .onnx file, if the training faces were found by it")
    result.add_argument(
        "--report", metavar="DIR", help="write a page per file: verdict, where, how sure, file, detector"
    )
    result.add_argument(
        "--output",
        metavar="TABLE",
        help="write verdicts to a .jsonl, .csv or .parquet file as they come; after a kill the same command continues",
    )
    result.add_argument(
        "--retry_skipped",
        action="store_true",
        help="try those files again that the --output holds as skipped, such as of a disk that was away; without it "
        "they stay skipped, and the same command leaves a finished table as it is",
    )
    result.add_argument("--beam_runner", help="Apache Beam runner, such as DirectRunner, that makes the --output")
    result.add_argument("--beam_options", default="", help="its options: --beam_options='--project=p --region=r'")
    result.add_argument("--jobs", type=int, help="processes that decode (default one per core, none for a few files)")
    result.add_argument("--json", action="store_true", help="one JSON object per file; of --output one in the end")
    return result


def main() -> None:
    """Prints or writes one verdict per file; exits 3 when some are uncertain, 2 when none could be judged."""
    flags = parser().parse_args()
    process.check_alone("dfjax.predict")
    process.use_all_cores()
    _check(flags)
    # what comes through a pipe can be read once only
    given = "-" in (*flags.paths, *flags.files) or any(map(_is_pipe, flags.files))
    total = None if given else sum(1 for _ in _to_judge(flags))
    detector = load(flags.workdir, flags.face_model)
    if flags.known_real:
        known = files_of(flags.known_real)
        detector = detector.with_known_real(known, overlap=flags.overlap, jobs=flags.jobs)
        print(f"{known_real.told(detector.decision)}; {known_real.worth(detector.decision)}", file=sys.stderr)
    if flags.heatmap and detector.model.modality == "audio":
        raise InputError("--heatmap is for detectors of faces; --timeline shows where in a recording the score is high")
    if flags.beam_runner:
        counts = _told(flags, by_beam(flags, detector.known, _to_judge(flags)))
    elif flags.output:
        counts = _told(flags, write_table(flags, detector, _to_judge(flags), total))
    else:
        counts = collections.Counter()
        for result in detector.many(_to_judge(flags), overlap=flags.overlap, jobs=flags.jobs):
            counts[result.get("verdict", verdicts.SKIPPED)] += 1
            _draw(flags, detector, result)
            if flags.json:
                print(json.dumps(result, allow_nan=False), flush=True)
            elif "skipped" in result:
                print(f"{shown(result['file'])}: skipped, {shown(result['skipped'])}", file=sys.stderr)
            else:
                print(line(result), flush=True)
    if not counts.total():
        raise InputError(
            "the folders and lists given name no files; those that are hidden, or behind a linked folder, do not count"
        )
    if not counts.total() - counts[verdicts.SKIPPED]:
        wanted = WANTED[detector.model.modality]
        raise InputError(f"none of {counts.total()} files could be judged; expected {wanted}")
    if counts[UNCERTAIN]:
        sys.exit(UNSURE)


def _to_judge(flags: argparse.Namespace) -> Iterator[str]:
    """The files given, without the table that is written, which may lie beside them."""
    own = [pathlib.Path(flags.output), verdicts.journal(pathlib.Path(flags.output))] if flags.output else []
    names, real = {path.name for path in own}, set(map(os.path.realpath, own))
    for path in files_of(flags.paths, flags.files):
        if os.path.basename(path) not in names or os.path.realpath(path) not in real:
            yield path


def _is_pipe(name: str) -> bool:
    return os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name)


def write_table(
    flags: argparse.Namespace, detector: Detector, paths: Iterable[str], total: int | None
) -> collections.Counter[str]:
    """Judges what the table has not yet, each row written as soon as it is known; returns all rows by verdict.

    Args:
      flags: of the command line.
      detector: that judges.
      paths: of the files.
      total: how many there are, where that is known.

    Raises:
      InputError: the table cannot be written, or is another's; see `verdicts.Table`.
    """
    with verdicts.Table(flags.output, detector.name(flags.overlap), retry=flags.retry_skipped) as table:
        if len(table) and (flags.report or flags.heatmap or flags.timeline):
            print(f"{len(table):,} files in {flags.output} are judged already and not drawn again", file=sys.stderr)
        words = {"hidden": False, "what": "judge", "unit": "file"}
        with progress.progress_bar(total, len(table), **words) as bar:
            new = (path for path in paths if table.take(path))
            for _, result in detector.unordered(new, overlap=flags.overlap, jobs=flags.jobs):
                _draw(flags, detector, result)
                table.write(result)
                bar.update()
        table.finish()
        return table.counts


def by_beam(flags: argparse.Namespace, known: KnownReal | None, paths: Iterable[str]) -> collections.Counter[str]:
    """Judges all by a pipeline; returns the rows by verdict.

    Args:
      flags: of the command line.
      known: the files known to be real, as they were scored here.
      paths: of the files.

    Raises:
      InputError: Apache Beam is not installed; or see `beamed.judge`.
    """
    try:
        from dfjax.inference import beamed
    except ImportError as error:
        raise InputError(f"--beam_runner {flags.beam_runner} needs Apache Beam: pip install 'dfjax[beam]'") from error
    return beamed.judge(
        paths,
        flags.output,
        folder=flags.workdir,
        face_model=flags.face_model,
        overlap=flags.overlap,
        known=known,
        runner=flags.beam_runner,
        options=flags.beam_options,
    )


def _told(flags: argparse.Namespace, counts: collections.Counter[str]) -> collections.Counter[str]:
    if flags.json:
        print(json.dumps({"output": flags.output, **counts}))
    else:
        told = ", ".join(f"{counts[name]:,} {name}" for name in ("fake", "real", UNCERTAIN, verdicts.SKIPPED))
        where = f"{flags.output.removesuffix('.jsonl')}-*.jsonl" if flags.beam_runner else flags.output
        print(f"{counts.total():,} files in {where}: {told}")
    return counts


def _check(flags: argparse.Namespace) -> None:
    check(flags.overlap, flags.jobs)
    if not flags.paths and not flags.files:
        raise InputError("no files given; expected media files, folders, '-' or --files LIST")
    if flags.beam_runner and (not flags.output or flags.report or flags.heatmap or flags.timeline):
        raise InputError("--beam_runner makes a table and draws nothing; give --output NAME.jsonl alone")
    if "-" in flags.known_real and "-" in (*flags.paths, *flags.files):
        raise InputError("--known_real - and '-' of files to judge; standard input is read once: give a folder for one")
    if flags.retry_skipped and (flags.beam_runner or not flags.output):
        raise InputError("--retry_skipped is of a table that is continued; give its --output, and no --beam_runner")
    if "://" in (flags.output or "") and not flags.beam_runner:
        raise InputError(
            f"--output {flags.output} lies in a bucket, where nothing can be continued; give a file on a disk, or a "
            "--beam_runner"
        )
    if flags.beam_options and not flags.beam_runner:
        raise InputError("--beam_options are of a --beam_runner; give one, such as DirectRunner")
    if flags.beam_runner and flags.jobs is not None:
        raise InputError("--jobs is of this machine; how many workers a pipeline has, --beam_options say")
    if flags.report or flags.heatmap or flags.timeline:
        importlib.import_module("dfjax.reporting.file_page")  # what it lacks is told before any file is judged
    if flags.output:
        verdicts.check(flags.output)


def _draw(flags: argparse.Namespace, detector: Detector, result: dict) -> None:
    """What was asked for beside the verdict on one file; of one that is gone, or another by now, a line says so."""
    if "skipped" in result or not (flags.report or flags.heatmap or flags.timeline):
        return
    from dfjax.reporting import file_figures, file_page  # and with it matplotlib, which verdicts do not need

    path, drawn = pathlib.Path(result["file"]), []
    name = file_page.file_name(result["file"]).removesuffix(".html")
    try:
        if flags.report:
            page = file_page.page(detector, result, overlap=flags.overlap)
            drawn.append((flags.report, f"{name}.html", page.encode()))
        if flags.heatmap:
            heat = file_figures.heat_png(detector, path, result)
            drawn.append((flags.heatmap, f"{name}.heatmap.png", heat))
        if flags.timeline:
            drawn.append((flags.timeline, f"{name}.timeline.png", file_figures.timeline_png(result)))
    except (MediaError, OSError) as error:
        print(f"{shown(path)}: judged, but not drawn, {shown(error)}", file=sys.stderr)
    for folder, name, content in drawn:
        files.write(epath.Path(folder) / name, content)


if __name__ == "__main__":
    cli.main(main)
