"""The service as an ASGI application: POST /judge and /report, a page, /health, /metrics, /openapi.json."""

import asyncio
import contextlib
import os
import pathlib
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any

import prometheus_client
import prometheus_client.multiprocess
from fastapi import Depends, FastAPI, File, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from python_multipart.exceptions import MultipartParseError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile as Upload
from starlette.exceptions import HTTPException

import dfjax
from dfjax.decide import known_real, places
from dfjax.inference.detector import Detector, KnownReal
from dfjax.inference.verdict import noted
from dfjax.media import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES, MediaError, facts
from dfjax.records import InputError
from dfjax.reporting import report_html
from dfjax.serve import gate, log, processes
from dfjax.serve.judging import Judge

SUFFIXES = AUDIO_SUFFIXES + IMAGE_SUFFIXES + VIDEO_SUFFIXES  # what decoders look at; nothing else of a name is kept
PAGE = pathlib.Path(__file__).with_name("page.html")
ABOUT = "Real or fake? A file is uploaded, its verdict answered; it is removed after the answer."
KINDS = {"audio": "recordings", "image": "pictures or videos with a face", "av": "videos with a face and sound"}
LONGEST_NAME = 200  # characters of a file's name that its report tells
MOST_KNOWN = max(places.COUNTS)  # files known to be real in one request: what more are worth, no decision has learnt
PATIENCE = 3  # times the seconds of one decoder: after that a request is not waited for


class Verdict(BaseModel):
    """The verdict on a file."""

    model_config = ConfigDict(extra="allow")
    verdict: str = Field(description="'fake', 'real', or 'uncertain' with reasons")
    probability: float = Field(description="of a fake")
    score: float = Field(description="logit; higher is more likely fake")
    threshold: float = Field(description="score from which on a file is called fake")
    reasons: list[str] = Field(description="of an uncertain verdict, in words")
    sha256: str = Field(description="of the file that was judged")
    known_real: dict[str, float] | None = Field(
        None,
        description="where files known to be real moved the threshold: how many `files`, their `mean_score`, the "
        "threshold `without` them, and the `p_value`: a real file of their place scores so high with that probability "
        "at most",
    )


Known = Annotated[
    Sequence[UploadFile],
    File(
        alias="known_real",
        description="files known to be real and of the place (speaker, microphone, channel) of the file: the threshold "
        "moves to where real ones of that place lie, for this answer alone",
    ),
]


class Problem(BaseModel):
    """Why there is no verdict."""

    error: str


