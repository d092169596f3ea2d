"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection, models
from django.urls import URLResolver, get_resolver

from backend.api.base import Endpoint, Role
from backend.urls import API
from exercises import loader
from protocols import knowledge, publishing

ROOT = Path(settings.BASE_DIR)
CODE = ("backend", "exercises", "protocols")
OURS = ("api", "audit", "care", "clinics", "exercises", "health", "notifications", "protocols")
NOT_OURS = {".git", ".venv", "var", "__pycache__", ".hypothesis", "node_modules"}


def is_ours(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return not any(part in NOT_OURS or part.endswith("_cache") for part in parts)


@cache
def sources() -> dict[str, ast.Module]:
    """Every module of ours but migrations, read as a tree."""
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text())
        for folder in CODE
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "migrations" not in path.parts
    }


def our_models() -> list[type[models.Model]]:
    return [model for label in OURS for model in apps.get_app_config(label).get_models()]


# --- Who sees what ----------------------------------------------------------------------------

# Queries of interfaces that start without `.visible_to(`, and why each may.
BY_HAND = {
    ("backend/api/audit.py", "User"): "names of colleagues, by the caller's clinic",
    ("backend/api/base.py", "User"): "the sign-in finds out who it is",
    ("backend/console/audit.py", "Chain"): "where the chain of the caller's own clinic ends",
    ("backend/api/sync.py", "model"): "SQL written once, of the caller's own records by their key",
    ("backend/api/physio/patients.py", "User"): "a colleague, by the caller's clinic",
    ("backend/api/physio/patients.py", "Invitation"): "just made, or by a signed token on paper",
    ("backend/api/paging.py", "model"): "where a row stands that a signed cursor names",
}
INTERFACES = ("backend/api/", "backend/fhir/", "backend/console/", "backend/tasks.py")
NOBODYS = {"IdempotencyKey", "SignInSession"}  # of the caller alone, by key


