"""Many patients out of one: every row that hangs on a patient, under ids of its own.

What has been told, judged and decided of the one is true of the others, date by date: ids are all
that differs, and what is made of ids (slots, prescriptions, digests) is made anew. Rows go from and
to the database as text, table by table, so that a copy costs little more than writing it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Any
from uuid import UUID, uuid5

from django.db import connection, models, transaction
from django.db.models.functions import Cast

from backend.care import models as care
from backend.clinics import models as people
from backend.clinics.models import Patient, User
from backend.notifications import models as telling
from backend.notifications.models import key_of
from protocols.engine.plan import MOST_SLOTS_A_DAY, days_from, slot_id

# What hangs on a patient, and how; what others point at comes first.
OF_PATIENT: tuple[tuple[type[models.Model], str], ...] = (
    (people.User, "patient"),
    (people.Patient, "pk"),
    (people.PatientIdentifier, "patient"),
    (people.Episode, "patient"),
    (people.Invitation, "patient"),
    (people.Device, "patient"),
    (care.Assignment, "patient"),
    (care.AssignmentVersion, "assignment__patient"),
    (care.Pause, "assignment__patient"),
    (care.Assessment, "patient"),
    (care.CheckIn, "patient"),
    (care.Session, "patient"),
    (care.Revision, "patient"),
    (care.Flag, "patient"),
    (care.ClosedDay, "assignment__patient"),
    (care.Event, "patient"),
    (care.Progression, "patient"),
    (care.Change, "patient"),
    (telling.ReminderSettings, "patient"),
    (telling.Message, "patient"),
    (telling.Delivery, "message__patient"),
)
CHOSEN_BY_PHONES = {"phone_id", "device_id"}
NAMED = {  # columns that say who somebody is, by table, and which member of `Person` says so
    (people.User, "email"): "email",
    (people.User, "given_name"): "given_name",
    (people.User, "family_name"): "family_name",
    (people.Patient, "email"): "email",
    (people.Patient, "given_name"): "given_name",
    (people.Patient, "family_name"): "family_name",
    (people.PatientIdentifier, "value"): "name",
    (people.Invitation, "locator"): "locator",
}
ID_OR_DIGEST = re.compile(
    r"(?<![0-9a-f])([0-9a-f]{64}|[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12})(?![0-9a-f])"
)
LOCATOR = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
BARE = " without dashes"

Values = dict[str, str]  # what each mark stands for, in one copy
Made = Callable[[Values], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whom a copy is of. `name` also decides every id that it gets."""

    name: str
    email: str
    given_name: str
    family_name: str
    treated_by: User


@dataclass(frozen=True, slots=True)
class Text:
    """A text with gaps: what stands between them, and the marks that fill them."""

    parts: tuple[str, ...]
    marks: tuple[str, ...]

    def filled(self, values: Mapping[str, str]) -> str:
        parts = list(self.parts)
        parts[1::2] = [values[mark] for mark in self.marks]
        return "".join(parts)


class _Format:
    """How the rows of a table become one text, and go in again."""

    def __init__(self) -> None:
        self.is_copied = _takes_copies()
        self.column, self.row, self.null = ("\t", "\n", "\\N")
        if not self.is_copied:
            self.column, self.row, self.null = ("\x1f", "\x1e", "\x1d")

    def literal(self, text: str) -> str:
        if not self.is_copied:
            return text
        for plain, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
            text = text.replace(plain, escaped)
        return text

    def write(self, table: str, columns: Sequence[str], blocks: Iterable[str]) -> None:
        names = ", ".join(map(connection.ops.quote_name, columns))
        with connection.cursor() as cursor:
            if self.is_copied:
                with cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                    for block in blocks:
                        copy.write(block)
                return
            places = ", ".join(["%s"] * len(columns))
            for block in blocks:
                rows = (row.split(self.column) for row in block.split(self.row)[:-1])
                cursor.executemany(
                    f"INSERT INTO {table} ({names}) VALUES ({places})",  # noqa: S608  # our names
                    [[None if one == self.null else one for one in row] for row in rows],
                )


