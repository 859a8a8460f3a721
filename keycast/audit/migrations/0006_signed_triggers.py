"""Protect checkpoints and cuts, and let rows go that a cut names (keycast.audit.triggers)."""

from django.db import migrations

from keycast.audit import triggers


def install(apps, schema_editor):
    triggers.install(schema_editor, schema_editor.connection.vendor)


def before(apps, schema_editor):
    triggers.install_without_cuts(schema_editor, schema_editor.connection.vendor)


class Migration(migrations.Migration):
    dependencies = [("audit", "0005_signed_statements")]

    operations = [migrations.RunPython(install, before)]
