"""The service under load, beside the detector called directly on the same files: python -m tests.benchmarks.service

    python -m tests.benchmarks.service [--seconds 180] [--most 10000] [--clients 16] [--workers 1]

The detector that comes with the package is exported, called on clips of three seconds in this process, and served by
`dfjax.serve` in another, on the loopback. First BURST uploads come at once, bad ones among them; a client that is told to
come again does. Then --clients ask one after another, every tenth of them something bad, for --seconds or until --most
are answered, while the memory of the service and its decoders is read. Every answer must be the one that is due: the
direct call's verdict, or one line with its status. Exit code 1 if any is not, or none came.
"""

import argparse
import asyncio
import collections
import contextlib
import hashlib
import io
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

from dfjax.runtime import process

process.use_all_cores()

import numpy as np
import soundfile

import dfjax
from dfjax import export
from dfjax.inference import bundle
from tests.benchmarks import rows
from tests.benchmarks.predict import clips

GOOD = 48  # distinct clips
LARGEST, SECONDS = 2_000_000, 15  # limits of the service: bytes, seconds
PAUSE = 0.5  # seconds between two tries of a client that was told to come again
BURST = {"good": 130, "empty": 8, "truncated": 8, "zip bomb": 8, "long": 2, "words": 8, "picture": 8, "no form": 8}
BURST |= {"too large": 8, "slow": 6, "leaves": 6}
DUE = {"good": 200, "no form": 422, "too large": 413, "slow": 408} | dict.fromkeys(
    ("empty", "truncated", "zip bomb", "long", "words", "picture"), 422
)
STEADY_BAD = ("empty", "truncated", "zip bomb", "words", "picture", "too large", "leaves")


def bad_files() -> dict[str, tuple[str, bytes]]:
    """Name and content of what is no recording, or one of hours in a small file."""
    whole, packed, long = io.BytesIO(), io.BytesIO(), io.BytesIO()
    soundfile.write(whole, 0.1 * np.random.default_rng(0).standard_normal(48_000), 16_000, format="FLAC")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", bytes(200_000_000))
    with soundfile.SoundFile(long, "w", 16_000, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(3 * 60):
            file.write(np.full(60 * 16_000, 300, np.int16))
    return {
        "empty": ("a.wav", b""),
        "truncated": ("a.flac", whole.getvalue()[:20_000]),
        "zip bomb": ("a.wav", packed.getvalue()),
        "long": ("a.flac", long.getvalue()),
        "words": ("a.txt", b"only words\n" * 100),
        "picture": ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(500)),
    }


def form(name: str, content: bytes) -> bytes:
    """An upload's body."""
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    return head + content + b"\r\n--x--\r\n"


