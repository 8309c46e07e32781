"""The App in a real browser: the data set, its counts, a saved view and labels are there. Skipped without Chromium."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from made_database import free_port
from made_sources import made_source
from playwright.sync_api import sync_playwright

from rtmdet_lab.browse.app import HOST, address_of, choose_port, launch
from rtmdet_lab.browse.dataset import put
from rtmdet_lab.core.errors import SettingError

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def app(database, tmp_path_factory):
    """The App on a made data set: (data set, port)."""
    dataset, _ = put([made_source(tmp_path_factory.mktemp("app"), data="seen in the App", count=5)])
    port = free_port()
    session = launch(dataset, port)
    yield dataset, port
    session.close()


@pytest.fixture(scope="module")
def page(app):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(30_000)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        yield page, asked
        browser.close()


def keep(page, name: str) -> None:
    """Writes a picture where RTMDET_LAB_SCREENSHOTS says."""
    where = os.environ.get("RTMDET_LAB_SCREENSHOTS")
    if where:
        page.screenshot(path=str(Path(where) / f"{name}.png"))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH: apt-get install chromium")
def test_app_shows_the_data_set_its_counts_a_saved_view_and_labels(app, page):
    dataset, port = app
    page, asked = page
    page.goto(address_of(dataset, port))
    page.wait_for_selector("text=5 samples")
    assert page.locator("text=seen in the App").count()
    for field in ("ground_truth", "k5"):
        assert page.locator(f"[data-cy*='{field}']").count(), field
    page.wait_for_selector("[data-cy='looker']")
    page.locator("text=Dismiss").click()  # an advertisement of FiftyOne's
    keep(page, "app_grid")
    page.goto(address_of(dataset, port, "k5: confident mistakes"))
    page.wait_for_selector("text=k5: confident mistakes")
    page.wait_for_selector("text=4 samples")
    page.wait_for_selector("[data-cy='looker']")
    page.wait_for_timeout(1500)
    keep(page, "app_view")
    page.locator("[data-cy='looker']").first.click()
    page.wait_for_selector("[data-cy='modal']")
    page.wait_for_timeout(2500)
    keep(page, "app_modal")
    # FiftyOne's page asks for two fonts and shows others without them; it must ask nobody anything else.
    others = {urlsplit(url).netloc for url in asked} - {f"{HOST}:{port}", ""}
    assert others <= {"fonts.googleapis.com", "fonts.gstatic.com"}


@pytest.mark.slow
def test_app_listens_on_this_machine_alone(app):
    _, port = app
    outside = socket.gethostbyname(socket.gethostname())
    if outside.startswith("127."):
        pytest.skip("this machine has no address but its own")
    with pytest.raises(OSError), socket.create_connection((outside, port), timeout=2):
        pass


@pytest.mark.slow
def test_app_answers_whoever_has_the_token_of_its_start(app, tmp_path):
    dataset, port = app
    secret = tmp_path / "secret.txt"
    secret.write_text("of the user")
    base = f"http://{HOST}:{port}"
    token = parse_qs(urlsplit(address_of(dataset, port)).query)["token"][0]
    media = f"{base}/media?{urlencode({'filepath': str(secret)})}"
    assert requests.get(media, headers={"Authorization": f"Bearer {token}"}, timeout=30).text == "of the user"
    assert requests.get(address_of(dataset, port), timeout=30, allow_redirects=False).status_code == 303
    strange = ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Bearer {token}", "Host": "evil.example"})
    for headers in strange:
        for address in (media, base, f"{base}/fiftyone"):
            answer = requests.get(address, headers=headers, timeout=30)
            assert answer.status_code == 403
            assert "of the user" not in answer.text
        graphql = requests.post(f"{base}/graphql", json={"query": "{__typename}"}, headers=headers, timeout=30)
        assert graphql.status_code == 403
    command_lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [line for line in command_lines if token.encode() in line]  # which every user may read


def test_a_port_in_use_is_refused_and_the_default_one_gives_way(monkeypatch):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingError, match=f"port {port} is in use"):
            choose_port(port)
        monkeypatch.setattr("rtmdet_lab.browse.app.PORT", port)
        assert choose_port() > port
    for port in (0, 70000):
        with pytest.raises(SettingError, match="from 1 to 65535"):
            choose_port(port)


def test_app_opens_with_the_detections_worth_seeing_in_their_colors(database, tmp_path, monkeypatch):
    import fiftyone

    dataset, _ = put([made_source(tmp_path)], f"opened {tmp_path}")
    asked = []
    monkeypatch.setattr("rtmdet_lab.browse.app.start_server", lambda port: None)
    monkeypatch.setattr(fiftyone, "launch_app", lambda *given, **options: asked.append((given, options)))
    launch(dataset, free_port())
    launch(dataset, free_port(), view=dataset.load_saved_view("k5: duplicates"))
    dataset.delete_saved_view("all images")
    launch(dataset, free_port())
    (_, first), (_, second), (given, third) = asked
    assert (first["view"].name, second["view"].name) == ("all images", "k5: duplicates")
    assert third["view"] is None
    assert given[0].name == dataset.name
    colors = {one["path"]: one["fieldColor"] for one in first["color_scheme"].fields}
    assert {"ground_truth", "k5"} <= set(colors)
