"""Files to verdicts with a detector that needs no training: the score is the brightness of what it is shown."""

import pathlib
import re
import struct

import cv2
import numpy as np
import pytest
from PIL import Image

from dfjax import models, predict
from dfjax.inference import detector, verdict
from dfjax.media import MediaError, evidence, faces, facts, images
from dfjax.media.decoding import decode_item
from dfjax.reporting import file_figures, file_page, verdicts
from tests.data_builders import fixtures

SIZE = 32
FACES = models.Input("image", SIZE, None)


def bright(examples):
    return np.array([example["image"].mean() / 32 - 4 for example in examples], np.float32)


def shown(score):
    return lambda examples: {"score": score(examples)}


def watching(modality="image", **options):
    decision = {"threshold": 0.5, "calibration": {"method": "none"}}
    return detector.Detector("brightness", shown(bright), decision, FACES, lambda x: x[..., 0], (modality, options))


@pytest.fixture(autouse=True)
def uncalibrated(monkeypatch):
    monkeypatch.setattr(verdict.calibration, "apply", lambda scores, _: 1 / (1 + np.exp(-scores)))


def test_a_picture_is_judged_as_it_was_prepared(tmp_path):
    path = fixtures.image(tmp_path / "a.png", size=(70, 50), seed=1)
    result = watching()(path)
    prepared = decode_item(path, "image", {})["records"][0]["image"]
    assert result["score"] == bright([{"image": images.fitted(prepared, SIZE)}])[0]
    assert result["verdict"] == ("fake" if result["score"] >= 0.5 else "real")
    assert [frame["frame"] for frame in result["frames"]] == [0] and result["frames_without_face"] == 0
    assert result["spread"] is None and result["above"] == (result["verdict"] == "fake")


def test_a_file_without_a_face_or_a_picture_is_skipped_with_the_reason(tmp_path):
    with pytest.raises(MediaError, match="no face found"):
        watching("video")(fixtures.image(tmp_path / "a.png"))
    with pytest.raises(MediaError, match="not a picture"):
        watching()(fixtures.text(tmp_path / "a.txt", "words"))


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.tif", "a"])
def test_of_a_file_of_several_pictures_it_is_said_that_the_first_was_judged(tmp_path, name):
    """A verdict on the first frame of an animation was given as one on the file."""
    frames = [Image.fromarray(fixtures.picture((70, 50), seed)) for seed in range(3)]
    judge = watching()
    judge.decision["calibration"] |= {"slope": 1.0, "intercept": 0.0, "prior": None}  # which the page tells
    kind = {"a.webp": "WEBP", "a.png": "PNG", "a.tif": "TIFF", "a": "GIF"}[name]
    for count in (1, 3):
        frames[0].save(tmp_path / name, kind, save_all=True, append_images=frames[1:count], lossless=True)
        result = {"file": str(tmp_path / name), **judge(tmp_path / name)}
        told = ["only the first of 3 pictures in the file was judged"] if count > 1 else None
        assert result.get("notes") == told and len(result["frames"]) == 1
        assert verdicts.flat(result)["notes"] == (told[0] if told else None)
        assert predict.line(result).endswith(f"{name}  ({told[0]})" if told else name)
        assert ("was judged</li>" in file_page.page(judge, result)) == bool(told)
        if kind != "GIF":  # which FFmpeg describes
            assert facts.of_file(tmp_path / name)["streams"][0].get("pictures", 1) == count


