"""FiftyOne's App on a data set: served to this machine alone, opened in the browser or inside of a notebook."""

from __future__ import annotations

import socket
import warnings
from typing import Any
from urllib.parse import quote

from rtmdet_lab.browse.dataset import INFO
from rtmdet_lab.browse.views import ALL
from rtmdet_lab.errors import SettingError
from rtmdet_lab.escaping import say
from rtmdet_lab.training.report import in_interactive_notebook

HOST = "127.0.0.1"  # FiftyOne's own default inside of containers is every address of the machine
PORT = 5151
_TRIED = 50  # ports after the default one


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
    """Returns the address of a data set in the App, or of one of its saved views."""
    address = f"http://{HOST}:{port}/datasets/{quote(dataset.name, safe='')}"
    if view is None:
        return address
    from fiftyone.core.utils import to_slug

    return f"{address}?view={quote(to_slug(view))}"


def launch(dataset: Any, port: int | None = None, view: Any = None, open_browser: bool = False) -> Any:
    """Starts the App on a data set, or on a view of it, and returns FiftyOne's session; it lives as long as the process.

    Without a view it shows all images with the detections that have a score worth seeing; in its bar at the top the view is
    closed, and then all detections are shown.

    In an interactive notebook the App is shown below the cell.

    Raises:
        SettingError: the port is in use.
    """
    import fiftyone

    chosen = choose_port(port)
    if view is None and dataset.has_saved_view(ALL):
        view = dataset.load_saved_view(ALL)
    embedded = in_interactive_notebook()
    config = fiftyone.app_config.copy()
    # Names would hide what they name where there is only one, or small objects lie side by side; the pointer shows them.
    config.show_label = len(dataset.default_classes) > 1 and not dataset.info[INFO]["rotated"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = fiftyone.launch_app(
            dataset if view is None else None,
            view=view,
            color_scheme=dataset.app_config.color_scheme,  # which a view does not bring along
            port=chosen,
            address=HOST,
            auto=embedded,
            remote=not embedded,
            config=config,
        )
    if open_browser and not embedded:
        import webbrowser

        webbrowser.open(address_of(dataset, chosen, getattr(view, "name", None)))
    return session


def show(dataset: Any, port: int | None = None) -> Any:
    """Shows the App below a notebook's cell and returns its session; says how to open it where nobody looks."""
    if in_interactive_notebook():
        return launch(dataset, port)
    say(f"data set {dataset.name!r} has {len(dataset)} images: `rtmdet-lab browse RUN...` opens the App on it")
    return None
