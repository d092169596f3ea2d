"""The adherence report: the figures of the API, drawn, sorted, and explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from typing import Any
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from django.http import HttpResponse
from django.urls import NoReverseMatch, reverse
from rest_framework.request import Request

from backend.api import reports as api
from backend.api.base import Role
from backend.api.physio import protocols
from backend.clinics.selectors import staff_of
from backend.console.charts import Chart, adherence_heat_map, cohort_dots, words
from backend.console.charts.dots import Cohort, Dot, DotGroup
from backend.console.charts.heat import Heat, HeatCell, HeatColumn, HeatRow, day_columns
from backend.console.charts.states import State
from backend.console.frame import Form, Screen
from backend.reports import adherence
from backend.reports.adherence import NOBODY, Grouping, Member, Scope
from backend.reports.definitions import Block, definitions
from protocols.engine.adherence import LEAST_DUE, SMALL, monday_of, ratio

A_DAY, A_WEEK = timedelta(days=1), timedelta(days=7)
AT_ONCE = 200  # groups that are sorted together: the most that the API answers at once
A_PAGE = 50  # of these are drawn
MOST_DAYS_DRAWN = 35  # as letters; what is longer is drawn by week
MOST_DOTS = 150
A_PAYERS_WINDOW = 30
GROUPINGS = {
    "patient": "Patient",
    "physiotherapist": "Physiotherapist",
    "protocol": "Protocol",
    "phase": "Phase",
    "week": "Week",
    "exercise_kind": "Kind of exercise",
}
COUNTED = {  # the columns of the table, as the API names what stands in them
    "due": "Due",
    "completed": "Completed",
    "partial": "Partial",
    "skipped": "Skipped",
    "missed": "Missed",
    "not_heard": "Not heard",
    "excused": "Excused",
    "session_adherence": "Done",
    "session_adherence_low": "At least",
    "completed_ratio": "Completed",
    "dose_adherence": "Dose",
    "active_days": "Active days",
    "data_days": "Days with data",
    "missed_runs": "Missed runs",
    "interruptions": "Interruptions",
    "late_ratio": "Typed in late",
}
OF_GROUPS = {
    "patients": "Patients",
    "patients_on_target": "On target",
    "median_session_adherence": "Median",
}
RATIOS = frozenset(
    {"session_adherence", "session_adherence_low", "completed_ratio", "dose_adherence",
     "late_ratio", "median_session_adherence"}
)  # fmt: skip
TOLD = ("from", "to", "group_by", "physiotherapist_id", "protocol_id", "min_due")
SHOWN = (*TOLD, "columns", "sort", "page", "cursor")
Shown = Mapping[str, Any]


class Reports(Screen):
    reads = "report_adherence"
    here = "reports"

    def get(self, request: Request) -> HttpResponse:
        said = {name: text for name in SHOWN if (text := request.query_params.get(name, ""))}
        told = {name: said[name] for name in TOLD if name in said}
        if request.query_params.get("as") == "csv":
            return self.file(api.Adherence, told, "text/csv")
        known = self.ask(protocols.Protocols, {"limit": AT_ONCE})["items"]
        after = {"cursor": said["cursor"]} if "cursor" in said else {}
        wish: dict[str, object] = {"limit": AT_ONCE, **told, **after}
        letters = {"heatmap": "day"} if said.get("group_by", "patient") == "patient" else {}
        answer = self.ask(api.Adherence, wish | letters)
        grouping = Grouping(answer["group_by"])
        groups = _sorted(answer["groups"], said.get("sort", ""))
        pages = [groups[at : at + A_PAGE] for at in range(0, len(groups), A_PAGE)] or [[]]
        place = min(max(_whole(said.get("page", "")), 1), len(pages))
        rows = pages[place - 1]
        scope = api.scope_of(self.person, _checked(told), now=self.now)
        by_day = _by_day(scope, grouping, said.get("columns", ""))
        cohort, why_no_cohort = self._cohort(scope, grouping, answer, rows)
        return self.page("console/reports.html", {
            "report": answer,
            "first": scope.first,
            "last": scope.last,
            "rows": _table(rows, grouping, self._links(grouping, rows, told)),
            "head": _head(grouping, said),
            "of": GROUPINGS[grouping],
            "heat": self._heat(scope, grouping, rows, told, by_day=by_day),
            "by_day": by_day,
            "can_be_by_day": _by_day(scope, grouping, "day"),
            "cohort": cohort,
            "why_no_cohort": why_no_cohort,
            "data_days": _data_days(scope, rows) if grouping is Grouping.PATIENT else None,
            "definitions": sections(definitions()),
            "form": Form(_defaults(told, answer)),
            "groupings": GROUPINGS.items(),
            "protocols": [("", "All protocols"), *((one["id"], one["title"]) for one in known)],
            "people": self._people(),
            "periods": self._periods(said),
            "asked": said,
            "whole": not said,
            "query": urlencode(told),
            "switch": {name: _address(said, columns=name) for name in ("day", "week")},
            "places": [(n, _address(said, page=str(n))) for n in range(1, len(pages) + 1)],
            "place": place,
            "next": _address(said, cursor=answer["next_cursor"], page="")
            if answer["next_cursor"]
            else "",
            "export": self._export(told, answer),
            "small": SMALL,
            "least_due": LEAST_DUE,
            "is_own": Role.CLINIC_ADMIN not in self.person.roles,
        })  # fmt: skip

    # What can be asked

    def _people(self) -> list[tuple[str, str]]:
        """Of whom there may be a caseload. Who sees the own one alone has nothing to choose."""
        if Role.CLINIC_ADMIN not in self.person.roles:
            return []
        staff = staff_of(self.person).filter(is_physiotherapist=True)
        names = [(str(one.pk), one.display_name) for one in staff.order_by("family_name", "pk")]
        return [("", "Everybody"), *names]

    def _periods(self, said: Mapping[str, str]) -> list[dict[str, object]]:
        """Whole ISO weeks, up to the last one that is over."""
        assert self.person.clinic is not None
        today = self.now.astimezone(ZoneInfo(self.person.clinic.timezone)).date()
        last = monday_of(today) - A_DAY
        found = []
        for weeks in (2, 4, 12, 26):
            first = last - weeks * A_WEEK + A_DAY
            window = {"from": first.isoformat(), "to": last.isoformat()}
            is_here = all(said.get(name) == text for name, text in window.items())
            address = _address(said, **window)
            found.append({"name": f"{weeks} weeks", "address": address, "is_here": is_here})
        return found

    def _export(self, told: Mapping[str, str], answer: Shown) -> str:
        if Role.CLINIC_ADMIN not in self.person.roles:
            return ""
        wish = {"kind": "adherence", **told, "from": answer["from"], "to": answer["to"]}
        return _maybe("new-export", wish)

    # What is drawn

    def _links(
        self, grouping: Grouping, rows: Iterable[Shown], told: Mapping[str, str]
    ) -> dict[str, str]:
        """Where a row leads: to the patient, or into the group."""
        within = {
            Grouping.PHYSIOTHERAPIST: "physiotherapist_id",
            Grouping.PROTOCOL: "protocol_id",
        }.get(grouping)
        keys = [row["key"] for row in rows if row["key"] != NOBODY]
        if grouping is Grouping.PATIENT:
            return {key: link for key in keys if (link := _maybe("patient", id=key))}
        if within is None:
            return {}
        return {key: _address(told, group_by="patient", **{within: key}) for key in keys}

    def _heat(
        self, scope: Scope, grouping: Grouping, rows: Sequence[Shown], told: Mapping[str, str],
        *, by_day: bool,
    ) -> Chart | None:  # fmt: skip
        if not rows or grouping is Grouping.WEEK:
            return None
        links = self._links(grouping, rows, told)
        of = GROUPINGS[grouping]
        if by_day:
            columns = day_columns(scope.first, len(rows[0]["days"]))
            drawn = [
                _heat_row(row, [HeatCell(State(letter)) for letter in row["days"]], links)
                for row in rows
            ]
            return adherence_heat_map("c5", Heat(columns, tuple(drawn), of))
        weeks = adherence.weekly(_only(scope, grouping, rows), grouping)
        begun = monday_of(scope.first)
        mondays = [begun + n * A_WEEK for n in range((scope.last - begun).days // 7 + 1)]
        columns = tuple(
            HeatColumn(str(on.isocalendar().week), f"Week from {words.day_named(on)}")
            for on in mondays
        )
        drawn = []
        for row in rows:
            pairs = [weeks.get(row["key"], {}).get(on, (0, 0)) for on in mondays]
            cells = [HeatCell(ratio=ratio(done, due)) for due, done in pairs]
            drawn.append(_heat_row(row, cells, links))
        return adherence_heat_map("c5", Heat(columns, tuple(drawn), of))

    def _cohort(
        self, scope: Scope, grouping: Grouping, answer: Shown, rows: Sequence[Shown]
    ) -> tuple[Chart | None, str]:
        """A dot for each patient, in the groups of the table; or why there is none."""
        total = answer["total"]
        if not total["patients"]:
            return None, ""
        if total["patients"] > MOST_DOTS:
            return None, (
                f"{total['patients']} patients are too many for a dot each. "
                "Narrow the report to one physiotherapist or protocol."
            )
        is_grouped = grouping in (Grouping.PHYSIOTHERAPIST, Grouping.PROTOCOL, Grouping.PHASE)
        members = adherence.members_of(scope, grouping if is_grouped else None)
        people = scope.patients.values_list("pk", "given_name", "family_name")
        names = {pk: f"{given} {family}".strip() for pk, given, family in people}
        whole = {"key": "", "label": "Everybody", **total}
        groups = [
            _dots(one, members.get(one["key"], ()), names)
            for one in (rows if is_grouped else [whole])
        ]
        self.listed = sorted({str(one.patient_id) for of in members.values() for one in of})
        return cohort_dots("c6", Cohort(tuple(groups), answer["target"])), ""


# --- What is asked ----------------------------------------------------------------------------


def _checked(told: Mapping[str, str]) -> dict[str, Any]:
    """As the API reads the same words; it has refused what is wrong with them."""
    shape: Any = api.AdherenceFilters
    found: dict[str, Any] = shape.checked(dict(told))
    return found


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 1


def _address(said: Mapping[str, str], **changes: str) -> str:
    """This page, asked otherwise. Who asks for something else begins with its first page."""
    kept = {name: text for name, text in said.items() if name != "page"}
    if changes.keys() & {"from", "to", "group_by"}:
        kept.pop("cursor", None)
    wish = {name: text for name, text in (kept | changes).items() if text}
    return f"{reverse('console:reports')}?{urlencode(wish)}"


def _maybe(route: str, query: Mapping[str, object] | None = None, **address: str) -> str:
    """The address of another screen, where there is one."""
    try:
        found = reverse(f"console:{route}", kwargs=address or None)
    except NoReverseMatch:
        return ""
    return f"{found}?{urlencode(query)}" if query else found


def _defaults(told: Mapping[str, str], answer: Shown) -> dict[str, str]:
    return {"from": answer["from"], "to": answer["to"], "group_by": answer["group_by"], **told}


def _by_day(scope: Scope, grouping: Grouping, wish: str) -> bool:
    """A group of many has no letter for a date that would tell anything."""
    fits = (scope.last - scope.first).days < MOST_DAYS_DRAWN
    return fits and grouping is Grouping.PATIENT and wish != "week"


def _sorted(groups: Iterable[Shown], wish: str) -> list[Shown]:
    """By name, or by a figure; what has none comes last either way."""
    name, falls = wish.removeprefix("-"), wish.startswith("-")
    found = sorted(groups, key=lambda one: (one["label"].casefold(), one["key"]), reverse=falls)
    if name in COUNTED.keys() | OF_GROUPS.keys():
        found.sort(key=lambda one: one.get(name, 0), reverse=falls)
        found.sort(key=lambda one: name not in one)
    return found


# --- Figures ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A head of the table, the link that sorts by it, and how it is sorted now."""

    name: str
    label: str
    address: str
    sorted: str = "none"


