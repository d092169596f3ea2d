"""How much of what was due was done, by patient and by group: sums of the day book, made in SQL.

Sums come from the database, whatever is made of them from `protocols.engine.adherence`. Each
statement begins with the same rows: closed dates of plans inside the window. They are read once and
first added up plan by plan, which the database can do in any order and with several processes; only
what that leaves is told apart by patient, physiotherapist or protocol. No row of a date leaves the
database, and the number of queries is the same for any clinic. Of patients, one page is summed up
in full, and what the total needs of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import (
    BigIntegerField,
    Case,
    CharField,
    Count,
    DateField,
    Exists,
    F,
    FloatField,
    Func,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce

from backend.care.models import Assignment, ClosedDay, Flag
from backend.clinics.models import PatientQuerySet, User
from protocols.engine.adherence import (
    INTERRUPTION,
    WHOLE,
    Counts,
    Pain,
    Pair,
    Spread,
    Weeks,
    letter_of,
    pain_of,
    spread_of,
    weeks_of,
)
from protocols.engine.plan import days_from
from protocols.models import ProtocolVersion

NOBODY = "none"  # the key of those whom no physiotherapist treats
A_MICROSECOND = timedelta(microseconds=1)
AN_HOUR = 3_600_000_000  # of these

Cell = tuple[int, int, int, int]  # due, done, not heard, excused


class Grouping(StrEnum):
    PATIENT = "patient"
    PHYSIOTHERAPIST = "physiotherapist"
    PROTOCOL = "protocol"
    PHASE = "phase"
    WEEK = "week"
    EXERCISE_KIND = "exercise_kind"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose dates are counted, and which. `target` is in ten-thousandths."""

    patients: PatientQuerySet
    first: date
    last: date
    now: datetime
    target: int
    protocol_id: UUID | None = None
    phase_id: str | None = None
    only: Q | None = None

    def days(self) -> QuerySet[ClosedDay]:
        days = ClosedDay.objects.filter(
            on__range=(self.first, self.last), closed_at__lte=self.now,
            assignment__patient__in=self.patients,
        )  # fmt: skip
        return self._narrowed(days)

    def _narrowed(self, days: QuerySet[ClosedDay]) -> QuerySet[ClosedDay]:
        if self.protocol_id is not None:
            days = days.filter(assignment__protocol_version__protocol_id=self.protocol_id)
        if self.phase_id is not None:
            days = days.filter(phase_id=self.phase_id)
        return days if self.only is None else days.filter(self.only)

    def of_patient(self) -> QuerySet[ClosedDay]:
        """The same dates, of the patient of a query around."""
        days = ClosedDay.objects.filter(
            assignment__patient=OuterRef("pk"), on__range=(self.first, self.last),
            closed_at__lte=self.now,
        )  # fmt: skip
        return self._narrowed(days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One row of the report. Weeks in a row and pain are told of patients, the spread of groups."""

    key: str
    label: str
    counts: Counts
    closed_at: datetime  # the newest date that is counted
    weeks: Weeks | Pair = (0, 0)  # of a group: how many there are, and how many on target
    pain: Pain | None = None
    spread: Spread | None = None
    days: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Of everybody. `as_of` is when the newest date counted closed, `data_cutoff` when a phone was
    last heard from: figures change when one of them does, and not before."""

    due: int
    done: int
    not_heard: int
    spread: Spread
    as_of: datetime | None
    data_cutoff: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagTimes:
    """Flags about dates of the window, and how long people took over them, in hours."""

    raised: int
    to_acknowledge: float | None
    to_resolve: float | None


# --- The rows ---------------------------------------------------------------------------------


class Monday(Func):
    """The first date of an ISO week."""

    output_field = DateField()

    def as_sqlite(self, compiler: Any, connection: Any, **more: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="date(%(expressions)s, 'weekday 0', '-6 days')", **more
        )

    def as_postgresql(self, compiler: Any, connection: Any, **more: Any) -> Any:
        return self.as_sql(
            compiler, connection, template="date_trunc('week', %(expressions)s)::date", **more
        )


class Weekday(Func):
    """From 0, which is Monday."""

    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **more: Any) -> Any:
        since = "julianday(%(expressions)s) - julianday(%(expressions)s, 'weekday 0', '-6 days')"
        return self.as_sql(compiler, connection, template=f"CAST({since} AS integer)", **more)

    def as_postgresql(self, compiler: Any, connection: Any, **more: Any) -> Any:
        template = "(EXTRACT(ISODOW FROM %(expressions)s)::int - 1)"
        return self.as_sql(compiler, connection, template=template, **more)


