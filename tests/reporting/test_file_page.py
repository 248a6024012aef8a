"""The page about one file: nothing from outside, nothing of the file's own read as HTML, the verdict's figures."""

import base64
import hashlib
import html.parser
import io
import re
import time

import numpy as np
import pytest
import soundfile
from PIL import ExifTags, Image, PngImagePlugin

import dfjax
from dfjax import models
from dfjax.decide import calibration
from dfjax.inference import detector
from dfjax.media import audio, faces, facts
from dfjax.records import SAMPLE_RATE
from dfjax.reporting import file_figures, file_page
from tests.data_builders import fixtures

HOSTILE = "<img src=x onerror=alert(1)>&\"'@NAME@\u202egpj.wav"
VOID = {"meta", "img", "br"}


class Parser(html.parser.HTMLParser):
    """Tags with their attributes, and all text; every tag that opens must close."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def self_contained(text):
    """The parsed page, checked: no script, no handler, nothing fetched, its policy allows its own style."""
    parsed = Parser(text)
    assert not {"script", "iframe", "object", "link", "a", "form"} & {tag for tag, _ in parsed.tags}
    for _, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("href", "style")]
        assert attributes.get("src", "data:").startswith("data:")
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)[1]
    assert not re.search(r"url\(|@import", style) and "@media print" in style
    (policy,) = (a["content"] for tag, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'") and "script-src" not in policy
    return parsed


def stored(parsed, tag):
    return [base64.b64decode(a["src"].partition(",")[2]) for name, a in parsed.tags if name == tag]


@pytest.fixture(scope="module")
def shipped():
    return dfjax.load()


def test_a_recording_with_a_hostile_name_and_tags_is_told_as_text(shipped, tmp_path):
    path = tmp_path / HOSTILE.replace("/", "")
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, format="WAV") as file:
        file.title, file.artist = "<script>alert(2)</script>", "</table>\x1b"
        file.write(fixtures.samples(9.0)[:, 0])
    result = {"file": str(path), **shipped(path)}
    text = file_page.page(shipped, result, when="2026-11-26 12:00 UTC")
    parsed = self_contained(text)
    words = "".join(parsed.words)
    assert text.encode() and "\u202e" not in text and "\x1b" not in text
    assert "<img src=x onerror=alert(1)>&\"'@NAME@\\u202egpj.wav" in words and "<script>alert(2)</script>" in words
    assert hashlib.sha256(path.read_bytes()).hexdigest() in words and "2026-11-26 12:00 UTC" in words
    assert shipped.hashes()["weights"] in words and "What it does not know" in words
    assert file_page.VERDICTS[result["verdict"]] in words and all(reason in words for reason in result["reasons"])
    assert f"{100 * result['probability']:.1f} %" in words
    whole, worst = (soundfile.read(io.BytesIO(sound), dtype="int16")[0] for sound in stored(parsed, "audio"))
    heard, _ = audio.decode(path)
    np.testing.assert_array_equal(whole, heard)
    most = max(result["windows"], key=lambda window: window["score"])
    start, end = (round(most[edge] * SAMPLE_RATE) for edge in ("start", "end"))
    np.testing.assert_array_equal(worst, heard[start:end])
    (drawn,) = stored(parsed, "img")
    assert min(Image.open(io.BytesIO(drawn)).size) > 600


def test_names_of_pages_are_short_harmless_and_differ_by_path():
    names = [file_page.file_name(path) for path in ("a/x.wav", "b/x.wav", "../" + "y" * 300, HOSTILE, "no\udcff.wav")]
    assert len(set(names)) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,79}-[0-9a-f]{8}\.html", name) for name in names)


def test_the_likelihood_ratio_is_the_probability_without_its_prior(shipped):
    fitted = shipped.decision["calibration"]
    scores = np.array([-3.0, 0.4, 2.0])
    ratio, prior = calibration.log_likelihood_ratio(scores, fitted), fitted["prior"]
    odds = np.log(prior / (1 - prior))
    np.testing.assert_allclose(1 / (1 + np.exp(-ratio - odds)), calibration.apply(scores, fitted), rtol=1e-12)
    moved = calibration.log_likelihood_ratio(scores, fitted | {"deploy_prior": 0.01})
    np.testing.assert_allclose(moved, ratio, rtol=1e-12)
    assert calibration.log_likelihood_ratio(scores, {"method": "none", "prior": None}) is None


def shown(table):
    """Words of a part of a page, a row a line."""
    return "".join(Parser(table.replace("</tr>", "</tr>\n").replace("</th>", "</th>: ")).words)


def test_the_shipped_decision_is_told_without_mixing_its_clips_or_its_averages(shipped):
    decision, result = shipped.decision, shipped(fixtures.samples(2.0)[:, 0])
    told = shown(file_page.numbers(decision, result))
    at = 100 * calibration.apply(np.array([decision["threshold"]]), decision["calibration"])[0]
    assert f"Called fake from: {at:.1f} % on (threshold -0.105, chosen for recall_at_fpr, max_fpr 0.1)\n" in told
    # 39.3 % of 2,191 clips are fake; slope and spread are of 1,045 of them
    assert (
        "slope and spread fitted on the 1,045 clips of the 7 sources with both classes; share of fakes 39.3 %" in told
    )
    assert "share of fakes 39.3 % of all 2,191 clips." in told and "of which" not in told
    assert "862 fake and 1,329 real clips. Expected calibration error on all of these clips 2.8 %" in told
    earlier = {name: value for name, value in decision["calibration"].items() if name != "prior_clips"}
    assert "share of fakes 39.3 % of all clips, those of other sources too." in shown(
        file_page.numbers(decision | {"calibration": earlier}, result)
    )
    told = shown(file_page._detector(shipped, 0.0, "today"))
    assert "dataset sources, 12 sources, each scored by networks trained without it: 862 fake and 1,329 real" in told
    assert (
        "On these clips: fakes found 75.7 % (mean over 10 sources), false alarms 9.7 % (mean over 9 sources), each "
        "source weighing alike; the threshold was chosen on these very clips" in told
    )
    told = shown(file_page.limits(decision, None))
    assert "Promised" not in told and "Nothing useful can be promised" in told and "up to 99.6 %" in told


def test_promises_are_told_as_such_where_they_are(shipped):
    certificate = {"max_fpr": 0.05, "confidence": 0.8, "domains": 9, "exceeding": 0, "statement": "at most 5 %"}
    assert file_page._promised(certificate, "f1", "source") == "Promised: at most 5 %"
    high = certificate | {"max_fpr": 0.6, "statement": "at most 60 %"}
    assert file_page._promised(high, "certified_domain_fpr", "source") == "Promised: at most 60 %"  # was asked for
    none = certificate | {"max_fpr": None, "statement": "a promise needs more"}
    assert file_page._promised(none, "f1", "source") == "A promise needs more"
    mean = certificate | {"max_fpr": 0.99, "mean_fpr": 0.19, "statement": "nothing useful; on the mean 19 %"}
    assert file_page._promised(mean, "recall_at_fpr", "source") == "Nothing useful; on the mean 19 %"


def test_a_validation_split_a_band_and_a_score_that_says_nothing_are_told(shipped):
    x = np.linspace(-3, 3, 200)
    fitted = calibration.fit(x, np.arange(200) % 2) | {"deploy_prior": None}
    flat = calibration.fit(-x, (x > 0).astype(int)) | {"deploy_prior": None}
    decision = {
        "threshold": 0.5,
        "criterion": "f1",
        "dataset": "demo",
        "split": "validation",
        "clips": {"fake": 100, "real": 100},
        "tuned": {"recall": 0.69, "fpr": 0.224},
        "calibration": fitted,
    }
    result = {"probability": 0.5, "log10_likelihood_ratio": 0.0, "score": 0.1, "threshold": 0.5, "spread": None}
    told = shown(file_page.numbers(decision, result))
    assert "such a score is as likely of a fake file as of a real one" in told
    assert "fitted on 200 clips of which 50.0 % are fake" in told and "dataset demo, split validation: 100 fake" in told
    told = shown(file_page.numbers(decision | {"band": {"real_below": "-Infinity", "fake_from": 0.7}}, result))
    assert "no verdict from 0.0 % to 5" in told
    told = shown(file_page.numbers(decision | {"calibration": flat}, result))
    assert "so the score says nothing" in told and "times as likely" not in told
    assert (
        "a score of 0.500 on, chosen for f1; the probability is the same for every score" in told
        and "if 10 % of files" not in told
    )
    assert file_page._worth(decision).startswith(
        "fakes found 69.0 %, false alarms 22.4 %, each clip weighing alike; the"
    )
    assert file_page._worth({}) is None
    bare = {"threshold": 0.5, "calibration": None}  # a decision may tell no more
    told = shown(file_page.numbers(bare, result | {"log10_likelihood_ratio": None}))
    assert "Called fake from: 62.2 % on (threshold 0.500, chosen for nothing that is known)" in told


def test_a_picture_shows_the_face_beside_its_heat_map(tmp_path):
    def bright(examples):
        return {"score": np.array([example["image"].mean() / 32 - 4 for example in examples], np.float32)}

    fitted = {"method": "none", "slope": 1.0, "intercept": 0.0, "prior": None, "ledger": None}
    decision = {"threshold": 0.5, "calibration": fitted, "criterion": "f1"}
    watching = detector.Detector(
        "cnn_small", bright, decision, models.Input("image", 32, None), lambda x: x[..., 0], ("image", {})
    )
    path = fixtures.image(tmp_path / "a.png", size=(70, 50), seed=1)
    parsed = self_contained(file_page.page(watching, {"file": str(path), **watching(path)}))
    (face,) = stored(parsed, "img")
    assert Image.open(io.BytesIO(face)).size == (64, 32)
    words = "".join(parsed.words)
    assert "50 x 70" in words and "no data of both classes" in words and "did not learn what is typical" in words


def test_frames_without_a_face_are_told_since_the_score_says_nothing_of_them():
    decision = {"calibration": {"method": "none", "slope": 1.0, "intercept": 0.0, "prior": None, "ledger": None}}
    faces_of = [{"frame": frame, "seconds": 0.04 * frame, "score": 1.0} for frame in (0, 5, 5)]
    result = {"score": 1.0, "threshold": 0.5, "probability": 0.7, "log10_likelihood_ratio": None, "spread": 0.0}
    result |= {"above": 1.0, "frames": faces_of}
    assert "without a face</th><td>2 of 4; " in file_page.numbers(decision, result | {"frames_without_face": 2})
    assert "without a face" not in file_page.numbers(decision, result | {"frames_without_face": 0})


def test_picture_and_sound_together_are_shown_with_the_sound(tmp_path, monkeypatch):
    def judged(examples):
        scores = np.array([np.abs(example["audio"] / 32768).mean() for example in examples], np.float32)
        return {"score": scores, "parts": np.stack([scores, scores], 1)}

    path = fixtures.video(tmp_path / "a.mp4", frames=50, sound=True)
    monkeypatch.setattr(
        faces, "find_with", lambda *_: lambda image: [faces.Face(np.array([8, 8, 56, 56], np.float32), 1.0)]
    )
    fitted = {"method": "none", "slope": 1.0, "intercept": 0.0, "prior": None, "ledger": None}
    decision = {"threshold": 0.0, "calibration": fitted, "criterion": "f1"}
    takes = models.Input("av", 32, None)
    watching = detector.Detector("two_stream", judged, decision, takes, lambda x: x[..., 0], ("av", {}))
    result = {"file": str(path), **watching(path)}
    parsed = self_contained(file_page.page(watching, result))
    heard, _ = audio.decode(path)
    whole, worst = (soundfile.read(io.BytesIO(sound), dtype="int16")[0] for sound in stored(parsed, "audio"))
    np.testing.assert_array_equal(whole, heard)
    loudest = max(result["frames"], key=lambda frame: frame["score"])
    np.testing.assert_array_equal(worst, audio.around(heard, loudest["seconds"]))
    assert np.abs(worst / 32768).mean() == pytest.approx(loudest["score"], rel=1e-5)  # it is what was scored
    drawn, *crops = stored(parsed, "img")
    assert min(Image.open(io.BytesIO(drawn)).size) > 500 and Image.open(io.BytesIO(crops[0])).size == (64, 32)
    assert "Of each frame the detector heard the second around it." in parsed.words


def test_facts_are_those_of_the_file_and_damage_leaves_what_can_be_read(tmp_path):
    path = fixtures.video(tmp_path / "a.mp4", sound=True)
    found = facts.of_file(path)
    assert [stream["kind"] for stream in found["streams"]] == ["video", "audio"]
    assert found["bytes"] == path.stat().st_size and found["seconds"] > 0 and found["container"].startswith("QuickTime")
    assert found["streams"][0]["codec"] == "h264" and found["streams"][1]["codec"] == "aac"
    image = Image.new("RGB", (20, 30))
    exif = Image.Exif()
    exif[0x0131] = "a" * 1000
    image.save(tmp_path / "b.jpg", exif=exif)
    told = facts.of_file(tmp_path / "b.jpg")
    assert told["container"] == "JPEG" and told["streams"] == [{"kind": "picture", "pixels": "20 x 30", "mode": "RGB"}]
    assert len(told["metadata"]["EXIF Software"]) < 600
    for name in ("c.wav", "c.jpg"):
        (tmp_path / name).write_bytes(b"nothing")
        assert facts.of_file(tmp_path / name)["bytes"] == 7


@pytest.mark.parametrize("kind", ["HTK", "MAT4", "MAT5", "MPC2K"])
def test_sound_that_ffmpeg_cannot_read_has_the_facts_of_libsndfile(tmp_path, kind):
    path = tmp_path / f"a.{kind.lower()}"
    soundfile.write(path, fixtures.samples(2.0)[:, 0], SAMPLE_RATE, format=kind, subtype="PCM_16")
    found = facts.of_file(path)
    assert found["read"] and found["seconds"] == 2.0 and found["container"]
    (stream,) = found["streams"]
    assert (stream["kind"], stream["sample rate"], stream["channels"]) == ("audio", "16,000 Hz", 1)


def test_a_recording_named_as_a_picture_has_its_facts_all_the_same(tmp_path):
    path = fixtures.audio(tmp_path / "a.wav", 1.0).rename(tmp_path / "a.jpg")
    found = facts.of_file(path)
    assert found["read"] and found["seconds"] == 1.0 and found["streams"][0]["kind"] == "audio"


@pytest.mark.parametrize("name", ["a.wav", "a.jpg"])
def test_a_file_that_nothing_reads_is_not_said_to_have_no_metadata(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing")
    told = shown(file_page.file_table(name, facts.of_file(tmp_path / name), {}))
    assert "Container: could not be read" in told and "not known: streams and metadata could not be read" in told
    assert "none" not in told


def test_exif_is_told_by_the_names_of_its_own_tables(tmp_path):
    exif = Image.Exif()
    exif[0x010E], exif[0x000B] = "a cat", "main tag 11"
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps |= {1: "N", 2: (48.0, 51.0, 29.0), 3: "E", 4: (2.0, 17.0, 40.0), 11: 2.5}
    exif.get_ifd(ExifTags.IFD.Exif)[0x9286] = b"UNICODE\0" + "a cat, Steps: 20".encode("utf-16-be")
    exif.get_ifd(ExifTags.IFD.Exif)[0x927C] = bytes(range(256))  # a maker's own, in no known form
    Image.new("RGB", (20, 30)).save(tmp_path / "a.jpg", exif=exif, comment=b"made by <b>")
    told = facts.of_file(tmp_path / "a.jpg")["metadata"]
    assert told["EXIF GPS LatitudeRef"] == "N" and told["EXIF GPS Latitude"] == "(48.0, 51.0, 29.0)"
    assert told["EXIF GPS Longitude"] == "(2.0, 17.0, 40.0)" and told["EXIF GPS DOP"] == "2.5"
    assert told["EXIF ImageDescription"] == "a cat" and told["EXIF ProcessingSoftware"] == "main tag 11"
    assert told["EXIF UserComment"] == "a cat, Steps: 20" and told["EXIF MakerNote"] == "256 bytes that are no text"
    assert told["comment"] == "made by <b>" and "EXIF GPSInfo" not in told and "EXIF InteropIndex" not in told


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description xmp:CreatorTool="Some &lt;tool&gt;" {}>'
    "<dc:creator><rdf:Seq><rdf:li>A</rdf:li> <rdf:li>B</rdf:li></rdf:Seq></dc:creator>"
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@pytest.mark.parametrize(
    "packet",
    [
        XMP.format(f'Iptc4xmpExt:DigitalSourceType="{GENERATED}"'),
        XMP.replace("{}>", f'><Iptc4xmpExt:DigitalSourceType rdf:resource="{GENERATED}"/>'),
        XMP.replace("{}>", f"><a:DigitalSourceType>\n{GENERATED} </a:DigitalSourceType>"),
    ],
)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_xmp_says_how_a_picture_was_made(tmp_path, packet, name):
    words = {"xmp": packet.encode()}
    if name == "a.png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", packet)
        chunks.add_text("parameters", "a cat, Steps: 20")
        words = {"pnginfo": chunks}
    Image.new("RGB", (20, 30)).save(tmp_path / name, **words)
    told = facts.of_file(tmp_path / name)["metadata"]
    assert told["XMP DigitalSourceType"] == GENERATED and told["XMP CreatorTool"] == "Some <tool>"
    assert told["XMP creator"] == "A B" and told["XMP"].startswith("<x:xmpmeta")
    assert told.get("parameters") == ("a cat, Steps: 20" if name == "a.png" else None)
    page = file_page.file_table(str(tmp_path / name), facts.of_file(tmp_path / name), {})
    assert "Some &lt;tool&gt;" in page and "<x:" not in page


@pytest.mark.parametrize("name", ["a.mp4", "a.wav", "a.gif", "a.jpg"])
@pytest.mark.parametrize("chunk", [facts.CHUNK, 7])
def test_xmp_of_any_container_is_told(tmp_path, monkeypatch, name, chunk):
    """In videos, recordings and animations, and in a picture that cannot be opened; wherever the file is read apart."""
    monkeypatch.setattr(facts, "CHUNK", chunk)
    packet, path = XMP.format(f'a:DigitalSourceType="{GENERATED}"').encode(), tmp_path / name
    if name == "a.mp4":
        fixtures.video(path)
        box = b"uuid" + bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + packet
        path.write_bytes(path.read_bytes() + (4 + len(box)).to_bytes(4, "big") + box)
    elif name == "a.wav":
        soundfile.write(path, fixtures.samples(0.5), SAMPLE_RATE)
        path.write_bytes(path.read_bytes() + b"_PMX" + len(packet).to_bytes(4, "little") + packet + bytes(200))
    elif name == "a.gif":
        Image.new("RGB", (20, 30)).save(path)
        path.write_bytes(
            path.read_bytes()[:-1] + b"!\xff\x0bXMP DataXMP" + packet + bytes([1, *range(255, -1, -1), 0, 59])
        )
    else:
        path.write_bytes(b"\xff\xd8nothing else" + packet)
    found = facts.of_file(path)
    told = found["metadata"]
    assert told["XMP DigitalSourceType"] == GENERATED and told["XMP CreatorTool"] == "Some <tool>"
    assert told["XMP"].startswith("<x:xmpmeta") and found["read"] == (name != "a.jpg")
    assert found["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() and found["bytes"] == path.stat().st_size


def test_xmp_of_ill_will_is_read_in_bounded_time_and_length():
    for part in ("<a:CreatorTool>", '<a:CreatorTool ="', "<creator ", "<a:creator></a:creato>", " Software='"):
        began = time.perf_counter()
        told = facts._xmp(part * 100_000)
        assert time.perf_counter() - began < 10 and all(len(text) < 600 for text in told.values())
    assert facts._xmp(XMP.format("").encode("utf-16-le"))["XMP creator"] == "A B"


def test_a_spectrogram_has_the_tone_where_it_is():
    tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE)).astype(np.int16)
    shown = file_figures.spectrogram(tone)
    assert shown.shape[1] <= file_figures.COLUMNS and shown.max() == 0 and shown.min() >= -file_figures.RANGE_DB
    assert (shown[:, 10:-10].argmax(axis=0) == 32).all()  # 1,000 Hz of bins of 31.25 Hz


def test_overlay_leaves_cold_regions_alone():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    heat = np.zeros((8, 8), np.float32)
    np.testing.assert_array_equal(file_figures.overlay(image, heat), image)
    heat[2, 3] = 1
    out = file_figures.overlay(image, heat)
    assert out.dtype == np.uint8 and (out != image).any(axis=-1).sum() == 1