def _columns(grouping: Grouping) -> dict[str, str]:
    return COUNTED if grouping is Grouping.PATIENT else COUNTED | OF_GROUPS


def _head(grouping: Grouping, said: Mapping[str, str]) -> list[Column]:
    now = said.get("sort", "label")
    found = []
    for name, label in {"label": GROUPINGS[grouping], **_columns(grouping)}.items():
        told = f"{label}, share" if name == "completed_ratio" else label
        first = name if name == "label" else f"-{name}"
        other = name if first.startswith("-") else f"-{name}"
        order = {name: "ascending", f"-{name}": "descending"}.get(now, "none")
        found.append(Column(name, told, _address(said, sort=other if now == first else first),
                            order))  # fmt: skip
    return found


def _table(
    rows: Iterable[Shown], grouping: Grouping, links: Mapping[str, str]
) -> list[dict[str, object]]:
    return [
        {
            "key": row["key"],
            "label": row["label"] or "Nobody",
            "link": links.get(row["key"], ""),
            "few": row.get("small", False),
            "figures": [(name, _told(name, row.get(name))) for name in _columns(grouping)],
        }
        for row in rows
    ]


def _told(name: str, value: float | None) -> str:
    """To the last digit that the API has."""
    if value is None:
        return "–"
    return words.percent_exact(value) if name in RATIOS else str(value)


