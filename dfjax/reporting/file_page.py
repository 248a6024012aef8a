"""One page about one file, for people who must answer for a verdict: what was found, where, how sure, by what.

The page is one file, needs no network and runs no script. What comes from the file, its name and its metadata, enters
it as text only. It lies below `report_page/` as HTML and CSS and prints on paper.
"""

import base64
import datetime
import hashlib
import html
import importlib.metadata
import io
import math
import pathlib
import platform
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Int16

from dfjax.decide import calibration, certify_domains, known_real
from dfjax.inference.detector import Detector
from dfjax.inference.verdict import UNCERTAIN, along
from dfjax.media import audio, exhibit
from dfjax.media.exhibit import Exhibit
from dfjax.records import SAMPLE_RATE
from dfjax.reporting import figures, report_text
from dfjax.reporting.file_figures import check_same, face_png, sound_figure, timeline_figure
from dfjax.reporting.report_html import PAGE, csp_hash

VERDICTS = {"fake": "Fake", "real": "Real", UNCERTAIN: "Uncertain: no verdict"}
PRIORS = (0.01, 0.1, 0.5)  # shares of fakes for which the page says what the score means
FACES = 6  # most suspicious faces that are shown
PLAYED = 600  # seconds of sound that a page holds; of a longer recording its most suspicious window alone
CAVEAT = (
    "A detector compares a file with what it was trained on. A verdict is no proof: a fake by a method that it has not "
    "met can pass as real, and real media that were compressed, filtered or edited can look fake. Marked parts are "
    "those that moved the score; they need not be those that were altered. Metadata can be forged."
)


def page(
    detector: Detector,
    result: Mapping[str, Any],
    shown: Exhibit | None = None,
    *,
    overlap: float = 0.0,
    when: str | None = None,
) -> str:
    """The text of the page.

    Args:
      detector: that judged the file.
      result: what it said, with `file`, the name that the page tells.
      shown: the file's exhibit; None: the file is read again.
      overlap: share that its windows had in common.
      when: date and time to be named; None for now.

    Raises:
      MediaError: the file cannot be decoded any more, or is another by now.
      OSError: nor be read.
    """
    path = result["file"]
    shown = shown or exhibit.of_file(path, *detector.media, detector.model.size)
    when = when or datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    style = (PAGE / "file.css").read_text(encoding="utf-8")
    parts = {
        "TITLE": text(f"{VERDICTS[result['verdict']]}: {pathlib.PurePath(path).name}"),
        "STYLE": style,
        "STYLE_HASH": csp_hash(style),
        "NAME": text(pathlib.PurePath(path).name),
        "KIND": text(result["verdict"]),
        "VERDICT": text(VERDICTS[result["verdict"]]),
        "REASONS": items([*result["reasons"], *result.get("notes", ())]),
        "NUMBERS": numbers(detector.decision, result),
        "WHERE": _heard(result, shown) if "windows" in result else _looked_at(detector, result, shown),
        "FILE": file_table(path, shown.facts, shown.credentials),
        "DETECTOR": _detector(detector, overlap, when),
        "LIMITS": limits(detector.decision, detector.card),
    }
    template = (PAGE / "file.html").read_text(encoding="utf-8")
    # one pass, so that a part which happens to contain '@NAME@' is left alone
    return re.sub("@([A-Z_]+)@", lambda match: parts[match[1]], template)


def file_name(path: str) -> str:
    """A name for the page of a file: its own, made harmless and short, and eight digits that tell paths apart."""
    digits = hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", pathlib.PurePath(path).name)[:80].lstrip(".")
    return f"{stem}-{digits}.html"


def text(value: object) -> str:
    """Anything as text of the page: no tag, and what prints as nothing, or turns the line round, by its escape."""
    shown = (c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in str(value))
    return html.escape("".join(shown))


def items(lines: Iterable[str]) -> str:
    """A list, or nothing of nothing."""
    inner = "".join(f"<li>{text(line)}</li>" for line in lines)
    return f"<ul>{inner}</ul>" if inner else ""


def table(rows: Mapping[str, object]) -> str:
    """Names beside values; None is left out."""
    inner = (
        f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in rows.items() if value is not None
    )
    return f"<table>{''.join(inner)}</table>"


