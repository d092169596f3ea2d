"""What can be prescribed: the library and the clinic's own; patients see what they were given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.validators import RegexValidator
from django.db import transaction
from django.db.models import QuerySet
from django.utils.cache import patch_cache_control
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import (
    SIGNED_IN,
    Endpoint,
    Role,
    as_json,
    etag_of,
    match,
    moment,
    path_id,
    tagged,
)
from backend.api.contract import PAGE, operation, query
from backend.api.fields import In, Instant, Many, Text, Whole, Word
from backend.api.paging import CursorInvalid, filters_of, page, tagged_page
from backend.api.plan_shown import MediaOut
from backend.api.schemas import page_of
from backend.care import cataloguing
from backend.problems import Forbidden, NotFound
from exercises.models import Exercise

A_DAY_S = 86_400
KINDS = (
    "stretch", "nerve_glide_slider", "nerve_glide_tensioner", "strengthening", "core", "mobility",
    "foam_rolling", "cardio_running", "education_self_care",
)  # fmt: skip
BODY_REGIONS = (
    "posterior_thigh", "anterior_thigh", "hip", "lower_back", "trunk", "lower_leg", "whole_body",
)  # fmt: skip
SIDES = ("affected", "unaffected", "each_side", "bilateral", "alternating", "none")
DOSE_UNITS = ("reps", "hold_s", "duration_s", "distance_m")
SOUGHT = {"type": "string", "maxLength": 120}
SLUG = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*\Z"


class UsualDoseIn(In):
    """Exactly one of `reps`, `duration_s`, `distance_m`; with `hold_s`, `reps` counts holds."""

    sets = Whole(1, 20)
    reps = Whole(1, 200, required=False)
    hold_s = Whole(1, 600, required=False)
    duration_s = Whole(1, 14_400, required=False)
    distance_m = Whole(1, 50_000, required=False)
    tempo = Text(120, required=False)
    rest_s = Whole(0, 14_400, required=False)
    per_day = Whole(1, 12)
    days_per_week = Whole(1, 7)


class ExerciseSourceIn(In):
    text = Text(1000)
    doi = Text(200, required=False)
    url = Text(500, required=False)


class ExerciseChangeIn(In):
    """What may change in a clinic's own exercise. A dose is given whole."""

    title = Text(120)
    target = Text(120, required=False, allow_blank=True)
    body_region = Word(BODY_REGIONS)
    side = Word(SIDES)
    position = Text(120, required=False, allow_blank=True)
    equipment = Many(Text(120), 20, required=False)
    description = Text(2000, required=False, allow_blank=True)
    cues = Many(Text(300), 20)
    common_errors = Many(Text(300), 20, required=False)
    dose_unit = Word(DOSE_UNITS)
    dose = UsualDoseIn()
    pain_ceiling = Whole(0, 10)
    contraindications = Many(Text(1000), 20, required=False)
    easier = Text(64, required=False, allow_blank=True)
    harder = Text(64, required=False, allow_blank=True)
    sources = Many(ExerciseSourceIn(), 20, required=False)


class ExerciseIn(ExerciseChangeIn):
    """`slug` and `kind` are given once and stay."""

    slug = Text(64, validators=[RegexValidator(SLUG, "Lower-case words with hyphens.")])
    kind = Word(KINDS)


class UsualDoseOut(serializers.Serializer[Any]):
    sets = serializers.IntegerField()
    reps = serializers.IntegerField(required=False)
    hold_s = serializers.IntegerField(required=False)
    duration_s = serializers.IntegerField(required=False)
    distance_m = serializers.IntegerField(required=False)
    tempo = serializers.CharField(required=False)
    rest_s = serializers.IntegerField(required=False)
    per_day = serializers.IntegerField()
    days_per_week = serializers.IntegerField()


class ExerciseSourceOut(serializers.Serializer[Any]):
    id = serializers.CharField(required=False)
    text = serializers.CharField()
    doi = serializers.CharField(required=False)
    url = serializers.CharField(required=False)


class ExerciseOut(serializers.Serializer[Any]):
    """A catalogue entry. `side` and `dose` are the usual ones; a plan says its own."""

    id = serializers.UUIDField()
    slug = serializers.CharField()
    version = serializers.CharField()
    title = serializers.CharField()
    kind = serializers.ChoiceField(KINDS)
    target = serializers.CharField()
    body_region = serializers.ChoiceField(BODY_REGIONS)
    side = serializers.ChoiceField(SIDES)
    position = serializers.CharField()
    equipment = serializers.ListField(child=serializers.CharField())
    description = serializers.CharField()
    cues = serializers.ListField(child=serializers.CharField())
    common_errors = serializers.ListField(child=serializers.CharField())
    media = MediaOut(many=True)
    dose_unit = serializers.ChoiceField(DOSE_UNITS)
    dose = UsualDoseOut()
    log_fields = serializers.ListField(child=serializers.CharField())
    pain_ceiling = serializers.IntegerField()
    contraindications = serializers.ListField(child=serializers.CharField())
    easier = serializers.CharField(required=False)
    harder = serializers.CharField(required=False)
    sources = ExerciseSourceOut(many=True)
    clinic_id = serializers.UUIDField(required=False)
    updated_at = serializers.DateTimeField()
    retired_at = serializers.DateTimeField(required=False)


