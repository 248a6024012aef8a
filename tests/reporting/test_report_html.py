"""The page: safe to open whatever files are called, and its numbers are those of the detector.

The second half drives headless Chromium through chromedriver's HTTP interface.
"""

import base64
import dataclasses
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from dfjax.decide import metrics
from dfjax.decide.decision import decide
from dfjax.decide.score_file import Scores
from dfjax.reporting import report, report_html, static_page

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">&amp;"


def make_scores(split="test", n=1100, seed=0, evil=False):
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % 11 == 0).astype(np.int32)
    names = np.array([f"{EVIL if evil else split}/{i:05d}.wav" for i in range(n)])
    method = np.where(label == 1, np.array(["lpc", EVIL if evil else "griffin_lim"])[np.arange(n) // 11 % 2], "")
    score = rng.normal(np.where(label == 1, -0.7, -3.0), 1.2)
    return Scores(names, names, names, label, method, score, header={"split": split, "dataset": "demo"})


def make_page(n=1100, evil=False):
    validation, test = make_scores("validation", n, 1, evil), make_scores("test", n, 0, evil)
    name = EVIL if evil else "trial"
    gender = {clip: EVIL if evil else ("female", "male")[i % 2] for i, clip in enumerate(test.clip.tolist())}
    audit = {"features": {name: {"auc": 0.66, "error": 0.02, "missing": 0.0}}, "all": {"auc": 0.7, "error": 0.02}}
    audit |= {"warnings": [name], "notes": []}
    calibration = {"method": "platt", "slope": 1.2, "intercept": 0.3, "prior": 0.09, "clips": 1100}
    decision = {"threshold": -1.5, "status": "ok", "criterion": "f1", "split": "validation", "calibration": calibration}
    ledger = {"sampling": 2.3, "class_weights": 0.0, "alpha": 0.0, "logit_adjustment": 0.0, "total": 2.3}
    made = report.build(
        validation=validation,
        test=test,
        decision=decision,
        train_counts={"real": 5000, "fake": 500, "groups": 60},
        ledger=ledger | {"implied_threshold": 0.0909},
        audit=audit,
        run={"name": name, "dataset": name, "synthetic": True, "hardware": name, "seconds": 20.0},
        subgroups={"gender": gender},
    )
    return report_html.page(made, validation, test, {"gender": gender}), test


@pytest.fixture(scope="module")
def page():
    return make_page()


def test_embedded_json_holds_no_markup_and_comes_back():
    value = {"a": [EVIL, "<!--", "\u2028", 'quote"']}
    text = report_html.embed(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_names_never_become_markup():
    text, _ = make_page(n=110, evil=True)
    assert text.count("<script") == text.count("</script>") == 2
    assert "<img" not in text and "owned'</" not in text


def test_page_asks_for_nothing_and_allows_its_own_script_only(page):
    text, _ = page
    assert "default-src 'none'" in text
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        body = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in text
    assert not re.search(r"(src|href)=\"?(https?:)?//", text)
    assert re.findall(r"https?://[^\s\"'`]+", text) == ["http://www.w3.org/2000/svg"]  # a name, not an address
    assert not re.search(r"@[A-Z_]+@", text)


@pytest.mark.parametrize(
    "rule, words",
    [
        ("mean", "the mean over its windows or frames"),
        ("median", "the median over its windows or frames"),
        ("top3", "the mean of the 3 highest of its windows or frames"),
    ],
)
def test_the_page_says_how_the_score_of_a_clip_is_made(rule, words):
    scores = [make_scores(split, 110, seed) for seed, split in enumerate(("test", "validation"))]
    for each in scores:
        each.header["clip_score"] = rule
    decision = {"threshold": -1.5, "status": "ok", "criterion": "f1", "split": "validation"}
    words_of = {"test": scores[0], "validation": scores[1], "decision": decision, "run": {"name": "trial"}}
    made = report.build(**words_of, train_counts={"real": 5, "fake": 5})
    assert f"A logit for each clip, {words}. Higher" in report_html.page(made, scores[1], scores[0])


def test_scores_survive_exactly(page):
    text, test = page
    data = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    assert np.array_equal(np.float32(data["splits"]["test"]["score"]), test.score)
    assert data["splits"]["test"]["weight"] is None


def test_thinning_keeps_every_count_within_one_run():
    scores = make_scores(n=50_000)
    rows, weight = report_html.thin(scores, 2_000)
    assert len(rows) <= 2_000 and weight.sum() == len(scores)
    for label in (0, 1):
        own = scores.label[rows] == label
        assert weight[own].sum() == np.sum(scores.label == label)
        for threshold in (-4.0, -1.5, 0.0):
            estimate = weight[own & (scores.score[rows] >= threshold)].sum()
            truth = np.sum((scores.label == label) & (scores.score >= threshold))
            assert abs(estimate - truth) <= 2 * weight[own].max()


def test_page_of_many_clips_stays_small():
    columns = report_html.columns(make_scores(n=120_000), ["griffin_lim", "lpc"], {})
    assert len(report_html.embed(columns)) < 2_000_000
    assert len(columns["mistakes"]["alarms"]) == report_html.MISTAKES


def test_axis_shows_both_thresholds_and_ignores_outliers():
    scores = np.r_[np.linspace(-5, -1, 5000), [900.0, np.inf]].astype(np.float32)
    low, high = report_html.axis_range(scores, [2.5])
    assert -6 < low < -5 and 2.5 < high < 3.5


# In the browser


class Browser:
    """A headless Chromium behind chromedriver, as few calls as the tests need (W3C WebDriver over HTTP)."""

    def __init__(self, driver, chromium):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.base = f"http://127.0.0.1:{port}"
        self.wait_until_ready()
        options = {"binary": chromium, "args": ["--headless=new", "--no-sandbox", "--disable-gpu"]}
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.base += f"/session/{session['sessionId']}"

    def wait_until_ready(self):
        for _ in range(150):
            try:
                self.call("GET", "/status")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        raise TimeoutError("chromedriver did not answer within 30 s")

    def call(self, method, path, body=None):
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def open(self, path, fragment=""):
        self.call("POST", "/url", {"url": "about:blank"})
        self.call("POST", "/url", {"url": f"{path.as_uri()}{fragment}"})
        self.log()

    def run(self, script, *args):
        return self.call("POST", "/execute/sync", {"script": f"return {script}", "args": list(args)})

    def text(self, element):
        return self.run(f"document.getElementById('{element}').innerText")

    def find(self, element):
        return next(iter(self.call("POST", "/element", {"using": "css selector", "value": f"#{element}"}).values()))

    def click(self, element):
        self.call("POST", f"/element/{self.find(element)}/click")
        self.settle()

    def keys(self, element, text):
        self.call("POST", f"/element/{self.find(element)}/value", {"text": text})
        self.settle()

    def drag(self, selector, start, stop, kind="mouse"):
        """Press on an element at the share `start` of its width, move to `stop`, let go."""
        box = self.run(
            "(() => { const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center'});"
            " const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()",
            selector,
        )
        at = [
            {
                "type": "pointerMove",
                "duration": 50,
                "x": round(box[0] + box[2] * share),
                "y": round(box[1] + box[3] / 2),
            }
            for share in (start, (start + stop) / 2, stop)
        ]
        down, up = {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}
        steps = [at[0], down, at[1], at[2], up]
        pointer = {"type": "pointer", "id": "hand", "parameters": {"pointerType": kind}, "actions": steps}
        self.call("POST", "/actions", {"actions": [pointer]})
        self.call("DELETE", "/actions")
        self.settle()

    def settle(self):
        wait = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
        self.call("POST", "/execute/async", {"script": wait, "args": []})

    def width(self, pixels):
        size = {"width": pixels, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})
        self.settle()

    def log(self):
        return [entry["message"] for entry in self.call("POST", "/se/log", {"type": "browser"})]

    def close(self):
        try:
            self.call("DELETE", "")
        finally:
            self.process.terminate()
            self.process.wait()


NAMES = ("chromium", "chromium-browser", "google-chrome")


def programs():
    """(browser, driver), None for what is not installed."""
    return next(filter(None, map(shutil.which, NAMES)), None), shutil.which("chromedriver")


def install():
    """Debian's browser and driver, where this may install packages; otherwise why not, in a few words."""
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return "needs root and apt-get to install them"
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words, seconds in (
        (["update"], 120),
        (["install", "-y", "--no-install-recommends", "chromium", "chromium-driver"], 400),
    ):
        try:
            command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=60", *words]
            done = subprocess.run(
                command, env=quiet, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return f"apt-get {words[0]} took more than {seconds} s"
        if done.returncode:
            return f"apt-get {words[0]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}"
    return ""


@pytest.fixture(scope="module")
def browser():
    reason = "" if all(programs()) else install()
    chromium, driver = programs()
    if not chromium or not driver:
        pytest.skip(f"no browser: chromium and chromium-driver are not installed ({reason})")
    made = Browser(driver, chromium)
    yield made
    made.close()


@pytest.fixture(scope="module")
def opened(browser, page, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page[0], encoding="utf-8")
    return path, page[1]


def confusion(browser):
    cells = browser.run("[...document.querySelectorAll('#confusion td')].map((c) => c.firstChild.textContent)")
    return [int(cell.replace(",", "")) for cell in cells]


def test_opens_at_the_tuned_threshold_without_a_complaint(browser, opened):
    path, test = opened
    browser.call("POST", "/url", {"url": path.as_uri()})
    browser.settle()
    truth = metrics.at_threshold(test.score, test.label, -1.5)
    assert confusion(browser) == [truth[k] for k in ("tn", "fp", "fn", "tp")]
    assert browser.log() == []
    assert browser.run("performance.getEntriesByType('resource').length") == 0
    for plot in ("scores", "metrics", "pr", "roc", "det", "reliability"):
        assert browser.run(f"document.querySelectorAll('#plot-{plot} svg').length") == 1
    assert "NaN" not in browser.run("document.body.innerText")
    assert browser.run("document.querySelectorAll('svg [d*=NaN], svg [x1*=NaN], svg [cx*=NaN]').length") == 0


def test_link_sets_threshold_and_split(browser, opened):
    path, _ = opened
    browser.open(path, "#threshold=-0.75&split=validation")
    truth = metrics.at_threshold(make_scores("validation", seed=1).score, make_scores().label, -0.75)
    assert confusion(browser) == [truth[k] for k in ("tn", "fp", "fn", "tp")]
    assert "Lowest cost here" in browser.text("costs")  # offered on validation only
    browser.open(path, "#threshold=-0.75")
    assert "Lowest cost" not in browser.text("costs") and "Choose on validation" in browser.text("sample")


def test_keys_and_buttons_move_the_threshold(browser, opened):
    path, test = opened
    browser.open(path)
    before = confusion(browser)
    browser.keys("threshold", "\ue014" * 3)  # arrow right
    value = float(browser.run("document.getElementById('value').value"))
    assert value > -1.5 and "threshold=" in browser.run("location.hash")
    browser.keys("threshold", "\ue010")  # End: nothing but outliers above
    assert confusion(browser)[3] < before[3]
    browser.click("half")
    truth = metrics.at_threshold(test.score, test.label, 0.0)
    assert confusion(browser) == [truth[k] for k in ("tn", "fp", "fn", "tp")]
    browser.click("tuned")
    assert confusion(browser) == before
    browser.click("next")
    assert sum(before[1::2]) - sum(confusion(browser)[1::2]) == 1  # exactly one clip fewer is called fake
    browser.click("previous")
    assert confusion(browser) == before


def test_costs_and_precision_in_use(browser, opened):
    path, test = opened
    browser.open(path)
    for element, value in (("cfp", "3"), ("cfn", "20"), ("prior", "1")):
        browser.run(f"document.getElementById('{element}').value = ''")
        browser.keys(element, value)
    truth = metrics.at_threshold(test.score, test.label, -1.5)
    words = browser.text("costs").replace("\n", " ")
    assert f"Cost on this split {3 * truth['fp'] + 20 * truth['fn']}" in words
    precision = 0.01 * truth["recall"] / (0.01 * truth["recall"] + 0.99 * truth["fpr"])
    assert f"(precision) {100 * precision:.1f} %" in words


def test_breakdowns_count_the_right_clips(browser, opened):
    path, test = opened
    browser.open(path, "#threshold=-1.25")
    rows = browser.text("methods")
    for method in ("lpc", "griffin_lim"):
        recall = np.mean(test.score[test.method == method] >= -1.25)
        assert re.search(rf"{method}\b[^a-z]*\b{100 * recall:.1f} %", rows)
    male = np.arange(len(test)) % 2 == 1
    for label in (0, 1):
        share = np.mean(test.score[male & (test.label == label)] >= -1.25)
        assert re.search(rf"\bmale\b[^a-z]*\b{100 * share:.1f} %", browser.text("subgroups"))


@pytest.mark.parametrize(("pixels", "kind"), [(1280, "mouse"), (390, "touch")])
@pytest.mark.parametrize("selector", ["#threshold", "#plot-scores svg"])
def test_dragging_moves_the_threshold_and_all_that_follows_from_it(browser, opened, selector, pixels, kind):
    path, test = opened
    browser.width(pixels)
    seen = []
    for stop in (0.3, 0.8):
        browser.open(path, "#threshold=-0.75")
        browser.drag(selector, 0.5, stop, kind)
        value = float(browser.run("document.getElementById('value').value"))
        truth = metrics.at_threshold(test.score, test.label, value)
        assert confusion(browser) == [truth[k] for k in ("tn", "fp", "fn", "tp")]
        assert f"{100 * truth['recall']:.1f} %" in browser.text("line")
        seen.append(value)
    assert seen[0] < -0.75 < seen[1] and browser.log() == []


def test_the_keyboard_alone_reaches_the_threshold(browser, opened):
    path, _ = opened
    browser.open(path)
    body = next(iter(browser.call("POST", "/element", {"using": "css selector", "value": "body"}).values()))
    browser.call("POST", f"/element/{body}/value", {"text": "\ue004"})  # Tab: the link over the head of the page
    assert browser.run("document.activeElement.className") == "skip"
    keys = [{"type": action, "value": key} for key in ("\ue007", "\ue014") for action in ("keyDown", "keyUp")]
    browser.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": keys}]})
    browser.settle()
    assert browser.run("document.activeElement.id") == "threshold"
    assert float(browser.run("document.getElementById('value').value")) > -1.5


@pytest.fixture(scope="module")
def travelled(tmp_path_factory):
    """A page of a decision on left-out sources, one of them with an evil name."""
    validation, test = make_scores("validation", 550, 1), make_scores("test", 550)
    domain = np.repeat([EVIL, *(f"source {k}" for k in range(1, 5))], 110)
    left_out = dataclasses.replace(make_scores("left_out", 550, 2), domain=domain)
    decision = decide(left_out)
    made = report.build(
        validation=validation,
        test=test,
        decision=decision,
        train_counts={"real": 500, "fake": 50},
        run={"name": "trial"},
    )
    path = tmp_path_factory.mktemp("left_out") / "report.html"
    path.write_text(report_html.page(made, validation, test), encoding="utf-8")
    return path, decision["domains"]


@pytest.mark.parametrize("pixels", [360, 1280])
def test_left_out_sources_stand_beside_what_training_knew(browser, travelled, pixels):
    path, found = travelled
    browser.width(pixels)
    browser.open(path)
    assert browser.log() == [] and browser.text("h-left-out") == "On a source that it has never heard"
    assert found["words"][1:] in browser.text("left-out-words")
    assert found["certificate"]["statement"][1:] in browser.text("left-out-words")
    rows = browser.text("left-out").replace("\n", " ").replace("\t", " ")
    assert f"{100 * found['rows'][3]['false_alarms']['value']:.1f} %" in rows and "test, known to training" in rows
    assert f"{found['auc']['mean']:.3f}" in rows and "</script>" in rows and "NaN" not in rows
    assert browser.run("document.documentElement.scrollWidth") <= pixels


@pytest.mark.parametrize("pixels", [360, 768, 1280])
def test_nothing_sticks_out(browser, opened, pixels):
    path, _ = opened
    browser.width(pixels)
    browser.open(path)
    assert browser.run("document.documentElement.scrollWidth") <= pixels
    assert browser.run("document.querySelector('#plot-roc svg').getBoundingClientRect().right") <= pixels


def test_hostile_names_stay_text(browser, tmp_path):
    path = tmp_path / "evil report.html"
    path.write_text(make_page(n=330, evil=True)[0], encoding="utf-8")
    browser.call("POST", "/url", {"url": path.as_uri()})
    browser.settle()
    assert browser.run("document.title") == EVIL and browser.log() == []
    assert browser.run("document.querySelectorAll('img').length") == 0
    for element in ("title", "facts", "methods", "subgroups", "audit", "alarms"):
        assert EVIL.split("'")[0] in browser.text(element)


def test_a_wide_table_is_no_wider_than_the_paper(browser, tmp_path):
    """The heat map of eight datasets was cut off at the right edge."""
    heads = ["trained on", "strategy", *(f"folder_audio-interviews_{year}" for year in range(2010, 2022)), "runs"]
    lines = [[heads[2], "balanced_sampling", *(static_page.heat(0.9, "*†") for _ in range(12)), "0 1 2 3 4"]] * 3
    path = tmp_path / "page.html"
    body = f"{static_page.table_of(heads, lines, text=2)}<ul><li>{'a_folder_of_a_long_name' * 9}</li></ul>"
    path.write_text(static_page.document("Wide", body), encoding="utf-8")
    browser.open(path)
    browser.width(718)  # of A4 between margins of 1 cm
    for media in ("print", ""):
        browser.call("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"media": media}})
        browser.settle()
        if media:
            assert browser.run("document.documentElement.scrollWidth") <= 718
            assert browser.run("document.querySelector('table').offsetWidth") <= 718
            assert browser.run("document.querySelector('td span').offsetHeight") < 20  # a figure stays on its line
