"""Keys get a seal of whose they are (keys.owner_seals). Those that are there are taken as ours, once, now."""

from django.db import migrations, models


def seal_all(apps, schema_editor):
    from accounts import row_seals
    from keys.owner_seals import OWNER

    row_seals.seal_all(apps.get_model("keys", "PersonalKey"), OWNER)


class Migration(migrations.Migration):
    dependencies = [("keys", "0013_authorisers_on_p256")]
    operations = [
        migrations.AddField(
            model_name="personalkey",
            name="owner_seal",
            field=models.CharField(blank=True, db_default="", default="", editable=False, max_length=64),
        ),
        migrations.RunPython(seal_all, migrations.RunPython.noop),
    ]