AS_STORED = (
    "slug", "version", "title", "kind", "target", "body_region", "side", "position", "equipment",
    "description", "cues", "common_errors", "media", "dose_unit", "dose", "log_fields",
    "pain_ceiling", "contraindications", "sources",
)  # fmt: skip


def exercise_shown(row: Exercise) -> dict[str, object]:
    shown: dict[str, object] = {"id": str(row.pk)} | {n: getattr(row, n) for n in AS_STORED}
    if row.easier_slug:
        shown["easier"] = row.easier_slug
    if row.harder_slug:
        shown["harder"] = row.harder_slug
    if row.clinic_id:
        shown["clinic_id"] = str(row.clinic_id)
    shown["updated_at"] = moment(row.updated_at)
    if row.retired_at:
        shown["retired_at"] = moment(row.retired_at)
    return shown


class ExerciseFilters(In):
    kind = Word(KINDS, required=False)
    body_region = Word(BODY_REGIONS, required=False)
    equipment = Text(120, required=False, allow_blank=True)
    q = Text(120, required=False, allow_blank=True)
    updated_after = Instant(required=False)


class Catalogue(Endpoint):
    """Staff see the library and their clinic's own, patients what they were given."""

    roles = SIGNED_IN

    def visible(self) -> QuerySet[Exercise]:
        rows = Exercise.objects.visible_to(self.person)
        if self.person.works_in_clinic:
            return rows
        return rows.filter(pk__in=cataloguing.given_to(self.person.patient))

    def kept(self, answer: Response) -> Response:
        patch_cache_control(answer, private=True, max_age=A_DAY_S)
        return answer


class Exercises(Catalogue):
    @operation(
        "exercise_list", gives={200: page_of(ExerciseOut), 304: None}, refuses=[CursorInvalid],
        params=[
            query("kind", "Only this kind.", enum=KINDS),
            query("body_region", "Only this region.", enum=BODY_REGIONS),
            query("equipment", "Needs something of this name.", SOUGHT),
            query("q", "A part of the title, the slug or the target.", SOUGHT),
            query("updated_after", "Changed after this moment.", OpenApiTypes.DATETIME),
            *PAGE,
        ],
        tag="exercises",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """By title. What was withdrawn from the catalogue is listed for nobody."""
        asked = filters_of(request, ExerciseFilters)
        rows = self.visible().filter(retired_at=None)
        for name in ("kind", "body_region"):
            if name in asked:
                rows = rows.filter(**{name: asked[name]})
        if "updated_after" in asked:
            rows = rows.filter(updated_at__gt=asked["updated_after"])
        if "q" in asked or "equipment" in asked:
            rows = rows.filter(pk__in=[row.pk for row in rows if _fits(row, asked)])
        found = page(request, rows, order=("title", "id"), shown=exercise_shown, filters=asked)
        return self.kept(tagged_page(request, found))

    @operation(
        "exercise_create", takes=ExerciseIn, gives={201: ExerciseOut}, key=True, tag="exercises"
    )
    def post(self, request: Request) -> Response:
        """An exercise of the clinic's own."""
        self.demand(Role.PHYSIOTHERAPIST)
        assert self.person.clinic is not None
        content = _content(ExerciseIn.checked(request.data))
        shown = exercise_shown(
            cataloguing.add(clinic=self.person.clinic, content=content, now=self.now)
        )
        return Response(shown, 201, headers={"ETag": etag_of(as_json(shown))})


class ExerciseOne(Catalogue):
    def found(self, id: str) -> Exercise:
        row = self.visible().filter(pk=path_id(id)).first()
        if row is None:
            raise NotFound
        return row

    @operation("exercise_get", gives={200: ExerciseOut, 304: None}, tag="exercises")
    def get(self, request: Request, id: str) -> Response:
        return self.kept(tagged(request, exercise_shown(self.found(id))))

    @operation(
        "exercise_update", takes=ExerciseChangeIn, gives={200: ExerciseOut}, match="may",
        tag="exercises",
    )  # fmt: skip
    def patch(self, request: Request, id: str) -> Response:
        """Change one of the clinic's own; plans that use it change with it."""
        self.demand(Role.PHYSIOTHERAPIST)
        row = self.found(id)
        if row.clinic_id is None:
            raise Forbidden("An exercise of the library is the same everywhere.")
        content = _content(ExerciseChangeIn.checked(request.data, partial=True))
        assert self.person.clinic is not None
        with transaction.atomic():
            cataloguing.lock(self.person.clinic)
            row = self.found(id)  # as it stands, and stays until we are done
            match(request, etag_of(as_json(exercise_shown(row))), required=False)
            row = cataloguing.change(exercise=row, content=content, now=self.now)
        cataloguing.tell([row], now=self.now)
        shown = exercise_shown(row)
        return Response(shown, headers={"ETag": etag_of(as_json(shown))})


def _content(said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said, under the names of the model."""
    return {cataloguing.LADDER.get(name, name): value for name, value in said.items()}


def _fits(row: Exercise, asked: Mapping[str, Any]) -> bool:
    """In Python, because databases disagree about letters. The catalogue is small."""
    told = " ".join((row.title, row.slug, row.target)).casefold()
    needs = [item.casefold() for item in row.equipment]
    return asked.get("q", "").casefold() in told and (
        "equipment" not in asked or any(asked["equipment"].casefold() in item for item in needs)
    )
