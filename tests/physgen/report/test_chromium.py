"""The report in a real browser: it renders, is silent, asks nobody, and what it does by mouse it does by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from physgen.report import write_report

from .chromium import BINARY, Page, chromium
from .results import NASTY, made_up, nasty, written

pytestmark = pytest.mark.skipif(BINARY is None, reason="no chromium is installed: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as page:
        yield page


@pytest.fixture
def opened(browser: Page) -> Page:
    browser.messages.clear()
    browser.requests.clear()
    browser.prefer("light")
    browser.size(1200, 900)
    return browser


def report(folder: Path, result) -> Path:
    return write_report(written(folder, result))


def own(page: Page, path: Path) -> bool:
    """Whether nothing but the page itself was asked for; the browser's own empty tab aside."""
    return set(page.requests) == {path.absolute().as_uri()}


def test_it_renders_and_asks_nobody(opened: Page, tmp_path: Path) -> None:
    path = report(tmp_path, made_up((30,)))
    opened.open(path)
    assert opened.messages == []
    assert own(opened, path)
    assert opened.value("document.querySelectorAll('figure svg').length") > 3
    sizes = opened.value(
        "[...document.querySelectorAll('.panel svg')].map(s => s.getBoundingClientRect()).map(r => r.width * r.height)"
    )
    assert min(sizes) > 1000


def test_the_browser_does_see_a_request_and_an_error(opened: Page, tmp_path: Path) -> None:
    """That the silence above means something."""
    path = tmp_path / "loud.html"
    path.write_text("<img src='missing.png'><script>undefinedFunction()</script>")
    opened.open(path)
    assert len(set(opened.requests)) == 2
    assert any("undefinedFunction" in m for m in opened.messages)


def test_hostile_text_does_nothing(opened: Page, tmp_path: Path) -> None:
    path = report(tmp_path, nasty())
    opened.open(path)
    assert opened.messages == []
    assert own(opened, path)
    assert opened.value("document.title") != "broken"
    assert opened.value("document.querySelectorAll('img, #injected, b').length") == 0
    shown = opened.value("document.body.textContent")
    assert all(text in shown for text in NASTY)
    # sorting and reading out handle the same texts
    opened.value("document.querySelectorAll('th button').forEach(b => b.click())")
    focus = "p.dispatchEvent(new Event('focusin', {bubbles: true}))"
    opened.value(f"document.querySelectorAll('.point').forEach(p => {focus})")
    assert opened.value("document.querySelectorAll('img, #injected, b').length") == 0
    assert opened.messages == []


def test_policy_stops_what_would_get_through(opened: Page, tmp_path: Path) -> None:
    path = report(tmp_path, made_up())
    spoiled = path.with_name("spoiled.html")
    spoiled.write_text(
        path.read_text().replace(
            "</main>", "<img src='http://127.0.0.1:9/x'><script>document.title = 'broken'</script></main>"
        )
    )
    opened.open(spoiled)
    assert opened.value("document.title") != "broken"
    assert sum("Content Security Policy" in m for m in opened.messages) >= 2


COLUMN = "[...document.querySelectorAll('table')].find(t => t.caption.textContent.startsWith('Observations: median'))"


def test_tables_sort_by_keyboard(opened: Page, tmp_path: Path) -> None:
    result = made_up((12,))
    opened.open(report(tmp_path, result))
    values = f"{COLUMN}.tBodies[0].rows"
    read = f"[...{values}].map(r => Number(r.cells[1].dataset.value))"
    before = opened.value(read)
    opened.value(f"{COLUMN}.tHead.rows[0].cells[1].querySelector('button').focus()")
    opened.press("Enter")
    assert opened.value(read) == sorted(before) != before
    assert opened.value(f"{COLUMN}.tHead.rows[0].cells[1].getAttribute('aria-sort')") == "ascending"
    opened.press("Enter")
    assert opened.value(read) == sorted(before, reverse=True)
    names = f"[...{values}].map(r => r.cells[0].textContent)"
    opened.value(f"{COLUMN}.tHead.rows[0].cells[0].querySelector('button').click()")
    assert opened.value(names) == [f"observation {i}" for i in range(12)]  # 10 after 9


def test_points_tell_their_name(opened: Page, tmp_path: Path) -> None:
    opened.open(report(tmp_path, made_up((6,))))
    point = "document.querySelector('.point[tabindex]')"
    title = opened.value(f"{point}.querySelector('title').textContent")
    assert "observation 0" in title
    opened.value(f"{point}.focus()")
    assert opened.value(f"{point}.closest('figure').querySelector('output').textContent") == title
    assert opened.value(f"getComputedStyle({point}).strokeWidth") == "3px"


def test_keyboard_reaches_the_report_at_once(opened: Page, tmp_path: Path) -> None:
    opened.open(report(tmp_path, made_up()))
    opened.press("Tab")
    assert opened.value("document.activeElement.className") == "skip"
    assert opened.value("document.activeElement.getBoundingClientRect().left") >= 0
    opened.press("Enter")
    assert opened.value("document.activeElement.id") == "main"


@pytest.mark.parametrize("width", [390, 700, 1200])
def test_no_width_scrolls_sideways(width: int, opened: Page, tmp_path: Path) -> None:
    opened.size(width, 800)
    opened.open(report(tmp_path, made_up((20, 25), dims=("a_rather_long_name_of_rows", "column"))))
    assert opened.value("document.documentElement.scrollWidth") <= width


def test_dark_light_and_print(opened: Page, tmp_path: Path) -> None:
    path = report(tmp_path, made_up())
    ground = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for scheme, media in (("light", ""), ("dark", ""), ("dark", "print")):
        opened.prefer(scheme, media)
        opened.open(path)
        seen[scheme, media] = opened.value(ground)
    assert seen == {
        ("light", ""): "rgb(253, 252, 250)",
        ("dark", ""): "rgb(21, 24, 27)",
        ("dark", "print"): "rgb(255, 255, 255)",
    }
    opened.prefer("light", "", "reduce")
    assert opened.value("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    opened.prefer("light")
    assert opened.pdf(tmp_path / "page.pdf").read_bytes()[:5] == b"%PDF-"


def test_every_picture_has_a_name_and_words(opened: Page, tmp_path: Path) -> None:
    opened.open(report(tmp_path, made_up((3, 4))))
    tree = opened.call("Accessibility.getFullAXTree")["nodes"]
    pictures = [
        n
        for n in tree
        if n.get("role", {}).get("value") in ("image", "group", "img") and n.get("description", {}).get("value")
    ]
    assert len(pictures) >= 3
    assert all(n["name"]["value"] for n in pictures)


def test_without_script_nothing_is_lost(opened: Page, tmp_path: Path) -> None:
    path = report(tmp_path, made_up((12,)))
    opened.open(path)
    rows = opened.value("document.querySelectorAll('tr').length")
    opened.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        opened.open(path, scripts=False)
        assert opened.value("document.querySelectorAll('tr').length") == rows
        assert opened.value("document.querySelectorAll('th button').length") == 0
    finally:
        opened.call("Emulation.setScriptExecutionDisabled", value=False)
