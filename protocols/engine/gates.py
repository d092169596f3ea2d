"""The gates for progress, GG0 to GG10: all must pass (protocols.md section 6, in its order).

They are asked of dates that R13 left: session days on which something was planned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from statistics import fmean

from protocols.engine import predicate
from protocols.engine.case import A_DAY, Case, Finding, Gate, Sample
from protocols.engine.day import Day, Numbers
from protocols.engine.definition import Criterion


def gg0(case: Case) -> Iterator[Finding]:
    """The date is a completed session day."""
    yield Finding("GG0", _completed(case.numbers, case.day, case.planned), "session day completed")


def gg1(case: Case) -> Iterator[Finding]:
    """The phase's minimum days."""
    days, needed = case.day_in_phase, case.phase.min_days
    yield Finding("GG1", days >= needed, f"day {days} of {needed}", days, needed, 1)


def gg2(case: Case) -> Iterator[Finding]:
    """Pain during at most P_prog on each of the last three session days."""
    last, needed = _last_sessions(case)
    known = [one.day.during for one in last if one.day.during is not None]
    worst, limit = max(known, default=None), case.limits.progress
    passed = len(known) == needed and max(known) <= limit
    text = f"max {worst}" if len(last) == needed else f"only {len(last)} sessions"
    yield Finding("GG2", passed, text, worst, limit, len(known), _dates(last))


def gg3(case: Case) -> Iterator[Finding]:
    """Each of them has a next-morning rating, none higher than before."""
    last, needed = _last_sessions(case)
    known = [rise for one in last if (rise := one.day.rise) is not None]
    worst, limit = max(known, default=None), case.numbers["gate_rise_max"]
    passed = len(known) == needed and max(known) <= limit
    yield Finding("GG3", passed, f"worst rise {worst}", worst, limit, len(known), _dates(last))


def gg4(case: Case) -> Iterator[Finding]:
    """Credited over planned sets of the last 7 dates, excused and stopped ones left out."""
    credit, planned, samples = min(case.day.done, case.planned), case.planned, 1
    for one in case.in_window(int(case.numbers["gate_adherence_days"])):
        if not one.excused:  # of stops nothing is in the window: a clearance begins it anew
            sets = one.case.planned
            credit, planned, samples = credit + min(one.day.done, sets), planned + sets, samples + 1
    share, limit = credit / planned, case.numbers["gate_adherence"]
    yield Finding("GG4", share >= limit, f"{credit}/{planned}", share, limit, samples)


def gg5(case: Case) -> Iterator[Finding]:
    """Completed session days within 7 dates."""
    numbers = case.numbers
    found = sum(
        _completed(numbers, one.case.day, one.planned)
        for one in case.in_window(int(numbers["gate_completed_within_days"]))
    )
    count = found + _completed(numbers, case.day, case.planned)
    needed = numbers["gate_completed_days"]
    yield Finding("GG5", count >= needed, f"{count} of {needed:g}", count, needed, count)


def gg6(case: Case) -> Iterator[Finding]:
    """No open flag, safety item or review item."""
    codes = tuple(sorted(case.state.reviews.union(case.reviews_failed)))
    text = f"open: {', '.join(codes)}" if codes else "nothing open"
    yield Finding("GG6", not codes, text, len(codes), 0, 1, codes)


def gg7(case: Case) -> Iterator[Finding]:
    """No RED or SEVERE in the last 7 dates, across phases."""
    found = tuple(on.isoformat() for on in case.reds(int(case.numbers["gate_red_free_days"])))
    text = f"RED on {', '.join(found)}" if found else "no RED"
    yield Finding("GG7", not found, text, len(found), 0, 1, found)


def gg8(case: Case) -> Iterator[Finding]:
    """Every exit predicate; each value measured in this phase and at most 7 days old."""
    if not case.phase.exit:
        yield Finding("GG8", passed=False, text="no exit: runs until a clinician ends it")
    for criterion in case.phase.exit:
        yield exit_finding(case, criterion)


def gg9(case: Case) -> Iterator[Finding]:
    """Morning pain is not rising from week to week; looks across phases."""
    days = int(case.numbers["gate_trend_days"])
    since = case.day.on - (days - 1) * A_DAY
    rated = [case.day, *(o.case.day for o in case.back_to(since - days * A_DAY) if o.counts)]
    late = [day.next_morning for day in rated if day.next_morning is not None and day.on >= since]
    early = [day.next_morning for day in rated if day.next_morning is not None and day.on < since]
    samples, needed = len(late) + len(early), case.numbers["gate_trend_values"]
    if len(late) < needed or len(early) < needed:
        yield Finding("GG9", passed=True, text="too few ratings to compare", samples=samples)
        return
    rise, limit = fmean(late) - fmean(early), case.numbers["gate_trend_below"]
    yield Finding("GG9", rise < limit, f"mean {rise:+.2f}", rise, limit, samples)


