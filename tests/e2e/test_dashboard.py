"""The dashboard in a real browser: every page, wide and on a phone, light and dark."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page

from ml_backend.dashboard.contents import PAGES
from ml_backend.demo.people import Crew

sys.path.insert(0, str(Path(__file__).parent))

from dashboard_browser import PHONE, WIDE, Browser

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

Loop = Any  # RunningLoop of conftest.py, which tests cannot import
ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "artifacts"
MANAGER = ("manager", "a manager's password")
VIEWER = ("viewer", "a viewer's password")
VOTES = 12


@pytest.fixture(scope="module")
def project(running_loop: Loop) -> int:
    """A project in which three people have answered, and two rounds have learned from them."""
    made = running_loop.project("Galaxies on the dashboard")
    for votes in range(6, VOTES + 1, 6):
        Crew(running_loop.annotators(made, 0.1), lambda count: 0).annotate(6)
        made.loop.wait(votes)
    for (name, password), role in ((MANAGER, "manager"), (VIEWER, "viewer")):
        running_loop.store.accounts.save(name, password, role)
    return int(made.id)


@pytest.fixture(scope="module")
def browser(running_loop: Loop, project: int, page: Page) -> Browser:
    made = Browser(page, running_loop.services.url, project)
    page.on("console", made.hear)
    page.on("pageerror", lambda error: made.complaints.append(f"{page.url}: {error}"))
    page.on("request", lambda asked: made.hosts.add(urlsplit(asked.url).hostname or ""))
    made.log_in(MANAGER)
    made.open(f"/dashboard/{project}/health/")
    page.wait_for_selector("[data-part=checks] :is(.note, .findings)")
    SHOTS.mkdir(exist_ok=True)
    return made


def _paths(project: int) -> dict[str, str]:
    inside = {page.name: f"/dashboard/{project}/{page.name}/" for page in PAGES}
    return {"projects": "/dashboard/", **inside}


NAMES = tuple(_paths(0))


@pytest.mark.parametrize("name", NAMES)
def test_every_page_is_whole_in_a_browser(browser: Browser, name: str) -> None:
    path = _paths(browser.project)[name]
    browser.complaints.clear()
    for width, wide in ((WIDE, True), (PHONE, False)):
        for scheme in ("dark", "light"):
            browser.open(path, width, scheme)
            wrong = browser.overflow()
            kind = "" if wide else "-phone"
            dark = "-dark" if scheme == "dark" else ""
            browser.page.screenshot(
                path=SHOTS / f"dashboard-{name}{kind}{dark}.png", full_page=True
            )
            tab = browser.page.locator("nav[aria-label='Pages of the project'] [aria-current]")
            if tab.count():
                box = tab.bounding_box()
                assert box is not None
                assert 0 <= box["x"] <= width[0] - box["width"], "the page's tab is in view"
            shown = browser.drawn()
            assert len(shown) == browser.page.locator(".plot[data-plot]").count()
            assert all(shown), f"{name}: a plot without anything inside its axes ({shown})"
            assert wrong <= 0, f"{name} is {wrong} px too wide at {width[0]} px"
            back = browser.page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, back[4:-1].split(","))) < 200) is (scheme == "dark")
    assert browser.complaints == []
    assert browser.hosts <= {"127.0.0.1", ""}, "nothing leaves this machine"


@pytest.mark.parametrize("name", NAMES)
def test_every_page_can_be_read_by_a_viewer_and_by_keyboard(browser: Browser, name: str) -> None:
    browser.log_in(VIEWER)
    try:
        browser.open(_paths(browser.project)[name])
        page = browser.page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll('a, button, input:not([type=hidden]), select')]
                .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.title
                    || e.closest('label') || e.labels?.length || e.querySelector('img[alt]')))
                .filter(e => !e.closest('.bk-root, .plot'))
                .map(e => e.outerHTML.slice(0, 100))"""
        )
        assert unnamed == []
        assert page.locator("h1").count() == 1
    finally:
        browser.log_in(MANAGER)


def test_a_job_is_seen_to_go_on_without_loading_the_page(
    browser: Browser, running_loop: Loop, eventually: Callable[..., None]
) -> None:
    browser.complaints.clear()
    browser.open(f"/dashboard/{browser.project}/health/")
    page = browser.page
    page.wait_for_selector("#health[data-renewed]")
    page.evaluate("window.mark = 'same page'")
    before = page.locator("[data-part=jobs] tbody tr").count()
    running_loop.store.jobs.enqueue("round", browser.project, {"rerank": True})
    page.wait_for_function(
        "before => document.querySelectorAll('[data-part=jobs] tbody tr').length > before",
        arg=before,
        timeout=40_000,
    )
    page.wait_for_selector("[data-part=jobs] tbody tr:first-child .state.done", timeout=60_000)
    assert page.evaluate("window.mark") == "same page"
    assert browser.complaints == []


def test_versions_are_compared_and_one_is_brought_back(
    browser: Browser, running_loop: Loop, eventually: Callable[..., None]
) -> None:
    page = browser.page
    browser.complaints.clear()
    browser.open(f"/dashboard/{browser.project}/models/")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_selector("h2:has-text('What changed')")
    page.screenshot(path=ROOT / "artifacts" / "dashboard-compare.png", full_page=True)
    champion = running_loop.champion(browser.project)
    browser.open(f"/dashboard/{browser.project}/models/")
    page.get_by_role("link", name="Roll back").last.click()
    name = page.locator("h2 code").inner_text()
    assert name != champion
    page.screenshot(path=ROOT / "artifacts" / "dashboard-rollback.png", full_page=True)
    page.get_by_role("button", name="Roll back").click()
    page.wait_for_selector(".note.good[role=status]")
    assert name in page.locator("[aria-label='Audit log']").inner_text()
    eventually(
        lambda: running_loop.champion(browser.project) != champion, "another version is published"
    )
    assert running_loop.version(running_loop.champion(browser.project)).source == name
    assert browser.complaints == []


def test_tables_are_sorted_by_their_heads(browser: Browser) -> None:
    page = browser.page
    browser.open(f"/dashboard/{browser.project}/models/")
    votes = "[aria-label=Versions] td[data-label=votes]"
    head = page.locator("[aria-label=Versions] th", has_text="Votes")
    for direction, reverse in (("ascending", False), ("descending", True)):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == direction
        shown = [int(text) for text in page.locator(votes).all_inner_texts()]
        assert shown == sorted(shown, reverse=reverse)
    assert len(set(shown)) > 1
