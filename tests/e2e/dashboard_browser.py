"""A browser on the dashboard: opens pages, waits for plots, and looks into them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Page

WIDE, PHONE = (1280, 860), (390, 844)

# Per plot: how many of its glyphs have a point inside what is shown of the axes.
_DRAWN = """() => Bokeh.documents.map(made => {
    const views = [];
    const visit = view => {
        views.push(view);
        for (const child of view.children?.() ?? []) visit(child);
    };
    for (const root of made.roots()) visit(Bokeh.index.get_by_id(root.id));
    let seen = 0;
    for (const view of views) {
        if (view.model.type !== "GlyphRenderer") continue;
        const box = view.plot_view.frame.bbox, glyph = view.glyph;
        const xs = glyph.sx ?? glyph.sx0 ?? glyph.sleft, ys = glyph.sy ?? glyph.sy0 ?? glyph.stop;
        if (!xs || !ys) continue;
        const inside = (x, y) =>
            x >= box.left && x <= box.right && y >= box.top && y <= box.bottom;
        if (Array.from(xs).some((x, at) => inside(x, ys[at]))) seen += 1;
    }
    return seen;
})"""


@dataclass
class Browser:
    """A page of the browser, and what went wrong in it."""

    page: Page
    address: str
    project: int
    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def hear(self, said: Any) -> None:
        """Keep what is wrong; Bokeh also tells how long it took."""
        if said.type in ("error", "warning"):
            self.complaints.append(f"{self.page.url}: {said.text}")

    def open(self, path: str, width: tuple[int, int] = WIDE, scheme: Any = "light") -> None:
        self.page.set_viewport_size({"width": width[0], "height": width[1]})
        self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        answer = self.page.goto(f"{self.address}{path}")
        assert answer is not None
        assert answer.status == 200, f"{path}: {answer.status}"
        self.settle()

    def settle(self) -> None:
        """Wait until all plots are shown and nothing is asked for any more."""
        self.page.wait_for_load_state("load")
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('.plot[data-plot]')].every(p => p.dataset.shown)"
        )

    def drawn(self) -> list[int]:
        """Return, per plot, how many of its glyphs have a point inside the axes."""
        if not self.page.locator(".plot[data-plot]").count():
            return []
        return [int(seen) for seen in self.page.evaluate(_DRAWN)]

    def pictures(self) -> None:
        """Let all pictures load, those below the window too."""
        self.page.evaluate("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
        self.page.wait_for_function("() => [...document.images].every(i => i.complete)")

    def overflow(self) -> int:
        """Return how many pixels the page is wider than the window."""
        return int(
            self.page.evaluate("document.documentElement.scrollWidth - document.body.clientWidth")
        )

    def log_in(self, who: tuple[str, str]) -> None:
        # An answer that is still on its way would bring the old cookie back.
        self.page.goto("about:blank")
        self.page.context.clear_cookies()
        self.open("/dashboard/login")
        self.page.fill("input[name=name]", who[0])
        self.page.fill("input[name=password]", who[1])
        self.page.click("button")
        self.page.wait_for_url(f"{self.address}/dashboard/")