SILENT_IS = Q(assignment__patient__last_received_at=None) | Q(
    assignment__patient__last_received_at__lt=F("closed_at")
)
SILENT = Case(When(SILENT_IS, then=1), default=0, output_field=IntegerField())
WITH_SEVERAL = (
    Assignment.objects.values("patient")
    .annotate(plans=Count("pk"))
    .filter(plans__gt=1)
    .values("patient")
)
SEVERAL_IS = Q(assignment__patient__in=WITH_SEVERAL)
TELLS = F("slots_completed") + F("slots_partial") + F("slots_skipped")
PROTOCOL = F("protocol_version__protocol_id")


@dataclass(frozen=True, slots=True)
class Key:
    """How a group is known: by what a plan belongs to, by a part of each date, or by both."""

    of_plan: Combinable
    of_day: Combinable
    sql: str


EVERYBODY = Key(Value(""), Value(""), "plans.belongs")
KEYS: Mapping[Grouping | None, Key] = {
    None: EVERYBODY,
    Grouping.PATIENT: Key(F("patient_id"), Value(""), "plans.belongs"),
    Grouping.PHYSIOTHERAPIST: Key(
        Coalesce(Cast("patient__physiotherapist_id", CharField()), Value(NOBODY)),
        Value(""),
        "plans.belongs",
    ),
    Grouping.PROTOCOL: Key(PROTOCOL, Value(""), "plans.belongs"),
    Grouping.PHASE: Key(
        Cast(PROTOCOL, CharField()), F("phase_id"), "plans.belongs || '/' || rows.part"
    ),
    Grouping.WEEK: Key(Value(""), Monday("on"), "rows.part"),
    Grouping.EXERCISE_KIND: Key(Value(""), Value(""), "rows.part"),
}


def _flag(name: str) -> Case:
    """1 or nothing, to be counted."""
    return Case(When(**{name: True}, then=1), output_field=IntegerField())


def _columns(part: Combinable) -> dict[str, Combinable]:
    dose = Func(F("dose_ratios") * Value(WHOLE), function="ROUND", output_field=FloatField())
    return {
        "plan": F("assignment_id"),
        "part": part,
        "day": F("on"),
        "silent": SILENT,
        "closed": F("closed_at"),
        "active": _flag("is_active"),
        "told": _flag("is_told"),
        "sessions": F("sessions"),
        "late": F("sessions_late"),
        "pain": F("pain_during"),
        "due": F("slots_due"),
        "completed": F("slots_completed"),
        "partial": F("slots_partial"),
        "skipped": F("slots_skipped"),
        "excused": F("slots_excused"),
        "dose": Cast(dose, IntegerField()),
        "kinds": F("kinds"),
        "monday": Monday("on"),
    }


COUNTED = ("due", "completed", "partial", "skipped", "excused", "dose")
UNFOLDED = {  # by database: the counts of each kind of exercise of a date, as rows
    "postgresql": ("CAST(kind.value ->> {n} AS integer)", "jsonb_each(dates.kinds) kind"),
    "sqlite": ("json_extract(kind.value, '$[{n}]')", "json_each(dates.kinds) kind"),
}
# Dates of patients with several plans may be there twice, and are counted by themselves.
SEVERAL = Case(When(patient__in=WITH_SEVERAL, then=1), default=0, output_field=IntegerField())
HEARD = F("patient__last_received_at")


