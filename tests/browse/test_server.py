"""Who FiftyOne's server answers: the token of this start, under this machine's names, and no page of somebody else's."""

from __future__ import annotations

import asyncio

import pytest

from rtmdet_lab.browse.server import Guard

TOKEN, PORT = "secret-token", 5151
COOKIE = f"rtmdet-lab-app-{PORT}={TOKEN}"
OWN = f"127.0.0.1:{PORT}"


def ask(path="/graphql", query="", kind="http", host=(OWN,), **headers):
    """Returns (what the application was asked, what was answered) for one request."""
    asked, answers = [], []

    async def app(scope, receive, send):
        asked.append(scope["path"])

    async def send(message):
        answers.append(message)

    pairs = [(b"host", name.encode()) for name in host]
    pairs += [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": kind, "path": path, "query_string": query.encode(), "headers": pairs}
    asyncio.run(Guard(app, TOKEN, PORT)(scope, None, send))
    return asked, answers


def refused(**request) -> bool:
    asked, answers = ask(**request)
    assert not asked
    if request.get("kind") == "websocket":
        return answers == [{"type": "websocket.close", "code": 1008}]
    return answers[0]["status"] == 403


@pytest.mark.parametrize("host", [OWN, "localhost:6000", "127.0.0.1", "[::1]:5151", "LOCALHOST:5151"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_token_opens_the_app_under_the_names_of_this_machine(host, kind):
    assert ask(kind=kind, host=[host], cookie=f"a=b; {COOKIE}")[0] == ["/graphql"]
    assert ask(kind=kind, host=[host], authorization=f"Bearer {TOKEN}", origin=f"http://{host}")[0] == ["/graphql"]


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "cookie",
    [None, "", f"rtmdet-lab-app-{PORT}=", f"rtmdet-lab-app-{PORT + 1}={TOKEN}", COOKIE[:-1], COOKIE + "x", "\xe9;=="],
)
def test_nothing_is_answered_without_the_token(kind, cookie):
    assert refused(kind=kind, **({} if cookie is None else {"cookie": cookie}))
    assert refused(kind=kind, path="/media", query="filepath=/etc/passwd&token=x")
    assert refused(kind=kind, authorization=f"Basic {TOKEN}")
    assert refused(kind=kind, authorization="Bearer \xff")


@pytest.mark.parametrize("host", [(), (OWN, OWN), ("evil.example",), ("127.0.0.1.evil.example",), ("evil@",), ("",), ("[",)])
def test_other_names_of_the_machine_are_not_answered(host):
    assert refused(host=host, cookie=COOKIE)
    assert refused(host=host, query=f"token={TOKEN}")


def test_pages_of_others_do_not_ask_in_the_users_name():
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999", f"http://{OWN}.evil.example"):
        assert refused(cookie=COOKIE, origin=origin)
    for site in ("cross-site", "same-site"):
        assert refused(cookie=COOKIE, sec_fetch_site=site, sec_fetch_mode="no-cors")
        assert ask(path="/", cookie=COOKIE, sec_fetch_site=site, sec_fetch_mode="navigate")[0] == ["/"]


def test_address_with_the_token_leaves_a_cookie_and_goes_on_without_it():
    asked, (start, _) = ask(path="/datasets/a b", query=f"view=x%26y&token={TOKEN}&empty=")
    assert not asked
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert start["status"] == 303
    assert headers["location"] == "/datasets/a%20b?view=x%26y&empty="
    assert headers["set-cookie"] == f"{COOKIE}; Path=/; HttpOnly; SameSite=Strict"
    _, (start, _) = ask(path="//evil.example/x", query=f"token={TOKEN}")
    assert dict(start["headers"])[b"location"] == b"/evil.example/x"


def test_start_and_end_of_the_server_pass():
    asked = []

    async def app(scope, receive, send):
        asked.append(scope["type"])

    asyncio.run(Guard(app, TOKEN, PORT)({"type": "lifespan"}, None, None))
    assert asked == ["lifespan"]