def make(
    judge: Judge,
    *,
    token: str,
    hosts: Sequence[str] | None,
    slots: int,
    largest: int,
    seconds: float,
    folder: str | None = None,
    url: str = "",
) -> FastAPI:
    """The application.

    Args:
      judge: that gives verdicts; started and closed with the application.
      token: that requests must give; '' for none.
      hosts: names by which the service may be called, against pages that rebind theirs to it; None for any.
      slots: uploads at once; more get 429.
      largest: bytes of a file; more get 413.
      seconds: that an upload may take; more get 408.
      folder: where files lie until they are answered, named after this process; None: where temporary files do.
      url: at which it is reached, for the log.

    A request raises nothing here: what it did wrong is its answer, {'error': ...} with the status that says so.
    """
    registry = prometheus_client.CollectorRegistry()
    requests = prometheus_client.Counter("dfjax_requests", "Requests by status.", ["status"], registry=registry)
    verdicts = prometheus_client.Counter("dfjax_verdicts", "Files judged, by verdict.", ["verdict"], registry=registry)
    took = prometheus_client.Histogram("dfjax_seconds", "From upload to answer.", registry=registry)
    held = prometheus_client.Gauge(
        "dfjax_held", "Requests that are not answered yet.", registry=registry, multiprocess_mode="livesum"
    )
    together = prometheus_client.Histogram(
        "dfjax_batch_files", "Files in a batch.", registry=registry, buckets=[2**k for k in range(8)]
    )
    judge.scored = together.observe

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI):
        await run_in_threadpool(judge.start)
        log.say("ready", url=url)
        yield
        await run_in_threadpool(judge.close)

    # the pages that FastAPI can draw load scripts from elsewhere
    app = FastAPI(
        title="dfjax",
        version=dfjax.__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        description=" ".join([ABOUT, *_adapted(judge.detector.decision)]),
    )
    moved = known_real.given(judge.detector.decision)
    adaptable = not moved and known_real.adaptable(judge.detector.decision)
    text, policy = _page(KINDS[judge.detector.model.modality], largest, moved["files"] if moved else 0, adaptable)

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(text, headers={"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"})

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    async def health() -> JSONResponse:
        """Whether the service judges files; 503 where it no longer does and should be started anew."""
        alive = judge.alive()
        told = {"version": dfjax.__version__, "detector": judge.detector.architecture}
        told |= {"known_real": moved["files"]} if moved else {}
        return JSONResponse({"status": "ok" if alive else "broken"} | told, 200 if alive else 503)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        shown = registry
        if processes.FOLDER in os.environ:  # what all processes of the service wrote there
            shown = prometheus_client.CollectorRegistry()
            prometheus_client.multiprocess.MultiProcessCollector(shown)
        return Response(prometheus_client.generate_latest(shown), media_type="text/plain; version=0.0.4")

    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": words}
        for status, words in {
            400: "the form is damaged, or the host is another",
            401: "no token, or a wrong one",
            408: "the upload was too slow",
            413: "the file is too large",
            422: "the file cannot be judged",
            429: "the queue is full",
            500: "the service made a mistake",
            504: "no answer in time",
        }.items()
    }

    @contextlib.asynccontextmanager
    async def kept(upload: Upload) -> AsyncIterator[tuple[str, str]]:
        """Path and SHA-256 of a copy of an upload, which is removed in the end."""
        suffix = pathlib.PurePath(_name(upload)).suffix.lower()
        words = {"prefix": f"dfjax-{os.getpid()}-", "suffix": suffix if suffix in SUFFIXES else ""}
        with tempfile.NamedTemporaryFile(**words, dir=folder) as copy:
            await run_in_threadpool(shutil.copyfileobj, upload.file, copy)
            copy.flush()
            yield copy.name, await run_in_threadpool(facts.sha256, copy.name)

    async def adapted(known: Sequence[Upload]) -> Detector:
        """The detector for the place of files known to be real, which a request has with its own."""
        known_real.check(judge.detector.decision)
        async with contextlib.AsyncExitStack() as opened:
            copies = [(_name(each)[:LONGEST_NAME], *(await opened.enter_async_context(kept(each)))) for each in known]
            once = {digest: (name, path) for name, path, digest in copies}
            asked = (asyncio.wrap_future(judge.submit(path)) for _, path in once.values())
            answers = await asyncio.gather(*asked, return_exceptions=True)
        found = []
        for (name, path), answer in zip(once.values(), answers, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, MediaError):
                raise answer
            told = answer if isinstance(answer, dict) else {"skipped": str(answer).replace(path, "it")}
            found.append({"file": name, **told})
        return judge.detector.adapted(KnownReal.of(found, paths=(), digests=once))

    async def judged(
        request: Request, file: Upload, known: Sequence[Upload], drawn: bool
    ) -> tuple[dict[str, Any], str, str]:
        """(verdict, name, page) of the file of a request; the page is '' where it is not drawn."""
        known = list(filter(_chosen, known))
        fields = (await request.form()).multi_items()
        given = sum(not isinstance(value, str) and _chosen(value) for _, value in fields) - len(known)
        if given > 1:
            raise HTTPException(422, f"{given} files in one form; expected one file a request")
        if len(known) > MOST_KNOWN:
            raise HTTPException(422, f"{len(known)} files known to be real; expected {MOST_KNOWN} at most")
        if sum(each.size or 0 for each in (file, *known)) > largest:
            what = "files are together" if known else "file is"
            raise HTTPException(413, f"the {what} too large; expected at most {largest / 1e6:g} MB")
        name = _name(file)[:LONGEST_NAME]
        async with kept(file) as (path, digest):
            try:
                async with asyncio.timeout(PATIENCE * seconds):
                    detector = await adapted(known) if known else judge.detector
                    found, shown = await asyncio.wrap_future(judge.submit(path, detector)), ""
                    if detector.known and digest in detector.known.digests:
                        found = noted(found)
                    if drawn:
                        shown = await asyncio.wrap_future(judge.draw(path, {"file": name, **found}, detector))
            except InputError as error:
                raise HTTPException(422, " ".join(str(error).split())) from error
            except MediaError as error:
                raise HTTPException(422, f"the file cannot be judged: {error}".replace(path, "it")) from error
            except TimeoutError as error:
                raise HTTPException(504, "the service is too busy to answer in time; try again") from error
        verdicts.labels(found["verdict"]).inc()
        return {**found, "sha256": digest}, name, shown

    asked: list[Any] = [Depends(HTTPBearer(auto_error=False))] if token else []  # told; it is the gate that asks

    @app.post("/judge", responses=problems, response_model=Verdict, dependencies=asked)
    async def answer(request: Request, file: UploadFile, known: Known = ()) -> JSONResponse:
        """The verdict on the file of a form (multipart/form-data, field `file`)."""
        found, _, _ = await judged(request, file, known, drawn=False)
        return JSONResponse(found)

    @app.post(
        gate.PAGE,
        responses=problems | {200: {"description": "the page", "content": {"text/html": {}}}},
        response_class=Response,
        dependencies=asked,
    )
    async def report(request: Request, file: UploadFile, known: Known = ()) -> HTMLResponse:
        """The page about the file of a form: verdict, where, how sure, what the file says of itself, by what detector.

        One HTML file that loads nothing and runs no script. A few are made at once, so 429 comes sooner than of /judge.
        """
        _, name, shown = await judged(request, file, known, drawn=True)
        from dfjax.reporting import file_page  # the drawer has it already

        named = f'inline; filename="{file_page.file_name(name)}"'
        return HTMLResponse(shown, headers={"Content-Disposition": named, "X-Content-Type-Options": "nosniff"})

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        # of where the form is kept while it is read, as of a full disk; of another status it says who was too slow
        if error.status_code == 400 and isinstance(error.__cause__, OSError):
            raise error.__cause__
        why = _damage(error.__context__) or str(error.detail)
        return JSONResponse({"error": why}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, __: RequestValidationError) -> JSONResponse:
        what = "a file as the field 'file', and files alone as 'known_real'"
        return JSONResponse({"error": f"expected a form (multipart/form-data) with {what}"}, 422)

    # the last that is added sees a request first: what is refused is counted, too
    app.add_middleware(gate.Gate, token=token, hosts=hosts, slots=slots, largest=largest, seconds=seconds)

    @app.middleware("http")
    async def watch(request: Request, call_next) -> Response:
        start, number = time.perf_counter(), uuid.uuid4().hex[:12]
        held.inc()
        try:
            response = await call_next(request)
        except Exception as error:
            why = {"words": error.strerror} if isinstance(error, OSError) else {}
            log.say("error", request=number, kind=type(error).__name__, **why)
            response = JSONResponse({"error": "the service made a mistake; its log has it"}, 500)
        finally:
            held.dec()
        spent = time.perf_counter() - start
        requests.labels(str(response.status_code)).inc()
        took.observe(spent)
        route = request.scope.get("route")
        words = {"method": request.method, "route": getattr(route, "path", None), "status": response.status_code}
        log.say("request", request=number, seconds=round(spent, 4), **words)
        response.headers["X-Request-Id"] = number
        return response

    return app