def _lived(scope: Scope, grouping: Grouping | None) -> tuple[list[str], tuple[Any, ...]]:
    """`lived`: dates, with what was done, and what of due is `known`, or not heard of. `plans`:
    whose they are."""
    key = KEYS[grouping]
    columns = _columns(key.of_day)
    if grouping is not Grouping.EXERCISE_KIND:
        del columns["kinds"]
    names = [f"c_{name}" for name in columns]
    days = scope.days().annotate(**dict(zip(names, columns.values(), strict=True)))
    sql, params = days.values_list(*names).query.sql_with_params()
    plans = (
        Assignment.objects.filter(patient__in=scope.patients)
        .annotate(belongs=key.of_plan, several=SEVERAL, heard=HEARD)
        .values_list("pk", "patient_id", "belongs", "several", "heard")
    )
    of_plans, more = plans.query.sql_with_params()
    parts = [f"dates ({', '.join(columns)}) AS ({sql})"]
    rows = "dates"
    if grouping is Grouping.EXERCISE_KIND:
        parts.append(f"unfolded AS ({_by_kind(list(columns))})")
        rows = "unfolded"
    parts.append(
        "lived AS (SELECT *, completed + partial AS done, "  # noqa: S608  # names of ours
        "silent * (due - completed - partial - skipped) AS not_heard, "
        f"due - silent * (due - completed - partial - skipped) AS known FROM {rows})"
    )
    parts.append(f"plans (plan, patient, belongs, several, heard) AS ({of_plans})")
    return parts, (*params, *more)


def _by_kind(columns: Sequence[str]) -> str:
    count, rows = UNFOLDED[connection.vendor]
    kept = [f"dates.{name}" for name in columns if name not in ("part", "kinds", *COUNTED)]
    counts = [f"{count.format(n=n)} AS {name}" for n, name in enumerate(COUNTED)]
    return f"SELECT kind.key AS part, {', '.join(kept + counts)} FROM dates CROSS JOIN {rows}"  # noqa: S608


def _ask(scope: Scope, grouping: Grouping | None, rest: str, *params: int) -> list[Any]:
    """Rows of `rest`, which reads `keyed`: the dates with their patients and the keys of groups."""
    keyed = (
        f"keyed AS (SELECT {KEYS[grouping].sql} AS key, plans.patient, rows.* "  # noqa: S608
        "FROM lived rows JOIN plans ON plans.plan = rows.plan)"
    )
    return _run(scope, grouping, [keyed], rest, *params)


def _run(
    scope: Scope, grouping: Grouping | None, more: Sequence[str], rest: str, *params: int
) -> list[Any]:
    try:
        parts, given = _lived(scope, grouping)
    except EmptyResultSet:  # a page without patients
        return []
    with connection.cursor() as cursor:
        cursor.execute(f"WITH {', '.join([*parts, *more])} {rest}", (*given, *params))
        return list(cursor.fetchall())


# --- Sums -------------------------------------------------------------------------------------


SUMMED = ("completed", "partial", "skipped", "excused", "dose", "sessions", "late")
# What was missed of a plan so far, at the ends of rows: where the next date has something done. A
# row is as long as what came to it since the end of the one before.
ROWS_IN_ORDER = f"""
marked AS (
    SELECT plan, part, day, SUM(known - done) OVER dates_of AS so_far,
        LEAD(done) OVER dates_of AS next_done
    FROM lived WHERE known > 0 WINDOW dates_of AS (PARTITION BY plan, part ORDER BY day)
), ends AS (
    SELECT plan, part,
        so_far - COALESCE(LAG(so_far) OVER (PARTITION BY plan, part ORDER BY day), 0) AS length
    FROM marked WHERE next_done IS NULL OR next_done > 0
), missing AS (
    SELECT plan, part,
        SUM(CASE WHEN length > 0 AND length < {INTERRUPTION} THEN 1 ELSE 0 END) AS short,
        SUM(CASE WHEN length >= {INTERRUPTION} THEN 1 ELSE 0 END) AS long
    FROM ends GROUP BY plan, part
)
"""  # noqa: S608  # names of ours


