"""Every screen once: whose it is, and where it is looked at. Who adds a screen adds a line."""

from __future__ import annotations

import argparse
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urljoin

from tests.console.looking import chromium
from tests.demo_clinic import ROOT, DemoClinic, running

BOTH, TREATING, ADMINS = ("ana", "cleo"), ("ana",), ("cleo",)


@dataclass(frozen=True, slots=True)
class Shot:
    """A screen. `route` is its name in backend/urls.py, without `console:`.

    `follow` are links (CSS selectors) that lead from there to a page whose address holds an id.
    `action` is what the audit says of a look at it; none for a page about nobody.
    """

    name: str
    route: str
    who: tuple[str, ...]
    action: str = ""
    query: str = ""
    follow: tuple[str, ...] = ()


SHOTS = (
    Shot(
        "caseload",
        "caseload",
        BOTH,
        "console.caseload_list",
        "include=on_track&physiotherapist_id=",
    ),
    Shot("design", "design", BOTH),
    Shot("flag", "caseload", TREATING, "", "physiotherapist_id=", ('.caseload [data-key="a"]',)),
    *(
        Shot(
            f"patient{name and '-'}{name}",
            "caseload",
            TREATING,
            "",
            "include=on_track&physiotherapist_id=",
            (".caseload h3 a", *more),
        )
        for name, more in (
            ("", ()),
            ("exercises", ('.tabs a[data-key="2"]',)),
            ("log", ('.tabs a[data-key="3"]',)),
            ("plan", ('.tabs a[data-key="4"]',)),
            ("tests", ('.tabs a[data-key="5"]',)),
            ("history", ('.tabs a[data-key="6"]',)),
        )
    ),
    Shot(
        "episode",
        "caseload",
        TREATING,
        "",
        "include=on_track&physiotherapist_id=",
        (".caseload h3 a", "a[href*='/episodes/']"),
    ),
    Shot("reviews", "reviews", TREATING, "console.progression_list"),
    Shot("reports", "reports", BOTH, "console.report_adherence"),
    Shot("exports", "exports", ADMINS, "console.export_list"),
    Shot("new-export", "new-export", ADMINS),
    Shot("staff", "staff", ADMINS, "console.staff_list"),
    Shot("invite-staff", "invite-staff", ADMINS),
    Shot("staff-one", "staff", ADMINS, "console.staff_list", follow=("tbody tr a",)),
    Shot("audit", "audit", ADMINS, "console.audit_list"),
    Shot("settings", "settings", ADMINS, "console.clinic_get"),
    Shot("patients", "patients", BOTH, "console.patient_list"),
    Shot("enrol", "enrol", BOTH),
    Shot("patient-account", "patients", BOTH, follow=(".act .button",)),
    Shot("patient-change", "patients", BOTH, follow=(".act .button", "a[data-key=c]")),
    Shot("exercises", "exercises", BOTH),
    Shot("exercise", "exercises", BOTH, follow=(".gallery h3 a",)),
    Shot("protocols", "protocols", BOTH),
    Shot("protocol", "protocols", BOTH, follow=(".rows h3 a",)),
    Shot("protocol-try", "protocols", TREATING, follow=(".rows h3 a", "a[data-key=t]")),
    Shot("draft", "protocols", TREATING, follow=(".rows h3 a", "button[data-key=d]")),
)
CASELOAD = "include=on_track&physiotherapist_id="
OF_STORIES = tuple(  # for pictures alone: they need a story, and tests of their own look at them
    Shot(name, route, TREATING, "", query, follow)
    for name, route, query, follow in (
        ("stop", "caseload", CASELOAD, ('.caseload [data-key="a"]',)),
        ("clear-stop", "caseload", CASELOAD, (".caseload h3 a", "a[href*=clear-stop]")),
        ("review", "reviews", "", (".rows li:nth-child(2) a",)),
        ("assign", "caseload", CASELOAD, (".caseload h3 a", "a[href$='/assign']")),
        ("tailor", "caseload", CASELOAD, (".caseload h3 a", "a[href*='/tailor']")),
        ("pause", "caseload", CASELOAD, (".caseload h3 a", "a[href*='/pause']")),
        ("handout", "caseload", CASELOAD, (".caseload h3 a", "a[href*='/handout']")),
        ("draft-phase", "protocols", "",
         (".rows h3 a", "button[data-key=d]", ".tabs a:nth-child(2)")),
        ("draft-publish", "protocols", "",
         (".rows h3 a", "button[data-key=d]", "a[href*='/publish']")),
    )
)  # fmt: skip
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
Look = tuple[Literal["light", "dark"], int, int]
WIDE, NARROW = (1280, 800), (360, 640)
ALL_LOOKS: tuple[Look, ...] = tuple(
    (scheme, *size) for scheme in SCHEMES for size in (WIDE, NARROW)
)
LOOKS: tuple[Look, ...] = (("light", *WIDE), ("dark", *NARROW))
COLOURS = 128  # are enough for these pages, in a quarter of the bytes
GREYS = 16
WITHOUT_COLOUR = ("timeline", "heat", "dots")  # C1, C5, C6
ALL_IMAGES = """Promise.all([...document.images].map((image) => {
    image.loading = "eager";
    return image.decode();
}))"""


