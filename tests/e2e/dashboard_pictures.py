"""Renews the pictures of the dashboard in `docs/images`, from a demo that runs.

Start a demo whose people have voted, e.g. ``galaxyloop demo --labels labels.csv --annotators 5
--unequal --most-people 5 --votes 400``, then once more without ``--annotators`` and ``--votes``,
which stays; then run ``make screenshots DEMO=galaxyloop-demo``.
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
from pathlib import Path

from dashboard_browser import WIDE, Browser
from PIL import Image
from playwright.sync_api import sync_playwright

from ml_backend.dashboard.contents import PAGES

IMAGES = Path(__file__).parents[2] / "docs" / "images"
TALLEST, COLOURS = 1300, 128
"""Pixels of a page that are kept (what is below is more of the same), and colours."""
_ACCOUNT = re.compile(r"dashboard, (\S+)/dashboard/, knows the name (\S+) with the password (\S+)")


def main() -> None:
    """Take a picture of each page of the demo's project."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="the demo's folder; the demo must run")
    parser.add_argument("--project", type=int, default=1, help="its number in Label Studio")
    parser.add_argument("--out", type=Path, default=IMAGES)
    asked = parser.parse_args()
    found = _ACCOUNT.search((asked.demo / "environment.sh").read_text(encoding="utf-8"))
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((path for name in names if (path := shutil.which(name))), None)
    if found is None or program is None:
        parser.error("There is no Chromium." if found else f"{asked.demo} names no dashboard.")
    address, name, password = found.groups()
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=program, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        context.set_default_timeout(60_000)
        browser = Browser(context.new_page(), address, asked.project)
        browser.log_in((name, password))
        # The first look at Health begins the checks, which take some seconds.
        browser.open(f"/dashboard/{asked.project}/health/")
        browser.page.wait_for_selector("[data-part=checks] :is(.note, .findings)")
        paths = {page.name: f"/dashboard/{asked.project}/{page.name}/" for page in PAGES}
        for name, path in {"projects": "/dashboard/", **paths}.items():
            browser.open(path)
            browser.pictures()
            browser.page.wait_for_timeout(500)
            _keep(browser, asked.out / f"dashboard-{name}.png")
        context.close()


def _keep(browser: Browser, file: Path) -> None:
    """Take a picture, without empty room below, in few colours (a third of the size)."""
    bottom = browser.page.evaluate(
        "Math.max(...[...document.querySelector('main').children]"
        ".map(part => part.getBoundingClientRect().bottom))"
    )
    browser.page.screenshot(path=file, full_page=True)
    with Image.open(file) as taken:
        height = min(max(int(bottom) + 24, 300), TALLEST, taken.height)
        small = taken.convert("RGB").crop((0, 0, WIDE[0], height))
        small.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