def _rows_as_bits(scope: Scope) -> str:
    """The same without bringing 182 dates of ten thousand plans into order. Each date has four bits
    at its place of one long row, so that OR is all there is to do. They say how many slots were
    missed, no more than make an interruption, and whether something was done before."""
    missed = f"LEAST(known - done, {INTERRUPTION})"
    digit = f"CASE WHEN done > 0 THEN {INTERRUPTION + 1} ELSE 0 END + {missed}"
    count = (scope.last - scope.first).days + 1
    place = f"4 * (day - DATE '{scope.first.isoformat()}')"
    return f"""
        BIT_OR(CAST(CAST({digit} AS bit(4)) AS bit({4 * count})) >> ({place}))
            FILTER (WHERE due > 0) AS bits"""


def _as_letters() -> str:
    """The same as letters: `m` for what was missed, and `d` before each date that had something
    done. A row of what was missed begins where `m` follows `d`. (As it is sent, a row of bits comes
    after its length; four of them are a digit.)"""
    found = "REPLACE(SUBSTR(ENCODE(BIT_SEND(bits), 'hex'), 9), '0', '')"
    for digit in range(1, 2 * INTERRUPTION + 2):
        is_done, missed = divmod(digit, INTERRUPTION + 1)
        found = f"REPLACE({found}, '{digit}', '{'d' * is_done}{'m' * missed}')"
    return f"'d' || COALESCE({found}, '')"


def _rows_in(letters: str, least: int) -> str:
    """How many rows are as long as that."""
    for _ in range(least - 1):
        letters = f"REPLACE({letters}, 'dm', 'd')"
    return f"LENGTH({letters}) - LENGTH(REPLACE({letters}, 'dm', 'd'))"


SUMMED_OF_PLAN = f"""
    MAX(closed) AS closed, SUM(due) AS due, SUM(not_heard) AS not_heard, COUNT(active) AS active,
    COUNT(told) AS told, {", ".join(f"SUM({name}) AS {name}" for name in SUMMED)}"""
OF_PARTS = (Grouping.PHASE, Grouping.WEEK, Grouping.EXERCISE_KIND)
WHAT_FOLLOWS = "due - not_heard AS known, completed + partial AS done"
ANY_ORDER = f"""
letters AS MATERIALIZED (SELECT plan, part, {_as_letters()} AS told FROM sums),
missing AS MATERIALIZED (
    SELECT plan, part, {_rows_in("told", 1)} AS short, {_rows_in("told", INTERRUPTION)} AS long
    FROM letters
)
"""  # noqa: S608  # names of ours


def _per_plan(scope: Scope, grouping: Grouping | None, *, has_rows: bool) -> list[str]:
    """`per`: sums of each plan, or of each part of it, with whom they belong to."""
    is_in_any_order = has_rows and connection.vendor == "postgresql"
    bits = f", {_rows_as_bits(scope)}" if is_in_any_order else ""
    part, by = ("part", "plan, part") if grouping in OF_PARTS else ("''", "plan")
    counted = f"SELECT plan, {part} AS part, {SUMMED_OF_PLAN}{bits} FROM lived GROUP BY {by}"  # noqa: S608
    parts = [f"sums AS MATERIALIZED (SELECT *, {WHAT_FOLLOWS} FROM ({counted}) AS counted)"]  # noqa: S608
    short, rest = "0 AS short, 0 AS long", ""
    if has_rows:
        parts.append(ANY_ORDER if is_in_any_order else ROWS_IN_ORDER)
        every = "missing.short - missing.long" if is_in_any_order else "missing.short"
        short = f"COALESCE({every}, 0) AS short, COALESCE(missing.long, 0) AS long"
        rest = "LEFT JOIN missing ON missing.plan = rows.plan AND missing.part = rows.part"
    parts.append(
        f"per AS MATERIALIZED (SELECT {KEYS[grouping].sql} AS key, plans.patient, plans.several, "  # noqa: S608
        f"plans.heard, rows.*, {short} FROM sums rows JOIN plans ON plans.plan = rows.plan {rest})"
    )
    return parts


