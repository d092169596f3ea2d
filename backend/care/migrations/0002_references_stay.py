"""References stay inside one clinic and one patient."""

from __future__ import annotations

from django.db import migrations

from backend.clinics import tenancy


class Migration(migrations.Migration):
    dependencies = [("care", "0001_initial")]

    operations = [migrations.RunPython(tenancy.install_care, migrations.RunPython.noop)]