def _damage(error: BaseException | None) -> str:
    """Why a form cannot be read, of what its reader met; '' where that says nothing."""
    while error is not None and not isinstance(error, MultipartParseError):
        error = error.__context__
    if error is None:
        return ""
    if "header size" in str(error):
        return "a name in the form is too long; expected a file's name of at most 255 characters"
    return f"the form is damaged: {error}"


def _chosen(upload: Upload) -> bool:
    """Whether it is a file: of a field in which none was chosen, browsers send an empty one without a name."""
    return bool(upload.filename or upload.size)


def _name(upload: Upload) -> str:
    return pathlib.PureWindowsPath(upload.filename or "").name or "upload"  # of either kind of path


def _adapted(decision: Mapping[str, Any]) -> list[str]:
    """What files known to be real changed and what they are worth, in sentences; none without any."""
    told = known_real.told(decision)
    return [f"It is for one place: {told}; {known_real.worth(decision)}."] if told else []


def _page(kinds: str, largest: int, known: int, adaptable: bool) -> tuple[str, str]:
    """The page to drop files on, and what it may load: its own script and style, and what a report holds.

    It says how many files `known` to be real moved the threshold, if any did, and asks for such files where the
    decision is `adaptable`. A report that the page opens is under the policy of the page, too.
    """
    several = "a file" if known == 1 else f"{known:,} files"
    place = f"<p><b>For one place.</b> The threshold was moved by {several} known to be real of one place, such as a "
    place += "speaker, a telephone line or a room. Give it files from there alone.</p>"
    field = f"<p><label for=known>If you have some: at most {MOST_KNOWN} files known to be real, of the same place "
    field += "(speaker, telephone line, room, camera). The threshold moves to where real ones lie there.</label>"
    field += "<input id=known type=file multiple></p>"
    words = {"KINDS": kinds, "LARGEST": str(largest)}
    words |= {"PLACE": place if known else "", "KNOWN": field if adaptable else ""}
    text = PAGE.read_text(encoding="utf-8")
    for name, word in words.items():
        text = text.replace(f"@{name}@", word)
    parts = {name: re.findall(f"<{name}>(.*?)</{name}>", text, re.DOTALL) for name in ("script", "style")}
    parts["style"].append((report_html.PAGE / "file.css").read_text(encoding="utf-8"))
    allowed = {name: " ".join(f"'{report_html.csp_hash(part)}'" for part in found) for name, found in parts.items()}
    none = (f"{name} 'none'" for name in ("default-src", "frame-ancestors", "base-uri", "form-action"))
    some = ["connect-src 'self'", "img-src data:", "media-src data:"]
    return text, "; ".join([*none, *some, *(f"{name}-src {words}" for name, words in allowed.items())])