TOLD = ("not_heard", "(1 - several) * active", "(1 - several) * told", "short", "long", "known",
        *SUMMED)  # fmt: skip
# Whole numbers, and no decimals of any size as PostgreSQL would have it.
GROUPS = f"""
SELECT key, MAX(closed), {", ".join(f"CAST(SUM({name}) AS bigint)" for name in TOLD)}
FROM per GROUP BY key
"""  # noqa: S608  # names of ours
# How many patients of a group have the same due and done.
EACH = f"""
SELECT key, NULL, known, done, COUNT(*), {", ".join(["0"] * (len(TOLD) - 3))}
FROM (
    SELECT key, patient, CAST(SUM(known) AS bigint) AS known, CAST(SUM(done) AS bigint) AS done
    FROM per GROUP BY key, patient
) AS each_of
GROUP BY key, known, done
"""  # noqa: S608  # names of ours
DAYS = """
, days AS (
    SELECT key, patient, day, MAX(active) AS active, MAX(told) AS told
    FROM keyed GROUP BY key, patient, day
)
SELECT key, COUNT(active), COUNT(told) FROM days GROUP BY key
"""
WEEKS = f"""
, weeks AS (
    SELECT key, patient, monday, SUM(known) AS known, SUM(done) AS done
    FROM keyed GROUP BY key, patient, monday
)
SELECT key, COUNT(*), SUM(CASE WHEN done * {WHOLE} >= known * %s THEN 1 ELSE 0 END)
FROM weeks WHERE known > 0 GROUP BY key
"""  # noqa: S608  # names of ours


def groups_of(scope: Scope, grouping: Grouping) -> list[Group]:
    """Every group, in order of keys, as a table shows it. Three queries; of patients with one plan
    each the day book is read once."""
    found = sorted(_summed(scope, grouping), key=lambda one: one.key)
    labels = _labels(scope, grouping, [one.key for one in found])
    return [replace(one, label=labels.get(one.key, "")) for one in found]


def patients_of(
    scope: Scope, *, after: UUID | None = None, limit: int, least_due: int = 0
) -> list[UUID]:
    """The patients of a page, in order of their ids: those with a closed date in the window."""
    rows: QuerySet[Any] = scope.patients.order_by("pk")
    if after is not None:
        rows = rows.filter(pk__gt=after)
    if least_due:
        known = Case(
            When(SILENT_IS, then=TELLS), default=F("slots_due"), output_field=IntegerField()
        )
        due = scope.of_patient().order_by().values("assignment__patient")
        sums = Subquery(due.annotate(sum=Sum(known)).values("sum"), BigIntegerField())
        rows = rows.alias(due=sums).filter(due__gte=least_due)
    else:
        rows = rows.filter(Exists(scope.of_patient()))
    return list(rows.values_list("pk", flat=True)[:limit])


def patient_groups(scope: Scope, ids: Sequence[UUID]) -> list[Group]:
    """Everything of the patients of a page. Five queries."""
    of_page = replace(scope, patients=scope.patients.filter(pk__in=ids))
    return in_full(of_page, Grouping.PATIENT, groups_of(of_page, Grouping.PATIENT))


def in_full(scope: Scope, grouping: Grouping, groups: Iterable[Group]) -> list[Group]:
    """With weeks and pain. Two queries."""
    pain = _pains(scope, grouping)
    weeks: Mapping[str, Weeks | Pair]
    if grouping is Grouping.PATIENT:
        weeks = _weeks_in_a_row(scope)
    else:
        rows = _ask(scope, grouping, WEEKS, scope.target)
        weeks = {_text(grouping, key): (int(of), int(reached)) for key, of, reached in rows}
    return [
        replace(one, pain=pain.get(one.key), weeks=weeks.get(one.key, (0, 0))) for one in groups
    ]


