"""Every chart in every state, of invented values: what the design page shows and tests look at."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from backend.console.charts.doses import Dose, DosePoint, dose_charts
from backend.console.charts.dots import Cohort, Dot, DotGroup, cohort_dots
from backend.console.charts.drawing import Chart
from backend.console.charts.heat import (
    Heat,
    HeatCell,
    HeatColumn,
    HeatRow,
    adherence_heat_map,
    day_columns,
)
from backend.console.charts.ladder import Criterion, criteria_ladder
from backend.console.charts.states import State
from backend.console.charts.strips import (
    Pain,
    PainDay,
    Strip,
    StripDay,
    Week,
    pain_sparkline,
    week_strip,
    weeks_on_target,
)
from backend.console.charts.timeline import (
    Band,
    Decision,
    FlagMark,
    LimitStep,
    Measure,
    Recovery,
    TimelineDay,
    recovery_timeline,
)

FIRST = date(2026, 11, 2)  # a Monday
A_DAY = timedelta(days=1)
DOSE = Measure("Dose done", is_ratio=True)
LATE = frozenset({3, 10})
DUE = "CPM?So"


def charts() -> Iterator[Chart]:
    yield recovery_timeline("timeline", recovery())
    yield recovery_timeline("timeline-weeks", weeks())
    yield recovery_timeline("timeline-year", year())
    yield recovery_timeline("timeline-empty", empty())
    yield week_strip("strip-7", strip_of("CM-C?PC"))
    yield week_strip("strip-14", strip_of("CCPSXX-CM?C-Co", late=(1, 10)))
    yield pain_sparkline("spark", pain())
    yield pain_sparkline("spark-empty", Pain(tuple(PainDay(FIRST, None) for _ in range(14)), 4))
    yield criteria_ladder("ladder", criteria())
    yield adherence_heat_map("heat", heat())
    yield adherence_heat_map("heat-weeks", heat_weeks())
    yield cohort_dots("dots", cohort())
    yield cohort_dots("dots-empty", Cohort((DotGroup(label="A. Holm", dots=(), left_out=2),), 0.8))
    yield weeks_on_target("weeks", target_weeks())
    yield dose_charts("doses", doses(), FIRST, FIRST + 18 * A_DAY)


def _day(place: int, letter: str, during: str, waking: str, *, late: bool = False) -> TimelineDay:
    state = State(letter)
    done = state in (State.DONE, State.PARTLY)
    part = {State.DONE: 1.0, State.PARTLY: 0.625, State.SKIPPED: 0.0}.get(state)
    return TimelineDay(
        on=FIRST + place * A_DAY,
        state=state,
        due=int(letter in DUE),
        done=int(done),
        pain_during=None if during in "· " else int(during),
        pain_morning=None if waking in "· " else int(waking),
        load=part,
        prescribed=1.0 if letter in DUE else None,
        late=late,
    )


def _days(letters: str, during: str, waking: str, late: frozenset[int]) -> tuple[TimelineDay, ...]:
    told = zip(letters, during, waking, strict=True)
    return tuple(_day(place, *one, late=place in late) for place, one in enumerate(told))


def recovery() -> Recovery:
    """Two weeks and a half: two phases, a painful set, an approval, a phone not heard from."""
    return Recovery(
        first=FIRST,
        last=FIRST + 13 * A_DAY,
        today=FIRST + 13 * A_DAY,
        days=_days("CCPC-MCCSC-C?o", "43·2··336·····"[:14], "3322·1122·21··", LATE),
        measure=DOSE,
        bands=(
            Band(1, "Early loading", FIRST - 5 * A_DAY, FIRST + 6 * A_DAY),
            Band(2, "Eccentric strength", FIRST + 7 * A_DAY, FIRST + 13 * A_DAY),
        ),
        limits=(LimitStep(FIRST - 5 * A_DAY, 4),),
        decisions=(Decision(FIRST + 7 * A_DAY, "Approved: Phase 2"),),
        flags=(FlagMark(FIRST + 8 * A_DAY, "Pain above the limit"),),
    )


def weeks() -> Recovery:
    """Six weeks of two plans: limits that change, labels that would touch, a pause, a stop sign."""
    letters = "CCPC-MC" + "CSC-C-C" + "XXXXCC-" + "CC-CM?C" + "CPC-CMM" + "C-CC???"
    during = "54·4··3" + "5·6-4-4".replace("-", "·") + "····33·" + "23·2··2" + "22··1··" + "1·11···"
    waking = "5544433" + "3344·33" + "·····33" + "3222··2" + "2211···" + "1·11···"
    start = FIRST + 16 * A_DAY
    return Recovery(
        first=FIRST,
        last=FIRST + 43 * A_DAY,
        today=FIRST + 41 * A_DAY,
        days=_days(letters, during, waking, frozenset({3, 9, 10, 24})),
        measure=DOSE,
        bands=(
            Band(1, "Early loading", FIRST, FIRST + 11 * A_DAY),
            Band(2, "Eccentric strength at long lengths", FIRST + 12 * A_DAY, FIRST + 27 * A_DAY),
            Band(1, "Early loading", FIRST + 28 * A_DAY, FIRST + 30 * A_DAY),
            Band(2, "Eccentric strength at long lengths", FIRST + 31 * A_DAY, FIRST + 43 * A_DAY),
            Band(1, "Sciatic nerve glides", start, FIRST + 43 * A_DAY, lane=1),
        ),
        limits=(LimitStep(FIRST, 4), LimitStep(start, 3)),
        decisions=(
            Decision(FIRST + 12 * A_DAY, "Approved: Phase 2"),
            Decision(FIRST + 14 * A_DAY, "Paused until 19 Nov"),
            Decision(FIRST + 16 * A_DAY, "Stop ended"),
            Decision(FIRST + 28 * A_DAY, "Back to phase 1"),
            Decision(FIRST + 31 * A_DAY, "Approved with changes: Phase 2"),
            Decision(FIRST + 41 * A_DAY, "Declined: Phase 3"),
        ),
        flags=(
            FlagMark(FIRST + 9 * A_DAY, "Pain above the limit"),
            FlagMark(FIRST + 13 * A_DAY, "New numbness in the foot", stops=True),
            FlagMark(FIRST + 33 * A_DAY, "Pain at night"),
            FlagMark(FIRST + 33 * A_DAY, "Pain above the limit"),
        ),
    )


def year() -> Recovery:
    """Half a year of kilograms, with the dose unknown."""
    days = []
    for place in range(180):
        state = "C-PC-CM"[place * 3 % 7]
        score = str(max(0, 6 - place // 25 - place % 2))
        one = _day(place, state, score if state in "CP" else "·", "·")
        kilograms = (400 + place * 5 + place % 3 * 60) if one.done else None
        days.append(
            TimelineDay(
                on=one.on, state=one.state, due=one.due, done=one.done,
                pain_during=one.pain_during, load=kilograms,
            )
        )  # fmt: skip
    names = ("Early loading", "Eccentric strength", "Lengthened and running", "Return to sport")
    return Recovery(
        first=FIRST,
        last=FIRST + 179 * A_DAY,
        today=FIRST + 179 * A_DAY,
        days=tuple(days),
        measure=Measure("Repetitions"),
        bands=tuple(
            Band(place + 1, name, FIRST + place * 45 * A_DAY, FIRST + (place * 45 + 44) * A_DAY)
            for place, name in enumerate(names)
        ),
        limits=(LimitStep(FIRST, 4),),
    )


def empty() -> Recovery:
    last = FIRST + 13 * A_DAY
    return Recovery(first=FIRST, last=last, today=last, days=(), measure=DOSE)


def strip_of(letters: str, late: tuple[int, ...] = ()) -> Strip:
    days = tuple(
        StripDay(FIRST + place * A_DAY, State(letter), place in late)
        for place, letter in enumerate(letters)
    )
    return Strip(days, today=days[-1].on)


def pain() -> Pain:
    scores = (2, 2, None, 3, None, None, 4, 6, None, 3, 3, None, 2, 3)
    rests = {2, 5, 11}
    return Pain(
        tuple(
            PainDay(FIRST + place * A_DAY, score, place not in rests)
            for place, score in enumerate(scores)
        ),
        limit=4,
    )


def criteria() -> tuple[Criterion, ...]:
    return (
        Criterion(text="Worst pain during exercise in the last 7 days", result="met",
                  operator="lte", unit="nrs11", threshold=4, observed=3, samples=7,
                  samples_needed=4),
        Criterion(text="Rise of pain on waking", result="not_met", operator="lte", unit="points",
                  threshold=1, observed=2, samples=6, samples_needed=4),
        Criterion(text="Dose done", result="met", operator="gte", unit="ratio", threshold=0.7,
                  observed=0.9286, samples=7),
        Criterion(text="Knee extension, degrees short of straight", result="met", operator="lte",
                  unit="deg", threshold=10, observed=0, samples=1),
        Criterion(text="Trend of pain on waking", result="met", operator="lt", unit="points",
                  threshold=0, observed=-0.4, samples=6),
        Criterion(text="No open safety flag", result="met", operator="is_true", unit="0/1",
                  observed=1, samples=1),
        Criterion(text="Knee flexor strength ratio", result="unknown", required=False,
                  operator="gte", unit="pct", threshold=80, samples=0,
                  note="not tested in this phase"),
    )  # fmt: skip


def heat() -> Heat:
    lives = {
        "Ines Okafor": ("CCPCCCCSCCPMCC", 0.8571, None, 0.8042),
        "Tomas Berg": ("CMCMCMMMCCPMMM", 0.4286, None, 0.4),
        "Ada Nilsson": ("CCCCPCCCMC????", 0.9, 0.6429, 0.86),
        "Karim Haddad with a very long name": ("XXXXX--CC-CC-o", 1.0, None, 1.0),
        "Mei Lin": ("--------------", None, None, None),
    }
    return Heat(
        day_columns(FIRST, 14),
        tuple(
            HeatRow(
                label=name,
                cells=tuple(HeatCell(state=State(letter)) for letter in letters),
                done=done, low=low, dose=dose,
            )
            for name, (letters, done, low, dose) in lives.items()
        ),
    )  # fmt: skip


def heat_weeks() -> Heat:
    lives: dict[str, tuple[float | None, ...]] = {
        "M. Lindqvist": (0.0, 0.3333, 0.5, 0.7999, 0.8, 0.9999, 1.0, None),
        "A. Holm": (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65),
    }
    return Heat(
        tuple(HeatColumn(f"{week}", f"Week {week}, 2026") for week in range(38, 46)),
        tuple(
            HeatRow(
                label=name,
                cells=tuple(HeatCell(ratio=one) for one in ratios),
                done=0.7143, dose=0.6512, few=name == "A. Holm",
            )
            for name, ratios in lives.items()
        ),
        of="Physiotherapist",
    )  # fmt: skip


def cohort() -> Cohort:
    many = tuple(
        Dot(f"Patient {place}", min(1.0, round(0.42 + place * 0.0257, 4)),
            round(0.3 + place * 0.02, 4) if place % 9 == 4 else None)
        for place in range(24)
    )  # fmt: skip
    return Cohort(
        (
            DotGroup(label="M. Lindqvist", dots=(*many, Dot("At the top", 1.0), Dot("Same", 1.0)),
                     median=0.7391, quartiles=(0.5871, 0.8913), left_out=1),
            DotGroup(label="A. Holm", dots=(Dot("Ines Okafor", 0.8571), Dot("Tomas Berg", 0.4286),
                     Dot("Ada Nilsson", 0.9, 0.6429)), median=0.8571, quartiles=(0.6429, 0.8786),
                     few=True),
        ),
        target=0.8,
    )  # fmt: skip


def target_weeks() -> tuple[Week, ...]:
    told = ((5, 5), (5, 4), (5, 2), (5, 0), (0, 0), (5, 5), (3, 1))
    return tuple(
        Week(
            FIRST + 7 * place * A_DAY, due, done, bool(due) and done / due >= 0.8,
            is_now=place == len(told) - 1,
        )
        for place, (due, done) in enumerate(told)
    )  # fmt: skip


def doses() -> tuple[Dose, ...]:
    def at(
        place: int, performed: float, low: float, high: float, *, late: bool = False
    ) -> DosePoint:
        on = FIRST + place * A_DAY
        return DosePoint(on=on, performed=performed, low=low, high=high, late=late)

    return (
        Dose("Nordic hamstring curl", "reps", (at(0, 8, 8, 12), at(3, 9, 8, 12), at(7, 12, 12, 18),
             at(10, 7, 12, 18, late=True), at(14, 14, 12, 18), at(17, 18, 12, 18))),
        Dose("Long-lever bridge hold", "hold_s", tuple(
             at(place, 240 if place % 4 else 180, 240, 240) for place in range(0, 19, 2))),
        Dose("Sciatic slider", "reps", (at(1, 0, 20, 20), at(2, 20, 20, 20))),
    )  # fmt: skip
