from django.db import migrations, models
from django.db.models import OuterRef, Subquery

from backend.clinics import tenancy

CLINIC = {
    "to": "clinics.clinic",
    "on_delete": models.PROTECT,
    "related_name": "+",
    "db_index": False,
    "db_constraint": False,
}


def fill(apps, schema_editor):
    Patient = apps.get_model("clinics", "Patient")
    Assignment, ClosedDay = (apps.get_model("care", name) for name in ("Assignment", "ClosedDay"))
    of_patient = Patient.objects.filter(pk=OuterRef("patient_id")).values("clinic_id")
    Assignment.objects.update(clinic_id=Subquery(of_patient))
    of_plan = Assignment.objects.filter(pk=OuterRef("assignment_id")).values("clinic_id")
    ClosedDay.objects.update(clinic_id=Subquery(of_plan))


class Migration(migrations.Migration):
    dependencies = [("care", "0007_records_of_closed_days")]

    operations = [
        migrations.RunPython(tenancy.take_down, tenancy.put_up),
        *(
            migrations.AddField(model, "clinic", models.ForeignKey(**CLINIC, null=True))
            for model in ("assignment", "closedday")
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        *(
            migrations.AlterField(model, "clinic", models.ForeignKey(**CLINIC))
            for model in ("assignment", "closedday")
        ),
        migrations.RunPython(tenancy.put_up, tenancy.take_down),
    ]
