from datetime import UTC, datetime

from django.db import migrations, models

from backend.clinics import tenancy

# Rows that are there already get values that say nothing; derived as they are, `rebuild` makes them
# anew.
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
COUNTS = ("slots_due", "slots_completed", "slots_partial", "slots_skipped", "slots_excused")


class Migration(migrations.Migration):
    dependencies = [("care", "0004_what_an_approval_leads_out_of")]

    operations = [
        migrations.RunPython(tenancy.take_down, tenancy.put_up),
        migrations.AddField("assignment", "concerns", models.JSONField(null=True)),
        migrations.AddIndex(
            "assignment",
            models.Index(
                fields=["patient"],
                condition=models.Q(("concerns__isnull", False)),
                name="assignment_of_concern",
            ),
        ),
        migrations.AddField(
            "closedday", "closed_at", models.DateTimeField(default=NEVER), preserve_default=False
        ),
        *(
            migrations.AddField(
                "closedday",
                name,
                models.PositiveSmallIntegerField(default=0),
                preserve_default=False,
            )
            for name in COUNTS
        ),
        migrations.AddField(
            "closedday", "dose_ratios", models.FloatField(default=0), preserve_default=False
        ),
        migrations.RunPython(tenancy.put_up, tenancy.take_down),
    ]