def numbers(decision: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Probability and likelihood ratio with the data of their calibration, the score and the threshold."""
    fitted, ratio = decision["calibration"], result["log10_likelihood_ratio"]
    side = "at or above" if result["score"] >= np.float32(result["threshold"]) else "below"
    rows: dict[str, object] = {"Probability of a fake": f"{100 * result['probability']:.1f} %"}
    rows["Called fake from"] = _called_fake(decision, result["threshold"])
    if ratio is not None and fitted["slope"] == 0:
        rows["Likelihood ratio"] = (
            "none: on the data of the calibration fakes scored no higher than real media, so the score says nothing"
        )
    elif ratio is not None:
        odds, (more, less) = 10 ** min(abs(ratio), 300), ("fake", "real") if ratio >= 0 else ("real", "fake")
        times = f"{odds:.3g} times as" if odds >= 1.005 else "as"
        rows["Likelihood ratio"] = f"such a score is {times} likely of a {more} file as of a {less} one"
        rows["log10 of it, fake over real"] = f"{ratio:+.2f}"
        for prior in PRIORS:
            shifted = 1 / (1 + math.exp(-min(max(ratio * math.log(10) + math.log(prior / (1 - prior)), -700), 700)))
            rows[f"Probability if {100 * prior:g} % of files are fake"] = f"{100 * shifted:.1f} %"
    if moved := known_real.told(decision):
        p = result["known_real"]["p_value"]
        rows["Files known to be real"] = (
            f"{moved}; a real file drawn as they were scores so high with p = {p:.2g} at most"
        )
    rows["Score"] = f"{result['score']:.3f} (logit), {side} the threshold {result['threshold']:.3f}"
    if result["spread"] is not None:
        rows["Along the file"] = (
            f"scores spread by {result['spread']:.2f}; {100 * result['above']:.0f} % of its parts lie at or above the "
            "threshold"
        )
    if faceless := result.get("frames_without_face"):
        count = faceless + len(along(result)[0])
        rows["Frames without a face"] = f"{faceless} of {count}; the score says nothing of them"
    rows |= {f"Logit of the {name}": f"{value:+.2f}" for name, value in result.get("parts", {}).items()}
    typicality = result.get("typicality")
    rows["Like the training data"] = (
        f"p = {typicality['p_value']:.3f}: the share of held-back clips that lie as far from it or farther"
        if typicality
        else "not known: this detector did not learn what is typical"
    )
    return table(rows) + f'<p class="note">{text(_calibrated(decision, fitted))}</p>'


def _called_fake(decision: Mapping[str, Any], threshold: float) -> str:
    """From which probability on a file is called fake; a threshold is chosen for its purpose and need not be 50 %."""
    fitted, purpose = decision["calibration"], f"chosen for {_purpose(decision) or 'nothing that is known'}"
    if fitted and fitted["slope"] == 0:
        return f"a score of {threshold:.3f} on, {purpose}; the probability is the same for every score"
    edges = [threshold]
    if band := decision.get("band"):
        edges += [float(band["real_below"]), float(band["fake_from"])]
    at, *open_band = (f"{100 * p:.1f} %" for p in calibration.apply(np.array(edges), fitted))
    return f"{at} on (threshold {threshold:.3f}, {purpose})" + (
        f"; no verdict from {' to '.join(open_band)}" if open_band else ""
    )


def _purpose(decision: Mapping[str, Any]) -> str:
    """What the threshold was chosen for, with its numbers."""
    numbers = [f"{name} {value:g}" for name, value in (decision.get("constraint") or {}).items()]
    return ", ".join([*filter(None, [decision.get("criterion")]), *numbers])


def _calibrated(decision: Mapping[str, Any], fitted: Mapping[str, Any] | None) -> str:
    if not fitted or fitted.get("prior") is None:
        return "The probability is the sigmoid of the score: there were no data of both classes to calibrate it on."
    told = f"{report_text.formula(dict(fitted))} The data: {_data(decision)}."
    if quality := decision.get("calibration_quality"):
        told += f" Expected calibration error on all of these clips {100 * quality['after']['ece']:.1f} %."
    told += " The probability holds where as many files are fake"
    deploy = fitted.get("deploy_prior")
    return f"{told} ({100 * (fitted['prior'] if deploy is None else deploy):.1f} %)."


def _heard(result: Mapping[str, Any], shown: Exhibit) -> str:
    samples = shown.sound
    assert samples is not None and shown.seconds is not None
    check_same(round(shown.seconds, 3), result["seconds"])
    worst = max(result["windows"], key=lambda window: window["score"])
    drawn = picture(figures.png(lambda: sound_figure(samples, result)), "Spectrogram and score over time")
    start, end = (round(worst[edge] * SAMPLE_RATE) for edge in ("start", "end"))
    players = _whole(samples)
    if len(result["windows"]) > 1:
        words = f"The window with the highest score, {worst['start']:.1f} to {worst['end']:.1f} s"
        players[words] = samples[start:end]
    rows = {
        f"{window['start']:.1f} to {window['end']:.1f} s": _suspicious(window["score"], result["threshold"])
        for window in sorted(result["windows"], key=lambda window: -window["score"])[:10]
    }
    return f"{drawn}{_played(players)}<h3>Windows with the highest scores</h3>{table(rows)}"


def _whole(samples: Int16[np.ndarray, " samples"]) -> dict[str, np.ndarray]:
    """The recording under its title; nothing of a very long one."""
    short = len(samples) <= PLAYED * SAMPLE_RATE
    return {"The recording, as the detector heard it (mono, 16 kHz)": samples} if short else {}


def _played(players: Mapping[str, np.ndarray]) -> str:
    return "".join(f"<p class=note>{text(words)}</p>{player(part)}" for words, part in players.items())


def _looked_at(detector: Detector, result: Mapping[str, Any], shown: Exhibit) -> str:
    frames, drawn, moving = result["frames"], [], len(along(result)[0]) > 1
    check_same(shown.frames, [frame["frame"] for frame in frames])
    for k in sorted(range(len(frames)), key=lambda k: -frames[k]["score"])[:FACES]:
        words = f"{frames[k]['seconds']:.2f} s, " if moving else ""
        words += _suspicious(frames[k]["score"], result["threshold"])
        face = picture(face_png(detector, shown.faces[k]), "The face, and where it raised the score")
        drawn.append(f"<figure>{face}<figcaption>{text(words)}</figcaption></figure>")
    track = ""
    if (samples := shown.sound) is not None:
        worst = max(frames, key=lambda frame: frame["score"])["seconds"]
        words = f"The second around the frame with the highest score, at {worst:.2f} s"
        track = picture(figures.png(lambda: sound_figure(samples, result)), "Spectrogram and score over time")
        track += _played(_whole(samples) | {words: audio.around(samples, worst)})
        track += '<p class="note">Of each frame the detector heard the second around it.</p>'
    elif moving:
        track = picture(figures.png(lambda: timeline_figure(result)), "Score over time")
    note = '<p class="note">Left as the detector sees it, right what raised the score: bright is much.</p>'
    return f'{track}<div class="faces">{"".join(drawn)}</div>{note}'


def _suspicious(score: float, threshold: float) -> str:
    return f"score {score:+.2f}" + (", at or above the threshold" if score >= np.float32(threshold) else "")


def picture(png: bytes, words: str) -> str:
    """A PNG inside the page."""
    return f'<img alt="{text(words)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def player(samples: Int16[np.ndarray, " samples"]) -> str:
    """Sound inside the page, as FLAC."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return f'<audio controls src="data:audio/flac;base64,{base64.b64encode(buffer.getvalue()).decode()}"></audio>'


def file_table(path: str, found: Mapping[str, Any], signed: Mapping[str, str]) -> str:
    """What the file says of itself, as `facts.of_file` found it, and what is signed, as `credentials.of_file` did."""
    rows: dict[str, object] = {"Path": path, "SHA-256": found["sha256"], "Size": f"{found['bytes']:,} bytes"}
    rows["Container"] = found["container"] or ("unknown" if found["read"] else "could not be read")
    rows["Duration"] = None if found["seconds"] is None else f"{found['seconds']:.3f} s"
    rows["Bit rate"] = None if found["bit_rate"] is None else f"{found['bit_rate'] / 1000:,.0f} kbit/s"
    for k, stream in enumerate(found["streams"]):
        rows[f"Stream {k}"] = ", ".join(f"{name} {value}" for name, value in stream.items())
    rows |= signed
    none = "none" if found["read"] else "not known: streams and metadata could not be read"
    metadata = table(found["metadata"]) if found["metadata"] else f'<p class="note">{none}</p>'
    return f"{table(rows)}<h3>Metadata, as the file has them</h3>{metadata}"


def _detector(detector: Detector, overlap: float, when: str) -> str:
    rows: dict[str, object] = {"Model": detector.architecture}
    rows |= {f"SHA-256 of {name}": value for name, value in detector.hashes().items()}
    decision = detector.decision
    rows["Threshold chosen for"] = _purpose(decision) or None
    if decision.get("dataset"):
        rows["Chosen on"] = _data(decision)
    rows["On these clips"] = _worth(decision)
    rows["Windows overlap by"] = f"{100 * overlap:g} %" if detector.model.modality == "audio" else None
    rows["Versions"] = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("dfjax", "jax", "numpy", "av")
    )
    rows["Python"] = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    rows["Judged"] = when
    return table(rows)


