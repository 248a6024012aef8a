"""The service: verdicts for good files, one line for all others, and limits that hold."""

import concurrent.futures
import errno
import functools
import hashlib
import io
import json
import logging
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import httpx2 as httpx
import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from dfjax.decide import known_real
from dfjax.decide.decision import read_decision
from dfjax.inference import bundle
from dfjax.inference.detector import Detector
from dfjax.media import audio
from dfjax.records import Input, InputError
from dfjax.reporting import file_page
from dfjax.runtime import workers
from dfjax.serve import app, command, gate, judging
from tests.data_builders import fixtures
from tests.reporting.test_file_page import self_contained

LARGEST = 400_000
DECISION = {"threshold": 0.1, "calibration": {"method": "none", "slope": 1.0, "intercept": 0.0}}


def sound(seed=0, seconds=1.0):
    """A FLAC file in memory."""
    values = 0.1 * (1 + seed % 5) * np.random.default_rng(seed).uniform(-1, 1, int(16_000 * seconds))
    buffer = io.BytesIO()
    soundfile.write(buffer, values, 16_000, format="FLAC")
    return buffer.getvalue()


FORMATS = (".flac", ".wav", ".mp3", ".ogg", ".m4a", ".aiff")


@functools.cache
def recorded(kind):
    """The bytes of a recording of two seconds in the format of an ending."""
    with tempfile.TemporaryDirectory() as folder:
        return fixtures.audio(pathlib.Path(folder, f"a{kind}"), 2.0).read_bytes()


def loud(examples):
    return {"score": np.array([np.abs(example["audio"]).mean() / 8192 for example in examples], np.float32)}


def listening(outputs=loud, decision=DECISION):
    return Detector("loudness", outputs, decision, Input("audio", None, None), len, ("audio", {}))


