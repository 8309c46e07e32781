"""The explorers in a real browser: JupyterLab on this machine, all cells run, a control moved, the picture seen to change.

Prints the time from the control to the picture. Skipped where there is no Chromium.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parents[3] / "notebooks"
CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# JupyterLab's own, with a page that is left alone: none of them comes from a notebook.
BENIGN = (
    "favicon",
    "api/news",  # its news feed, which needs the network
    "/lsp/status",  # the language server extension asks whether it is there
    "Failed to load resource: the server responded with a status of 404",  # settings and workspaces that do not exist yet
)
SETTINGS = {
    # Otherwise cells out of sight are not in the page.
    "notebook-extension/tracker.jupyterlab-settings": '{"windowingMode": "none"}',
    "apputils-extension/notification.jupyterlab-settings": '{"fetchNews": "false", "checkForUpdates": false}',
}
DONE = "all cells have run"
SECONDS = 120  # for all cells of a notebook on a busy machine

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def lab(folder) -> Iterator[str]:
    """A JupyterLab of its own on a free port; the address with its token."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    home = folder / "home"
    for file, content in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    environment.pop("MPLBACKEND", None)
    options = ["--no-browser", "--ip=127.0.0.1", f"--port={port}", f"--IdentityProvider.token={token}", "--allow-root"]
    options += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None"]
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "lab", *options],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, folder / "lab.log")
            yield f"http://127.0.0.1:{port}/lab/tree/{{}}?reset&token={token}"
        finally:
            os.killpg(server.pid, signal.SIGTERM)  # kernels are of its session
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(240):
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"JupyterLab did not answer: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1500, "height": 1250})
    page.set_default_timeout(SECONDS * 1000)
    yield page
    page.close()


def write_copy(name: str, folder: Path, **parameters) -> None:
    """Writes a notebook with other parameters, as papermill would."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    lines = "\n".join(f"{key} = {value!r}" for key, value in parameters.items())
    notebook.cells.insert(2, nbformat.v4.new_code_cell(f"# Parameters\n{lines}"))
    notebook.cells.append(nbformat.v4.new_code_cell(f"print({DONE!r})"))
    nbformat.write(notebook, folder / f"{name}.ipynb")


class Opened:
    """A notebook in JupyterLab after all of its cells have run."""

    def __init__(self, page, address: str, name: str) -> None:
        self.page, self.complaints = page, []
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(f"page error: {error}"))
        page.goto(address.format(f"{name}.ipynb"))
        page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")
        self._run_all()
        failure = ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr'] pre:has-text('Traceback')"
        failure += ", .jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error'] pre"
        page.wait_for_selector(f"pre:text-is('{DONE}'), {failure}")
        assert page.locator(failure).all_inner_texts() == []
        self.box = page.locator(".rtmdet-panel").first
        self.box.scroll_into_view_if_needed()
        page.wait_for_function("() => (document.querySelector('.rtmdet-panel img')?.naturalWidth ?? 0) > 300")

    def _run_all(self) -> None:
        """Asks until cells run: JupyterLab wants a kernel chosen, or swallows the click, while it still settles."""
        begun = ".jp-InputPrompt:has-text('['):not(:text-is('[ ]:'))"
        self.page.wait_for_selector("text=/Python 3.*Idle/")
        for _ in range(8):
            try:
                self.page.click("text=Run >> nth=0", timeout=10_000)
                self.page.click("text=Run All Cells >> nth=0", timeout=10_000)
                self.page.wait_for_selector(begun, timeout=10_000)
                return
            except PlaywrightTimeout:
                choose = self.page.locator(".jp-Dialog .jp-mod-accept")
                if choose.count():
                    choose.first.click()
                else:
                    self.page.keyboard.press("Escape")
        raise AssertionError("the notebook does not begin to run")

    def _listen(self, message) -> None:
        where = f"{message.text} ({message.location.get('url', '')})"
        if message.type == "error" and not any(word in where for word in BENIGN):
            self.complaints.append(where)

    def picture(self) -> str:
        """Returns a digest of the picture's bytes as the browser has them."""
        data = self.page.evaluate(
            """async () => {
                const image = document.querySelector('.rtmdet-panel img');
                const bytes = await (await fetch(image.src)).arrayBuffer();
                return [...new Uint8Array(bytes)];
            }"""
        )
        assert bytes(data[:4]) == b"\x89PNG"
        return hashlib.sha256(bytes(data)).hexdigest()

    def select(self, control: str, option: str) -> None:
        self.box.locator(".widget-dropdown", has_text=control).locator("select").select_option(label=option)

    def type(self, control: str, value: str) -> None:
        field = self.box.locator(".widget-text", has_text=control).locator("input")
        field.fill(value)
        field.press("Enter")

    def changed(self, what: str, before: str, change) -> str:
        """Returns the digest of the picture that ``change`` brings; prints how long it took."""
        source = self.page.evaluate("() => document.querySelector('.rtmdet-panel img').src")
        begin = time.perf_counter()
        change()
        self.page.wait_for_function(
            """(before) => {
                const image = document.querySelector('.rtmdet-panel img');
                return image.src !== before && image.complete && image.naturalWidth > 0;
            }""",
            arg=source,
            polling=20,
        )
        seconds = time.perf_counter() - begin
        told = self.message()
        print(f"\n{what}: control to picture {seconds:.2f} s ({told})")
        after = self.picture()
        assert after != before, what
        assert "drawn in" in told
        return after

    def message(self) -> str:
        texts = self.box.locator(".widget-html-content").all_inner_texts()
        return next(text for text in texts if "drawn in" in text or "must be" in text or "no " in text)

    def keep(self, name: str) -> None:
        """Writes a picture of the panel where RTMDET_LAB_SCREENSHOTS says."""
        where = os.environ.get("RTMDET_LAB_SCREENSHOTS")
        if where:
            self.box.screenshot(path=str(Path(where) / f"{name}.png"))

    def assert_silent(self) -> None:
        assert self.complaints == []