def _data(decision: Mapping[str, Any]) -> str:
    """The clips that threshold and calibration are of."""
    counts = decision.get("clips")
    clips = ": " + " and ".join(f"{value:,} {name}" for name, value in counts.items()) + " clips" if counts else ""
    dataset, domains = f"dataset {decision.get('dataset')}", decision.get("domains")
    if not domains:
        return f"{dataset}, split {decision.get('split')}{clips}"
    noun, count = domains["noun"], domains["count"]
    return f"{dataset}, {count} {noun}{'s' * (count != 1)}, each scored by networks trained without it{clips}"


def _worth(decision: Mapping[str, Any]) -> str | None:
    """Both shares at the threshold: of left-out sources the means, as the threshold weighs each alike."""
    if domains := decision.get("domains"):
        misses, alarms = domains["misses"], domains["false_alarms"]
        found = None if misses["mean"] is None else 1 - misses["mean"]
        noun = domains["noun"]
        shares = {"fakes found": (found, misses["domains"]), "false alarms": (alarms["mean"], alarms["domains"])}
        rest = f"each {noun} weighing alike"
    else:
        noun, worth = "clip", decision.get("tuned") or {}
        shares = {"fakes found": (worth.get("recall"), None), "false alarms": (worth.get("fpr"), None)}
        rest = "each clip weighing alike"
    told = [
        f"{name} {100 * share:.1f} %" + (f" (mean over {over} {noun}{'s' * (over != 1)})" if over else "")
        for name, (share, over) in shares.items()
        if share is not None
    ]
    luck = "the threshold was chosen on these very clips, so expect less of others"
    if such := known_real.such(decision):
        luck = f"with {such} of each, at thresholds that the other {noun}s chose"
    return f"{', '.join(told)}, {rest}; {luck}" if told else None