def _takes_copies() -> bool:
    """PostgreSQL has COPY, for roles that no policy holds to some rows."""
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_security_active(%s)", [people.Patient._meta.db_table])
        is_held: bool = cursor.fetchone()[0]
    return not is_held


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    text: Text
    count: int


class Model:
    """A patient as copies are made of him. The caller holds his lock, or nobody writes him."""

    def __init__(self, patient: Patient) -> None:
        self.patient = patient
        self.format = _Format()
        self.ids: dict[str, str] = {}  # of everything that gets a new one at random, to its mark
        self.made: dict[str, Made] = {}  # how every other mark is filled
        self.marks: dict[str, str] = {}  # by what stands in the model
        self.used: set[str] = set()
        self._know_the_ids()
        self._know_what_is_made_of_ids()
        self.tables = [self._table(model, path) for model, path in OF_PATIENT]
        self.made = {mark: how for mark, how in self.made.items() if mark in self.used}
        self.rows = sum(table.count for table in self.tables)

    # --- What differs -------------------------------------------------------------------------

    def _rows(self, model: type[models.Model], path: str) -> models.QuerySet[Any]:
        return model._default_manager.filter(**{path: self.patient.pk}).order_by("pk")

    def _know_the_ids(self) -> None:
        own: set[Any] = set()
        for model, path in OF_PATIENT:
            key = model._meta.pk
            assert key is not None
            names = [f.attname for f in model._meta.concrete_fields if f.name in CHOSEN_BY_PHONES]
            names += [key.attname] if isinstance(key, models.UUIDField) else []
            for name in names:
                own.update(self._rows(model, path).values_list(name, flat=True))
        for version in self._rows(care.AssignmentVersion, "assignment__patient"):
            own.update(row["id"] for row in version.prescriptions)
        for id in sorted(str(id) for id in own if id is not None):
            self.ids[id] = self.marks[id] = id
        for message in self._rows(telling.Message, "patient"):
            self._is_made(str(message.pk), _message_id(message))
        assert self.patient.physiotherapist is not None
        self.marks[str(self.patient.clinic_id)] = "clinic"
        self.marks[str(self.patient.physiotherapist.pk)] = "physiotherapist"

    def _is_made(self, found: str, how: Made) -> None:
        self.ids.pop(found, None)
        self.marks[found] = found
        self.made[found] = how

    def _know_what_is_made_of_ids(self) -> None:
        for plan in care.Assignment.objects.filter(patient=self.patient):
            for name, id in _slots_of(plan):
                self._is_made(str(id), _slot_id(str(plan.pk), name))
        for row in self._rows(care.Revision, "patient"):
            self._is_digest(row.sha256, row.content)
        for row in self._rows(care.Progression, "patient").select_related(
            "assignment__protocol_version"
        ):
            version = row.assignment.protocol_version
            said = {"engine": row.engine_version, "protocol": version.slug,
                    "version": version.version}  # fmt: skip
            self._is_digest(row.inputs_sha256, said | row.inputs)

    def _is_digest(self, digest: str, content: Any) -> None:
        said = json.dumps(content, sort_keys=True, separators=(",", ":"))
        if hashlib.sha256(said.encode()).hexdigest() != digest:
            raise ValueError("this patient's rows were not written by the actions")
        text = self._gapped([said])
        self._is_made(digest, lambda values: _sha256(text.filled(values)))

    # --- Rows as text -------------------------------------------------------------------------

    def _gapped(self, pieces: Iterable[str]) -> Text:
        """The text that these make. Its ids become gaps; a piece that begins with NUL is one."""
        parts, marks, literal = [], [], ""
        for piece in pieces:
            for n, found in enumerate(ID_OR_DIGEST.split(piece)):
                mark = self._mark(found) if n % 2 else None
                if mark is None:
                    literal += found
                else:
                    parts += [literal, ""]
                    marks.append(mark)
                    literal = ""
        self.used.update(marks)
        return Text((*parts, literal), tuple(marks))

    def _mark(self, found: str) -> str | None:
        if len(found) == 32:
            mark = self.marks.get(str(UUID(found)))
            return None if mark is None else mark + BARE
        return self.marks.get(found)

    def _table(self, model: type[models.Model], path: str) -> _Table:
        fields = [f for f in model._meta.concrete_fields if not isinstance(f, models.AutoField)]
        as_text = {f"text_{f.attname}": Cast(f.attname, models.TextField()) for f in fields}
        rows = list(self._rows(model, path).annotate(**as_text).values_list(*as_text))
        names = [NAMED.get((model, f.attname)) for f in fields]
        text = self._gapped(self._pieces(names, rows))
        for mark in set(text.marks):
            if mark.endswith(BARE):
                self.made[mark] = _bare(mark.removesuffix(BARE))
                self.used.add(mark.removesuffix(BARE))
        columns = tuple(str(f.column) for f in fields)
        return _Table(model._meta.db_table, columns, text, len(rows))

    def _pieces(
        self, names: Sequence[str | None], rows: Iterable[Sequence[str | None]]
    ) -> Iterator[str]:
        for row in rows:
            for n, (name, value) in enumerate(zip(names, row, strict=True)):
                yield self.format.column if n else ""
                if value is None:
                    yield self.format.null
                else:
                    yield self._own(name) if name and value else self.format.literal(value)
            yield self.format.row

    def _own(self, name: str) -> str:
        """A digest of our own making, which no text has, in the place of a name."""
        digest = _sha256(f"{self.patient.pk}/{name}")
        self.marks[digest] = name
        return digest

    # --- Copies -------------------------------------------------------------------------------

    def values_of(self, person: Person) -> Values:
        """What fills the gaps for this person. New ids are in the order of the old ones: where two
        records came at the same moment, their order decides."""
        dice = Random(person.name)  # noqa: S311  # the same name, the same ids
        new = sorted(str(UUID(int=dice.getrandbits(128), version=4)) for _ in self.ids)
        values = dict(zip(self.ids, new, strict=True))
        values |= {
            "clinic": str(person.treated_by.clinic_id),
            "physiotherapist": str(person.treated_by.pk),
            "locator": "".join(dice.choices(LOCATOR, k=8)),
        }
        for name in ("name", "email", "given_name", "family_name"):
            values[name] = self.format.literal(getattr(person, name))
        for mark, how in self.made.items():
            values[mark] = how(values)
        return values