@pytest.fixture
def served(tmp_path, monkeypatch):
    """(**words) -> a client of a new service."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(judging, "DECODER", "tests.serve.hostile:decode")
    opened = []

    def start(outputs=loud, token="", slots=64, seconds=120.0, decoding=60.0, hosts=None, jobs=2, detector=None):
        judge = judging.Judge(detector or listening(outputs), jobs=jobs, seconds=decoding, memory=1 << 30)
        made = app.make(judge, token=token, hosts=hosts, slots=slots, largest=LARGEST, seconds=seconds)
        client = TestClient(made, raise_server_exceptions=False)
        opened.append(client.__enter__())
        return opened[-1]

    yield start
    for client in opened:
        client.__exit__(None, None, None)


def upload(client, content, name="a.flac", **words):
    return client.post("/judge", files={"file": (name, content)}, **words)


def test_a_good_file_gets_its_verdict_and_is_removed(served, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "dfjax.serve"):
        client = served()
        answer = upload(client, sound(), "secret name.flac")
    assert answer.status_code == 200, answer.text
    (tmp_path / "x.flac").write_bytes(sound())
    expected = {**listening()(tmp_path / "x.flac"), "sha256": hashlib.sha256(sound()).hexdigest()}
    assert answer.json() == json.loads(json.dumps(expected))
    assert [path.name for path in tmp_path.iterdir()] == ["x.flac"]
    lines = [json.loads(record.message) for record in caplog.records if record.name == "dfjax.serve"]
    assert lines[-1]["status"] == 200 and lines[-1]["route"] == "/judge"
    assert "secret" not in caplog.text
    metrics = client.get("/metrics").text
    assert f'dfjax_verdicts_total{{verdict="{answer.json()["verdict"]}"}} 1.0' in metrics
    assert 'dfjax_requests_total{status="200"} 1.0' in metrics
    assert client.get("/health").json()["status"] == "ok"
    described = client.get("/openapi.json").json()["paths"]["/judge"]["post"]["responses"]
    assert {"200", "400", "401", "413", "422", "429", "500"} <= set(described)


def test_the_report_on_a_file_is_one_page_that_loads_nothing(served, tmp_path):
    client, name = served(), "<i>folder/<b>name.flac"
    answer = client.post("/report", files={"file": (name, sound(0, 9.0))})
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "text/html; charset=utf-8", answer.text
    words = "".join(self_contained(answer.text).words)
    assert (
        "<b>name.flac" in words
        and "<b>" not in answer.text
        and "folder" not in answer.text
        and str(tmp_path) not in answer.text
    )
    assert hashlib.sha256(sound(0, 9.0)).hexdigest() in words and "FLAC" in words
    verdict = upload(client, sound(0, 9.0)).json()
    assert file_page.VERDICTS[verdict["verdict"]] in words and f"{verdict['score']:.3f} (logit)" in words
    assert re.fullmatch(r'inline; filename="[\w.-]+\.html"', answer.headers["Content-Disposition"])
    refused = client.post("/report", files={"file": ("a.wav", b"crash")})
    assert refused.status_code == 422 and "crashed" in refused.json()["error"]
    assert not list(tmp_path.iterdir())
    described = client.get("/openapi.json").json()["paths"]["/report"]["post"]["responses"]
    assert set(described["200"]["content"]) == {"text/html"} and set(described["422"]["content"]) == {
        "application/json"
    }


def known_files(folder, count=6):
    """Paths of recordings."""
    folder.mkdir()
    for k in range(count):
        (folder / f"{k}.flac").write_bytes(sound(k, 0.6 + 0.2 * k))
    return sorted(folder.iterdir())


@pytest.fixture
def adaptable():
    """A detector whose decision knows what files known to be real tell of a place."""
    return listening(decision=read_decision(bundle.SPEECH / bundle.DECISION))


def test_all_are_judged_at_the_place_of_files_known_to_be_real_and_everything_says_so(served, adaptable, tmp_path):
    paths, judged = known_files(tmp_path / "known"), tmp_path / "x.flac"
    detector = adaptable.with_known_real(paths)
    client = served(detector=detector)
    judged.write_bytes(sound(9, 9.0))
    for path, notes in ((judged, None), (paths[2], detector(paths[2])["notes"])):  # which is told by its bytes
        found = upload(client, path.read_bytes(), "named otherwise.flac").json()
        assert found.pop("sha256") == hashlib.sha256(path.read_bytes()).hexdigest()
        assert found == json.loads(json.dumps(detector(path))) and found.get("notes") == notes
        assert found["threshold"] != adaptable.threshold and found["known_real"]["files"] == 6
        page = client.post("/report", files={"file": ("a.flac", path.read_bytes())}).text
        expected = file_page.page(detector, {**detector(path), "file": str(path)})
        known = [row for row in re.findall(r"<tr>.*?</tr>|<li>.*?</li>", expected) if "known to be real" in row]
        assert len(known) == (5 if notes else 4) and all(row in page for row in known)
    assert client.get("/health").json()["known_real"] == 6
    about, told = client.get("/openapi.json").json()["info"]["description"], known_real.told(detector.decision)
    assert f"It is for one place: {told}; on sources left out, with 5 files known to be real: false alarms " in about
    assert "The threshold was moved by 6 files known to be real of one place" in client.get("/").text
    plain = served(detector=adaptable)
    assert "known_real" not in plain.get("/health").json() and "one place" not in plain.get("/").text
    assert plain.get("/openapi.json").json()["info"]["description"] == app.ABOUT
    assert "notes" not in upload(plain, paths[2].read_bytes()).json()


def asked(client, path, known, to="/judge"):
    """The answer on a file beside files known to be real."""
    files = [("file", (path.name, path.read_bytes())), *(("known_real", (k.name, k.read_bytes())) for k in known)]
    return client.post(to, files=files)


def test_a_request_is_judged_at_the_place_of_its_own_files_known_to_be_real(served, adaptable, tmp_path):
    paths, judged = known_files(tmp_path / "known"), tmp_path / "x.flac"
    judged.write_bytes(sound(9, 2.0))
    for service in (adaptable, adaptable.with_known_real(paths[4:])):  # they do not add up
        client = served(detector=service)
        for known, path in ((paths[:3], judged), (paths[:1], judged), (paths[:3], paths[1])):
            detector = adaptable.with_known_real(known)
            found = asked(client, path, [*known, known[0]]).json()  # the same bytes count once
            del found["sha256"]
            assert found == json.loads(json.dumps(detector(path))) and found["known_real"]["files"] == len(known)
            told = known_real.told(detector.decision)
            assert told in asked(client, path, known, "/report").text
        plain = upload(client, judged.read_bytes()).json()
        assert plain["threshold"] == service.threshold
    assert 'dfjax_verdicts_total{verdict="' in client.get("/metrics").text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["known", "x.flac"]


def test_what_is_wrong_with_the_known_files_of_a_request_is_told_in_one_line(served, adaptable, tmp_path):
    paths, judged = known_files(tmp_path / "known", 3), tmp_path / "x.flac"
    judged.write_bytes(sound(9, 2.0))
    (bad := tmp_path / "bad.flac").write_bytes(b"no sound")
    (large := tmp_path / "large.flac").write_bytes(bytes(LARGEST - 100))
    client = served(detector=adaptable)
    for known, status, told in (
        ([*paths, bad], 422, "1 of 4 files known to be real cannot be judged; first bad.flac: unreadable: "),
        (paths * 4, 422, "12 files known to be real; expected 10 at most"),
        ([large], 413, "the files are together too large; expected at most 0.4 MB"),
    ):
        answer = asked(client, judged, known)
        assert answer.status_code == status and answer.json()["error"].startswith(told), answer.text
        assert set(answer.json()) == {"error"} and "\n" not in answer.json()["error"] and "dfjax-" not in answer.text
    text = client.post("/judge", data={"known_real": "text"}, files={"file": ("a.flac", sound())})
    assert text.status_code == 422 and "files alone as 'known_real'" in text.json()["error"]
    never = asked(served(), judged, paths)
    assert never.status_code == 422 and never.json()["error"].startswith("this detector does not know what files known")
    assert upload(client, sound()).status_code == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.flac", "known", "large.flac", "x.flac"]


def test_only_a_few_reports_are_made_at_once(served, monkeypatch):
    monkeypatch.setattr(gate, "PAGES", 1)
    begun, go = threading.Event(), threading.Event()

    def waiting(examples):
        if np.abs(examples[0]["audio"]).max() > 1:
            begun.set()
            go.wait(120)
        return loud(examples)

    client = served(waiting)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/report", files={"file": ("a.flac", sound())})
        assert begun.wait(120)
        assert client.post("/report", files={"file": ("a.flac", sound())}).status_code == 429
        verdict = pool.submit(upload, client, sound())
        go.set()
        assert first.result().status_code == verdict.result().status_code == 200
    assert client.post("/report", files={"file": ("a.flac", sound())}).status_code == 200


def test_the_page_loads_nothing_and_runs_only_its_own_script(served):
    answer = served().get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy and "http" not in answer.text
    assert (
        "innerHTML" not in answer.text and 'data-largest="400000"' in answer.text and "Drop recordings" in answer.text
    )
    assert "id=known" not in answer.text  # its decision knows nothing of places


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_files_that_cannot_be_judged_are_told_in_one_line(served):
    client = served(decoding=10.0)
    cases = {
        "empty.wav": b"",
        "truncated.flac": sound()[:3_000],
        "words.txt": b"only words",
        "picture.png": b"\x89PNG\r\n",
        "crash.wav": b"crash",
        "hang.wav": b"hang",
        "memory.wav": b"memory",
        "../../etc/passwd": b"root",
        "\n.wav": b"x",
    }
    for name, content in cases.items():
        answer = upload(client, content, name)
        assert answer.status_code == 422, (name, answer.text)
        assert answer.json()["error"].startswith("the file cannot be judged: ") and "\n" not in answer.json()["error"]
        assert "Traceback" not in answer.text and "dfjax-" not in answer.text
    assert upload(client, sound()).status_code == 200
    for words in ({"content": b"no form"}, {"data": {"file": "text"}}, {"files": {"other": b"x"}}):
        answer = client.post("/judge", **words)
        assert answer.status_code == 422 and set(answer.json()) == {"error"}
    damaged = client.post(
        "/judge", content=b"--x\r\nno--x--\r\n", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert damaged.status_code == 400 and set(damaged.json()) == {"error"}
    assert "the form is damaged: " in damaged.json()["error"]
    assert client.get("/nothing").json() == {"error": "Not Found"} and client.get("/judge").status_code == 405


def test_several_files_in_one_form_are_refused_not_dropped(served):
    client = served()
    for other in ("file", "other"):
        files = [(other, ("a.flac", sound(1))), ("file", ("b.flac", sound(2)))]
        for path in ("/judge", "/report"):
            answer = client.post(path, files=files)
            assert answer.status_code == 422
            assert answer.json() == {"error": "2 files in one form; expected one file a request"}
    assert upload(client, sound(), data={"note": "of no file"}).status_code == 200


def test_a_field_in_which_no_file_was_chosen_is_none(served):
    """What a browser sends of it was counted as another file, and the one that was chosen refused."""
    head = '--x\r\nContent-Disposition: form-data; name="{}"; filename="{}"\r\n'
    empty = "Content-Type: application/octet-stream\r\n\r\n\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    form = (head.format("file", "a.flac") + "\r\n").encode() + sound() + b"\r\n"
    form += "".join(head.format(name, "") + empty for name in ("known_real", "other")).encode() + b"--x--\r\n"
    client = served()
    for path in ("/judge", "/report"):
        answer = client.post(path, content=form, headers=kind)
        assert answer.status_code == 200, answer.text


def test_a_name_of_any_length_is_judged_or_refused_with_the_reason(served):
    client = served()
    assert upload(client, sound(), f"{'a' * 3_000}.flac").status_code == 200
    assert upload(client, recorded(".mp3"), f"{'a' * 3_000}.mp3").status_code == 200  # the ending is kept
    answer = upload(client, sound(), f"{'a' * 5_000}.flac")
    assert answer.status_code == 400 and answer.json()["error"].startswith("a name in the form is too long; ")


def fuzzed(seed):
    """A recording in one of the formats, damaged; another with each seed."""
    rng, kind = np.random.default_rng(seed), FORMATS[seed % len(FORMATS)]
    content = bytearray(recorded(kind))
    for _ in range(int(rng.integers(1, 4))):
        start, size = int(rng.integers(0, len(content))), int(rng.integers(1, 64))
        if (how := rng.integers(4)) == 0:  # near the beginning, where headers are
            content[start % 200] = int(rng.integers(256))
        elif how == 1:
            content[start : start + size] = rng.bytes(size)
        elif how == 2:
            del content[start : start + size * 20]
        else:
            content[start:start] = content[:size] if rng.integers(2) else b"\xff" * size
    return f"{seed}{kind}", bytes(content)


def test_five_hundred_fuzzed_files_get_a_verdict_or_one_line(served):
    client = served(decoding=20.0)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda seed: upload(client, *fuzzed(seed)[::-1]), range(500)))
    for seed, answer in enumerate(answers):
        assert answer.status_code in (200, 422), (seed, answer.status_code, answer.text)
        assert "Traceback" not in answer.text and "dfjax-" not in answer.text, (seed, answer.text)
    assert {answer.status_code for answer in answers} == {200, 422}
    assert upload(client, sound()).status_code == 200


def test_hours_in_a_small_file_are_refused(served, monkeypatch):
    monkeypatch.setattr(judging, "LONGEST", 6.0)
    client = served()
    assert upload(client, sound(0, 5.9)).status_code == 200
    answer = upload(client, sound(0, 6.1))
    assert answer.status_code == 422 and answer.json()["error"].endswith("longer than 0.1 minutes")


def test_decoders_wait_for_the_scorer(tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "ENOUGH", 4)
    go, held = threading.Event(), []

    def waiting(examples):
        go.wait(120)
        held.append(judge.held)
        return loud(examples)

    (tmp_path / "a.flac").write_bytes(sound(0, 9.0))  # three windows
    judge = judging.Judge(listening(waiting), jobs=2, seconds=60.0, memory=1 << 30)
    monkeypatch.setattr(judging, "shapes", lambda _: ())
    judge.start()
    found = [judge.submit(str(tmp_path / "a.flac")) for _ in range(10)]
    for _ in range(1_200):
        if judge.held >= 4:
            break
        time.sleep(0.1)
    time.sleep(1.0)  # enough for what it takes to decode the others
    go.set()
    assert len({each.result(120)["score"] for each in found}) == 1 and 4 <= max(held) <= 6
    judge.close()
    assert judge.held == 0


def chunks(size, seconds=0.0):
    yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    for _ in range(size // 10_000):
        time.sleep(seconds)
        yield b"\0" * 10_000
    yield b"\r\n--x--\r\n"


def test_too_large_is_413_with_and_without_a_length(served):
    client = served()
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    for size in (LARGEST + 20_000, 10 * LARGEST):
        assert upload(client, bytes(size)).status_code == 413
        answer = client.post("/judge", content=chunks(size), headers=form)
        assert answer.status_code == 413 and "at most 0.4 MB" in answer.json()["error"]


def test_too_slow_is_408(served):
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = served(seconds=0.5).post("/judge", content=chunks(100_000, 0.2), headers=form)
    assert answer.status_code == 408 and "0.5 s" in answer.json()["error"]


def test_many_at_once_get_their_own_verdicts_in_common_batches(served, tmp_path):
    def slow(examples):
        time.sleep(0.1)
        return loud(examples)

    client = served(slow)
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda seed: upload(client, sound(seed)), range(40)))
    assert {answer.status_code for answer in answers} == {200}
    for seed, answer in enumerate(answers):
        samples, _ = soundfile.read(io.BytesIO(sound(seed)), dtype="int16")
        assert answer.json()["score"] == pytest.approx(listening()(samples)["score"], rel=1e-6)
    scored = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    assert float(scored["dfjax_batch_files_sum"]) == 40 > float(scored["dfjax_batch_files_count"])


def test_a_full_queue_is_429(served):
    begun, go = threading.Event(), threading.Event()

    def waiting(examples):
        if len(examples[0]["audio"]) == audio.SAMPLE_RATE and np.abs(examples[0]["audio"]).max() > 1:
            begun.set()
            go.wait(120)
        return loud(examples)

    client = served(waiting, slots=1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(upload, client, sound())
        assert begun.wait(120)
        second = upload(client, sound())
        assert second.status_code == 429 and second.headers["Retry-After"] == "1"
        assert client.get("/health").status_code == 200
        go.set()
        assert first.result().status_code == 200
    assert upload(client, sound()).status_code == 200
    assert 'dfjax_requests_total{status="429"} 1.0' in client.get("/metrics").text


def test_a_mistake_of_the_detector_is_no_traceback_and_the_next_file_is_judged(served):
    def failing(examples):
        if np.abs(examples[0]["audio"]).max() > 15_000:
            raise RuntimeError("a detail inside")
        return loud(examples)

    client = served(failing)
    answer = upload(client, sound(4))
    assert answer.status_code == 500 and "detail" not in answer.text and set(answer.json()) == {"error"}
    assert upload(client, sound(0)).status_code == 200


@pytest.mark.parametrize("where", ["starlette.formparsers.SpooledTemporaryFile", "tempfile.NamedTemporaryFile"])
def test_a_full_disk_is_not_blamed_on_the_form_and_the_log_says_so(served, monkeypatch, caplog, where):
    """The form was called one that cannot be read, or the log told no more than that there was an OSError."""

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/secret")

    client = served()
    with monkeypatch.context() as patched, caplog.at_level(logging.INFO, "dfjax.serve"):
        patched.setattr(where, full)
        answer = upload(client, sound())
    assert answer.status_code == 500 and answer.json() == {"error": "the service made a mistake; its log has it"}
    (told,) = (json.loads(record.message) for record in caplog.records if '"error"' in record.message)
    assert (told["kind"], told["words"]) == ("OSError", "No space left on device") and "secret" not in caplog.text
    assert upload(client, sound()).status_code == 200


def test_where_no_process_starts_a_request_is_answered_and_the_next_is_judged(served, monkeypatch):
    client = served(jobs=1)

    def none(*args, **words):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as full:
        full.setattr(workers.subprocess, "Popen", none)
        answer = upload(client, sound())
        assert answer.status_code == 422 and "no process" in answer.json()["error"]
    assert upload(client, sound()).status_code == 200 and client.get("/health").json()["status"] == "ok"


def test_a_decoder_that_lacks_a_module_is_answered_and_logged_and_the_next_file_is_judged(served, caplog):
    client = served(jobs=1)
    with caplog.at_level(logging.INFO, "dfjax.serve"):
        answer = upload(client, b"import", "a.wav")
    assert answer.status_code == 422 and "no process" in answer.json()["error"]
    told = [json.loads(record.message) for record in caplog.records if "ModuleNotFoundError" in record.message]
    assert [line["words"] for line in told] == ["No module named 'codec'"]
    assert upload(client, sound()).status_code == 200 and client.get("/health").json()["status"] == "ok"


def test_health_says_when_files_are_no_longer_judged(served, monkeypatch):
    client = served()
    monkeypatch.setattr(judging.Judge, "alive", lambda self: False)
    answer = client.get("/health")
    assert answer.status_code == 503 and answer.json()["status"] == "broken"


@pytest.mark.parametrize("path", ["/", "/health"])
def test_what_shows_that_it_lives_answers_head_too(served, path):
    client = served(token="0123456789abcdef")
    answer = client.head(path)
    assert answer.status_code == client.get(path).status_code == 200
    assert client.head("/judge").status_code == 401


def test_a_token_is_asked_for(served):
    token = "0123456789abcdef"
    client = served(token=token)
    assert client.get("/health").status_code == 200 and client.get("/").status_code == 200
    wrong = ("Bearer wrong", token, f"Basic {token}", f"Bearer{token}", "Bearer", f"Bearer {token} {token}")
    for headers in ({}, *({"Authorization": words} for words in wrong)):
        for answer in (upload(client, sound(), headers=headers), client.get("/metrics", headers=headers)):
            assert answer.status_code == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
    for scheme in ("bearer", "BEARER", "Bearer"):  # upper or lower case: RFC 9110, 11.1
        headers = {"Authorization": f"{scheme} {token}"}
        assert upload(client, sound(), headers=headers).status_code == 200
    described = client.get("/openapi.json", headers=headers).json()
    assert [described["paths"][path]["post"]["security"] for path in ("/judge", "/report")] == [
        [{"HTTPBearer": []}]
    ] * 2


def test_a_page_that_calls_it_by_another_name_is_refused(served):
    client = served(hosts=("127.0.0.1", "localhost", "[::1]"))
    for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "localhost:evil.example", ""):
        refused = client.get("/health", headers={"Host": host})
        assert refused.status_code == 400
        assert refused.json() == {"error": "the service is not called so; give the host that it listens on"}
        assert "X-Request-Id" in refused.headers  # it is counted and logged like all others
    for host in ("localhost", "localhost:8000", "LOCALHOST:8000", "[::1]:8000", "[::1]"):
        assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    ("words", "token", "message"),
    [
        (["--host", "0.0.0.0"], "", "no token"),
        (["--host", "dfjax.example"], "", "no token"),
        (["--host", "0.0.0.0"], "short", "16 or more"),
        (["--port", "0"], "", "from 1 to 65535"),
        (["--queue", "0"], "", "more than 0"),
        (["--workers", "0"], "", "more than 0"),
        (["--max_mb", "nan"], "", "more than 0"),
        (["--seconds", "inf"], "", "more than 0"),
    ],
)
def test_it_does_not_listen_as_it_should_not(words, token, message):
    with pytest.raises(InputError, match=message):
        command.check(command.parser().parse_args(words), token)


@pytest.mark.parametrize("option", ["--bundle", "--workdir"])
def test_a_detector_is_named_as_the_other_commands_name_it(option):
    assert command.parser().parse_args([option, "detector.zip"]).bundle == "detector.zip"


def test_the_refusal_is_one_line_and_exit_code_2():
    words = [sys.executable, "-m", "dfjax.serve", "--host", "0.0.0.0"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=os.environ | {"DFJAX_TOKEN": ""})
    assert done.returncode == 2 and done.stderr.startswith("error: --host 0.0.0.0") and done.stderr.count("\n") == 1


def test_an_address_that_another_service_will_have_is_refused():
    """The other listens already, though it is not ready to answer: two that only bind would both get the address."""
    with command.listener("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(InputError, match=f"--host 127.0.0.1 --port {port} cannot be had: Address already in use"):
            command.listener("127.0.0.1", port)
    command.listener("127.0.0.1", port).close()


def test_loopback_is_what_only_this_machine_reaches():
    assert all(map(command.loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(command.loopback, ("0.0.0.0", "::", "192.168.0.1", "dfjax.example")))


@pytest.mark.slow
def test_it_finishes_what_it_took(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "dfjax", "serve", "--port", str(port), "--jobs", "1"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        where = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                assert httpx.get(f"{where}/health").json()["detector"] == "band_kernel"
                break
            except httpx.TransportError:  # it does not listen yet, or is not ready
                time.sleep(0.5)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            files = {"file": ("a.flac", sound(0, 30.0))}
            asked = [pool.submit(httpx.post, f"{where}/judge", files=files, timeout=120) for _ in range(8)]
            time.sleep(1.0)
            process.send_signal(signal.SIGTERM)
            assert [each.result().status_code for each in asked] == [200] * 8
        assert process.wait(60) in (0, -signal.SIGTERM)
