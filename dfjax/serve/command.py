"""Verdicts over HTTP: a page to drop files on, an API with its OpenAPI description, /health and /metrics.

python -m dfjax.serve
python -m dfjax.serve --bundle detector.zip --port 8080
curl -F file=@voicemail.mp3 http://127.0.0.1:8000/judge

It listens on this machine alone. Elsewhere it asks for a token, DFJAX_TOKEN in its environment, which requests give as
`Authorization: Bearer TOKEN`; put TLS in front of it there, and limit there how many connections a client may hold: the
service ends one only where a request's line and headers take longer than 20 s. Files are decoded in processes with
limits of memory and time, scored in batches that are filled across requests, and removed after the answer. Recordings
may last an hour.
POST /report answers with a page instead of the verdict alone. SIGTERM and Ctrl-C finish what was taken.

--known_real names files that are known to be real and of the place that the service is for, such as one telephone line:
all uploads are judged at the threshold that these give, as by dfjax.predict. They are scored before it listens. A
request may have such files of its own instead, up to ten and within --max_mb together, for its answer alone:
curl -F file=@voicemail.mp3 -F known_real=@real1.wav -F known_real=@real2.wav http://127.0.0.1:8000/judge

--workers 2 serves by two processes, each with a detector, a queue and limits of its own. They share the address and
/metrics, which tells their sum; one that dies is replaced.
"""

import argparse
import functools
import importlib.util
import ipaddress
import math
import os
import socket
from collections.abc import Sequence
from typing import Any

from dfjax.records import InputError
from dfjax.runtime import cli, workers
from dfjax.runtime.listing import files_of
from dfjax.serve import log

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "matplotlib")
TOKEN = "DFJAX_TOKEN"  # an option would show in the list of processes
SHORTEST_TOKEN = 16  # characters


def parser() -> cli.Parser:
    """The command line."""
    result = cli.Parser(prog="python -m dfjax.serve", description="Verdicts over HTTP.")
    result.add_argument(
        "--bundle",
        "--workdir",  # as the other commands call it
        metavar="FILE",
        help="of dfjax.export, or a run's folder (default: the detector that comes along)",
    )
    result.add_argument(
        "--known_real",
        metavar="PATH",
        action="append",
        default=[],
        help="a file, or a folder of them, known to be real and from the place (speaker, microphone, channel) that all "
        "uploads are from: the threshold moves to where real ones of that place lie; may be given several times",
    )
    result.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    result.add_argument("--port", type=int, default=8000, help="port to listen on (default %(default)s)")
    result.add_argument(
        "--queue", type=int, default=64, help="requests held at once by a worker; more get 429 (default %(default)s)"
    )
    result.add_argument("--max_mb", type=float, default=50.0, help="largest file, in MB (default %(default)s)")
    result.add_argument(
        "--seconds", type=float, default=60.0, help="an upload, or a decoder, may take (default %(default)s)"
    )
    result.add_argument("--memory_mb", type=int, default=2048, help="a decoder may take (default %(default)s)")
    result.add_argument("--workers", type=int, default=1, help="processes that serve (default %(default)s)")
    result.add_argument(
        "--jobs", type=int, help="processes that decode, of each that serves (default so that there is one per core)"
    )
    result.add_argument("--face_model", help="YuNet .onnx file, if the training faces were found by it")
    return result


def loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check(flags: argparse.Namespace, token: str) -> None:
    """Raises InputError where the command cannot or should not run so."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise InputError(f"dfjax.serve needs {', '.join(missing)}; install them: pip install 'dfjax[serve]'")
    if not loopback(flags.host) and not token:
        raise InputError(
            f"--host {flags.host} can be reached from other machines and there is no token; set {TOKEN}, or listen on "
            "127.0.0.1"
        )
    if token and (len(token) < SHORTEST_TOKEN or not token.isascii()):
        raise InputError(f"{TOKEN} is too short to be secret; give {SHORTEST_TOKEN} or more characters of ASCII")
    if not 0 < flags.port < 65_536:
        raise InputError(f"--port {flags.port}: expected a number from 1 to 65535")
    for name in ("queue", "max_mb", "seconds", "memory_mb", "jobs", "workers"):
        if (value := getattr(flags, name)) is not None and not 0 < value < math.inf:  # nan is not, either
            raise InputError(f"--{name} {value}: expected a number, more than 0")


def listener(host: str, port: int) -> socket.socket:
    """A socket that listens at this address; who connects waits until a process is ready.

    It listens at once: where two services only bind the address, both get it.

    Raises:
      InputError: it cannot be had.
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen()
    except OSError as error:
        made.close()
        raise InputError(f"--host {host} --port {port} cannot be had: {error.strerror}; give another") from error
    return made


def loaded(flags: argparse.Namespace) -> Any:
    """The `Detector` of these words, without files known to be real; raises InputError as `dfjax.load` does."""
    from dfjax.inference import load
    from dfjax.runtime import process

    log.start()
    process.check_alone("dfjax.serve")
    process.use_all_cores()
    return load(flags.bundle, flags.face_model)


def scored(flags: argparse.Namespace, paths: Sequence[str]) -> Any:
    """The files known to be real, a `KnownReal` of the detector; says what they change.

    Raises:
      InputError: the detector cannot be loaded, or cannot be adapted by these files.
    """
    from dfjax.decide import known_real

    detector = loaded(flags).with_known_real(paths)
    log.say("known_real", words=f"{known_real.told(detector.decision)}; {known_real.worth(detector.decision)}")
    return detector.known


def build(flags: argparse.Namespace, token: str, known: Any, folder: str) -> Any:
    """The application that these words ask for; the files of its requests lie in `folder` until they are answered.

    Files `known` to be real, which `scored` returns, adapt its detector; None does not.

    Raises:
      InputError: the detector cannot be loaded.
    """
    from dfjax.serve import app, judging

    detector = loaded(flags)
    detector = detector.adapted(known) if known else detector
    jobs = flags.jobs or max(1, workers.cores() // flags.workers)
    return app.make(
        judging.Judge(detector, jobs=jobs, seconds=flags.seconds, memory=flags.memory_mb << 20),
        token=token,
        hosts=None if token else ("127.0.0.1", "localhost", "[::1]", flags.host),
        slots=flags.queue,
        largest=int(flags.max_mb * 1e6),
        seconds=flags.seconds,
        folder=folder,
        url=f"http://{f'[{flags.host}]' if ':' in flags.host else flags.host}:{flags.port}/",
    )


def main() -> None:
    """Serves until it is told to stop."""
    flags = parser().parse_args()
    token = os.environ.get(TOKEN, "")
    check(flags, token)
    from dfjax.serve import processes

    log.start()
    known = processes.apart(scored, flags, list(files_of(flags.known_real))) if flags.known_real else None
    with listener(flags.host, flags.port) as listening:
        made = functools.partial(build, flags, token, known)
        processes.serve(made, listening, flags.workers, int(4 * flags.seconds))
