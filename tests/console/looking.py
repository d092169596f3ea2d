"""What a browser test does on a page, and asks of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

# The shell draws no windows of its own, which is most of what a short look at a page costs.
CHROMIUMS = ("chromium-headless-shell", "chromium", "chromium-browser")
CHROMIUM = next((path for name in CHROMIUMS if (path := shutil.which(name))), None)
GRAVE = ("serious", "critical")


@contextmanager
def chromium() -> Iterator[Any]:
    """The system's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


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
    """By the Tab key alone, to this or to the first thing of this selector.

    It is looked for once, since to find by role takes longer than the key; and again where the page
    put another one in its place.
    """
    target = page.locator(wanted).first if isinstance(wanted, str) else wanted
    element = target.element_handle()
    for _ in range(150):
        is_there, is_gone = element.evaluate(
            "one => [one === document.activeElement, !one.isConnected]"
        )
        if is_there:
            return
        if is_gone:
            element = target.element_handle()
        page.keyboard.press("Tab")
    raise AssertionError(f"no way by Tab to {wanted}")


class Hand:
    """Who presses and types, with a mouse or with the keyboard alone.

    What is meant is a locator, or a role and the whole name; of a field, the whole label."""

    def __init__(self, page: Any, by: str) -> None:
        self.page, self.has_mouse = page, by == "mouse"

    def axe(self) -> None:
        """Once a page: it is the same for both."""
        if self.has_mouse:
            axe(self.page)

    def press(self, target: Any, name: str = "") -> None:
        if name:
            target = self.page.get_by_role(target, name=name, exact=True).first
        if self.has_mouse:
            target.click()
        else:
            tab_to(self.page, target)
            self.page.keyboard.press("Enter")

    def fill(self, field: Any, text: str) -> None:
        field = self._field(field)
        if self.has_mouse:
            field.fill(text)
        else:
            tab_to(self.page, field)
            self.page.keyboard.press("Control+A")
            self.page.keyboard.type(text)

    def date(self, field: Any, date: str) -> None:
        if self.has_mouse:
            self.fill(field, date)
        else:
            year, month, day = date.split("-")
            tab_to(self.page, self._field(field))
            self.page.keyboard.type(f"{month}{day}{year}")

    def choose(self, field: Any, option: str) -> None:
        field = self._field(field)
        if self.has_mouse:
            field.select_option(label=option)
        else:
            tab_to(self.page, field)
            self.page.keyboard.type(option[:12])

    def tick(self, field: Any) -> None:
        """A box, or one of several: the first of them is reached by Tab, the next by arrows."""
        field = self._field(field)
        if self.has_mouse:
            field.click()
            return
        if field.get_attribute("type") == "radio":
            group = self.page.locator(f"input[name={field.get_attribute('name')}]")
            tab_to(self.page, group.first)
            self.page.keyboard.press("Space")
            for _ in range(group.count()):
                if field.is_checked():
                    return
                self.page.keyboard.press("ArrowDown")
        else:
            tab_to(self.page, field)
            self.page.keyboard.press("Space")

    def key(self, key: str, instead_of: Any) -> None:
        """A shortcut, where the mouse has something to press."""
        if self.has_mouse:
            instead_of.click()
        else:
            self.page.wait_for_load_state()  # keys are listened to from then on
            self.page.keyboard.press(key)

    def _field(self, field: Any) -> Any:
        return self.page.get_by_label(field, exact=True).first if isinstance(field, str) else field
