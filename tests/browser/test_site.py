"""The documentation as a site: every page fits a phone and a desk, on screens that are light or dark."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.chromium import Page, keep_screenshot

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
WIDTHS = "[document.documentElement.scrollWidth, innerWidth]"
OUTSIDE = """(() => {
    const scrolls = each => {
        for (; each && each !== document.body; each = each.parentElement)
            if (getComputedStyle(each).overflowX !== "visible") return true;
        return false;
    };
    return [...document.querySelectorAll("main *")].filter(each => {
        const box = each.getBoundingClientRect();
        return box.width && box.right > innerWidth + 1 && !scrolls(each);
    }).map(each => each.outerHTML.slice(0, 200));
})()"""
BROKEN = "[...document.images].filter(each => each.complete && !each.naturalWidth).map(each => each.src)"


@pytest.fixture(scope="module")
def site() -> Path:
    """The folder that `make docs` writes."""
    pytest.importorskip("zensical", reason="needs the extra docs")
    subprocess.run([sys.executable, ROOT / "scripts" / "build_docs.py"], check=True, capture_output=True, timeout=300)
    return ROOT / "build" / "site"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_fits(tab: Page, site: Path, width: int, scheme: str) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20, "the case itself"
    wrong = {}
    for page in pages:
        tab.show(page, width, scheme=scheme)
        name = str(page.relative_to(site).with_suffix("")).replace("/", "-")
        keep_screenshot(tab, f"site-{name}-{width}-{scheme}")
        scroll_width, inner_width = tab.value(WIDTHS)
        found = [*tab.value(OUTSIDE), *tab.value(BROKEN)]
        if scroll_width > inner_width or found:
            wrong[name] = (scroll_width, inner_width, found[:3])
    assert wrong == {}
