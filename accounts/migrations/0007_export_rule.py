"""Tenants say whether keys may be exported, under a seal. None does so far; the rows that are there get theirs now."""

from django.db import migrations, models


def seal_all(apps, schema_editor):
    from accounts import row_seals
    from accounts.account_seals import EXPORT_RULE

    row_seals.seal_all(apps.get_model("accounts", "Tenant"), EXPORT_RULE)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_seals")]
    operations = [
        migrations.AddField(
            model_name="tenant",
            name="export_wait_hours",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Hours from asking for a key's export to its download; nothing: no exports.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="export_seal",
            field=models.CharField(blank=True, db_default="", default="", editable=False, max_length=64),
        ),
        migrations.RunPython(seal_all, migrations.RunPython.noop),
    ]
