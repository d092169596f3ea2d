from django.db import migrations, models

from backend.clinics import tenancy

# Rows that are there already say nothing of it; derived as they are, `rebuild` makes them anew.


class Migration(migrations.Migration):
    dependencies = [("care", "0006_what_is_to_be_told")]

    operations = [
        migrations.RunPython(tenancy.take_down, tenancy.put_up),
        migrations.AddField("closedday", "kinds", models.JSONField(default=dict)),
        *(
            migrations.AddField("closedday", name, models.PositiveSmallIntegerField(default=0))
            for name in ("sessions", "sessions_late")
        ),
        *(
            migrations.AddField("closedday", name, models.BooleanField(default=False))
            for name in ("is_active", "is_told")
        ),
        migrations.RunPython(tenancy.put_up, tenancy.take_down),
    ]
