"""What a browser test asks of a page."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe

GRAVE = ("serious", "critical")


OTHER_THEMES: tuple[dict[str, Any], ...] = (
    {"color_scheme": "dark"},
    {"color_scheme": "light", "forced_colors": "active"},
)
AS_IT_WAS: dict[str, Any] = {"color_scheme": "light", "forced_colors": "none"}


RUN_OVER = """() => [...document.querySelectorAll("td, th")]
    .filter((one) => one.clientWidth > 1 && one.scrollWidth > one.clientWidth + 1)
    .map((one) => one.outerHTML)"""


def axe(page: Any, **options: Any) -> None:
    """Nothing serious or critical, by machine."""
    if not page.evaluate("typeof axe !== 'undefined'"):
        page.evaluate(Axe().axe_script)
    only = {"resultTypes": ["violations"], **options}  # the others would take most of the time
    found = page.evaluate("only => axe.run(only).then(all => all.violations)", only)
    grave = [
        f"{one['id']}: {node['target']} {node.get('failureSummary', '')}"
        for one in found
        if one["impact"] in GRAVE
        for node in one["nodes"]
    ]
    assert grave == [], f"{page.url}: {grave}"


def axe_in_all_themes(page: Any) -> None:
    """All rules as the page is; in the other themes the one rule that looks at colours."""
    axe(page)
    for theme in OTHER_THEMES:
        page.emulate_media(**theme)
        axe(page, runOnly=["color-contrast"])
    page.emulate_media(**AS_IT_WAS)


def no_sideways_scroll(page: Any, width: int) -> None:
    """Of the page; a table that is wider scrolls by itself, and no cell runs into the next."""
    page.set_viewport_size({"width": width, "height": 800})
    widest = page.evaluate("document.documentElement.scrollWidth")
    assert widest <= width, f"{page.url} is {widest} wide at {width}"
    run_over = page.evaluate(RUN_OVER)
    assert run_over == [], f"{page.url}: {run_over}"


def tab_to(page: Any, wanted: Any) -> None:
    """By the Tab key alone, to this or to the first thing of this selector."""
    for _ in range(150):
        if isinstance(wanted, str):
            is_there = page.evaluate("one => document.activeElement.matches(one)", wanted)
        else:
            is_there = wanted.evaluate("one => one === document.activeElement")
        if is_there:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"no way by Tab to {wanted}")
