"""Who retired a version, when and why. Making the table anew, SQLite trips over triggers on it."""

from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import Q

from backend.clinics import tenancy


class Migration(migrations.Migration):
    dependencies = [
        ("clinics", "0002_references_stay"),
        ("protocols", "0001_initial"),
        ("care", "0002_references_stay"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunPython(tenancy.take_down, tenancy.put_up),
        migrations.AddField(
            model_name="protocolversion",
            name="retired_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="protocolversion",
            name="retired_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="protocolversion",
            name="retired_reason",
            field=models.CharField(blank=True, max_length=500),
        ),
        migrations.AddConstraint(
            model_name="protocolversion",
            constraint=models.CheckConstraint(
                name="protocol_version_retired_says_when",
                condition=Q(status="published", retired_at=None, retired_by=None, retired_reason="")
                | Q(status="retired", retired_at__isnull=False),
            ),
        ),
        migrations.RunPython(tenancy.put_up, tenancy.take_down),
    ]
