"""Charts: what they say, that their tables say the same, and that nothing rests on colour."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from django.conf import settings
from django.template import Context, Template

from backend.console.charts import (
    Chart,
    adherence_heat_map,
    cohort_dots,
    criteria_ladder,
    dose_charts,
    pain_sparkline,
    recovery_timeline,
    samples,
    together,
    week_strip,
    weeks_on_target,
    words,
)
from backend.console.charts.dots import Cohort, Dot, DotGroup, stacked
from backend.console.charts.drawing import Point, hatching, runs, tag
from backend.console.charts.heat import Heat, HeatRow, step_of
from backend.console.charts.ladder import Criterion, needed, observed
from backend.console.charts.samples import A_DAY, FIRST
from backend.console.charts.states import WORDS, Cell, State, boxes
from backend.console.charts.strips import Pain, PainDay, Week
from backend.console.charts.timeline import (
    Decision,
    FlagMark,
    LimitStep,
    Recovery,
    TimelineDay,
)

EVERY = {one.id: one for one in samples.charts()}
STATIC = Path(settings.BASE_DIR, "backend/console/static/console")
Element = ElementTree.Element


def read(markup: str) -> Element:
    """As XML, which is stricter than any browser."""
    return ElementTree.fromstring(f"<x>{markup}</x>")


def by_class(root: Element, name: str) -> list[Element]:
    return [one for one in root.iter() if name in one.get("class", "").split()]


def all_text(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def rows_of(chart: Chart) -> list[tuple[str, ...]]:
    """Those of the table twin as it stands on the page."""
    table = read(chart.twin).find("./details/div/table")
    assert table is not None
    return [tuple(map(all_text, row)) for row in table.findall("tbody/tr")]


@pytest.fixture(params=EVERY)
def chart(request: Any) -> Chart:
    return EVERY[request.param]


# --- Every chart ------------------------------------------------------------------------------


def test_it_has_a_title_a_sentence_a_picture_and_a_table(chart: Chart) -> None:
    figure = read(str(chart))[0]
    titled, told = (figure.find(f".//*[@id='{chart.id}-{part}']") for part in ("title", "words"))
    assert titled is not None
    assert told is not None
    assert (titled.text, told.text) == (chart.title, chart.sentence)
    assert chart.sentence.endswith(".")
    assert chart.sentence[0] == chart.sentence[0].upper()
    if chart.table is None:
        table = figure.find(".//table")
        assert table is not None, "is a table itself"
        assert table.get("aria-labelledby") == titled.get("id")
    else:
        assert len(rows_of(chart)) == len(chart.table.rows)
        assert all(len(row) == len(chart.table.columns) for row in chart.table.rows)


def test_every_drawing_is_an_image_with_a_name(chart: Chart) -> None:
    root = read(str(chart))
    ids = {one.get("id") for one in root.iter()}
    for svg in root.iter("svg"):
        if svg.get("aria-hidden") == "true":
            continue
        assert svg.get("role") == "img"
        named = (svg.get("aria-labelledby") or "").split()
        assert svg.get("aria-label") or (named and ids.issuperset(named))
        width, height = map(float, (svg.get("width") or "", svg.get("height") or ""))
        assert svg.get("viewBox") == f"0 0 {words.plain(width)} {words.plain(height)}"


def test_nothing_needs_what_the_policy_forbids(chart: Chart) -> None:
    for one in read(str(chart)).iter():
        assert one.tag not in ("script", "style")
        assert not [name for name in one.attrib if name == "style" or name.startswith("on")]
        assert "url(" not in "".join(one.attrib.values())


def test_ids_are_unique_on_a_page_of_all_charts() -> None:
    page = read("".join(map(str, EVERY.values())))
    ids = Counter(id for one in page.iter() if (id := one.get("id")))

    assert [id for id, count in ids.items() if count > 1] == []
    assert all(id.startswith(tuple(EVERY)) for id in ids)


def test_nothing_is_drawn_outside_of_the_picture(chart: Chart) -> None:
    for svg in read(chart.picture).iter("svg"):
        width, height = map(float, (svg.get("width") or "", svg.get("height") or ""))
        for one in svg.iter():
            for name, most in (("cx", width), ("x1", width), ("x2", width), ("cy", height),
                               ("y1", height), ("y2", height), ("y", height)):  # fmt: skip
                if value := one.get(name):
                    assert -0.5 <= float(value) <= most + 0.5, (one.tag, one.attrib)


def test_every_class_that_is_drawn_has_a_style() -> None:
    styled = set(re.findall(r"\.([a-z][a-z0-9-]*)", (STATIC / "charts.css").read_text()))
    plain = {"plain", "r0", "met", "chart-strip", "chart-weeks", "chart-sparkline",
             "chart-timeline"}  # fmt: skip
    drawn = {
        name
        for chart in EVERY.values()
        for one in read(str(chart)).iter()
        for name in one.get("class", "").split()
    }
    assert drawn - styled - plain == set()


def test_arrow_keys_find_one_stop_and_a_place_to_read(chart: Chart) -> None:
    root = read(str(chart))
    if chart.kind == "dots":
        [box] = by_class(root, "chart-box")
        assert box.get("tabindex") == "0", "it scrolls on a phone"
    boxes = [one for one in root.iter() if one.get("data-cursor") is not None]
    assert len(boxes) == chart.moves == (chart.kind in ("timeline", "heat"))
    for box in boxes:
        assert box.get("tabindex") == "0"
        [reading] = by_class(root, "chart-reading")
        assert reading.get("role") == "status"
        assert all_text(reading) == ""


def test_in_a_template_it_is_the_figure() -> None:
    strip = EVERY["strip-7"]
    told = Template("{{ chart }}|{{ chart.picture }}").render(Context({"chart": strip}))
    assert told == f"{strip}|{strip.picture}"


def test_what_people_wrote_is_escaped() -> None:
    hostile = "<script>alert('x')</script> & \"y\""
    shown = replace(
        samples.recovery(),
        decisions=(Decision(FIRST, hostile),),
        flags=(FlagMark(FIRST, hostile),),
    )
    row = HeatRow(label=hostile, cells=samples.heat().rows[0].cells, done=1.0)
    for markup in (
        str(recovery_timeline("a", shown)),
        str(adherence_heat_map("b", Heat(samples.heat().columns, (row,)))),
        str(criteria_ladder("c", (Criterion(text=hostile, result="met"),))),
        str(cohort_dots("d", Cohort((DotGroup(label=hostile, dots=(Dot(hostile, 1),)),), 0.8))),
    ):
        assert hostile in "".join(read(markup).itertext())
        assert not [one for one in read(markup).iter() if one.tag == "script"]


def test_the_script_is_small_and_the_style_names_each_medium() -> None:
    script, style = STATIC / "charts.js", (STATIC / "charts.css").read_text()
    assert script.stat().st_size < 4000
    assert not re.search(r"\.style\b|innerHTML|eval\(", script.read_text())
    for medium in ("prefers-color-scheme: dark", "forced-colors: active", "@media print"):
        assert medium in style


# --- Without colour ---------------------------------------------------------------------------


def test_what_became_of_a_date_is_told_without_colour() -> None:
    """The outlines and letters of each state, hatched or not, and which shapes are filled."""
    seen: dict[tuple[Any, ...], tuple[State, bool]] = {}
    for state in State:
        for late in (False, True):
            root = read(boxes([Cell(0, state, late)]))
            shape = tuple((one.tag, one.get("class"), all_text(one)) for one in root)
            told = (state, late and state in (State.DONE, State.PARTLY, State.SKIPPED))
            assert seen.setdefault(shape, told) == told
    assert len(seen) == len(State) + 3


@pytest.mark.parametrize(
    ("state", "drawn", "letter"),
    [
        ("C", ["box-done"], "C"),
        ("P", ["box-plain", "box-part"], "P"),
        ("S", ["box-plain"], "S"),
        ("M", ["box-missed"], "M"),
        ("?", ["box-unheard"], "?"),
        ("X", ["box-excused"], "X"),
        ("-", [], "·"),
        ("o", ["box-open"], ""),
        (" ", [], ""),
    ],
)
def test_states_as_shapes(state: str, drawn: list[str], letter: str) -> None:
    root = read(boxes([Cell(0, State(state))]))
    assert [one.get("class") for one in root if one.tag == "path"] == drawn
    assert "".join(root.itertext()) == letter


def test_the_style_gives_each_box_another_look() -> None:
    """Fill, width and dashes of the edge; a late one is a plain one with its hatching, and a half
    one has a shape of its own."""
    style = (STATIC / "charts.css").read_text()
    looks: dict[str, set[str]] = {}
    for heads, body in re.findall(r"\n((?:\.box-\w+,?\n?)+) \{\n([^}]*)\}", style):
        for head in heads.split(",\n"):
            looks.setdefault(head, set()).update(filter(None, map(str.strip, body.split(";"))))
    assert len(looks) == 8
    same = [
        {one, other}
        for one in looks
        for other in looks
        if one < other and looks[one] == looks[other]
    ]
    assert same == [{".box-late", ".box-plain"}]


def test_a_heat_map_prints_a_letter_or_a_number_in_each_cell() -> None:
    for chart in (EVERY["heat"], EVERY["heat-weeks"]):
        for row in read(chart.picture).findall(".//tbody/tr"):
            assert all(all_text(cell) for cell in row)
    kinds = {
        all_text(cell): cell.get("class")
        for cell in read(EVERY["heat"].picture).findall(".//tbody/tr/td")
        if cell.get("class") != "figure"
    }
    assert kinds == {
        "C": "r4", "P": "r2", "S": "r0 week", "M": "r0 miss", "?": "unheard", "X": "excused",
        "·": "rest",
    } | kinds  # fmt: skip
    assert kinds["?"] != kinds["X"] != kinds["·"]


@pytest.mark.parametrize(
    ("ratio", "step", "shown"),
    [
        (0, 0, "0"), (0.01, 1, "1"), (0.4949, 1, "49"), (0.495, 2, "50"), (0.5, 2, "50"),
        (0.79, 2, "79"), (0.7999, 3, "80"), (0.8, 3, "80"), (0.99, 3, "99"), (1, 4, "100"),
    ],
)  # fmt: skip
def test_steps_of_the_ramp(ratio: float, step: int, shown: str) -> None:
    assert (step_of(ratio), str(words.percents(ratio))) == (step, shown)


# --- C1 ---------------------------------------------------------------------------------------


def told(*during: int | None, letters: str = "", limit: int | None = 4) -> Recovery:
    """Dates in a row with these scores, done unless said otherwise."""
    states = letters or "C" * len(during)
    days = tuple(
        TimelineDay(
            on=FIRST + place * A_DAY, state=State(state), due=int(state not in "-X"),
            done=int(state in "CP"), pain_during=score,
        )
        for place, (state, score) in enumerate(zip(states, during, strict=True))
    )  # fmt: skip
    last = days[-1].on
    return replace(
        samples.empty(), days=days, last=last, today=last,
        limits=(LimitStep(FIRST, limit),) if limit is not None else (),
    )  # fmt: skip


DONE_3 = "3 of 3 sessions were done."


@pytest.mark.parametrize(
    ("shown", "sentence"),
    [
        (told(4, 3, 2), "Pain during exercise fell from 4 to 2 between 2 and 4 November; it was "
                        f"never above the limit of 4. {DONE_3}"),
        (told(2, 6, 3), "Pain during exercise rose from 2 to 3 between 2 and 4 November; it was "
                        f"above the limit of 4 once, on 3 November. {DONE_3}"),
        (told(5, 6, 5), "Pain during exercise stayed at 5 between 2 and 4 November; it was above "
                        f"the limit of 4 on 3 days, the last 4 November. {DONE_3}"),
        (told(0, None, 0, limit=None), "Pain during exercise stayed at 0 between 2 and 4 November. "
                                       + DONE_3),
        (told(None, 3, None), "Pain during exercise was 3 on 3 November; it was never above the "
                              f"limit of 4. {DONE_3}"),
        (told(None, None, letters="M?"), "No pain during exercise was told between 2 and 3 "
         "November. 0 of 1 session were done; 1 day has no data yet."),
        (told(None, None, None, letters="-XX"), "No pain during exercise was told between 2 and 4 "
                                                "November. No session was due."),
        (told(1, None, letters="Co", limit=None), "Pain during exercise was 1 on 2 November. 1 of "
                                                  "1 session was done."),
        (samples.recovery(), EVERY["timeline"].sentence),
    ],
)  # fmt: skip
def test_recovery_in_a_sentence(shown: Recovery, sentence: str) -> None:
    assert recovery_timeline("c1", shown).sentence == sentence


def test_dates_of_two_months_and_two_years_are_told_in_full() -> None:
    assert words.between(date(2026, 10, 28), date(2026, 11, 2)) == "28 October and 2 November"
    assert (
        words.between(date(2025, 12, 31), date(2026, 1, 2)) == "31 December 2025 and 2 January 2026"
    )


def lines(chart: Chart, kind: str) -> list[int]:
    """How many points each part of a line has."""
    [*paths] = by_class(read(chart.picture), kind)
    return [part.count("L") + 1 for path in paths for part in (path.get("d") or "").split("M")[1:]]


def test_a_missing_score_is_a_gap_and_never_a_zero() -> None:
    chart = recovery_timeline("c1", told(4, 3, None, 3, 2, 2))
    assert lines(chart, "pain-line") == [2, 3]
    assert len(by_class(read(chart.picture), "pain-mark")) == 5
    assert [row[2] for row in rows_of(chart)] == ["4", "3", "–", "3", "2", "2"]


def test_a_score_of_zero_is_a_point() -> None:
    chart = recovery_timeline("c1", told(0, 0))
    assert (lines(chart, "pain-line"), [row[2] for row in rows_of(chart)]) == ([2], ["0", "0"])


@pytest.mark.parametrize(
    ("letters", "parts"),
    [("C-C", [2]), ("C?C", []), ("CMC", []), ("CXC", []), ("CSC", []), ("CCC", [])],
)
def test_a_line_goes_on_over_a_date_without_exercise_alone(letters: str, parts: list[int]) -> None:
    assert lines(recovery_timeline("c1", told(2, None, 3, letters=letters)), "pain-line") == parts


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((1, 2, 3), [3]),
        ((1, None, 3), [1, 1]),
        ((None, None), []),
        ((None, 1, None, None, 2, 3), [1, 2]),
    ],
)
def test_runs(values: tuple[float | None, ...], found: list[int]) -> None:
    points = [Point(x, value) for x, value in enumerate(values)]
    assert [len(run) for run in runs(points)] == found


def test_the_table_of_a_timeline_says_what_the_drawing_says() -> None:
    shown = samples.weeks()
    chart = recovery_timeline("c1", shown)
    root = read(chart.picture)
    rows = rows_of(chart)
    count = {name: len(by_class(root, name)) for name in ("pain-mark", "pain-mark-late", "day")}
    assert count["pain-mark"] + count["pain-mark-late"] == sum(row[2] != "–" for row in rows)
    assert count["pain-mark-late"] == sum("late" in row[1] and row[2] != "–" for row in rows)
    assert count["day"] == len(rows) == (shown.today - shown.first).days + 1
    [waking] = by_class(root, "waking-mark")
    assert (waking.get("d") or "").count("M") == sum(row[4] != "–" for row in rows)
    scores = [int(one) for one in (row[2] for row in rows) if one != "–"]
    heights = sorted(
        (float(one.get("cx") or 0), float(one.get("cy") or 0))
        for name in ("pain-mark", "pain-mark-late")
        for one in by_class(root, name)
    )
    drawn = [round((heights[0][1] - y) / 13 + scores[0], 2) for _, y in heights]
    assert drawn == scores
    for row, day in zip(rows, by_class(root, "day"), strict=True):
        said = all_text(day)
        assert said.startswith(f"{row[0]}: {row[1]}")
        assert ("pain during" in said) == (row[2] != "–")
        assert all(one in said for one in filter(None, row[-1].split("; ")))


def test_bars_are_as_high_as_the_table_says() -> None:
    shown = samples.recovery()
    chart = recovery_timeline("c1", shown)
    [full] = by_class(read(chart.picture), "load")
    heights = [float(one) for one in re.findall(r"v([\d.]+)", full.get("d") or "")]
    [late] = by_class(read(by_class_markup(chart, "box-late")), "box-late")[:1]
    told_late = re.findall(r"v([\d.]+)", late.get("d") or "")
    expected = [one.load for one in shown.days if one.load and not one.late]
    assert [round(height / 64, 4) for height in heights] == expected
    assert len(told_late) == 1
    assert [row[5] for row in rows_of(chart)][:4] == ["100 %", "100 %", "62.5 %", "100 %"]


def by_class_markup(chart: Chart, name: str) -> str:
    return "".join(
        ElementTree.tostring(one, encoding="unicode") for one in by_class(read(chart.picture), name)
    )


def test_what_was_prescribed_stands_behind_dates_on_which_nothing_was_done() -> None:
    chart = recovery_timeline("c1", samples.recovery())
    [outline] = by_class(read(chart.picture), "prescribed")
    due = [one for one in samples.recovery().days if one.prescribed]
    assert (outline.get("d") or "").count("M") == len(due)
    assert any(one.state is State.MISSED for one in due)


def test_the_limit_is_a_step_with_its_value_at_the_end() -> None:
    chart = recovery_timeline("c1", samples.weeks())
    root = read(chart.picture)
    [limit] = by_class(root, "limit")
    assert (limit.get("d") or "").count("V") > 0
    [label] = by_class(root, "limit-label")
    assert label.text == "limit 3"
    assert {row[3] for row in rows_of(chart)} == {"4", "3"}


def test_plans_of_one_date_go_by_the_lowest_limit() -> None:
    shown = replace(samples.empty(), limits=(LimitStep(FIRST, 5), LimitStep(FIRST, 3)))
    assert shown.limit_on(FIRST) == 3
    assert shown.limit_on(FIRST - A_DAY) is None


def test_flags_of_a_date_are_one_mark_with_a_count() -> None:
    root = read(recovery_timeline("c1", samples.weeks()).picture)
    assert len(by_class(root, "flag")) == 2
    assert len(by_class(root, "stop")) == 1
    assert [one.text for one in by_class(root, "flag-count")] == ["2"]


def test_labels_of_decisions_do_not_touch() -> None:
    many = tuple(Decision(FIRST + place * A_DAY, f"Hold phase {place}") for place in range(4))
    root = read(recovery_timeline("c1", replace(samples.recovery(), decisions=many)).picture)
    rows: dict[str, list[float]] = {}
    for one in by_class(root, "decision-label"):
        rows.setdefault(one.get("y") or "", []).append(float(one.get("x") or 0))
    for xs in rows.values():
        assert all(b - a > 70 for a, b in zip(sorted(xs), sorted(xs)[1:], strict=False))
    assert len(by_class(root, "decision")) == 4


def test_dates_to_come_are_empty() -> None:
    shown = samples.weeks()
    chart = recovery_timeline("c1", shown)
    assert shown.last > shown.today
    assert rows_of(chart)[-1][0] == words.day_named(shown.today)


# --- C2, C3, C7 -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letters", "sentence"),
    [
        ("CCCCCCC", "7 done."),
        ("CM-C?PC", "3 done, 1 partly done, 1 not done, 1 not heard and 1 not due."),
        ("-------", "7 not due."),
        ("XXo", "2 excused and 1 still open."),
    ],
)
def test_a_strip_in_a_sentence(letters: str, sentence: str) -> None:
    assert week_strip("c2", samples.strip_of(letters)).sentence == sentence


def test_a_strip_has_a_letter_for_each_date_and_marks_today() -> None:
    chart = EVERY["strip-14"]
    root = read(chart.picture)
    letters = sorted(
        (float(x), letter)
        for one in by_class(root, "letter")
        for x, letter in zip((one.get("x") or "").split(), one.text or "", strict=True)
    )
    assert "".join(letter for _, letter in letters) == "CCPSXX·CM?C·C"
    assert len(by_class(root, "today")) == 1
    told_late = [row[1] for row in rows_of(chart) if "late" in row[1]]
    assert told_late == ["done, typed in late", "done, typed in late"]
    assert by_class(read(week_strip("c2", replace(samples.strip_of("CC"), today=None)).picture),
                    "today") == []  # fmt: skip


SCORES = [
    ((2, None, 3), 4, "Last 3, on 4 November, worst 3, never above the limit of 4, 1 day without "
                      "a score."),
    ((6, 5, 5), 4, "Last 5, on 4 November, worst 6, 3 times above the limit of 4."),
    ((6, 1), None, "Last 1, on 3 November, worst 6."),
    ((None, None), 4, "No score was told."),
]  # fmt: skip


@pytest.mark.parametrize(("scores", "limit", "sentence"), SCORES)
def test_pain_in_a_sentence(
    scores: tuple[int | None, ...], limit: int | None, sentence: str
) -> None:
    days = tuple(PainDay(FIRST + place * A_DAY, score) for place, score in enumerate(scores))
    chart = pain_sparkline("c3", Pain(days, limit))
    assert chart.sentence == sentence
    picture = read(chart.picture)
    marks = len(by_class(picture, "pain-mark"))
    marks += sum((one.get("d") or "").count("M") for one in by_class(picture, "pain-dots"))
    assert marks == sum(score is not None for score in scores)
    assert [row[1] for row in rows_of(chart)] == [
        "–" if one is None else str(one) for one in scores
    ]
    assert len(by_class(read(chart.picture), "limit")) == (limit is not None)


def test_the_last_score_stands_in_digits() -> None:
    [last] = by_class(read(EVERY["spark"].picture), "last")
    assert last.text == "3" == rows_of(EVERY["spark"])[-1][1]
    assert lines(EVERY["spark"], "pain-line") == [3, 2, 4]


def test_strip_and_sparkline_of_a_row_share_a_table() -> None:
    strip = week_strip("a", samples.strip_of("CCPSXX-CM?C-Co"))
    markup = together("Last 14 days", strip, EVERY["spark"])
    root = read(markup)
    assert [all_text(one) for one in root.iter("th")][:3] == ["Day", "Sessions", "Pain during"]
    assert len(root.findall(".//tbody/tr")) == 14


def week(due: int, done: int, *, is_now: bool = False) -> Week:
    return Week(FIRST, due, done, bool(due) and done * 5 >= due * 4, is_now=is_now)


@pytest.mark.parametrize(
    ("weeks", "sentence"),
    [
        ((week(5, 5), week(5, 3)), "1 of 2 weeks on target."),
        ((week(5, 5), week(0, 0)), "1 of 1 week on target."),
        ((week(5, 4), week(3, 1, is_now=True)), "1 of 1 week on target. This week so far: 1 of 3 "
                                                "done."),
        ((week(2, 0, is_now=True),), "No week is over yet. This week so far: 0 of 2 done."),
    ],
)  # fmt: skip
def test_weeks_in_a_sentence(weeks: tuple[Week, ...], sentence: str) -> None:
    assert weeks_on_target("c7", weeks).sentence == sentence


def test_weeks_are_full_half_empty_or_a_dot() -> None:
    chart = EVERY["weeks"]
    root = read(chart.picture)
    [full] = by_class(root, "box-done")
    heights = [float(one) for one in re.findall(r"v([\d.]+)", full.get("d") or "")]
    assert sorted(heights) == [8.25, 8.25, 16.5, 16.5, 16.5]
    assert len(by_class(root, "no-week")) == len(by_class(root, "now")) == 1
    assert [row[3] for row in rows_of(chart)] == [
        "yes", "yes", "no", "no", "nothing due", "yes", "not yet",
    ]  # fmt: skip


# --- C4 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "operator", "threshold", "seen", "wanted", "found"),
    [
        ("nrs11", "lte", 4, 3, "at most 4", "3"),
        ("ratio", "gte", 0.7, 0.9286, "at least 70\u00a0%", "92.86\u00a0%"),
        ("pct", "gte", 90, 87.5, "at least 90\u00a0%", "87.5\u00a0%"),
        ("points", "lt", 0, -0.4, "below 0", "-0.4"),
        ("days", "gte", 5, 5, "at least 5\u00a0days", "5\u00a0days"),
        ("deg", "gt", 120, 119, "above 120°", "119°"),
        ("count", "eq", 2, 0, "exactly 2", "0"),
        ("0/1", "is_true", None, 1, "yes", "yes"),
        ("0/1", "eq", 1, 0, "yes", "no"),
        ("min", "lte", 60, None, "at most 60\u00a0min", "not known"),
    ],
)
def test_criteria_in_words(
    unit: str, operator: str, threshold: float | None, seen: float | None, wanted: str, found: str
) -> None:
    one = Criterion(text="", result="met", operator=operator, unit=unit, threshold=threshold,
                    observed=seen)  # fmt: skip
    assert (needed(one), observed(one)) == (wanted, found)


def test_a_ladder_marks_what_was_seen_and_never_what_was_not() -> None:
    chart = EVERY["ladder"]
    assert chart.sentence == "5 of 7 criteria met, 1 not met, 1 not known."
    shapes = {}
    for row in read(chart.picture).findall(".//tbody/tr"):
        name = (row[0].text or "").split()[0]
        shapes[name] = [one.tag for one in by_class(row, "seen")]
        result = {"met": "met", "not-met": "not met", "unknown": "not known"}
        assert all_text(row[1]).endswith(f" {result[row.get('class', '')]}")
    assert shapes == {
        "Worst": ["circle"], "Rise": ["path"], "Dose": ["circle"], "Knee": [], "Trend": ["circle"],
        "No": [],
    }  # fmt: skip


def test_the_mark_lies_on_the_side_of_the_threshold_where_it_belongs() -> None:
    for row, one in zip(
        read(EVERY["ladder"].picture).findall(".//tbody/tr"), samples.criteria(), strict=True
    ):
        if not (marks := by_class(row, "seen")) or marks[0].tag != "circle":
            continue
        [tick] = by_class(row, "threshold")
        assert one.threshold is not None
        assert one.observed is not None
        seen, limit = float(marks[0].get("cx") or 0), float(tick.get("x1") or 0)
        assert (seen < limit, seen > limit) == (
            one.observed < one.threshold, one.observed > one.threshold,
        )  # fmt: skip


# --- C5 ---------------------------------------------------------------------------------------


def test_a_heat_map_in_a_sentence() -> None:
    assert EVERY["heat"].sentence == (
        "5 patients; from 43\u00a0% done (Tomas Berg) to 100\u00a0% (Karim Haddad with a very long "
        "name); not everything was heard of 1."
    )
    nothing = Heat(samples.heat().columns, samples.heat().rows[-1:])
    assert adherence_heat_map("c5", nothing).sentence == "1 patient; nothing was due."


def test_a_row_ends_with_its_figure_and_a_bar_of_that_length() -> None:
    for row, one in zip(
        read(EVERY["heat"].picture).findall(".//tbody/tr"), samples.heat().rows, strict=True
    ):
        figure = row[-2]
        assert float(figure.get("data-value") or -1) == (-1 if one.done is None else one.done)
        bars = by_class(figure, "bar")
        assert [float(bar.get("width") or 0) for bar in bars] == (
            [] if one.done is None else [round(60 * one.done, 2)]
        )
    assert "at least 64" in all_text(read(EVERY["heat"].picture))


def test_what_the_letters_of_a_heat_map_mean_goes_with_it() -> None:
    table = read(EVERY["heat"].picture)[0]
    known = table.get("data-words") or ""
    assert all(f'"{WORDS[State(letter)]}"' in known for letter in "CPSMX?-")
    heads = table.findall("thead/tr/th")
    assert heads[1].get("data-words") == "Mon 2 Nov 2026"
    assert all(one.get("scope") == "col" for one in heads)
    assert all(one[0].get("scope") == "row" for one in table.findall("tbody/tr"))


# --- C6 ---------------------------------------------------------------------------------------


def test_a_cohort_in_a_sentence() -> None:
    assert EVERY["dots"].sentence == (
        "13 of 29 patients reached the target of 80\u00a0%; of 4 not every day was heard; 1 had "
        "too little due to be compared."
    )
    one = Cohort((DotGroup(label="A", dots=(Dot("x", 0.8),), median=0.8),), 0.8)
    assert cohort_dots("c6", one).sentence == (
        "1 of 1 patient reached the target of 80\u00a0%; the median is 80\u00a0%."
    )


def test_dots_lie_where_the_table_says() -> None:
    chart = EVERY["dots"]
    root = read(chart.picture)
    dots = by_class(root, "dot")
    said = [all_text(one) for one in dots]
    rows = [row for row in rows_of(chart) if row[3]]
    assert sorted(f"{row[0]}: {row[2]}" for row in rows) == sorted(
        one.split(",")[0] for one in said
    )
    for one in dots:
        ratio = float(all_text(one).split(": ")[1].split()[0].rstrip("%,"))
        assert round((float(one.get("cx") or 0) - 14) / 7.32, 2) == pytest.approx(ratio, abs=0.01)
    assert len(by_class(root, "dot-low")) == sum(row[2] != row[3] for row in rows) == 4
    assert len(by_class(root, "median")) == len(by_class(root, "quartiles")) == 2


def test_dots_do_not_lie_on_each_other() -> None:
    same = tuple(Dot(f"{n}", 0.5) for n in range(5))
    assert [level for level, _ in stacked(same)] == [0, 1, 2, 3, 4]
    apart = (Dot("a", 0.1), Dot("b", 0.5), Dot("c", 0.9))
    assert [level for level, _ in stacked(apart)] == [0, 0, 0]


# --- C8 ---------------------------------------------------------------------------------------


def test_doses_in_a_sentence_and_a_table() -> None:
    chart = EVERY["doses"]
    assert chart.sentence == "11 of 18 doses reached what was prescribed."
    rows = rows_of(chart)
    assert rows[3] == ("Nordic hamstring curl", "Thu 12 Nov 2026", "7", "12–18", "repetitions",
                       "late")  # fmt: skip
    root = read(chart.picture)
    assert len(by_class(root, "dose")) + len(by_class(root, "dose-late")) == len(rows)
    assert len(by_class(root, "dose-late")) == sum(row[5] == "late" for row in rows) == 1
    for one, row in zip((one for one in root.iter("circle")), rows, strict=True):
        assert all_text(one) == f"{row[1]}: {row[2]} of {row[3]}"


def test_exercises_share_the_dates() -> None:
    last = FIRST + 18 * A_DAY
    chart = dose_charts("c8", samples.doses(), FIRST, last)
    for svg in read(chart.picture).iter("svg"):
        assert [one.text for one in by_class(svg, "tick")][2:4] == ["2 Nov", "20 Nov"]
    assert dose_charts("c8", (), FIRST, last).sentence == "Nothing was logged."


# --- Drawing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(12, 12), (3, 40), (40, 3), (8, 63.7)])
def test_hatching_ends_at_the_edges(width: float, height: float) -> None:
    d = hatching(10, 20, width, height)
    places = [tuple(map(float, one.split())) for one in re.findall(r"[ML]([\d. ]+)", d)]
    assert places
    for x, y in places:
        assert 10 <= x <= 10 + width + 0.01
        assert 20 <= y <= 20 + height + 0.01


def test_elements() -> None:
    assert tag("a", "<", class_="b", data_x=1.5, href=None, open=True) == (
        '<a class="b" data-x="1.5" open="">&lt;</a>'
    )
    assert tag("br") == "<br/>"
