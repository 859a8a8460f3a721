"""Let the database refuse every change of audit rows (keycast.audit.triggers)."""

from django.db import migrations

from keycast.audit import triggers


def install(apps, schema_editor):
    triggers.install_without_cuts(schema_editor, schema_editor.connection.vendor)


def remove(apps, schema_editor):
    triggers.remove(schema_editor, schema_editor.connection.vendor)


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [migrations.RunPython(install, remove)]