def _heat_row(row: Shown, cells: Sequence[HeatCell], links: Mapping[str, str]) -> HeatRow:
    return HeatRow(
        label=row["label"] or "Nobody",
        cells=tuple(cells),
        done=row.get("session_adherence"),
        low=row.get("session_adherence_low"),
        dose=row.get("dose_adherence"),
        few=row.get("small", False),
        link=links.get(row["key"], ""),
    )


def _only(scope: Scope, grouping: Grouping, rows: Iterable[Shown]) -> Scope:
    """Of the patients of these rows alone."""
    if grouping is not Grouping.PATIENT:
        return scope
    ids = [UUID(row["key"]) for row in rows]
    return replace(scope, patients=scope.patients.filter(pk__in=ids))


def _dots(group: Shown, members: Iterable[Member], names: Mapping[UUID, str]) -> DotGroup:
    every = list(members)
    measured = [one for one in every if one.due >= LEAST_DUE]
    quartiles = group.get("quartiles")
    return DotGroup(
        label=group["label"] or "Nobody",
        dots=tuple(_dot(one, names.get(one.patient_id, "")) for one in measured),
        median=group.get("median_session_adherence"),
        quartiles=(quartiles[0], quartiles[1]) if quartiles else None,
        left_out=len(every) - len(measured),
        few=len(every) < SMALL,
    )


