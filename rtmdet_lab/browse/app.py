"""FiftyOne's App on a data set: served to this machine alone, opened in the browser or inside of a notebook."""

from __future__ import annotations

import secrets
import socket
import sys
import warnings
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from rtmdet_lab.browse.dataset import INFO
from rtmdet_lab.browse.saved_views import ALL
from rtmdet_lab.browse.server import HOST, TOKEN
from rtmdet_lab.core.errors import SettingError, StorageError
from rtmdet_lab.core.escaping import say
from rtmdet_lab.engine.console import in_interactive_notebook

PORT = 5151
_TRIED = 50  # ports after the default one
SHARED = (
    "note: the App asks for the token in its address, FiftyOne's database for nothing: where other people have accounts on "
    "this machine, name a database server with a password in FIFTYONE_DATABASE_URI"
)
_HEIGHT = 800  # pixels of the App below a cell
_tokens: dict[int, str] = {}  # port -> what a server of this process asks for


def choose_port(port: int | None = None) -> int:
    """Returns ``port``, or the first free one from FiftyOne's default on.

    Raises:
        SettingError: ``port`` is none or in use.
    """
    if port is not None:
        if not 0 < port < 65536:
            raise SettingError(f"port is {port}, but must be from 1 to 65535")
        if not _is_free(port):
            raise SettingError(f"port {port} is in use: choose another, or none to take the next free one")
        return port
    free = next((one for one in range(PORT, PORT + _TRIED) if _is_free(one)), None)
    if free is None:
        raise SettingError(f"ports {PORT} to {PORT + _TRIED - 1} are in use: choose one with --port")
    return free


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def address_of(dataset: Any, port: int, view: str | None = None) -> str:
    """Returns the address of a data set in the App, or of one of its saved views, with the token of a running server."""
    address = f"http://{HOST}:{port}/datasets/{quote(dataset.name, safe='')}"
    query = {}
    if view is not None:
        from fiftyone.core.utils import to_slug

        query["view"] = to_slug(view)
    if port in _tokens:
        query["token"] = _tokens[port]
    return f"{address}?{urlencode(query)}" if query else address


def launch(dataset: Any, port: int | None = None, view: Any = None, open_browser: bool = False) -> Any:
    """Starts the App on a data set, or on a view of it, and returns FiftyOne's session; it lives as long as the process.

    Without a view it shows all images with the detections that have a score worth seeing; in its bar at the top the view is
    closed, and then all detections are shown.

    In an interactive notebook the App is shown below the cell.

    Raises:
        SettingError: the port is in use.
        StorageError: the server does not start.
    """
    import fiftyone

    chosen = choose_port(port)
    if view is None and dataset.has_saved_view(ALL):
        view = dataset.load_saved_view(ALL)
    embedded = in_interactive_notebook()
    config = fiftyone.app_config.copy()
    # Names would hide what they name where there is only one, or small objects lie side by side; the pointer shows them.
    config.show_label = len(dataset.default_classes) > 1 and not dataset.info[INFO]["rotated"]
    start_server(chosen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = fiftyone.launch_app(
            dataset if view is None else None,
            view=view,
            color_scheme=dataset.app_config.color_scheme,  # which a view does not bring along
            port=chosen,
            address=HOST,
            auto=False,  # FiftyOne would show it without the token
            remote=not embedded,
            config=config,
        )
    address = address_of(dataset, chosen, getattr(view, "name", None))
    if embedded:
        from IPython.display import IFrame, display

        if not asks_for_password():
            say(SHARED)
        display(IFrame(address, width="100%", height=_HEIGHT))
    elif open_browser:
        import webbrowser

        webbrowser.open(address)
    return session


def asks_for_password() -> bool:
    """Whether the database is a server that the user named: the one that FiftyOne starts by itself has no password."""
    import fiftyone

    return bool(fiftyone.config.database_uri)


def start_server(port: int) -> None:
    """Starts FiftyOne's server behind its guard (:mod:`rtmdet_lab.browse.server`) and returns when it listens.

    FiftyOne takes the server that is noted for a port, and ends it with the port's last session.

    Raises:
        StorageError: it does not listen within FiftyOne's patience, a minute.
    """
    from fiftyone.core import service
    from fiftyone.core.session import client, session

    token = secrets.token_urlsafe(32)

    class GuardedServer(service.ServerService):
        working_dir = "/"  # not FiftyOne's, whose modules have everyday names

        @property
        def command(self) -> list[str]:
            return [sys.executable, "-P", "-m", "rtmdet_lab.browse.server", str(self.port)]

        @property
        def env(self) -> dict[str, str]:
            return {**super().env, TOKEN: token}

    try:
        session._server_services[port] = GuardedServer(port, address=HOST, do_not_track=True)
    except service.ServiceListenTimeout as error:
        raise StorageError(f"FiftyOne's server does not listen on port {port} after a minute: try again") from error
    _tokens[port] = token
    client.requests = _WithToken


class _WithToken:
    """What FiftyOne's session asks its server through, in place of ``requests``: it brings the token along."""

    @staticmethod
    def get(url: str, **options: Any) -> Any:
        return _ask("get", url, **options)

    @staticmethod
    def post(url: str, **options: Any) -> Any:
        return _ask("post", url, **options)


def _ask(method: str, url: str, headers: dict[str, str] | None = None, **options: Any) -> Any:
    import requests

    parts = urlsplit(url)
    token = _tokens.get(parts.port or 0) if parts.hostname == HOST else None
    own = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(method, url, headers={**(headers or {}), **own}, **options)


def show(dataset: Any, port: int | None = None) -> Any:
    """Shows the App below a notebook's cell and returns its session; says how to open it where nobody looks."""
    if in_interactive_notebook():
        return launch(dataset, port)
    say(f"data set {dataset.name!r} has {len(dataset)} images: `rtmdet-lab browse RUN...` opens the App on it")
    return None
