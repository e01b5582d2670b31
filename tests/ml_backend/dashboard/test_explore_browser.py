"""Explore in a real browser: the map opens galaxies, marks go by tapping, no policy is broken."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gallery import Gallery

pytestmark = pytest.mark.browser


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_a_map: Path) -> Gallery:
    return Gallery(tmp_path / "world", monkeypatch, with_a_map)


@pytest.fixture
def phone(gallery: Gallery) -> Iterator[Any]:
    """A phone's page, logged in; what it complained of is in `page.complaints`."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    from werkzeug.serving import make_server

    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium: run `make browser` or install one")
    server = make_server("127.0.0.1", 0, gallery.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with playwright.sync_playwright() as session:
            browser = session.chromium.launch(
                executable_path=program, args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(
                viewport={"width": 390, "height": 844}, has_touch=True,
                base_url=f"http://127.0.0.1:{server.server_port}",
            )  # fmt: skip
            page.complaints = []
            page.on(
                "console",
                lambda message: (
                    message.type in ("error", "warning") and page.complaints.append(message.text)
                ),
            )
            page.on("pageerror", lambda error: page.complaints.append(str(error)))
            page.goto("/dashboard/login")
            page.fill("[name=name]", "ada")
            page.fill("[name=password]", "long enough")
            page.press("[name=password]", "Enter")
            page.wait_for_url("**/dashboard/")
            yield page
            assert page.complaints == []
            browser.close()
    finally:
        server.shutdown()
        thread.join(10)


def _fits(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth") <= 390)


def test_a_galaxy_that_is_chosen_on_the_map_opens_and_several_become_a_selection(
    gallery: Gallery, phone: Any
) -> None:
    phone.goto("/dashboard/1/explore/")
    phone.wait_for_selector(".plot[data-shown]", timeout=30_000)
    assert _fits(phone)
    choose = """rows => {
        Bokeh.documents[0].get_model_by_name("galaxies").selected.indices = rows;
    }"""
    phone.evaluate(choose, [3])
    phone.wait_for_selector("#galaxy h2")
    task = phone.evaluate('Bokeh.documents[0].get_model_by_name("galaxies").data.task[3]')
    assert phone.inner_text("#galaxy h2") == f"Task {task}"
    assert not phone.is_visible("#chosen")
    phone.evaluate(choose, [3, 4, 5])
    assert "3 galaxies" in phone.inner_text("#chosen")
    phone.tap("#chosen button")
    phone.wait_for_selector("input[name=task]")
    assert phone.locator("input[name=task]:checked").count() == 3
    assert _fits(phone)


def test_marks_go_by_tapping_also_without_scripts(gallery: Gallery, phone: Any) -> None:
    phone.goto(f"/dashboard/1/explore/search?yes={gallery.tasks[1]}")
    phone.locator(".marks label:has(input[value=yes])").nth(0).tap()
    phone.locator(".marks label:has(input[value=no])").nth(20).tap()
    assert phone.locator(".marks input[value=yes]:checked").count() == 1
    phone.tap("text=Rank again >> nth=0")
    phone.wait_for_selector("text=Step 2")
    assert "2 found, 1 not of interest" in phone.inner_text(".headline")
    assert _fits(phone)
    shown = phone.locator(".tiles .thumb").first
    assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 40


def test_the_queue_fits_a_phone_and_a_tap_pins(gallery: Gallery, phone: Any) -> None:
    phone.goto("/dashboard/1/queue/")
    assert _fits(phone)
    phone.locator("button:has-text('Pin')").nth(2).tap()
    phone.wait_for_selector("text=Pinned: served first")
    assert phone.locator(".badge:has-text('pinned')").count() == 1
    assert gallery.deeds()[0] == ("pin", "ada")
