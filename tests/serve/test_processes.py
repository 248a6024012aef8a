"""The service as it is started: several processes behind one address, their sums, their end; its page in a browser."""

import asyncio
import concurrent.futures
import contextlib
import json
import logging
import os
import pathlib
import shutil
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
import uvicorn

from dfjax.decide.decision import read_decision
from dfjax.inference import bundle
from dfjax.records import InputError
from dfjax.serve import processes
from tests.serve import loudness

WORKERS = 2
SPEECH = bundle.SPEECH / bundle.DECISION


@contextlib.contextmanager
def started(folder, *words):
    """A service; yields its URL, its process, and a function that reads its log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "kept").mkdir()
    command = [sys.executable, "-m", "dfjax", "serve", "--port", str(port), *words]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, env=os.environ | {"TMPDIR": str(folder / "kept")})

    def events(event):
        return [line for line in map(json.loads, (folder / "log").read_text().splitlines()) if line["event"] == event]

    try:
        yield f"http://127.0.0.1:{port}", process, events
    finally:
        process.terminate()
        process.wait(120)


def wait(what, seconds=120.0):
    """Until `what()` is true."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def service(folder):
    words = "--workers", str(WORKERS), "--jobs", "1", "--bundle", str(loudness.write(folder, read_decision(SPEECH)))
    with started(folder, *words) as found:
        wait(lambda: len(found[2]("ready")) == WORKERS or found[1].poll() is not None)
        yield found


def voice(path, seconds=3.0):
    t = np.arange(int(16_000 * seconds)) / 16_000
    noise = np.random.default_rng(0).normal(size=len(t))
    soundfile.write(path, 0.2 * np.sin(2 * np.pi * 150 * t) * (1 + np.sin(2 * np.pi * 3 * t)) + 0.01 * noise, 16_000)
    return path


def metrics(url):
    text = httpx.get(f"{url}/metrics").text
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")}


def post(url, path, timeout=120, known=()):
    files = [("file", path), *(("known_real", each) for each in known)]
    return httpx.post(f"{url}/judge", files=[(k, (p.name, p.read_bytes())) for k, p in files], timeout=timeout)


def test_processes_share_the_address_and_count_together(service, tmp_path):
    url, _, events = service
    path, before = voice(tmp_path / "a.wav"), metrics(url)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: post(url, path), range(60)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({json.dumps(answer.json()) for answer in answers}) == 1
    found, verdict = metrics(url), answers[0].json()["verdict"]
    for name in (f'dfjax_verdicts_total{{verdict="{verdict}"}}', "dfjax_batch_files_sum"):
        assert found[name] - before.get(name, 0) == 60
    assert found["dfjax_held"] == 1  # the request that asks
    assert len({line["process"] for line in events("ready")}) == WORKERS
    judged = {line["process"] for line in events("request") if line["route"] == "/judge"}
    assert len(judged) == WORKERS, "one process took everything"


def test_a_process_that_dies_is_replaced_and_told_of(service, folder, tmp_path):
    url, process, events = service
    before, pid = metrics(url), events("ready")[-1]["process"]
    (serving,) = (folder / "kept").iterdir()
    (serving / f"dfjax-{pid}-left.wav").write_bytes(b"of a request that it did not answer")
    os.kill(pid, signal.SIGKILL)
    wait(lambda: len(events("ready")) == WORKERS + 1)
    assert [(line["worker"], line["exit"]) for line in events("worker died")] == [(pid, -signal.SIGKILL)]
    assert not list(serving.glob(f"dfjax-{pid}-*"))
    path = voice(tmp_path / "a.wav")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(url, path), range(8)))
    assert {answer.status_code for answer in answers} == {200}
    after = metrics(url)
    assert after["dfjax_batch_files_sum"] == before["dfjax_batch_files_sum"] + 8 and after["dfjax_held"] == 1


# at one place


def test_each_process_judges_as_predict_does_beside_the_same_files_known_to_be_real(tmp_path):
    detector = loudness.write(tmp_path, read_decision(SPEECH))
    known = [voice(tmp_path / f"{k}.wav", 3.0 + 4 * k) for k in range(3)]
    path = voice(tmp_path / "a.wav", 9.0)
    words = [f"--known_real={each}" for each in known]
    judged = [sys.executable, "-m", "dfjax.predict", "--json", "--workdir", detector, *words, path]
    done = subprocess.run(judged, capture_output=True, text=True, timeout=120)
    expected = json.loads(done.stdout)
    with started(tmp_path, "--workers", str(WORKERS), "--jobs", "1", "--bundle", str(detector), *words) as found:
        url, process, events = found
        wait(lambda: len(events("ready")) == WORKERS or process.poll() is not None)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = [answer.json() for answer in pool.map(lambda _: post(url, path), range(60))]
        judged = {line["process"] for line in events("request") if line["route"] == "/judge"}
        assert len(judged) == WORKERS, "one process took everything"
    assert all(each == expected | {"sha256": each["sha256"]} for each in ({"file": str(path)} | a for a in answers))
    (line,) = events("known_real")  # they are scored once, by a process that is none of those
    assert line["words"] == done.stderr.strip() and line["process"] not in judged | {process.pid}