def gg10(case: Case) -> Iterator[Finding]:
    """Nerve protocols: leg symptoms settled within 10 minutes on the last three session days."""
    if not case.limits.nerve:
        return
    last, needed = _last_sessions(case)
    known = [one.day.settle_min for one in last if one.day.settle_min is not None]
    worst, limit = max(known, default=None), case.numbers["gate_settle_max_min"]
    passed = len(known) == needed and max(known) <= limit
    yield Finding("GG10", passed, f"settle {worst}", worst, limit, len(known), _dates(last))


GATES: tuple[Gate, ...] = (
    gg0, gg1, gg2, gg3, gg4, gg5, gg6, gg7, gg8, gg9, gg10,
)  # fmt: skip
# What most often is still missing, and is found out fast, is asked first: one that fails decides.
ASKED = (gg1, gg0, gg6, gg4, gg2, gg8, gg3, gg10, gg7, gg5, gg9)


def _completed(numbers: Numbers, day: Day, planned: int) -> bool:
    return planned > 0 and day.done >= numbers["completed_session_ratio"] * planned


def _last_sessions(case: Case) -> tuple[list[Case], int]:
    needed = int(case.numbers["gate_sessions"])
    return case.sessions(needed), needed


def _dates(cases: Iterable[Case]) -> tuple[str, ...]:
    return tuple(one.day.on.isoformat() for one in cases)


# --- Exit predicates --------------------------------------------------------------------------


def exit_finding(case: Case, criterion: Criterion) -> Finding:
    """One exit predicate of the phase, put to the values of its window."""
    rule = predicate.parse(criterion.when)
    days_old = rule.most_days_old or int(case.numbers["gate_value_days"])
    found, observed = _observed(case, rule, days_old)
    age = (case.day.on - found[-1][0]).days if found else 0
    text = f"{rule.metric} missing" if observed is None else f"{rule.metric} {observed:g}"
    if age > days_old:
        text += f" {age} days old"
    passed = rule.holds(observed) and age <= days_old
    records = tuple(record for _, _, record in found if record)
    return Finding("GG8", passed, text, observed, rule.limit, len(found), records)


def _observed(
    case: Case, rule: predicate.Predicate, days_old: int
) -> tuple[list[Sample], float | None]:
    """The samples a predicate looks at, and what they come to."""
    if rule.is_newest_of_phase:
        newest = _newest(case, rule.metric, days_old)
        return ([newest], newest[1]) if newest else ([], None)
    cases = _window(case, rule)
    series = [_samples(cases, metric) for metric in rule.metric.split("/")]
    return series[0], rule.observed(*([value for _, value, _ in one] for one in series))


def _newest(case: Case, metric: str, days_old: int) -> Sample | None:
    """The newest value in the phase. What phones report is looked for only while it is fresh."""
    if metric not in REPORTED:
        return case.state.latest.get(metric)
    if (told := sample_of(case, metric)) is not None:
        return told
    samples = (sample_of(one.case, metric) for one in case.in_window(days_old + 1))
    return next((sample for sample in samples if sample is not None), None)


def _window(case: Case, rule: predicate.Predicate) -> list[Case]:
    """The dates a predicate looks at, oldest first."""
    match rule.window:
        case "last":
            return case.sessions(rule.size)
        case "days":
            earlier = case.in_window(rule.size)
        case "episode":
            earlier = case.back_to(case.course.first)
        case _:
            earlier = case.back_to(case.state.window_from)
    return [case, *(one.case for one in earlier)][::-1]


def _samples(cases: Iterable[Case], metric: str) -> list[Sample]:
    found = (sample_of(case, metric) for case in cases)
    return [sample for sample in found if sample is not None]


def _load_test(case: Case) -> float | None:
    """Where a morning rating can be amber by itself, the ratings are the load test.

    Of the two of a session day the later counts.
    """
    day = case.day
    if case.limits.amber_next is None or not day.is_session:
        return None
    return day.before if day.next_morning is None else day.next_morning


# What a date says of itself; everything else is assessed.
REPORTED: Mapping[str, Callable[[Case], float | None]] = {
    "pain_pre": lambda case: case.day.before,
    "pain_during": lambda case: case.day.during,
    "pain_next": lambda case: case.day.next_morning,
    "delta": lambda case: case.day.rise,
    "settle_min": lambda case: case.day.settle_min,
    "load_test_pain": _load_test,
    "planned_sets": lambda case: None if case.excused else case.planned,
    "done_sets": lambda case: None if case.excused else case.day.done,
}


def sample_of(case: Case, metric: str) -> Sample | None:
    """What a date says of a metric; what was assessed outweighs what was reported."""
    for one in reversed(case.day.measured):
        if one.metric == metric:
            return case.day.on, one.value, one.record
    read = REPORTED.get(metric)
    value = read(case) if read else None
    return None if value is None else (case.day.on, value, "")