def test_of_pages_that_are_damaged_behind_the_first_the_first_is_judged(tmp_path):
    """Pillow raised KeyError and TypeError while it counted them."""
    frames = [Image.fromarray(fixtures.picture((70, 50), seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    data = bytearray((tmp_path / "a.tif").read_bytes())
    (first,) = struct.unpack("<I", data[4:8])
    (entries,) = struct.unpack("<H", data[first : first + 2])
    (second,) = struct.unpack("<I", data[first + 2 + 12 * entries :][:4])
    data[second + 2 : second + 4] = b"\xff\xff"  # no width
    (tmp_path / "a.tif").write_bytes(data)
    result = watching()(tmp_path / "a.tif")
    assert "notes" not in result and len(result["frames"]) == 1


def test_a_tiff_above_the_size_that_pillow_decodes_is_skipped(tmp_path, monkeypatch):
    Image.fromarray(fixtures.picture((70, 50), 0)).save(tmp_path / "a.tif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    with pytest.raises(MediaError, match="too large"):
        watching()(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.jpg", "a.gif"])
def test_what_a_phone_appends_to_a_picture_and_what_is_judged_as_a_video_need_no_word(tmp_path, name):
    first, *more = [Image.fromarray(fixtures.picture((70, 50), seed)) for seed in range(3)]
    first.save(tmp_path / name, "MPO" if name == "a.jpg" else "GIF", save_all=True, append_images=more)
    if name == "a.jpg":
        assert "notes" not in watching()(tmp_path / name)
    else:  # its frames are looked at, none has a face
        with pytest.raises(MediaError, match="no face found in 3 frames"):
            watching(frames=8)(tmp_path / name)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", None])
def test_of_a_picture_that_is_named_as_a_video_it_is_said(tmp_path, monkeypatch, kind):
    """It was judged as a video of one frame without a word."""
    found = faces.Face(np.array([8, 8, 40, 40], np.float32), 1.0)
    monkeypatch.setattr(faces, "find_with", lambda name, model=None: lambda image: [found])
    pixels = fixtures.picture((64, 64), 1)
    if kind:
        Image.fromarray(pixels).save(tmp_path / "a.mp4", kind)
    else:
        fixtures.video(tmp_path / "a.mp4", pictures=[pixels])  # a video of one frame
    told = f"named as a video, but a {kind} picture, which was judged"
    for modality in ("image", "video"):
        result = watching(modality)(tmp_path / "a.mp4")
        assert len(result["frames"]) == 1
        assert result.get("notes") == ([told] if kind not in ("GIF", None) else None)


@pytest.mark.parametrize("name", ["a.wav", "a.mkv"])
def test_of_a_recording_that_was_cut_short_it_is_said(tmp_path, name):
    """What was left of it was judged without a word."""
    decision, takes = {"threshold": 0.5, "calibration": {"method": "none"}}, models.Input("audio", None, None)
    quiet = shown(lambda examples: np.zeros(len(examples), np.float32))
    judge = detector.Detector("silence", quiet, decision, takes, len, ("audio", {}))
    path = fixtures.audio(tmp_path / name, seconds=4.0)
    whole, whole_result = path.read_bytes(), judge(path)
    assert "notes" not in whole_result
    path.write_bytes(whole[: len(whole) // 2])
    result = {"file": name, **judge(path)}
    told = f"cut short: {len(whole) // 2:,} of the {len(whole):,} bytes that its header tells are there"
    assert result["seconds"] < 0.6 * whole_result["seconds"]
    assert result["notes"] == [told] and predict.line(result).endswith(f"{name}  ({told})")


@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.mp4", "a.mov"])
def test_a_video_that_was_cut_short_is_known_by_its_header(tmp_path, name):
    path = fixtures.video(tmp_path / name, pictures=[fixtures.picture((64, 64), k) for k in range(20)])
    assert facts.cut_short(path) is None
    whole, size = path.read_bytes(), path.stat().st_size
    path.write_bytes(whole + bytes(range(200, 255)))  # behind it may lie what is no part of it
    assert facts.cut_short(path) is None
    path.write_bytes(whole[: size // 2])
    assert facts.cut_short(path).startswith(f"cut short: {size // 2:,} of the ")
    head = path.read_bytes()[:100]
    for length in range(len(head)):  # nothing is read behind what is left of a header
        path.write_bytes(head[:length])
        assert (facts.cut_short(path) or "cut short: ").startswith("cut short: ")


def with_vbri(path):
    """An MP3 as encoders of another maker begin it: a frame that holds its length as VBRI."""
    plain = fixtures.encoded(path, "libmp3lame", rate=16_000, write_xing="0", id3v2_version="0")
    frames = plain.read_bytes()
    first = frames[: frames.index(frames[:2], 2)]
    told = b"VBRI" + struct.pack(">HHHII", 1, 0, 75, len(first) + len(frames), len(frames) // len(first))
    path.write_bytes(first[:4] + bytes(32) + told + bytes(len(first) - 36 - len(told)) + frames)
    return path


ENDING = {  # recordings that tell where they end
    "Vorbis": lambda folder: fixtures.audio(folder / "a.ogg", 4.0),
    "Vorbis, stereo": lambda folder: fixtures.audio(folder / "a.ogg", 4.0, 44_100, 2),
    "Opus": lambda folder: fixtures.audio(folder / "a.ogg", 4.0, 48_000, subtype="OPUS"),
    "Opus by FFmpeg": lambda folder: fixtures.encoded(folder / "a.ogg", "libopus"),
    "Opus, streamed": lambda folder: fixtures.encoded(folder / "-a.ogg", "libopus", channels=2),
    "MP3": lambda folder: fixtures.audio(folder / "a.mp3", 4.0),
    "MP3, stereo": lambda folder: fixtures.audio(folder / "a.mp3", 4.0, 44_100, 2),
    "MP3 by FFmpeg": lambda folder: fixtures.encoded(folder / "a.mp3", "libmp3lame", rate=44_100, channels=2),
    "MP3, constant rate": lambda folder: fixtures.encoded(folder / "a.mp3", "libmp3lame", rate=24_000, b="64000"),
    "MP3 with VBRI": lambda folder: with_vbri(folder / "a.mp3"),
}
ENDLESS = {  # and those that do not
    "MP3, streamed": lambda folder: fixtures.encoded(folder / "-a.mp3", "libmp3lame"),
    "MP3 without a header": lambda folder: fixtures.encoded(folder / "a.mp3", "libmp3lame", write_xing="0"),
    "AAC": lambda folder: fixtures.encoded(folder / "a.adts", "aac"),
    "FLAC, streamed": lambda folder: fixtures.encoded(folder / "-a.flac", "flac"),
    "AIFF": lambda folder: fixtures.audio(folder / "a.aiff"),
}


@pytest.mark.parametrize("kind", ENDING)
def test_of_ogg_and_mp3_that_were_cut_short_it_is_said(tmp_path, kind):
    """What was left of them was judged without a word."""
    path = ENDING[kind](tmp_path)
    whole = path.read_bytes()
    assert "notes" not in evidence.of_file(path, "audio", {}).facts
    path.write_bytes(whole + b"TAG" + bytes(125))  # what players wrote behind them
    assert facts.cut_short(path) is None
    told = r"last page of its Ogg stream is not all there" if "MP3" not in kind else r"of the [\d,]+ bytes"
    for share in (0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
        path.write_bytes(whole[: int(share * len(whole))])
        assert re.search(rf"^cut short: .*{told}", facts.cut_short(path)), share
    assert evidence.of_file(path, "audio", {}).facts["notes"] == [facts.cut_short(path)]
    for length in range(300):  # nothing is read behind what is left of a header
        path.write_bytes(whole[:length])
        assert (facts.cut_short(path) or "cut short: ").startswith("cut short: ")


@pytest.mark.parametrize("kind", ENDLESS)
def test_of_a_recording_that_does_not_tell_its_length_nothing_is_said(tmp_path, kind):
    path = ENDLESS[kind](tmp_path)
    whole = path.read_bytes()
    assert "notes" not in evidence.of_file(path, "audio", {}).facts
    for share in (0.3, 0.7, 0.97):
        path.write_bytes(whole[: int(share * len(whole))])
        assert facts.cut_short(path) is None


def test_a_recorder_that_marks_no_page_as_the_last_did_not_cut_its_recording_short(tmp_path):
    """So write Android and messengers; see RFC 3533, section 6, for the mark."""
    path = fixtures.encoded(tmp_path / "a.ogg", "libopus")
    whole = bytearray(path.read_bytes())
    page = whole.rindex(b"OggS")
    assert whole[page + 5] == 4
    whole[page + 5] = 0
    path.write_bytes(whole)
    assert facts.cut_short(path) is None


def test_the_cover_in_front_of_a_recording_is_no_part_of_its_length(tmp_path):
    path = fixtures.audio(tmp_path / "a.mp3", 4.0)
    whole = path.read_bytes()
    tag = b"ID3\x04\0\0" + bytes([0, 1, 100, 3]) + bytes(128 * 228 + 3)
    for share in (1, 0.9):
        path.write_bytes(tag + whole[: int(share * len(whole))])
        told = (
            f"cut short: {path.stat().st_size:,} of the {len(tag) + len(whole):,} bytes that its header tells are there"
        )
        assert facts.cut_short(path) == (told if share < 1 else None)


@pytest.mark.parametrize("length", [0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_recording_that_was_streamed_does_not_tell_its_length(tmp_path, length):
    path = fixtures.audio(tmp_path / "a.wav")
    path.write_bytes(b"RIFF" + length.to_bytes(4, "little") + path.read_bytes()[8:])
    assert facts.cut_short(path) is None


def test_the_score_of_a_video_is_the_mean_over_its_frames(tmp_path, monkeypatch):
    def records(path, **options):
        faces = [np.full((40, 40, 3), value, np.uint8) for value in (40, 160, 220)]
        part = [
            {"position": str(k), "frame": 5 * k, "seconds": 0.2 * k, "image": cv2.imencode(".png", face)[1].tobytes()}
            for k, face in enumerate(faces)
        ]
        assert options == {"frames": 4, "face_model": None}
        return {"records": part, "faceless": 1}

    monkeypatch.setattr("dfjax.media.faces.crop_records", records)
    judge = watching("video", frames=4, face_model=None)
    path = tmp_path / "a.mp4"
    path.write_bytes(b"a video")
    result = judge(path)
    np.testing.assert_allclose([frame["score"] for frame in result["frames"]], [-2.75, 1.0, 2.875])
    np.testing.assert_allclose(result["score"], 0.375)
    np.testing.assert_allclose(result["spread"], np.std([-2.75, 1.0, 2.875], ddof=1), rtol=1e-6)
    assert result["above"] == pytest.approx(2 / 3)
    assert result["verdict"] == "real" and result["frames_without_face"] == 1
    assert "  1 of 4 frames without a face  " in predict.line({"file": "a.mp4", **result})
    assert [frame["seconds"] for frame in result["frames"]] == [0.0, 0.2, 0.4]

    pair = cv2.imdecode(np.frombuffer(file_figures.heat_png(judge, path, result), np.uint8), cv2.IMREAD_COLOR)
    assert pair.shape == (SIZE, 2 * SIZE, 3)
    assert (pair[:, :SIZE] == 220).all(), "the most suspicious frame is shown"
    plot = cv2.imdecode(np.frombuffer(file_figures.timeline_png(result), np.uint8), cv2.IMREAD_COLOR)
    assert min(plot.shape[:2]) > 300


def test_pictures_of_files_of_one_name_do_not_overwrite_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    judge = watching()
    long = pathlib.Path(*["folder" * 10] * 4, "x.png")
    for name in ("a/x.png", "b/x.png", "../x.png", "a_x.png", long):
        path = fixtures.image(pathlib.Path(name), size=(70, 50))
        predict._draw(predict.parser().parse_args(["--heatmap", "out"]), judge, {"file": str(path), **judge(path)})
    assert len(list((tmp_path / "out").glob("*x.png-????????.heatmap.png"))) == 5


def test_bars_grow_with_the_score():
    assert predict.bars([-9.0, 0.0, 9.0], -4.0, 4.0) == "▁▄█"


def test_the_time_line_of_several_faces_is_of_the_frames_highest_as_the_score_is():
    decision = {"threshold": 0.0, "calibration": {"method": "none"}}
    judge = detector.Detector("faces", len, decision, models.Input("image", 32, None), len, ("video", {}))
    frames, scores = [3, 3, 3, 9, 9], np.array([-4, 4, 0, -1, -4], np.float32)
    parts = [{"frame": frame, "seconds": frame / 25} for frame in frames]
    result = {"file": "a.mp4", **judge.decide(parts, [], {}, {"score": scores})}
    assert result["score"] == 1.5 and verdict.along(result) == ([0.12, 0.36], [4.0, -1.0])
    assert "  █▃  ±3.5  a.mp4" in predict.line(result)
    line, dots, _ = file_figures.timeline_figure(result).axes[0].lines
    np.testing.assert_array_equal(line.get_xydata(), [[0.12, 4.0], [0.36, -1.0]])
    np.testing.assert_allclose(dots.get_ydata(), scores)
    assert dots.get_linestyle() == "None"


def test_a_splice_in_a_long_recording_shows_in_windows_that_overlap(tmp_path):
    def loud(examples):
        return np.array([np.abs(example["audio"]).mean() for example in examples], np.float32)

    path = fixtures.audio(tmp_path / "a.wav", seconds=20.0)
    decision = {"threshold": 0.5, "calibration": {"method": "none"}}
    takes = models.Input("audio", None, None)
    listener = detector.Detector("loudness", shown(loud), decision, takes, len, ("audio", {}))
    apart, sharing = (listener(path, overlap=overlap) for overlap in (0.0, 0.75))
    assert [len(result["windows"]) for result in (apart, sharing)] == [5, 17]
    for result in (apart, sharing):
        scores = [window["score"] for window in result["windows"]]
        np.testing.assert_allclose(result["score"], np.mean(scores), rtol=1e-6)
        assert (result["windows"][0]["start"], result["windows"][-1]["end"]) == (0.0, 20.0)
