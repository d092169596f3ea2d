"""The caseload: who needs somebody today, why, and what was dealt with since midnight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Max
from django.http import HttpResponse
from rest_framework.request import Request

from backend.api.base import Role
from backend.api.physio import caseload as api
from backend.care.models import Assignment, Flag
from backend.care.selectors import today_of
from backend.clinics.models import Patient, PatientQuerySet
from backend.console.charted import pain_from, strip_from
from backend.console.charts import pain_sparkline, week_strip
from backend.console.frame import Screen
from backend.reports.adherence import Grouping, Scope, weekly
from backend.reports.recent import recent_days
from backend.reports.selectors import TIERS as TIERS_OF_REASONS
from backend.reports.selectors import Tier
from protocols.engine.adherence import monday_of
from protocols.knowledge import safety
from protocols.models import ProtocolVersion

STRIP_DAYS = 14
MOST_REASONS = 3
USUAL = "40"  # rows of a page, with two charts each
STALE_AFTER = timedelta(hours=1)
EVERYBODY = ""
ACTIONS = {
    "contacted": "Contacted the patient",
    "plan_changed": "Changed the plan",
    "advised": "Gave advice",
    "referred": "Referred",
    "no_action": "Nothing needed",
}


class Caseload(Screen):
    reads = "caseload_list"
    here = "caseload"

    def get(self, request: Request) -> HttpResponse:
        asked = self._asked(request)
        shown = self.ask(api.Caseload, asked)
        scope = self._scope(asked)
        return self.page(
            "console/caseload.html",
            shown
            | {
                "asked": {"physiotherapist_id": EVERYBODY}
                | {name: value for name, value in asked.items() if name not in ("cursor", "limit")},
                "rows": list(self._rows(shown["items"])),
                "tiers": self._tiers(shown["counts"], asked),
                "shown_words": _shown_words(len(shown["items"]), sum(shown["counts"].values())),
                "is_empty": not any(shown["counts"].values()),
                "everybody": "?" + urlencode(asked | {"include": "on_track"}),
                "colleagues": self._colleagues(),
                "protocols": self._protocols(),
                "handled": self._handled(scope),
                "is_narrowed": any(name in asked for name in ("tier", "protocol_id", "q")),
                "whose": asked.get("physiotherapist_id", EVERYBODY),
                **self._heard(scope),
            },
        )

    def _asked(self, request: Request) -> dict[str, str]:
        """What the filters say. Who treats patients begins with the own ones; a search is for
        anybody."""
        sent = request.query_params
        asked = {"limit": USUAL} | {name: str(value) for name, value in sent.items() if value}
        is_whole = "physiotherapist_id" in sent or asked.keys() & {"q", "cursor"}
        if self.person.is_physiotherapist and not is_whole:
            asked["physiotherapist_id"] = str(self.person.pk)
        return asked

    def _scope(self, asked: Mapping[str, str]) -> PatientQuerySet:
        rows = Patient.objects.visible_to(self.person)
        if whose := asked.get("physiotherapist_id"):
            rows = rows.filter(physiotherapist_id=UUID(whose))  # the API has read it by now
        return rows

    # Rows

    def _rows(self, items: Sequence[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        """With what the charts of a row rest on. Five queries, however many rows."""
        ids = [item["patient"]["id"] for item in items]
        scope = Patient.objects.visible_to(self.person).filter(pk__in=ids)
        patients = {str(one.pk): one for one in scope}
        recent = recent_days([*patients.values()], days=STRIP_DAYS, now=self.now)
        limits = self._limits(patients.values())
        weeks = self._weeks(scope, [*patients.values()])
        for item in items:
            id = item["patient"]["id"]
            days = recent[patients[id].pk]
            strip = week_strip(f"strip-{id}", strip_from(days))
            pain = pain_sparkline(f"pain-{id}", pain_from(days, limits.get(patients[id].pk)))
            due, done = weeks.get(id, (0, 0))
            yield item | {
                "phone": patients[id].phone,
                "first": item["reasons"][:MOST_REASONS],
                "more": max(0, len(item["reasons"]) - MOST_REASONS),
                "strip_chart": strip,
                "pain_chart": pain,
                "due": due,
                "done": done,
                "share": done / due if due else None,
                **_to_do(item["reasons"]),
            }

    def _limits(self, patients: Iterable[Patient]) -> dict[UUID, int]:
        """The limit of pain during exercise, in the plan that began last."""
        rows = Assignment.objects.visible_to(self.person).filter(
            patient__in=patients, ended_on=None
        )
        return {
            row.patient_id: row.protocol_version.definition.limits.progress
            for row in rows.select_related("protocol_version")
            .defer("carried", "concerns", "standing")
            .order_by("start_date", "id")
        }

    def _weeks(
        self, scope: PatientQuerySet, patients: Sequence[Patient]
    ) -> dict[str, tuple[int, int]]:
        """Due and done of this ISO week, as it is where each patient lives, of what is closed."""
        if not patients:
            return {}
        mondays = {str(one.pk): monday_of(today_of(one, self.now)) for one in patients}
        found = weekly(
            Scope(
                patients=scope, first=min(mondays.values()), last=date.max, now=self.now, target=0
            ),
            Grouping.PATIENT,
        )
        return {id: weeks.get(mondays[id], (0, 0)) for id, weeks in found.items()}

    # Around the rows

    def _tiers(self, counts: Mapping[str, int], asked: Mapping[str, str]) -> list[dict[str, Any]]:
        return [
            {"name": tier.value, "count": counts[tier], "is_here": asked.get("tier") == tier}
            for tier in Tier
        ]

    def _colleagues(self) -> list[tuple[str, str]]:
        """Whose patients can be asked for."""
        own = (str(self.person.pk), "My patients")
        clinic = self.person.clinic
        assert clinic is not None
        rows = clinic.people.filter(is_physiotherapist=True, is_active=True)
        others = [(str(one.pk), one.display_name) for one in rows if one != self.person]
        others.sort(key=lambda one: one[1].lower())
        mine = [own] if self.person.is_physiotherapist else []
        return [*mine, (EVERYBODY, "Everybody"), *others]

    def _protocols(self) -> list[tuple[str, str]]:
        """Those by which somebody is treated now, as their newest version calls them."""
        running = Assignment.objects.visible_to(self.person).filter(ended_on=None)
        rows = ProtocolVersion.objects.visible_to(self.person).filter(
            pk__in=running.values("protocol_version")
        )
        found = dict(rows.order_by("published_at").values_list("protocol_id", "title"))
        told = sorted(((str(id), title) for id, title in found.items()), key=lambda one: one[1])
        return [("", "Every protocol"), *told]

    def _handled(self, scope: PatientQuerySet) -> list[dict[str, Any]]:
        """The flags that were dealt with since midnight. Who may not read flags reads none."""
        if Role.PHYSIOTHERAPIST not in self.person.roles:
            return []
        rows = Flag.objects.visible_to(self.person).filter(
            status=Flag.Status.RESOLVED,
            resolved_at__gte=midnight(self.now, self.person.timezone),
            patient__in=scope,
        )
        found = rows.select_related("patient", "resolved_by").order_by("-resolved_at", "pk")
        return [
            {
                "patient": flag.patient,
                "text": words_of_flag(flag.code),
                "action": ACTIONS[flag.action],
                "note": flag.note,
                "by": flag.resolved_by,
                "at": flag.resolved_at,
            }
            for flag in found
        ]

    def _heard(self, scope: PatientQuerySet) -> dict[str, Any]:
        """How old the newest data is, and how many records still have to be judged."""
        last = scope.aggregate(last=Max("last_received_at"))["last"]
        behind = Assignment.objects.visible_to(self.person).filter(
            patient__in=scope, is_behind=True
        )
        return {
            "last_data": last,
            "is_stale": last is not None and self.now - last >= STALE_AFTER,
            "behind": behind.values("patient").distinct().count(),
        }


def _shown_words(shown: int, total: int) -> str:
    return f"{total} patient{'' if total == 1 else 's'}, {shown} shown. Older reasons first."


def midnight(now: datetime, zone: str) -> datetime:
    where = ZoneInfo(zone)
    return datetime.combine(now.astimezone(where).date(), time.min, where)


def words_of_flag(code: str) -> str:
    """What a flag is about, as the library says it."""
    sign = safety().red_flags[code]
    return sign.sign or sign.ask


def _to_do(reasons: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The flag and the proposal that a row leads to: of each the gravest, then the oldest."""
    flags = [one for one in reasons if "flag_id" in one]
    proposals = [one["progression_id"] for one in reasons if "progression_id" in one]
    stands = any(TIERS_OF_REASONS.get(one["code"]) is Tier.URGENT for one in reasons)
    flag = next(iter(flags), None)
    return {
        "flag": flag,
        "stops": stands or (flag is not None and flag["tier"] == Tier.URGENT),
        "is_seen": flag is not None and flag["params"]["status"] == Flag.Status.ACKNOWLEDGED,
        "proposal_id": next(iter(proposals), ""),
    }