def _summed(scope: Scope, grouping: Grouping) -> Iterable[Group]:
    of_several = replace(scope, only=SEVERAL_IS)
    days = {key: tuple(map(int, two)) for key, *two in _ask(of_several, grouping, DAYS)}
    is_of_many = grouping is not Grouping.PATIENT
    rest = f"{GROUPS} UNION ALL {EACH}" if is_of_many else GROUPS
    sums: list[tuple[Any, Any, Iterable[int]]] = []
    pairs: dict[Any, dict[Pair, int]] = {}
    for row in _run(scope, grouping, _per_plan(scope, grouping, has_rows=True), rest):
        key, closed, *numbers = row
        if closed is not None:
            sums.append((key, closed, map(int, numbers)))
        else:
            due, done, count = map(int, numbers[:3])
            pairs.setdefault(key, {})[due, done] = count
    for key, closed, numbers in sums:
        not_heard, active, told, missed_runs, interruptions, *more = numbers
        due, completed, partial, skipped, excused, dose, sessions, sessions_late = more
        more_active, more_told = days.get(key, (0, 0))
        counts = Counts(
            due=due, completed=completed, partial=partial, skipped=skipped, not_heard=not_heard,
            excused=excused, dose=dose, active_days=active + more_active,
            data_days=told + more_told, sessions=sessions, sessions_late=sessions_late,
            missed_runs=missed_runs, interruptions=interruptions,
        )  # fmt: skip
        closed_at = _moment(closed)
        assert closed_at is not None
        spread = spread_of(pairs[key], scope.target) if is_of_many else None
        yield Group(
            key=_text(grouping, key), label="", counts=counts, closed_at=closed_at, spread=spread
        )


TOTAL = """
, each_of AS (
    SELECT patient, SUM(known) AS known, SUM(done) AS done, SUM(not_heard) AS not_heard,
        MAX(closed) AS closed, MAX(heard) AS heard
    FROM per GROUP BY patient
)
SELECT known, done, COUNT(*), SUM(not_heard), MAX(closed), MAX(heard)
FROM each_of GROUP BY known, done
"""


def pairs_of(scope: Scope, grouping: Grouping) -> dict[str, dict[Pair, int]]:
    """Of each group, how many patients had so much due and done. One query."""
    found: dict[str, dict[Pair, int]] = {}
    for key, _, due, done, count, *_ in _run(
        scope, grouping, _per_plan(scope, grouping, has_rows=False), EACH
    ):
        found.setdefault(_text(grouping, key), {})[int(due), int(done)] = int(count)
    return found


def total_of(scope: Scope) -> Total:
    """One query; it brings as many rows as there are different sums of a patient."""
    pairs: dict[Pair, int] = {}
    rows = _run(scope, None, _per_plan(scope, None, has_rows=False), TOTAL)
    for due, done, count, *_ in rows:
        pairs[int(due), int(done)] = int(count)
    return Total(
        due=sum(due * count for (due, _), count in pairs.items()),
        done=sum(done * count for (_, done), count in pairs.items()),
        not_heard=sum(int(row[3]) for row in rows),
        spread=spread_of(pairs, scope.target),
        as_of=max(filter(None, (_moment(row[4]) for row in rows)), default=None),
        data_cutoff=max(filter(None, (_moment(row[5]) for row in rows)), default=None),
    )


def _moment(stored: Any) -> datetime | None:
    """SQLite keeps moments as text, in UTC."""
    if isinstance(stored, str):
        return datetime.fromisoformat(stored).replace(tzinfo=UTC)
    assert stored is None or isinstance(stored, datetime)
    return stored


def _pains(scope: Scope, grouping: Grouping) -> dict[str, Pain]:
    rest = "SELECT key, pain, COUNT(*) FROM keyed WHERE pain IS NOT NULL GROUP BY key, pain"
    told: dict[str, dict[int, int]] = {}
    for key, score, count in _ask(scope, grouping, rest):
        told.setdefault(_text(grouping, key), {})[int(score)] = int(count)
    return {key: pain for key, scores in told.items() if (pain := pain_of(scores)) is not None}


