from django.db import migrations, models

from backend.clinics import tenancy


class Migration(migrations.Migration):
    dependencies = [("care", "0003_judged_days_and_decisions")]

    operations = [
        migrations.RunPython(tenancy.take_down, tenancy.put_up),
        migrations.AddField("event", "since", models.DateField(null=True)),
        migrations.RunPython(tenancy.put_up, tenancy.take_down),
    ]