def _dot(one: Member, name: str) -> Dot:
    done, low = ratio(one.done, one.due), ratio(one.done, one.due + one.not_heard)
    assert done is not None
    return Dot(name, done, None if low == done else low)


def _data_days(scope: Scope, rows: Sequence[Shown]) -> dict[str, object]:
    """Dates with data, in windows of thirty days from the first date on."""
    found = adherence.data_days(_only(scope, Grouping.PATIENT, rows), days=A_PAYERS_WINDOW)
    windows = []
    first = scope.first
    while first <= scope.last:
        last = min(first + (A_PAYERS_WINDOW - 1) * A_DAY, scope.last)
        windows.append({"first": first, "last": last, "days": (last - first).days + 1})
        first = last + A_DAY
    nothing = [0] * len(windows)
    return {
        "windows": windows,
        "rows": [(row["label"], found.get(row["key"], nothing)) for row in rows],
    }


def sections(blocks: Iterable[Block]) -> list[tuple[str, list[tuple[str, list[Sequence[str]]]]]]:
    """The page of definitions: under each heading, what belongs together in one element."""
    found: list[tuple[str, list[tuple[str, list[Sequence[str]]]]]] = []
    for kind, alike in groupby(blocks, key=lambda block: block.kind):
        for_kind = [block.cells for block in alike]
        if kind == "heading":
            found.append((for_kind[0][0], []))
        else:
            found[-1][1].append((kind, for_kind))
    return found