def _weeks_in_a_row(scope: Scope) -> dict[str, Weeks]:
    return {
        key: weeks_of(weeks.values(), scope.target)
        for key, weeks in weekly(scope, Grouping.PATIENT).items()
    }


def weekly(scope: Scope, grouping: Grouping) -> dict[str, dict[date, Pair]]:
    """Due and done of each ISO week, by its Monday, for every group. One query."""
    return {
        key: {monday: (due, done) for monday, (due, done, *_) in weeks.items()}
        for key, weeks in weeks_lived(scope, grouping).items()
    }


HEAT = """
SELECT key, day, SUM(known - done - skipped), SUM(due - known), SUM(skipped), SUM(partial),
    SUM(completed), SUM(excused)
FROM keyed GROUP BY key, day
"""


def with_days(scope: Scope, grouping: Grouping, groups: Iterable[Group]) -> list[Group]:
    """The groups with a letter for each date of the window. One query."""
    found = list(groups)
    if grouping is Grouping.PATIENT:
        ids = [UUID(one.key) for one in found]
        scope = replace(scope, patients=scope.patients.filter(pk__in=ids))
    letters: dict[str, dict[str, str]] = {}
    for key, day, *sums in _ask(scope, grouping, HEAT):
        missed, not_heard, skipped, partial, completed, excused = map(int, sums)
        letters.setdefault(_text(grouping, key), {})[str(day)] = letter_of(
            missed=missed, not_heard=not_heard, skipped=skipped, partial=partial,
            completed=completed, excused=excused,
        )  # fmt: skip
    dates = [on.isoformat() for on in days_from(scope.first, (scope.last - scope.first).days + 1)]
    return [
        replace(one, days="".join(letters.get(one.key, {}).get(on, "-") for on in dates))
        for one in found
    ]


WEEKLY = """
SELECT key, monday, SUM(known), SUM(done), SUM(due - known), SUM(excused)
FROM keyed GROUP BY key, monday ORDER BY key, monday
"""


def weeks_lived(scope: Scope, grouping: Grouping) -> dict[str, dict[date, Cell]]:
    """Of each group and ISO week what was due, done, not heard of and excused. One query."""
    found: dict[str, dict[date, Cell]] = {}
    for key, monday, due, done, not_heard, excused in _ask(scope, grouping, WEEKLY):
        on = date.fromisoformat(str(monday))
        found.setdefault(_text(grouping, key), {})[on] = (
            int(due), int(done), int(not_heard), int(excused)
        )  # fmt: skip
    return found


MEMBERS = """
SELECT key, patient, SUM(known), SUM(done), SUM(due - known)
FROM keyed GROUP BY key, patient ORDER BY key, patient
"""


class Member(NamedTuple):
    """A patient of a group: what was due and done, and not heard of, in what the group counts."""

    patient_id: UUID
    due: int
    done: int
    not_heard: int


def members_of(scope: Scope, grouping: Grouping | None) -> dict[str, list[Member]]:
    """The patients of each group; without a grouping there is one, which has no key. One query."""
    found: dict[str, list[Member]] = {}
    for key, patient, *sums in _ask(scope, grouping, MEMBERS):
        name = _text(grouping, key) if grouping else ""
        found.setdefault(name, []).append(Member(UUID(str(patient)), *map(int, sums)))
    return found


DATA = "SELECT key, day FROM keyed WHERE told = 1 GROUP BY key, day"


