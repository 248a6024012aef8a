"""What a request must pass before anybody looks at it: host, token, size, time, and a free slot."""

import asyncio
import hmac
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

Message = MutableMapping[str, Any]
Receive, Send = Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]
OPEN = ("/", "/health")  # known without a token: they say nothing of anybody's files
FORM = 65_536  # bytes of an upload's form beside the file, at most
PAGE, PAGES = "/report", 4  # how many of the slots a request with so large an answer may have


class Gate:
    """ASGI: refuses in the form of the service, {'error': ...}, and lets the rest through."""

    def __init__(
        self, app: Callable, *, token: str, hosts: Sequence[str] | None, slots: int, largest: int, seconds: float
    ):
        """`slots` uploads at once, of `largest` bytes each, within `seconds`; an empty `token` is none.

        `hosts` are the names by which the service may be called; None for any.
        """
        self.app, self.token, self.slots, self.largest, self.seconds = app, token.encode(), slots, largest, seconds
        self.hosts = None if hosts is None else {host.lower().encode() for host in hosts}
        self.taken = self.pages = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        if self.hosts is not None and re.sub(rb":\d*$", b"", headers.get(b"host", b"").lower()) not in self.hosts:
            return await _refuse(400, "the service is not called so; give the host that it listens on")(
                scope, receive, send
            )
        if self.token and scope["path"] not in OPEN:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self.token):
                asked = {"WWW-Authenticate": "Bearer"}
                return await _refuse(401, "give the token as 'Authorization: Bearer TOKEN'", asked)(
                    scope, receive, send
                )
        if scope["method"] != "POST":
            return await self.app(scope, receive, send)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.largest + FORM:
            return await _refuse(413, self._too_large())(scope, receive, send)
        page = scope["path"] == PAGE
        if self.taken >= self.slots or (page and self.pages >= PAGES):
            full = "as many files are being judged as this service holds; try again"
            return await _refuse(429, full, {"Retry-After": "1"})(scope, receive, send)
        self.taken += 1
        self.pages += page
        try:
            await self.app(scope, self._limited(receive), send)
        finally:
            self.taken -= 1
            self.pages -= page

    def _too_large(self) -> str:
        return f"the file is too large; expected at most {self.largest / 1e6:g} MB"

    def _limited(self, receive: Receive) -> Receive:
        """`receive`, which raises where a body is larger or slower than allowed, whatever its header said."""
        size, end, whole = 0, time.monotonic() + self.seconds, False

        async def limited() -> Message:
            nonlocal size, whole
            if whole:  # only the end of the connection is waited for
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, end - time.monotonic()))
            except TimeoutError as error:
                raise HTTPException(408, f"the upload took longer than {self.seconds:g} s") from error
            size += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if size > self.largest + FORM:
                raise HTTPException(413, self._too_large())
            return message

        return limited


def _refuse(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": reason}, status, headers)