def main() -> None:
    """Start the demo clinic, sign in, and write a picture of each screen; and of the charts that
    have to be read without colours, in grey."""
    said = argparse.ArgumentParser(prog="./run screens", description=main.__doc__)
    said.add_argument("names", nargs="*", help="only these screens")
    said.add_argument("--to", type=Path, default=ROOT / "docs" / "screens")
    said.add_argument("--all", action="store_true", help="both schemes in both widths")
    wishes = said.parse_args()
    wishes.to.mkdir(parents=True, exist_ok=True)
    every = [*SHOTS, *OF_STORIES]
    shots = [shot for shot in every if not wishes.names or shot.name in wishes.names]
    looks = ALL_LOOKS if wishes.all else LOOKS
    with tempfile.TemporaryDirectory(prefix="rehab-screens-") as var, running(Path(var)) as demo:
        _shoot(shots, looks, demo, wishes.to)


def _shoot(shots: list[Shot], looks: tuple[Look, ...], demo: DemoClinic, to: Path) -> None:
    with chromium() as browser:
        for scheme, width, height in looks:
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme,
                reduced_motion="reduce",
            )  # fmt: skip
            context.add_cookies([demo.cookie("both")])
            page: Any = context.new_page()
            for shot in shots:
                page.set_viewport_size({"width": width, "height": height})
                page.goto(f"{demo.origin}{address_of(shot)}")
                for link in shot.follow:
                    _follow(page, link)
                page.evaluate(ALL_IMAGES)
                whole = page.evaluate("document.documentElement.scrollHeight")
                page.set_viewport_size(
                    {"width": width, "height": whole}
                )  # what sticks, sticks there
                _keep(page.screenshot(), to / f"{shot.name}-{scheme}-{width}.png")
                if shot.name == "design" and (scheme, width) == ("light", WIDE[0]):
                    _in_grey(page, to)
            context.close()


def _follow(page: Any, link: str) -> None:
    """Also out of a menu that is shut."""
    found = page.locator(link).first
    if address := found.get_attribute("href"):
        page.goto(urljoin(page.url, address))
    else:
        found.click()
        page.wait_for_load_state()


def _in_grey(page: Any, to: Path) -> None:
    for id in WITHOUT_COLOUR:
        chart = page.locator(f".card:has(> #{id})")
        _keep(chart.screenshot(), to / f"grey-{id}.png", is_grey=True)


def _keep(shot: bytes, path: Path, *, is_grey: bool = False) -> None:
    from PIL import Image

    with Image.open(io.BytesIO(shot)) as image:
        plain = image.convert("L").convert("RGB") if is_grey else image.convert("RGB")
        few = plain.quantize(GREYS if is_grey else COLOURS, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
    print(path.name)


def address_of(shot: Shot) -> str:
    path = "/console/" + shot.route if not shot.route.startswith("/") else shot.route
    return f"{path}?{shot.query}" if shot.query else path


if __name__ == "__main__":
    main()
