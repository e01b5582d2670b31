"""The People page in a real browser: its plots are drawn, and it fits a phone, light and dark."""

from __future__ import annotations

import io
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dashboard_world import PASSWORDS, DashboardSite, open_site
from kept_people import PATH, keep, person
from PIL import Image

from ml_backend.dashboard.plots import DARK, LIGHT

pytestmark = pytest.mark.browser


def _pixels(screenshot: bytes) -> Counter[Any]:
    with Image.open(io.BytesIO(screenshot)) as image:
        shades, counts = np.unique(
            np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0, return_counts=True
        )
    return Counter(dict(zip(map(tuple, shades.tolist()), counts.tolist(), strict=True)))


def _shade(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[DashboardSite]:
    with open_site(tmp_path) as made:
        made.store.projects.save(3, "Rings", "<View/>")
        told = {"reliability": 0.83, "low": 0.75, "high": 0.9, "kappa": 0.51, "kappa_error": 0.07}
        keep(made, [person(at, **told) for at in range(12)])
        yield made


@pytest.fixture
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium: run `make browser` or install one")
    with playwright.sync_playwright() as session:
        made = session.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        yield made
        made.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_plots_are_drawn_and_nothing_is_cut_off(
    site: DashboardSite, browser: Any, theme: str
) -> None:
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, site.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        page = browser.new_page(
            viewport={"width": 390, "height": 844}, color_scheme=theme,
            base_url=f"http://127.0.0.1:{server.server_port}",
        )  # fmt: skip
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        page.goto("/dashboard/login")
        page.fill("[name=name]", "vera")
        page.fill("[name=password]", PASSWORDS["vera"])
        page.press("[name=password]", "Enter")
        page.wait_for_url("**/dashboard/")
        page.goto(PATH)
        colours = DARK if theme == "dark" else LIGHT
        wanted = {"reliability": [colours.accent], "days": colours.series}
        for plot, shades in wanted.items():
            place = f".plot[data-plot*={plot}]"
            page.wait_for_selector(f"{place}[data-shown]", timeout=30_000)
            page.wait_for_timeout(500)
            seen = _pixels(page.locator(place).screenshot())
            assert seen[_shade(colours.back)] > 10_000, "the page's own background"
            for shade in shades:
                assert seen[_shade(shade)] > 100, (plot, shade)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        shown = page.locator("td[data-label=reliability]").first
        assert shown.is_visible()
        assert page.locator("td[data-label=skips]").first.is_hidden()
        page.set_viewport_size({"width": 1280, "height": 900})
        assert page.locator("td[data-label=skips]").first.is_visible()
        table = page.locator(".tight")
        assert table.evaluate("it => it.scrollWidth <= it.parentElement.clientWidth")
        assert complaints == []
    finally:
        server.shutdown()
        thread.join(10)
