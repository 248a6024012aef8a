"""Verdicts over HTTP: a page to drop files on, an API with its OpenAPI description, /health and /metrics.

python -m dfjax.serve
python -m dfjax.serve --bundle detector.zip --port 8080
curl -F file=@voicemail.mp3 http://127.0.0.1:8000/judge

It listens on this machine alone. Elsewhere it asks for a token, DFJAX_TOKEN in its environment, which requests give as
`Authorization: Bearer TOKEN`; put TLS in front of it there. Files are decoded in processes with limits of memory and
time, scored in batches that are filled across requests, and removed after the answer. Recordings may last an hour.
SIGTERM finishes what was taken.
"""

import argparse
import importlib.util
import ipaddress
import logging
import os

from dfjax.inference import load
from dfjax.records import InputError
from dfjax.runtime import process, workers

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
TOKEN = "DFJAX_TOKEN"  # an option would show in the list of processes
SHORTEST_TOKEN = 16  # characters


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m dfjax.serve", description="Verdicts over HTTP.")
    result.add_argument(
        "--bundle", metavar="FILE", help="of dfjax.export, or a run's folder (default: the detector that comes along)"
    )
    result.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    result.add_argument("--port", type=int, default=8000, help="port to listen on (default %(default)s)")
    result.add_argument(
        "--queue", type=int, default=64, help="requests held at once; more get 429 (default %(default)s)"
    )
    result.add_argument("--max_mb", type=float, default=50.0, help="largest file, in MB (default %(default)s)")
    result.add_argument(
        "--seconds", type=float, default=60.0, help="an upload, or a decoder, may take (default %(default)s)"
    )
    result.add_argument("--memory_mb", type=int, default=2048, help="a decoder may take (default %(default)s)")
    result.add_argument("--jobs", type=int, help="processes that decode (default one per core)")
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
    for name in ("queue", "max_mb", "seconds", "memory_mb", "jobs"):
        if (value := getattr(flags, name)) is not None and value <= 0:
            raise InputError(f"--{name} {value}: expected more than 0")


def main() -> None:
    """Serves until it is told to stop."""
    flags = parser().parse_args()
    token = os.environ.get(TOKEN, "")
    check(flags, token)
    import uvicorn

    from dfjax.serve import app, judging

    process.check_alone("dfjax.serve")
    process.use_all_cores()
    detector = load(flags.bundle, flags.face_model)
    judge = judging.Judge(
        detector, jobs=flags.jobs or workers.cores(), seconds=flags.seconds, memory=flags.memory_mb << 20
    )
    served = app.make(
        judge,
        token=token,
        hosts=None if token else ("127.0.0.1", "localhost", "[::1]", flags.host),
        slots=flags.queue,
        largest=int(flags.max_mb * 1e6),
        seconds=flags.seconds,
    )
    # one JSON object a line, of requests; of the server only what goes wrong
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    app.LOG.setLevel(logging.INFO)
    uvicorn.run(
        served,
        host=flags.host,
        port=flags.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(4 * flags.seconds),
    )