def limits(decision: Mapping[str, Any], card: str | None) -> str:
    """What the method cannot do: what left-out sources say, a caveat, and the model card."""
    told = [CAVEAT]
    if domains := decision.get("domains"):
        known = f", with {such}" if (such := known_real.such(decision)) else ""
        told.insert(0, f"On a {domains['noun']} that it has never met{known}: {domains['words']}.")
        if certificate := domains.get("certificate"):
            told.insert(1, f"{_promised(certificate, decision.get('criterion'), domains['noun'])}.")
    return items(told) + (f"<h3>Model card</h3><pre>{text(card)}</pre>" if card else "")


def _promised(certificate: Mapping[str, Any], criterion: str | None, noun: str) -> str:
    """A certificate's sentence; one that only describes a threshold may be an earlier version's, of a useless bound."""
    bound, statement = certificate["max_fpr"], certificate["statement"]
    promised = bound is not None and (criterion == "certified_domain_fpr" or certify_domains.useful(bound))
    if bound is not None and not promised and certificate.get("mean_fpr") is None:
        numbers = (certificate[name] for name in ("confidence", "domains", "exceeding"))
        statement = certify_domains.useless(bound, *numbers, noun)
    return f"Promised: {statement}" if promised else statement[0].upper() + statement[1:]