def test_model_explorer_answers(lab, page, folder):
    write_copy("01_model_explorer", folder, kernels=[5], device="cpu")
    opened = Opened(page, lab, "01_model_explorer")
    opened.keep("model_explorer")
    first = opened.picture()
    second = opened.changed("place of both", first, lambda: opened.select("looks from", "backbone, stride 16"))
    kernel = opened.box.locator(".widget-text", has_text="kernel").nth(1).locator("input")

    def wider() -> None:
        kernel.fill("7")
        kernel.press("Enter")

    third = opened.changed("kernel of B", second, wider)
    kernel.fill("4")
    kernel.press("Enter")
    page.wait_for_selector("text=model.kernel_size is 4, but must be a positive odd number")
    assert opened.picture() == third
    opened.changed("kernel of B again", third, lambda: (kernel.fill("11"), kernel.press("Enter")))
    opened.assert_silent()


def test_assigner_explorer_answers(lab, page, folder):
    write_copy(
        "02_assigner_explorer",
        folder,
        data_dir=str(folder / "scenes"),
        out_dir=str(folder / "run"),
        epochs=2,
        train_images=40,
        device="cpu",
    )
    opened = Opened(page, lab, "02_assigner_explorer")
    opened.keep("assigner_explorer")
    picture = opened.picture()
    picture = opened.changed("overlap term off", picture, lambda: opened.select("iou cost", "none"))
    picture = opened.changed("another object", picture, lambda: opened.box.locator("select").first.select_option(index=1))
    slider = opened.box.locator(".noUi-handle").first
    slider.focus()
    picture = opened.changed("another moment", picture, lambda: slider.press("ArrowLeft"))
    opened.changed("against ATSS", picture, lambda: opened.select("against", "atss"))
    opened.assert_silent()


def test_augmentation_explorer_answers(lab, page, folder):
    write_copy("03_augmentation_explorer", folder, data_dir=str(folder / "augmentation"), images=40)
    opened = Opened(page, lab, "03_augmentation_explorer")
    opened.keep("augmentation_explorer")
    picture = opened.picture()
    slider = opened.box.locator(".noUi-handle").first
    slider.focus()
    picture = opened.changed("next step", picture, lambda: slider.press("ArrowRight"))
    picture = opened.changed("another sample", picture, lambda: opened.type("sample", "9"))
    picture = opened.changed("weak stage", picture, lambda: opened.select("stage", "weak"))
    opened.changed("rotated boxes", picture, lambda: opened.select("task", "rotated"))
    opened.assert_silent()
