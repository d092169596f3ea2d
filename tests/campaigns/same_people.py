"""Fills an empty database with the library and a few people, and prints who they are as JSON.

Twice run, on two databases, it makes the same people with the same ids.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from io import StringIO
from uuid import UUID, uuid5

PASSWORD = "a long password"
TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
NAMESPACE = UUID("6a1b1f5e-5f4b-4c55-9d0a-7d3f5b8a2c11")


def made(name: str) -> str:
    """The id of whoever has this name."""
    return str(uuid5(NAMESPACE, name))


def main() -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.utils import timezone

    from tests.roles import admit

    call_command("migrate", verbosity=0)
    admit()
    call_command("load_library", verbosity=0, stdout=StringIO())
    json.dump(people(timezone.now()), sys.stdout)


def people(now: datetime) -> dict[str, str]:
    """Sessions and ids by the names the script has for them."""
    from allauth.mfa.models import Authenticator
    from allauth.mfa.utils import encrypt

    from backend.clinics.models import Clinic, User
    from protocols.models import ProtocolVersion
    from tests.service.cast import (
        Staff,
        make_clinic,
        make_episode,
        make_patient,
        make_staff,
        session_token,
    )

    def staff(clinic: Clinic, name: str, **roles: bool) -> Staff:
        return make_staff(clinic, name, id=made(name), **roles)  # type: ignore[arg-type]

    harbour = make_clinic("Harbour", now, id=made("harbour"))
    riverside = make_clinic("Riverside", now, id=made("riverside"))
    works = {"is_physiotherapist": True, "can_publish": True}
    ana = staff(harbour, "Ana", **works)
    dan = staff(harbour, "Dan", is_physiotherapist=True)
    cleo = staff(harbour, "Cleo", is_clinic_admin=True)
    olga = staff(riverside, "Olga", **works, is_clinic_admin=True)
    Clinic.objects.filter(pk=riverside.pk).update(second_factor_required=True)
    tom = staff(riverside, "Tom", **works)
    Authenticator.objects.create(
        user=tom.user, type=Authenticator.Type.TOTP, data={"secret": encrypt(TOTP_SECRET)}
    )
    told = {
        "harbour": made("harbour"),
        "ana": ana.token,
        "ana_id": made("Ana"),
        "dan": dan.token,
        "dan_id": made("Dan"),
        "cleo": cleo.token,
        "olga": olga.token,
        "wrong": "0" * 32,
        "operator": session_token(User.objects.create_user("op@example.org", PASSWORD)),
    }
    for name, treated_by, clinic in (
        ("Ben", ana, harbour),
        ("Bea", dan, harbour),
        ("Otto", olga, riverside),
    ):
        phone = make_patient(clinic, name, now, treated_by.user, id=made(name))
        episode = make_episode(phone.patient, treated_by.user, now, id=made(f"{name}'s thigh"))
        short = name.lower()
        told |= {
            short: phone.token,
            f"{short}_id": made(name),
            f"{short}_episode": str(episode.pk),
        }
    User.objects.create_user("anna@exämple.org", PASSWORD, clinic=harbour, is_clinic_admin=True)
    library = ProtocolVersion.objects.get(slug="hs-grade-1")
    told["library"] = str(library.protocol_id)
    return told


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backend.settings")
    main()