class Load:
    """Clients of one service, and what they were told."""

    def __init__(self, port: int, good: list[tuple[str, bytes, dict]]):
        self.port, self.good, self.bad = port, good, bad_files()
        self.times: dict[str, list[float]] = collections.defaultdict(list)
        self.wrong: list[str] = []
        self.again = self.sent = 0

    async def client(self, kind: str) -> None:
        """One client, until it is answered or leaves; the time is from its first try to its answer."""
        index, began = self.sent % len(self.good), time.perf_counter()
        self.sent += 1
        name, content = (
            self.good[index][:2] if kind in ("good", "slow", "leaves") else self.bad.get(kind, ("a.wav", b""))
        )
        while True:
            try:
                status, found = await asyncio.wait_for(self._exchange(kind, name, content), 240)
            except (OSError, EOFError, TimeoutError, ValueError) as error:
                if kind != "leaves":
                    self.wrong.append(f"{kind}: no answer, {type(error).__name__} {error}")
                return
            if status != 429:
                break
            self.again += 1
            await asyncio.sleep(PAUSE)
        self.times[kind].append(time.perf_counter() - began)
        due = status == DUE.get(kind)
        if due and kind == "good":
            due = found == self.good[index][2]
        elif due:
            due = set(found) == {"error"} and "\n" not in found["error"] and "Traceback" not in found["error"]
        if not due:
            self.wrong.append(f"{kind}: {status} {json.dumps(found)[:200]}")

    async def _exchange(self, kind: str, name: str, content: bytes) -> tuple[int, dict]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        sending = asyncio.ensure_future(self._send(writer, kind, name, content))
        try:
            if kind == "leaves":
                await sending
                raise EOFError("left")
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = int(head.lower().partition("content-length: ")[2].partition("\r")[0])
            return int(head.split()[1]), json.loads(await reader.readexactly(length))
        finally:
            sending.cancel()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await sending
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter, kind: str, name: str, content: bytes) -> None:
        body = form(name, content)
        typed = "text/plain" if kind == "no form" else "multipart/form-data; boundary=x"
        sized = "Transfer-Encoding: chunked" if kind == "too large" else f"Content-Length: {len(body)}"
        writer.write(f"POST /judge HTTP/1.1\r\nHost: localhost\r\nContent-Type: {typed}\r\n{sized}\r\n\r\n".encode())
        if kind == "too large":  # as of a file without end; whoever refuses it hangs up on it or it stops by itself
            for piece in [body[:-9], *[bytes(65_536)] * (20 * LARGEST // 65_536)]:
                writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                await writer.drain()
        elif kind == "slow":
            for byte in body:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.2)
        else:
            writer.write(body[: len(body) // 2] if kind == "leaves" else body)
            await writer.drain()


def memory(pid: int) -> tuple[float, float]:
    """MiB that a process holds, and that it and all below it hold together."""

    def resident(one: str | int) -> float:
        lines = pathlib.Path(f"/proc/{one}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def below(one: str | int) -> float:
        together = 0.0
        for task in pathlib.Path(f"/proc/{one}/task").iterdir():
            with contextlib.suppress(OSError, StopIteration):
                together += sum(resident(child) + below(child) for child in (task / "children").read_text().split())
        return together

    own = resident(pid)
    return own, own + below(pid)


def told(load: Load, seconds: float, what: str, direct: float) -> None:
    """Prints rate and times of what was answered; `direct` is the rate of calls one after another."""
    good = sorted(load.times["good"])
    answered = sum(map(len, load.times.values()))
    print(f"{what}: {load.sent} sent, {answered} answered in {seconds:.1f} s, {answered / seconds:.1f}/s;", end=" ")
    print(
        f"verdicts {len(good)}, {len(good) / seconds:.1f}/s, seconds to one p50 {statistics.median(good):.2f},", end=" "
    )
    print(f"p99 {good[int(0.99 * len(good))]:.2f}; told to come again {load.again} times; wrong: {len(load.wrong)}")
    rows.show(what, len(good) / seconds, "verdicts/s", len(good) / seconds / direct)
    for kind, times in load.times.items():
        print(
            f"    {kind:<10}{len(times):6} answered {DUE.get(kind)}, p50 {statistics.median(times):.2f} s", flush=True
        )
    for line in load.wrong[:10]:
        print("    WRONG", line)


async def steady(load: Load, args: argparse.Namespace, pid: int) -> None:
    """`args.clients` at a time; prints the memory of the service every tenth of the time."""
    end, every = time.perf_counter() + args.seconds, args.seconds / 10

    async def one() -> None:
        while load.sent < args.most and time.perf_counter() < end:
            bad = load.sent % 10 == 9
            await load.client(STEADY_BAD[load.sent // 10 % len(STEADY_BAD)] if bad else "good")

    async def watch() -> None:
        while True:
            own, together = memory(pid)
            print(
                f"    after {sum(map(len, load.times.values())):6,}: {own:.0f} MiB, decoders too {together:.0f}",
                flush=True,
            )
            await asyncio.sleep(every)

    watching = asyncio.ensure_future(watch())
    await asyncio.gather(*(one() for _ in range(args.clients)))
    watching.cancel()
    own, together = memory(pid)
    print(f"    after {sum(map(len, load.times.values())):6,}: {own:.0f} MiB, decoders too {together:.0f}", flush=True)


def main() -> None:
    """Prints rates, times and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180, help="of the second part")
    parser.add_argument("--most", type=int, default=10_000, help="requests of the second part")
    parser.add_argument("--clients", type=int, default=16, help="at a time, in the second part")
    parser.add_argument("--workers", type=int, default=1, help="processes that serve")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "clips").mkdir()
        (folder / "kept").mkdir()
        paths = clips(folder / "clips", GOOD)
        export.export(bundle.SPEECH, folder / "detector.zip")
        detector = dfjax.load(folder / "detector.zip")
        detector(paths[0])  # compiles
        began = time.perf_counter()
        verdicts = [json.loads(json.dumps(detector(path))) for path in paths]
        direct = GOOD / (time.perf_counter() - began)
        print(f"called directly, one file after another: {direct:.1f}/s", flush=True)
        files = [pathlib.Path(path).read_bytes() for path in paths]
        told = [{**v, "sha256": hashlib.sha256(f).hexdigest()} for v, f in zip(verdicts, files, strict=True)]
        good = [(pathlib.Path(p).name, f, v) for p, f, v in zip(paths, files, told, strict=True)]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = ["--bundle", folder / "detector.zip", "--port", port, "--max_mb", LARGEST / 1e6, "--seconds", SECONDS]
        words += ["--workers", args.workers]
        with (folder / "log").open("wb") as log:
            service = subprocess.Popen(
                [sys.executable, "-m", "dfjax.serve", *map(str, words)],
                stderr=log,
                env=os.environ | {"TMPDIR": str(folder / "kept")},
            )
        try:
            if not _listens(port, service):
                sys.exit(f"the service does not listen: {(folder / 'log').read_text().strip()}")
            wrong = asyncio.run(_loads(port, good, direct, args, service.pid))
        finally:
            service.send_signal(signal.SIGTERM)
            code = service.wait(120)
        lines = (folder / "log").read_text().splitlines()
        told = ("request", "ready")
        strange = [line for line in lines if not line.startswith("{") or json.loads(line)["event"] not in told]
        left = list((folder / "kept").iterdir())
        shares = collections.Counter(json.loads(line)["process"] for line in lines if '"event": "request"' in line)
        print(f"requests by process: {sorted(shares.values())}")
        print(f"ended with {code}; files left {len(left)}; lines of the log that are no request: {len(strange)}")
        print(*strange[:20], sep="\n")
        sys.exit(bool(wrong or strange or left))


def _listens(port: int, service: subprocess.Popen) -> bool:
    """Whether it does, within two minutes."""
    for _ in range(240):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        if service.poll() is not None:
            return False
        time.sleep(0.5)
    return False


async def _loads(port: int, good: list, direct: float, args: argparse.Namespace, pid: int) -> int:
    burst = Load(port, good)
    kinds = [kind for kind, count in BURST.items() for _ in range(count)]
    np.random.default_rng(0).shuffle(kinds)
    began = time.perf_counter()
    await asyncio.gather(*map(burst.client, kinds))
    told(burst, time.perf_counter() - began, f"{len(kinds)} at once", direct)
    load = Load(port, good)
    began = time.perf_counter()
    await steady(load, args, pid)
    told(load, time.perf_counter() - began, f"{args.clients} at a time", direct)
    return len(burst.wrong) + len(load.wrong)


if __name__ == "__main__":
    main()