@transaction.atomic
def make_copies(model: Model, persons: Sequence[Person]) -> int:
    """Write one copy of this patient for each of them; how many rows that were."""
    every = [model.values_of(person) for person in persons]
    for table in model.tables:
        if table.count:
            blocks = (table.text.filled(values) for values in every)
            model.format.write(table.name, table.columns, blocks)
    return model.rows * len(every)


def _slots_of(plan: care.Assignment) -> Iterator[tuple[str, UUID]]:
    """The id of every slot up to now, with the name that it is made of."""
    told = care.Session.objects.filter(assignment=plan).aggregate(last=models.Max("local_date"))
    last: date = max(told["last"] or plan.start_date, plan.judged_to or plan.start_date)
    for on in days_from(plan.start_date, (last - plan.start_date).days + 1):
        for n in range(1, MOST_SLOTS_A_DAY + 1):
            yield f"{on.isoformat()}/{n}", slot_id(plan.pk, on, str(n))


def _slot_id(plan: str, name: str) -> Made:
    return lambda values: str(uuid5(UUID(values[plan]), name))


def _message_id(row: telling.Message) -> Made:
    person, kind, on, slot = str(row.person_id), row.kind, row.on, row.slot
    return lambda values: str(key_of(UUID(values[person]), kind, on, slot))


def _bare(mark: str) -> Made:
    return lambda values: values[mark].replace("-", "")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