def data_days(scope: Scope, *, days: int) -> dict[str, list[int]]:
    """Of each patient the dates with data, in windows of so many days from the first on; the last
    one may be cut short. One query."""
    count = (scope.last - scope.first).days // days + 1
    found: dict[str, list[int]] = {}
    for key, day in _ask(scope, Grouping.PATIENT, DATA):
        windows = found.setdefault(_text(Grouping.PATIENT, key), [0] * count)
        windows[(date.fromisoformat(str(day)) - scope.first).days // days] += 1
    return found


# --- Flags ------------------------------------------------------------------------------------


def flag_times(scope: Scope) -> FlagTimes:
    """A flag is of a patient: where a protocol or phase is asked for, of those who have dates in
    it. Three queries."""
    patients: QuerySet[Any] = scope.patients
    if scope.protocol_id is not None or scope.phase_id is not None:
        patients = patients.filter(Exists(scope.of_patient()))
    flags = Flag.objects.filter(
        patient__in=patients, observed_on__range=(scope.first, scope.last),
        raised_at__lte=scope.now,
    )  # fmt: skip
    resolved = Q(status=Flag.Status.RESOLVED)
    counts = flags.aggregate(
        raised=Count("pk"),
        acknowledged=Count("acknowledged_at"),
        resolved=Count("pk", filter=resolved),
    )
    seen = flags.filter(acknowledged_at__isnull=False)
    return FlagTimes(
        raised=counts["raised"],
        to_acknowledge=_median_hours(seen, "acknowledged_at", counts["acknowledged"]),
        to_resolve=_median_hours(flags.filter(resolved), "resolved_at", counts["resolved"]),
    )


def _median_hours(flags: QuerySet[Flag], until: str, count: int) -> float | None:
    """To a tenth of an hour; a half goes up."""
    if not count:
        return None
    took = flags.annotate(took=F(until) - F("raised_at")).order_by("took")
    middle = list(took.values_list("took", flat=True)[(count - 1) // 2 : count // 2 + 1])
    microseconds = Fraction(sum(one // A_MICROSECOND for one in middle), len(middle))
    return int(microseconds * 10 / AN_HOUR + Fraction(1, 2)) / 10


# --- Names ------------------------------------------------------------------------------------


def _text(grouping: Grouping, key: Any) -> str:
    """A key as it is told, whatever the database keeps it as."""
    match grouping:
        case Grouping.PATIENT | Grouping.PROTOCOL:
            return str(UUID(str(key)))
        case Grouping.PHYSIOTHERAPIST:
            return NOBODY if key == NOBODY else str(UUID(key))
        case Grouping.PHASE:
            protocol, _, phase_id = key.partition("/")
            return f"{UUID(protocol)}/{phase_id}"
        case Grouping.WEEK:
            year, week, _ = date.fromisoformat(str(key)).isocalendar()
            return f"{year}-W{week:02}"
        case Grouping.EXERCISE_KIND:
            return str(key)


def _labels(scope: Scope, grouping: Grouping, keys: Sequence[str]) -> dict[str, str]:
    match grouping:
        case Grouping.PATIENT:
            names = scope.patients.values_list("pk", "given_name", "family_name")
            return {str(pk): f"{given} {family}".strip() for pk, given, family in names}
        case Grouping.PHYSIOTHERAPIST:
            ids = [key for key in keys if key != NOBODY]
            return {str(one.pk): one.display_name for one in User.objects.filter(pk__in=ids)}
        case Grouping.PROTOCOL | Grouping.PHASE:
            return _titles(keys)
        case Grouping.WEEK:
            return {key: f"Week {int(key[-2:])}, {key[:4]}" for key in keys}
        case Grouping.EXERCISE_KIND:
            return {key: key.replace("_", " ").capitalize() for key in keys}


def _titles(keys: Sequence[str]) -> dict[str, str]:
    """Of protocols and their phases, as the newest version that has them calls them."""
    ids = {key.partition("/")[0] for key in keys}
    found: dict[str, str] = {}
    for version in ProtocolVersion.objects.filter(protocol_id__in=ids).order_by("published_at"):
        found[str(version.protocol_id)] = version.title
        for phase in version.definition.phases:
            told = f"{version.title}, phase {phase.number}: {phase.title}"
            found[f"{version.protocol_id}/{phase.id}"] = told
    return found
