"""What is said of adherence, in one form for answers, tables and paper: figures are made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from backend.reports.adherence import FlagTimes, Group, Grouping, Scope, Total
from backend.reports.tables import defused
from protocols.engine.adherence import DEFINITION, WHOLE, Ratios, Spread, Weeks, ratio, ratios_of

Shown = dict[str, Any]

COUNTS = ("due", "completed", "partial", "skipped", "missed", "not_heard", "excused")
RATIOS = ("session_adherence", "session_adherence_low", "completed_ratio", "dose_adherence")
WEEKS = ("of", "on_target")
DAYS = ("active_days", "data_days", "missed_runs", "interruptions")


def head_shown(
    scope: Scope, grouping: Grouping, filters: Mapping[str, object], total: Total | None
) -> Shown:
    """What was asked, the total, and until when the figures are told."""
    moments = {"as_of": total.as_of, "data_cutoff": total.data_cutoff} if total else {}
    shown: Shown = {
        "from": scope.first.isoformat(),
        "to": scope.last.isoformat(),
        "group_by": grouping.value,
        "target": scope.target / WHOLE,
        "definition": DEFINITION,
        "filters": dict(filters),
        **{name: moment(at) for name, at in moments.items() if at},
    }
    return shown if total is None else shown | {"total": total_shown(total)}


def moment(value: datetime) -> str:
    """An instant as it is told: UTC, `Z`."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def group_shown(one: Group) -> Shown:
    counts, ratios = one.counts, ratios_of(one.counts)
    weeks = one.weeks
    weeks_shown = (
        asdict(weeks) if isinstance(weeks, Weeks) else dict(zip(WEEKS, weeks, strict=True))
    )
    shown: Shown = {
        "key": one.key,
        "label": one.label,
        **{name: getattr(counts, name) for name in (*COUNTS, *DAYS)},
        **_known({name: getattr(ratios, name) for name in Ratios.__dataclass_fields__}),
        "weeks_on_target": weeks_shown,
    }
    if one.pain is not None:
        shown["pain_during"] = {"median": one.pain.median, "worst": one.pain.worst}
    if one.spread is not None:
        shown |= {"patients": one.spread.patients, "small": one.spread.is_small}
        shown |= _spread_shown(one.spread)
    if one.days is not None:
        shown["days"] = one.days
    return shown


def _spread_shown(spread: Spread) -> Shown:
    return {
        "patients_on_target": spread.on_target,
        **_known({
            "median_session_adherence": spread.median,
            "quartiles": spread.quartiles and list(spread.quartiles),
        }),
    }  # fmt: skip


def total_shown(total: Total) -> Shown:
    pooled = {
        "pooled_session_adherence": ratio(total.done, total.due),
        "pooled_session_adherence_low": ratio(total.done, total.due + total.not_heard),
    }
    return {
        "patients": total.spread.patients,
        "due": total.due,
        "done": total.done,
        "not_heard": total.not_heard,
        **_known(pooled),
        **_spread_shown(total.spread),
    }


def flags_shown(flags: FlagTimes) -> Shown:
    hours = {
        "median_hours_to_acknowledge": flags.to_acknowledge,
        "median_hours_to_resolve": flags.to_resolve,
    }
    return {"raised": flags.raised, **_known(hours)}


def _known(values: Mapping[str, object]) -> Shown:
    return {name: value for name, value in values.items() if value is not None}


# --- In CSV -----------------------------------------------------------------------------------

OF_GROUPS = ("patients", "small", "median_session_adherence", "quartile_low", "quartile_high")


def key_name(grouping: Grouping) -> str:
    named = grouping in (Grouping.WEEK, Grouping.EXERCISE_KIND)
    return grouping.value if named else f"{grouping.value}_id"


def csv_columns(grouping: Grouping, *, has_days: bool) -> list[str]:
    names = [key_name(grouping), "label", *COUNTS, *RATIOS, *DAYS, "late_ratio"]
    names += [] if grouping is Grouping.PATIENT else OF_GROUPS
    return names + (["days"] if has_days else [])


def csv_row(shown: Shown, columns: Sequence[str]) -> list[str]:
    """What is not known is empty. A text that a spreadsheet would run gets an apostrophe."""
    low, high = shown.get("quartiles") or (None, None)
    known = {**shown, columns[0]: shown["key"], "quartile_low": low, "quartile_high": high}
    return [_cell(known.get(name)) for name in columns]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:g}"
    return defused(value) if isinstance(value, str) else str(value)


def csv_preamble(shown: Shown) -> list[str]:
    told = ["as_of", shown["as_of"]] if "as_of" in shown else []
    return ["# definition", DEFINITION, "from", shown["from"], "to", shown["to"], *told]