@pytest.mark.parametrize("learnt", [True, False], ids=["unreadable", "never learnt"])
def test_files_known_to_be_real_are_refused_before_a_port_is_opened(learnt, tmp_path):
    decision = read_decision(bundle.SPEECH / bundle.DECISION) if learnt else None
    detector = loudness.write(tmp_path, decision)
    known = tmp_path / "known"
    known.mkdir()
    words = ["--known_real", known, "--known_real", voice(tmp_path / "a.wav")]
    (known / "text.wav").write_text("no sound")
    asked = [sys.executable, "-m", "dfjax.predict", "--workdir", detector, *words, tmp_path / "a.wav"]
    expected = subprocess.run(asked, capture_output=True, text=True, timeout=120).stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        asked = [sys.executable, "-m", "dfjax.serve", "--port", str(taken.getsockname()[1]), "--bundle", detector]
        done = subprocess.run([*asked, *words], capture_output=True, text=True, timeout=120)
        gone = subprocess.run([*asked, "--known_real", tmp_path / "b"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr == expected and done.stderr.count("\n") == 1
    told = "1 of 2 files known to be real cannot be judged; first" if learnt else "this detector does not know what"
    assert done.stderr.startswith(f"error: {told}")
    told = f"error: {tmp_path / 'b'} does not exist; give media files or folders\n"
    assert gone.returncode == 2 and gone.stderr == told


def test_where_the_process_that_scores_known_files_dies_it_is_said_in_one_line():
    with pytest.raises(InputError, match="the process of '_exit' ended with exit code 9; .* want of memory"):
        processes.apart(os._exit, 9)


# in a browser


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: the page is not tried in a browser")
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if None in programs:
        pytest.skip("no chromium with its driver here: the page is not tried in a browser")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1000,900"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    driver.set_page_load_timeout(60)
    yield driver
    driver.quit()


def asked_for(browser):
    """The URLs that the browser asked for, and what it complained of."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]
    return urls, browser.get_log("browser")


def test_the_page_works_in_a_browser(service, browser, tmp_path):
    url = service[0]
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    good = voice(tmp_path / "<b>good<b>.wav")
    browser.get(url)
    browser.find_element("id", "files").send_keys(f"{good}\n{broken}")
    rows = lambda: [
        [c.text for c in r.find_elements("tag name", "td")] for r in browser.find_elements("css selector", "#rows tr")
    ]
    wait(lambda: len(rows()) == 2 and "no verdict" in rows()[1])
    verdict = post(url, good).json()
    first, second = rows()
    assert first[:3] == ["<b>good<b>.wav", verdict["verdict"], f"{100 * verdict['probability']:.1f} % fake"]
    assert second[0] == "broken.wav" and second[3].startswith("the file cannot be judged: ") and "\n" not in second[3]
    urls, complaints = asked_for(browser)
    assert {each.removeprefix(url) for each in urls} == {"/", "/judge"}
    assert [each["message"] for each in complaints if "422" not in each["message"]] == []

    browser.find_element("css selector", "#rows button").click()
    (link,) = wait(lambda: browser.find_elements("link text", "Open the report"))
    if len(browser.window_handles) == 1:  # it came too late to be opened at once
        link.click()
    wait(lambda: len(browser.window_handles) >= 2)  # 3 where it was opened while the link was clicked
    browser.switch_to.window(browser.window_handles[1])
    wait(lambda: browser.find_elements("tag name", "h1"))
    assert browser.find_element("tag name", "h1").text == "<b>good<b>.wav"
    assert browser.execute_script("return [...document.images].map(i => i.complete && i.naturalWidth > 600)") == [True]
    assert wait(
        lambda: browser.execute_script("return [...document.querySelectorAll('audio')].map(a => a.duration)")[0]
    )
    colour = "return getComputedStyle(document.querySelector('.verdict')).borderTopWidth"
    assert browser.execute_script(colour) == "3px"  # its style is allowed
    urls, complaints = asked_for(browser)
    assert not [each for each in urls if not each.startswith((url, "data:", f"blob:{url}"))] and complaints == []


def test_the_page_takes_files_known_to_be_real(service, browser, tmp_path):
    known, path = [voice(tmp_path / f"{k}.wav", 2.0 + k) for k in range(2)], voice(tmp_path / "a.wav", 5.0)
    alone, beside = (post(service[0], path, known=some).json() for some in ((), known))
    assert alone["probability"] != beside["probability"] and beside["known_real"]["files"] == 2
    browser.get(service[0])
    field = browser.find_element("id", "known")
    told = lambda: [row.text for row in browser.find_elements("css selector", "#rows tr")]
    for count, chosen in enumerate(([], known), start=1):
        for each in chosen:
            field.send_keys(str(each))
        browser.find_element("id", "files").send_keys(str(path))
        wait(lambda n=count: len(told()) == n and "Report" in told()[-1])
    assert f"{100 * alone['probability']:.1f}" in told()[0] and "known to be real" not in told()[0]
    assert f"{100 * beside['probability']:.1f}" in told()[1] and "beside 2 known to be real" in told()[1]


# connections


@pytest.fixture
def patient(monkeypatch):
    """The port of a server that answers after a second, and waits half of one for the head of a request."""
    monkeypatch.setattr(processes, "HEAD", 0.5)

    async def app(scope, receive, send):
        await asyncio.sleep(1.0)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    server = uvicorn.Server(uvicorn.Config(app, http=processes.Connection, lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def ends(connection, part):
    """Seconds until a connection is closed on which a part comes again and again."""
    start = time.monotonic()
    connection.settimeout(0.1)
    while time.monotonic() - start < 20:
        with contextlib.suppress(TimeoutError):
            connection.sendall(part)
            if not connection.recv(1_000):
                break
    return time.monotonic() - start


@pytest.mark.parametrize("part", [b"", b"X: y\r\n"], ids=["silence", "header after header"])
def test_a_connection_ends_where_the_head_of_a_request_does_not_come(patient, part):
    with socket.create_connection(("127.0.0.1", patient)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert ends(connection, part) < 10
    with socket.create_connection(("127.0.0.1", patient)) as connection:
        for _ in range(2):  # whose answers take longer than their heads may
            connection.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            assert connection.recv(1_000).startswith(b"HTTP/1.1 204")
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert ends(connection, part) < 10


# its end: nothing of the fixtures is left for tests below


def test_they_finish_what_they_took_and_leave_nothing(service, folder, tmp_path):
    url, process, events = service
    path = voice(tmp_path / "long.flac", 600.0)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(post, url, path) for _ in range(8)]
        wait(lambda: metrics(url)["dfjax_held"] == 9)  # and the request that asks
        process.send_signal(signal.SIGTERM)
        assert [each.result().status_code for each in asked] == [200] * 8
    assert process.wait(120) == 0
    assert not list((folder / "kept").iterdir())
    for line in events("ready"):
        assert not pathlib.Path("/proc", str(line["process"])).exists()


def test_a_watch_that_is_killed_takes_all_others_along_and_the_next_start_removes_its_folder(tmp_path, monkeypatch):
    words = "--workers", str(WORKERS), "--jobs", "1", "--bundle", str(loudness.write(tmp_path))
    temporary = tmp_path / "kept"

    def living():
        """Workers, decoders and helpers: whoever inherited the folder for temporary files."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                found += [path.parent.name] if f"TMPDIR={temporary}\0".encode() in path.read_bytes() else []
        return found

    with started(tmp_path, *words) as (url, process, events):
        wait(lambda: len(events("ready")) == WORKERS)
        assert post(url, voice(tmp_path / "a.wav")).status_code == 200
        (left,) = temporary.iterdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        with processes.own_folder():
            assert left.exists()  # it is held
        assert len(living()) >= 1 + 2 * WORKERS  # the watch, and a decoder of each
        process.kill()
        process.wait()
        wait(lambda: not living())
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
    assert left.exists()
    with processes.own_folder() as new:
        assert not left.exists() and pathlib.Path(new).is_dir()
    assert not list(temporary.iterdir())


def test_of_a_process_that_a_mistake_ended_the_server_says_nothing(tmp_path, caplog):
    """Where the watch meets its end before the word that it left: it hung on which came first."""
    said, reason = logging.getLogger("uvicorn.error"), tmp_path / processes.REASON
    with processes.quiet_after(reason):
        said.error("before")
        reason.write_text("no bundle")
        said.error("Child process failed to start")
    said.error("afterwards")
    assert caplog.messages == ["before", "afterwards"]


def test_a_mistake_is_one_line_from_several_too(tmp_path):
    (tmp_path / "b.zip").write_bytes(b"no bundle")
    words = [sys.executable, "-m", "dfjax.serve", "--workers", "2", "--bundle", str(tmp_path / "b.zip")]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        words += ["--port", str(taken.getsockname()[1])]
        env = os.environ | {"TMPDIR": str(tmp_path)}
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=env)
        assert done.returncode == 2 and "cannot be had: Address already in use" in done.stderr
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["b.zip"]
