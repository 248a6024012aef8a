"""Decoding: what comes out of a file, and that a bad file gives a reason."""

import os
import pathlib
import re
import types

import av
import cv2
import numpy as np
import pytest
import soundfile
from av.stream import Disposition
from PIL import ExifTags, Image

from dfjax.media import MediaError, audio, evidence, faces, facts, images, properties, video
from dfjax.records import MAX_SAMPLES, SAMPLE_RATE
from tests.data_builders import fixtures

DATA = pathlib.Path(__file__).resolve().parents[2] / "../shared/data"


def sine(frequency, rate, seconds=1.0, level=0.5):
    return level * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


def test_sound_at_16_khz_comes_back_bit_for_bit(tmp_path):
    x = np.random.default_rng(0).integers(-32768, 32768, 20_000, dtype=np.int16)
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, x, SAMPLE_RATE, subtype="PCM_16")
        decoded, info = audio.decode(tmp_path / name)
        np.testing.assert_array_equal(decoded, x)
        assert (info.rate, info.channels, info.seconds) == (SAMPLE_RATE, 1, 1.25)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_a_tone_and_its_level(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", sine(1_000, rate, 2.0), rate, subtype="PCM_24")
    decoded, info = audio.decode(tmp_path / "a.wav")
    assert info.rate == rate and abs(len(decoded) - 2 * SAMPLE_RATE) <= 1
    expected = sine(1_000, SAMPLE_RATE, 2.0)[: len(decoded)] * 32768
    middle = slice(2_000, -2_000)  # away from the filter's edges
    np.testing.assert_allclose(decoded[middle], expected[middle], atol=16)


def test_what_lies_above_8_khz_does_not_fold_back(tmp_path):
    soundfile.write(tmp_path / "a.wav", sine(1_000, 48_000, level=0.4) + sine(11_000, 48_000, level=0.4), 48_000)
    decoded, _ = audio.decode(tmp_path / "a.wav")
    spectrum = np.abs(np.fft.rfft(decoded * np.hanning(len(decoded))))
    kept, alias = (spectrum[round(f * len(decoded) / SAMPLE_RATE)] for f in (1_000, 5_000))
    assert alias < 1e-4 * kept


def test_channels_are_averaged(tmp_path):
    x = np.stack([sine(440, SAMPLE_RATE, level=0.6), sine(440, SAMPLE_RATE, level=0.2)], axis=1)
    soundfile.write(tmp_path / "a.wav", x, SAMPLE_RATE)
    decoded, info = audio.decode(tmp_path / "a.wav")
    assert info.channels == 2
    np.testing.assert_allclose(decoded, sine(440, SAMPLE_RATE, level=0.4) * 32768, atol=2)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_bit_depth_has_the_same_scale(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", sine(440, SAMPLE_RATE), SAMPLE_RATE, subtype=subtype)
    decoded, _ = audio.decode(tmp_path / "a.wav")
    assert np.abs(decoded).max() == pytest.approx(0.5 * 32768, rel=0.03)


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3", "a.m4a", "a.aiff"])
@pytest.mark.parametrize("channels", [1, 2])
def test_compressed_formats_sound_like_their_original(tmp_path, name, channels):
    path = fixtures.audio(tmp_path / name, seconds=1.5, rate=44_100, channels=channels)
    decoded, info = audio.decode(path)
    assert info.channels == channels and len(decoded) == pytest.approx(1.5 * SAMPLE_RATE, rel=0.1)
    fixtures.audio(tmp_path / "original.wav", seconds=1.5, rate=44_100, channels=channels)
    original, _ = audio.decode(tmp_path / "original.wav")
    spectra = [np.abs(np.fft.rfft(x.astype(float), 32_768)) for x in (decoded, original)]
    assert np.corrcoef(spectra)[0, 1] > 0.8


def test_the_sound_of_a_video(tmp_path):
    decoded, info = audio.decode(fixtures.video(tmp_path / "a.mp4", frames=50, sound=True))
    assert info.codec == "aac" and len(decoded) == pytest.approx(2 * SAMPLE_RATE, rel=0.1)


@pytest.mark.parametrize("length", [1, 5_000, MAX_SAMPLES, MAX_SAMPLES + 1, 3 * MAX_SAMPLES, 1_000_003])
def test_windows_cover_the_clip_with_as_few_as_possible(length):
    x = np.arange(length).astype(np.int16)
    windows = audio.windows(x)
    assert len(windows) == -(-length // MAX_SAMPLES)
    covered = np.zeros(length, bool)
    for start, window in windows:
        assert len(window) == min(length, MAX_SAMPLES)
        np.testing.assert_array_equal(window, x[start : start + len(window)])
        covered[start : start + len(window)] = True
    assert covered.all()
    assert np.ptp(np.diff([start for start, _ in windows])) <= 1 if len(windows) > 2 else True


@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.9])
def test_overlapping_windows_share_what_was_asked_and_little_more(overlap):
    starts = [start for start, _ in audio.windows(np.zeros(1_000_003, np.int16), overlap)]
    step = np.diff(starts)
    assert starts[0] == 0 and starts[-1] == 1_000_003 - MAX_SAMPLES
    assert step.max() <= MAX_SAMPLES * (1 - overlap) + 1 and step.max() > 0.9 * MAX_SAMPLES * (1 - overlap)
    assert len(audio.windows(np.zeros(MAX_SAMPLES, np.int16), overlap)) == 1


def test_unusable_sound_gives_a_reason(tmp_path):
    def reason(name, content=None, rate=SAMPLE_RATE, **kwargs):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            soundfile.write(path, content, rate, **kwargs)
        with pytest.raises(MediaError) as error:
            audio.decode(path)
        return str(error.value)

    assert reason("silent.wav", np.zeros(16_000)) == "silent"
    assert reason("dither.wav", np.full(16_000, 9 / 32768)) == "silent"
    cancelled = np.stack([sine(440, SAMPLE_RATE, 1), -sine(440, SAMPLE_RATE, 1)], 1)
    assert reason("cancelled.wav", cancelled).startswith("silent: its 2 channels hold nothing, or cancel")
    assert reason("short.wav", sine(440, SAMPLE_RATE, 0.09)) == "shorter than 0.1 s"
    assert reason("none.wav", np.zeros(0)) == "empty"
    assert reason("nan.wav", np.full(16_000, np.nan), subtype="FLOAT") == "samples that are not finite"
    assert "far outside" in reason("loud.wav", np.full(16_000, 1e6), subtype="FLOAT")
    assert "sampling rate" in reason("slow.wav", sine(40, 500, 10), 500)
    assert "unreadable" in reason("text.mp3", b"not a sound at all " * 20)
    assert "unreadable" in reason("zero.flac", b"")
    assert "unreadable" in reason("missing.wav")
    whole = fixtures.audio(tmp_path / "whole.flac", seconds=4).read_bytes()
    assert reason("cut.flac", whole[: len(whole) // 2]).startswith(("truncated", "corrupt"))
    fixtures.video(tmp_path / "mute.mp4")
    assert reason("mute.mp4") == "no audio stream"
    fixtures.image(tmp_path / "picture.png")
    assert reason("picture.png") == "no audio stream"


def test_flac_that_was_streamed_is_read_and_flac_that_was_cut_short_is_refused_as_that(tmp_path):
    """libsndfile fails at the end of either: "corrupt: Internal psf_fseek() failed."."""
    whole = fixtures.encoded(tmp_path / "a.flac", "flac", seconds=9.0, rate=SAMPLE_RATE)
    streamed = fixtures.encoded(tmp_path / "-b.flac", "flac", seconds=9.0, rate=SAMPLE_RATE)
    assert soundfile.info(whole).frames == 9 * SAMPLE_RATE < soundfile.info(streamed).frames
    np.testing.assert_array_equal(audio.decode(streamed)[0], audio.decode(whole)[0])
    with streamed.open("rb") as file:  # as of a bucket
        np.testing.assert_array_equal(audio._decode(file, 60.0)[0], audio.decode(whole)[0])
    data = whole.read_bytes()
    ends = [found.start() for found in re.finditer(rb"\xff\xf8", data)][1:]
    assert len(ends) > 20
    for end in (*ends, len(data) - 1, len(data) // 2):
        whole.write_bytes(data[:end])
        with pytest.raises(MediaError, match="cut short|truncated"):
            audio.decode(whole)


def slow_then_fast(folder, *rates, **options):
    """MP3s without a header, of 3 s at so many bit/s each, one behind the other."""
    parts = [
        fixtures.encoded(folder / f"{k}.mp3", "libmp3lame", 3.0, write_xing="0", b=rate, **options).read_bytes()
        for k, rate in enumerate(rates)
    ]
    (folder / "joined.mp3").write_bytes(b"".join(parts))
    return folder / "joined.mp3"


def joined(folder, name, **words):
    parts = [fixtures.audio(folder / f"{k}{name}", 3.0, 48_000, **words).read_bytes() for k in range(3)]
    (folder / f"joined{name}").write_bytes(b"".join(parts))
    return folder / f"joined{name}"


LONGER = {  # than libsndfile takes them for, 9 s of sound
    "MP3s": lambda folder: joined(folder, ".mp3"),
    "Vorbis": lambda folder: joined(folder, ".ogg"),
    "Opus": lambda folder: joined(folder, ".opus.ogg", subtype="OPUS"),
    "a higher rate first": lambda folder: slow_then_fast(folder, "320000", "32000", "32000", id3v2_version="0"),
    "a lower rate first": lambda folder: slow_then_fast(folder, "32000", "320000", "320000", id3v2_version="0"),
    "MP3s with titles": lambda folder: slow_then_fast(folder, "320000", "32000", "32000"),
}


@pytest.mark.parametrize("kind", LONGER)
def test_a_recording_is_heard_to_its_end_whatever_its_header_says(kind, tmp_path):
    """Of several in one file the first was judged, of an MP3 without a header what its first frames made expect."""
    path = LONGER[kind](tmp_path)
    samples, info = audio.decode(path)
    assert len(samples) / SAMPLE_RATE == pytest.approx(9.0, abs=0.3) and info.seconds == pytest.approx(9.0, abs=0.3)
    assert np.abs(samples[-2 * SAMPLE_RATE : -SAMPLE_RATE]).max() > 3_000
    with path.open("rb") as file:  # as of a bucket
        np.testing.assert_array_equal(audio._decode(file, 60.0)[0], samples)
    if kind != "Vorbis":
        rate = audio.coding(path, info)["bit_rate"]
        assert rate == pytest.approx(8 * path.stat().st_size / 9, rel=0.1)
    assert "notes" not in evidence.of_file(path, "audio", {}).facts


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_recording_that_was_cut_short_is_refused_where_its_header_tells_its_length(share, tmp_path):
    for path in (
        fixtures.audio(tmp_path / "a.mp3", 9.0, 44_100),
        fixtures.encoded(tmp_path / "b.mp3", "libmp3lame", 9.0),
    ):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(MediaError, match="^truncated: "):
            audio.decode(path)
    path = fixtures.audio(tmp_path / "a.ogg", 9.0, 48_000, subtype="OPUS")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3] + whole[2 * len(whole) // 3 :])
    with pytest.raises(MediaError, match="^truncated: "):
        audio.decode(path)


def test_of_a_recording_that_is_too_long_no_more_is_read(tmp_path):
    path = fixtures.audio(tmp_path / "a.mp3", 60.0, 16_000)
    with path.open("rb") as file:
        counting = types.SimpleNamespace(read_bytes=0)

        class Counted:
            def __getattr__(self, name):
                return getattr(file, name)

            def read(self, size=-1):
                counting.read_bytes += len(data := file.read(size))
                return data

            def readinto(self, buffer):
                counting.read_bytes += (count := file.readinto(buffer))
                return count

        with pytest.raises(MediaError, match="longer than"):
            audio._decode(Counted(), 1.0)
    assert counting.read_bytes < path.stat().st_size / 2


def test_a_recording_that_knows_its_length_is_read_as_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "_open_av", None)
    for name, words in (("a.mp3", {}), ("a.ogg", {}), ("b.ogg", {"subtype": "OPUS"})):
        path = fixtures.audio(tmp_path / name, 3.0, 48_000, **words)
        assert len(audio.decode(path)[0]) == pytest.approx(3 * SAMPLE_RATE, abs=2)


@pytest.mark.parametrize(
    "text",
    ["ffconcat version 1.0\nfile a.wav\n", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na.ts\n#EXT-X-ENDLIST\n"],
)
def test_a_list_of_files_is_not_taken_for_them(text, tmp_path):
    """It had the verdict of what it names."""
    fixtures.audio(tmp_path / "a.wav", 3.0)
    with av.open(str(tmp_path / "a.ts"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for frame in [av.VideoFrame(96, 64, "yuv420p")] * 30 + [None]:
            container.mux(stream.encode(frame))
    path = tmp_path / ("list.wav" if text.startswith("ff") else "list.m3u8")
    path.write_text(text)
    for read in (audio.decode, lambda path: list(video.frames(path, 4))):
        with pytest.raises(MediaError, match="^a list of other files; give those$"):
            read(path)
    assert np.isnan(properties.header_features(path)["duration"])
    assert facts.of_file(path)["streams"] == []


def test_the_header_of_a_stream_without_a_decoder_is_read_as_far_as_it_goes(tmp_path):
    """`dfjax.stats` ended in a traceback."""
    path = fixtures.encoded(tmp_path / "a.matroska", "libopus")
    whole = path.read_bytes()
    assert b"A_OPUS" in whole
    path.write_bytes(whole.replace(b"A_OPUS", b"A_XXXX"))
    found = properties.header_features(path)
    assert found["container"] == "matroska,webm" and found["codec"] == "" and np.isnan(found["sample_rate"])
    with pytest.raises(MediaError, match="^no decoder for its sound$"):
        audio.decode(path)


@pytest.mark.parametrize("modality", ["audio", "image", "video", "av"])
def test_what_is_no_file_is_told_before_a_decoder_waits_for_it_or_says_less(tmp_path, modality):
    def reason(path):
        with pytest.raises(MediaError) as error:
            evidence.of_file(path, modality, {})
        return str(error.value)

    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    assert reason(tmp_path / "pipe.wav") == reason("/dev/null")
    assert "a pipe or a device" in reason(tmp_path / "pipe.wav") and reason(tmp_path).startswith("a folder; ")
    assert reason(str(tmp_path / "empty.wav")) == "empty file"
    assert reason(tmp_path / "nowhere.wav") == "unreadable: No such file or directory"
    assert reason(tmp_path / "loop.wav") == "unreadable: Too many levels of symbolic links"
    assert reason("nul\0.wav").startswith("unreadable: ")
    assert reason("https://localhost/a.wav").startswith("https:// cannot be read; expected a file on a disk, or in a")


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
def test_frames_are_spread_evenly_and_look_right(tmp_path, pixel_format):
    pictures = [np.full((64, 96, 3), 5 * k, np.uint8) for k in range(40)]  # brightness tells the frame
    path = fixtures.video(tmp_path / "a.mp4", pictures=pictures, pixel_format=pixel_format)
    found = list(video.frames(path, 4))
    assert [frame.index for frame in found] == [5, 15, 25, 35]
    for frame in found:
        assert frame.image.shape == (64, 96, 3)
        assert abs(frame.image.mean() - 5 * frame.index) < 4
        assert frame.seconds == pytest.approx(frame.index / 25, abs=0.021)
    assert [frame.index for frame in video.frames(path, 1_000)] == list(range(40))
    assert [frame.index for frame in video.frames(path, 1)] == [20]


def test_the_frames_of_an_avi_come_in_the_order_of_their_times(tmp_path):
    """AVI holds no times of its frames: of those with B-frames FFmpeg takes the order of the file for them."""
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "3", "b-adapt": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for k in range(30):
            pixels = np.full((64, 96, 3), 8 * k, np.uint8)  # brightness tells the frame
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    for threads in (0, 1):
        found = list(video.frames(tmp_path / "a.avi", 30, threads))
        assert [frame.seconds for frame in found] == pytest.approx([k / 25 for k in range(30)])
        assert all(abs(frame.image.mean() - 8 * frame.index) < 4 for frame in found)


def test_frames_of_a_clip_cut_out_without_encoding_are_spread_over_what_is_shown(tmp_path):
    """As by ffmpeg -ss 6 -c copy: it was refused as truncated, and a longer one was looked at in its beginning only."""
    pictures = [np.full((64, 64, 3), level, np.uint8) for level in range(50, 250)]
    whole = fixtures.video(
        tmp_path / "whole.mp4", pictures=pictures
    )  # one group of pictures, to whose start a cut goes
    with av.open(str(whole)) as source, av.open(str(tmp_path / "cut.mp4"), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.pts, packet.dts = (int(time - 6 / stream.time_base) for time in (packet.pts, packet.dts))
                packet.stream = copy
                target.mux(packet)
    found = list(video.frames(tmp_path / "cut.mp4", 10))
    assert [frame.index for frame in found] == list(range(2, 50, 5))
    levels = np.array([frame.image.mean() for frame in found])
    np.testing.assert_allclose(levels, 200 + np.arange(2, 50, 5), atol=3)  # what a player shows


def test_the_cover_of_a_recording_is_no_video(tmp_path):
    cover = fixtures.image(tmp_path / "cover.jpg").read_bytes()
    sound = fixtures.audio(tmp_path / "sound.m4a")
    for name, moving in (("covered.mp4", False), ("both.mp4", True)):
        with av.open(str(tmp_path / name), "w") as container, av.open(str(sound)) as source:
            pictures = container.add_stream("mjpeg", rate=1)
            pictures.width, pictures.height, pictures.pix_fmt = 64, 64, "yuvj420p"
            pictures.disposition = Disposition.attached_pic
            voice = container.add_stream_from_template(source.streams.audio[0])
            film = container.add_stream("libx264", rate=25) if moving else None
            if film is not None:
                film.width, film.height, film.pix_fmt = 96, 48, "yuv420p"
            container.start_encoding()
            packet = av.Packet(cover)
            packet.stream, packet.pts, packet.dts, packet.time_base = pictures, 0, 0, pictures.time_base
            container.mux(packet)
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = voice
                    container.mux(packet)
            for frame in [av.VideoFrame(96, 48, "yuv420p"), None] if film is not None else []:
                container.mux(film.encode(frame))
    with pytest.raises(MediaError, match="^no picture stream$"):
        list(video.frames(tmp_path / "covered.mp4", 4))
    assert [frame.image.shape for frame in video.frames(tmp_path / "both.mp4", 4)] == [(48, 96, 3)]


def test_unusable_video_gives_a_reason(tmp_path):
    whole = fixtures.video(tmp_path / "a.mp4", frames=30).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError, match="corrupt"):
        list(video.frames(tmp_path / "cut.mp4", 4))
    with pytest.raises(MediaError, match="no picture stream"):
        list(video.frames(fixtures.audio(tmp_path / "a.wav"), 4))
    with pytest.raises(MediaError, match="no face"):
        faces.crop_records(tmp_path / "a.mp4", frames=4)


def test_pictures_keep_their_bytes_or_become_png(tmp_path):
    for name in ("a.jpg", "a.png"):
        path = fixtures.image(tmp_path / name, (40, 60))
        assert images.read(path) == (path.read_bytes(), (40, 60))
    for name in ("a.bmp", "a.webp"):
        path = fixtures.image(tmp_path / name, (40, 60))
        data, size = images.read(path)
        assert size == (40, 60) and data[1:4] == b"PNG"
        np.testing.assert_array_equal(images.decode(data), np.asarray(Image.open(path).convert("RGB")))


def test_a_picture_of_a_phone_that_holds_more_than_one_is_the_jpeg_that_it_begins_with(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image = Image.open(fixtures.image(tmp_path / "a.png", (40, 60)))
    image.save(tmp_path / "plain.jpg", exif=exif, quality=60)
    more = {"save_all": True, "append_images": [image.resize((20, 20))]}
    image.save(tmp_path / "phone.jpg", "MPO", exif=exif, quality=60, **more)
    (plain, shape), (phone, same) = (images.read(tmp_path / name) for name in ("plain.jpg", "phone.jpg"))
    assert phone == (tmp_path / "phone.jpg").read_bytes() and shape == same == (60, 40)
    np.testing.assert_array_equal(images.decode(phone), images.decode(plain))
    assert properties.picture_properties(phone) == properties.picture_properties(plain)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_a_fitted_picture_is_the_decoded_one_resized(suffix, channels):
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.normal(128, 60, (5, 5, *channels)), (51, 51), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(f".{suffix}", smooth.clip(0, 255).astype(np.uint8))[1].tobytes()
    whole = images.decode(data)
    np.testing.assert_array_equal(images.fitted(data, 51), whole)
    for size, how in ((30, cv2.INTER_AREA), (80, cv2.INTER_CUBIC)):
        np.testing.assert_array_equal(images.fitted(data, size), cv2.resize(whole, (size, size), interpolation=how))


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA", "1", "CMYK", "I;16"])
def test_every_mode_of_picture_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture = Image.fromarray(fixtures.picture((40, 60)))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 256)
    else:
        picture = picture.convert(mode)
    picture.save(path)
    data, size = images.read(path)
    assert size == (40, 60) and images.decode(data).shape == (40, 60, 3)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm", "jp2"])
def test_grey_of_16_bits_has_the_same_brightness_in_every_format(tmp_path, suffix):
    grey = np.linspace(0, 65_535, 40 * 60).reshape(40, 60).astype(np.uint16)
    assert cv2.imwrite(str(tmp_path / f"a.{suffix}"), grey)
    found = images.decode(images.read(tmp_path / f"a.{suffix}")[0])
    np.testing.assert_allclose(found, (grey >> 8)[..., None].repeat(3, axis=-1), atol=suffix == "jp2")


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_numbers_without_a_white_are_no_picture(tmp_path, kind):
    Image.fromarray(np.arange(40 * 60, dtype=kind).reshape(40, 60)).save(tmp_path / "a.tif")
    with pytest.raises(MediaError, match="^pixels of 32 bits, of which nobody says what is white; save it with 8 or"):
        images.read(tmp_path / "a.tif")


def test_a_picture_is_one_by_its_bytes_where_its_ending_says_nothing(tmp_path, monkeypatch):
    still = fixtures.image(tmp_path / "a.jpg").read_bytes()
    moving = fixtures.video(tmp_path / "a.mp4").read_bytes()
    assert images.is_picture(tmp_path / "a.jpg") and not images.is_picture(tmp_path / "a.mp4")
    for name, content, expected in (
        ("still", still, True),
        ("still.mp4", still, False),
        ("moving", moving, False),
        ("moving.png", moving, True),
        ("text", b"no picture", False),
    ):
        (tmp_path / name).write_bytes(content)
        assert images.is_picture(tmp_path / name) == expected, name
    assert facts.of_file(tmp_path / "still")["container"] == "JPEG"
    assert facts.of_file(tmp_path / "moving")["container"] == "QuickTime / MOV"
    found = faces.Face(np.array([8, 8, 40, 40], np.float32), 1.0)
    monkeypatch.setattr(faces, "find_with", lambda name, model=None: lambda image: [found])
    (one,), (same,) = (faces.crop_records(tmp_path / name, size=32)["records"] for name in ("a.jpg", "still"))
    assert one["image"] == same["image"] and same["position"] == 0


def test_a_turned_picture_whose_ending_says_nothing_is_cropped_upright(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    Image.fromarray(fixtures.picture((40, 60))).save(tmp_path / "a.avif", exif=exif)
    seen = []
    monkeypatch.setattr(faces, "find_with", lambda name, model=None: lambda image: seen.append(image.shape) or [])
    with pytest.raises(MediaError, match="^no face found$"):
        faces.crop_records(tmp_path / "a.avif")
    assert seen == [(60, 40, 3)]


def test_a_turned_photograph_is_decoded_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    Image.fromarray(fixtures.picture((40, 60))).save(tmp_path / "a.jpg", exif=exif)
    data, size = images.read(tmp_path / "a.jpg")
    assert size == (60, 40) and images.decode(data).shape == (60, 40, 3)


def test_unusable_pictures_give_a_reason(tmp_path):
    whole = fixtures.image(tmp_path / "a.jpg", (200, 200)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_bytes(b"no picture")
    with pytest.raises(MediaError, match="corrupt"):
        images.read(tmp_path / "cut.jpg")
    with pytest.raises(MediaError, match="not a picture"):
        images.read(tmp_path / "text.png")
    damaged = bytearray(fixtures.image(tmp_path / "a.png", (200, 200)).read_bytes())
    damaged[damaged.rfind(b"IEND") - 6] ^= 1  # in the checksum of the last pixels: Pillow reads it, OpenCV does not
    (tmp_path / "sum.png").write_bytes(damaged)
    with pytest.raises(MediaError, match="^corrupt: broken PNG file"):
        images.read(tmp_path / "sum.png")
    with pytest.raises(MediaError, match="8 x 8"):
        images.read(fixtures.image(tmp_path / "small.png", (8, 8)))


@pytest.mark.parametrize("modality", ["image", "video"])
@pytest.mark.parametrize("name", ["a.heic", "a.jpg", "a"])
def test_a_picture_of_a_phone_that_nobody_reads_is_told_by_its_name(tmp_path, modality, name):
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    found, why = evidence.safely(str(tmp_path / name), modality, {}, 32, 0.0, False)
    assert found is None and why == "a HEIC picture, which Pillow does not read; save it as JPEG or PNG"


def test_a_picture_that_is_read_and_not_decoded_is_skipped_with_a_reason_that_is_its_own(tmp_path):
    Image.new("1", ((1 << 20) + 1, 16)).save(tmp_path / "wide.png")
    found, why = evidence.safely(str(tmp_path / "wide.png"), "image", {}, 32, 0.0, False)
    assert found is None and why == "OpenCV cannot decode the picture"


def test_a_picture_of_a_large_camera_is_read_without_a_word_and_one_of_no_camera_is_refused(tmp_path):
    """Between Pillow's limit and ours, and beyond ours."""
    usual = Image.MAX_IMAGE_PIXELS
    for side in (13_500, 17_000):
        Image.new("1", (side, side)).save(tmp_path / f"{side}.png")
    data, size = images.read(tmp_path / "13500.png")
    assert size == (13_500, 13_500) and properties.image_features(data)["width"] == 13_500
    assert facts.of_file(tmp_path / "13500.png")["streams"][0]["pixels"] == "13500 x 13500"
    with pytest.raises(MediaError, match="^a picture of 17000 x 17000 pixels$"):
        images.read(tmp_path / "17000.png")
    assert Image.MAX_IMAGE_PIXELS == usual


def test_a_crop_is_the_square_around_the_face_with_a_margin():
    image = np.zeros((200, 300, 3), np.uint8)
    image[80:120, 100:140] = 255  # a 40-pixel face
    face = faces.Face(np.array([100, 80, 140, 120], np.float32), 1.0)
    crop = faces.crop(image, face, 130)  # 40 x 1.3 = 52 pixels become 130: the face becomes 100
    bright = np.argwhere(crop[..., 0] > 127)
    np.testing.assert_allclose(bright.min(axis=0), 15, atol=2)
    np.testing.assert_allclose(bright.max(axis=0), 115, atol=2)


def test_a_crop_levels_the_eyes():
    image = np.zeros((200, 200, 3), np.uint8)
    eyes = np.array([[80, 90], [120, 110]])  # x, y: the line falls to the right
    for x, y in eyes:
        cv2.circle(image, (int(x), int(y)), 3, (255, 255, 255), -1)
    angle = float(np.degrees(np.arctan2(20, 40)))
    crop = faces.crop(image, faces.Face(np.array([60, 60, 140, 140], np.float32), 1.0, angle), 104)
    rows = np.argwhere(crop[..., 0] > 127)[:, 0]
    assert np.ptp(rows) <= 8  # both on one line, the size of a dot


def test_a_crop_beyond_the_edge_continues_the_edge():
    image = np.full((50, 50, 3), 77, np.uint8)
    crop = faces.crop(image, faces.Face(np.array([-20, -20, 20, 20], np.float32), 1.0), 32)
    assert (crop == 77).all()


def test_detectors_by_name():
    with pytest.raises(ValueError, match=r"expected one of \['haar', 'yunet'\]"):
        faces.find_with("mtcnn")
    with pytest.raises(ValueError, match="onnx"):
        faces.find_with("yunet")


@pytest.mark.parametrize("detector", ["haar", "yunet"])
def test_photographs_have_one_face_in_the_middle(detector):
    paths = sorted((DATA / "faces/test").glob("*/*.jpg"))[::20]
    if not paths:
        pytest.skip("the face photographs are not here")
    find = faces.find_with(detector, DATA / "faces/yunet.onnx")
    for path in paths:
        image = images.decode(path.read_bytes())
        x0, y0, x1, y1 = find(image)[0].box
        assert x0 < image.shape[1] / 2 < x1 and y0 < image.shape[0] / 2 < y1, path.name


def test_clips_give_crops_of_every_frame_and_sound():
    paths = sorted((DATA / "clips/train/real").glob("*"))[:3]
    if not paths:
        pytest.skip("the clips are not here")
    for path in paths:
        result = faces.crop_records(path, frames=4, size=96, detector="yunet", face_model=DATA / "faces/yunet.onnx")
        assert result["faceless"] == 0 and len(result["records"]) == 4
        assert all(images.decode(part["image"]).shape == (96, 96, 3) for part in result["records"])
        assert len(audio.decode(path)[0]) > 2 * SAMPLE_RATE
