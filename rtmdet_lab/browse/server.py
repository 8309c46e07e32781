"""FiftyOne's server behind a guard: it answers whoever has the token of this start, under this machine's own names.

By itself the server asks nobody who they are: every user of the machine, and every web page that a name server leads to it,
could read and change all data sets, and all files that their owner can read. The guard is in front of the whole application,
in the server's own process. The browser brings the token with the address that is printed, and gets a cookie for it.

``python -m rtmdet_lab.browse.server PORT``, the token in the environment, where other users cannot see it.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any, cast
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

HOST = "127.0.0.1"  # FiftyOne's own default inside of containers is every address of the machine
NAMES = (HOST, "localhost", "::1")  # what a tunnel's end on another machine is called, too
TOKEN = "RTMDET_LAB_APP_TOKEN"
REFUSED = "This App is somebody's own: open the address that was printed when it was started, with its token.\n"

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Callable[[], Awaitable[dict[str, Any]]], Send], Awaitable[None]]


class Guard:
    """An ASGI application that hands on what has the token, a Host of this machine and no other page behind it."""

    def __init__(self, app: App, token: str, port: int) -> None:
        self.app, self.token = app, token
        self.cookie = f"rtmdet-lab-app-{port}"  # cookies are common to all ports of a machine

    async def __call__(self, scope: Scope, receive: Callable[[], Awaitable[dict[str, Any]]], send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope["headers"])
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if not headers.are_of_this_machine():
            await _refuse(scope, send)
        elif scope["type"] == "http" and any(map(self.is_token, given)):
            rest = urlencode([(name, value) for name, value in query if name != "token"])
            place = "/" + quote(scope["path"].lstrip("/")) + (f"?{rest}" if rest else "")
            cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            await _answer(send, 303, b"", ("location", place), ("set-cookie", cookie))
        elif any(map(self.is_token, headers.tokens(self.cookie))):
            await self.app(scope, receive, send)
        else:
            await _refuse(scope, send)

    def is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self.token.encode())


class Headers:
    """The headers of a request that say who asks."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self.values: dict[str, list[str]] = {}
        for name, value in pairs:
            self.values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def are_of_this_machine(self) -> bool:
        """Whether the server was asked by this machine's name, and not by a page from elsewhere."""
        hosts, origins = self.values.get("host", []), self.values.get("origin", [])
        if len(hosts) != 1 or _name(f"//{hosts[0]}") not in NAMES:
            return False
        if any(urlsplit(origin).netloc != hosts[0] for origin in origins):
            return False
        # Pages of other ports of this machine may lead here, but not ask in a page's name.
        site, mode = (self.values.get(f"sec-fetch-{name}", [""])[0] for name in ("site", "mode"))
        return site not in ("cross-site", "same-site") or mode == "navigate"

    def tokens(self, cookie: str) -> list[str]:
        """Returns what may be the token: of the cookie, and of programs."""
        found = [one.removeprefix("Bearer ") for one in self.values.get("authorization", []) if one.startswith("Bearer ")]
        for line in self.values.get("cookie", []):
            try:
                cookies = SimpleCookie(line)
            except CookieError:
                continue
            if cookie in cookies:
                found.append(cookies[cookie].value)
        return found


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


async def _refuse(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
    else:
        await _answer(send, 403, REFUSED.encode(), ("content-type", "text/plain; charset=utf-8"))


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[str, str]) -> None:
    pairs = [*headers, ("content-length", str(len(body))), ("cache-control", "no-store"), ("referrer-policy", "no-referrer")]
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serves FiftyOne's App on a port of this machine until the process is ended."""
    token, port = os.environ.pop(TOKEN), int(sys.argv[1])
    from fiftyone.server.events import set_port
    from fiftyone.server.main import app  # which makes this process FiftyOne's server
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    set_port(port)
    config = Config()
    config.bind = [f"{HOST}:{port}"]
    asyncio.run(serve(cast(Any, Guard(app, token, port)), config))  # an ASGI program like any other


if __name__ == "__main__":
    main()