def queries(tree: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """Whose manager a query starts at, and the names of everything in its chain."""
    above = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        managers = ("objects", "_default_manager", "_base_manager")
        if isinstance(node, ast.Attribute) and node.attr in managers:
            chain: set[str] = set()
            link: ast.AST = node
            while isinstance(above.get(link), ast.Attribute | ast.Call):
                link = above[link]
                if isinstance(link, ast.Attribute):
                    chain.add(link.attr)
            yield ast.unparse(node.value).rpartition(".")[2], chain


def test_interfaces_ask_only_for_what_the_person_may_see() -> None:
    found = {
        (file, owner)
        for file, tree in sources().items()
        if file.startswith(INTERFACES)
        for owner, chain in queries(tree)
        if "visible_to" not in chain and owner not in NOBODYS
    }
    assert found == BY_HAND.keys(), "start it with .visible_to(person)"


def test_the_rule_above_sees_what_it_is_for() -> None:
    """A query that starts with everything is noticed, and one that is narrowed is not."""
    tree = ast.parse(
        "A.objects.filter(x=1).first()\n"
        "models.B.objects.visible_to(me).get(pk=2)\n"
        "C.objects.filter(y=1).visible_to(me)\n"
    )
    blind = [owner for owner, chain in queries(tree) if "visible_to" not in chain]
    assert blind == ["A"]


# --- Routes -----------------------------------------------------------------------------------

# Everything that is served outside the API, and who watches over it.
OUTSIDE = {
    "api/v1/": "the API",
    "api/auth/": "django-allauth, headless",
    "accounts/": "django-allauth, for operators",
    "accounts/2fa/": "django-allauth, for operators",
    "accounts/sessions/": "django-allauth, for operators and staff",
    "console": "leads to the console",
    "console/": "staff; tests/console looks at each screen",
    "admin/": "operators, behind their second factor",
    "api/schema.json": "public",
    "api/docs": "public",
    "problems/<slug:code>": "public",
    "invitations/<str:token>": "a signed token",
    "media/<str:digest>/<slug:slug>.svg": "public",
    "healthz": "public",
    "readyz": "public",
    "metrics": "a token of the operators",
    "": "no such address",
}


def test_every_route_names_its_roles_and_every_method_its_operation() -> None:
    for pattern in API:
        view = pattern.callback.cls  # type: ignore[attr-defined]
        assert issubclass(view, Endpoint), pattern
        assert view.roles, f"{view.__name__} admits nobody"
        assert view.roles <= set(Role)
        for method in ("get", "put", "post", "patch", "delete", "options", "head", "trace"):
            handler = getattr(view, method, None)
            if handler is not None and method != "options":
                assert handler.operation_id, f"{view.__name__}.{method}"


def test_what_is_served_outside_the_api_is_known() -> None:
    found = {str(one.pattern) for one in get_resolver().url_patterns}

    assert found == OUTSIDE.keys()
    [inside] = [one for one in get_resolver().url_patterns if str(one.pattern) == "api/v1/"]
    assert isinstance(inside, URLResolver)
    assert inside.url_patterns == API


# --- Models -----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_models_and_migrations_agree() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_whoever_needs_an_order_says_so() -> None:
    assert [model for model in our_models() if model._meta.ordering] == []


def test_nothing_clinical_disappears_with_something_else() -> None:
    """What a request said twice may go with its account, and how a message went with the message,
    whose way survives the phone; everything else stays."""
    gone = [
        f"{model.__name__}.{field.name}"
        for model in our_models()
        for field in model._meta.concrete_fields
        if isinstance(field, models.ForeignKey)
        and field.remote_field.on_delete is not models.PROTECT
    ]
    assert gone == ["IdempotencyKey.user", "Delivery.message", "Delivery.device"]


def test_ids_tell_nothing() -> None:
    """Keys that count up stay inside: no answer shows one."""
    counted = {
        model.__name__ for model in our_models() if not isinstance(model._meta.pk, models.UUIDField)
    }
    assert counted <= {
        "Revision", "Event", "ClosedDay", "Change", "IdempotencyKey", "Heartbeat", "PasswordTries",
        "Delivery", "ReminderSettings",
    }  # fmt: skip


# --- Manner -----------------------------------------------------------------------------------

EDGE = ("backend/api/", "backend/console/", "backend/management/", "backend/tasks.py",
        "backend/clinics/sign_in.py", "backend/clinics/admin.py", "backend/logs.py",
        "backend/broker.py")  # fmt: skip
CLOCKS = {"now", "today", "utcnow", "localdate", "localtime", "time_ns", "monotonic", "Now"}
KNOWN_CLOCKS = {
    ("backend/clinics/models.py", "auto_now_add"): "when Django made the account",
    ("backend/notifications/gateways/calling.py", "monotonic"): "how long a call has taken",
    ("backend/notifications/delivering.py", "now"): "the caller's clock, which goes on meanwhile",
    ("backend/notifications/delivering.py", "monotonic"): "how long sending has taken",
    ("backend/notifications/delivering.py", "time"): "for that",
}


def clocks(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            name = node.func.id if isinstance(node.func, ast.Name) else name
            if name in CLOCKS:
                yield name
        if isinstance(node, ast.keyword) and node.arg in ("auto_now", "auto_now_add"):
            yield node.arg
        if isinstance(node, ast.Import) and "time" in [one.name for one in node.names]:
            yield "time"


def test_no_clock_below_the_edge() -> None:
    found = {
        (file, name)
        for file, tree in sources().items()
        if not file.startswith(EDGE)
        for name in clocks(tree)
    }
    assert found == KNOWN_CLOCKS.keys(), "take `now` or `on` as an argument"


def test_actions_are_told_by_name() -> None:
    """What changes something takes keyword arguments only; a helper begins with an underscore."""
    positional = [
        f"{file}: {node.name}"
        for file, tree in sources().items()
        if not file.startswith(EDGE)
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and any("atomic" in ast.unparse(one) for one in node.decorator_list)
        and node.args.args
    ]
    assert positional == []


def test_a_module_says_what_it_is_for() -> None:
    silent = [file for file, tree in sources().items() if tree.body and not ast.get_docstring(tree)]
    assert silent == []


def test_names_that_hold_anything_hold_nothing_here() -> None:
    banned = {"apps.py", "serializers.py", "signals.py", "managers.py", "utils.py", "helpers.py"}
    names = {part for file in sources() for part in Path(file).parts}
    assert not names & (banned | {"core", "common", "utils"})


def test_nothing_is_left_to_be_done() -> None:
    """Neither in code nor in words."""
    words = re.compile(r"\b(TO" "DO|FIX" "ME|XX" "X|NotImplemented" "Error)\\b")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path, text in texts()
        for match in words.finditer(text)
    ]
    assert found == []


# --- Files ------------------------------------------------------------------------------------


@cache
def texts() -> list[tuple[Path, str]]:
    """Every text file of the project."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if is_ours(Path(folder, name))]
        for path in (Path(folder, name) for name in names):
            raw = path.read_bytes()
            if b"\0" not in raw[:1000] and len(raw) < 500_000:
                found.append((path, raw.decode(errors="replace")))
    return found


def test_every_library_file_passes_its_check() -> None:
    catalogue, shared = loader.read_catalogue(ROOT), knowledge.check(ROOT)
    library = publishing.read_library(ROOT, catalogue=catalogue, shared=shared)
    findings = [*catalogue.findings, *shared.findings, *library.findings]

    assert [str(one) for one in publishing.errors_of(findings)] == []
    assert len(library.documents) == len(list((ROOT / "protocols/library").glob("*.yaml"))) == 10


def test_one_postgresql_everywhere() -> None:
    """What compose runs is what the project names, and no newer than what the checks run on."""
    found = {
        int(match[1])
        for path, text in texts()
        if path.suffix in ("", ".yml", ".yaml", ".md", ".toml", ".sh") or path.name == "Dockerfile"
        for match in re.finditer(r"(?:postgres:|PostgreSQL )(\d\d)\b", text)
    }
    assert len(found) == 1, found
    if connection.vendor == "postgresql":
        assert connection.pg_version // 10_000 >= found.pop()  # type: ignore[attr-defined]


def test_nothing_leads_out_of_the_project() -> None:
    """Neither a link, nor a relative path, nor the place where this copy happens to lie."""
    out = []
    for path, text in texts():
        if path.is_symlink() and not path.resolve().is_relative_to(ROOT):
            out.append(str(path))
        for match in re.finditer(r"(?<![\w./])(?:\.\./)+[\w./-]*", text):
            if not (path.parent / match[0]).resolve().is_relative_to(ROOT):
                out.append(f"{path.relative_to(ROOT)}: {match[0]}")
        if f"{ROOT}/" in text:
            out.append(f"{path.relative_to(ROOT)}: {ROOT}/")
    assert out == []
