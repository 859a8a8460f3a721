"""Connections get a seal (bunker.services.grant_seals). Those that are there are taken as granted, once, now."""

from django.db import migrations, models

CHUNK = 500


def seal_all(apps, schema_editor):
    from bunker.services.grant_seals import SEALED_STATES, seal

    Connection = apps.get_model("bunker", "Connection")
    rows = Connection._base_manager.filter(state__in=[str(state.value) for state in SEALED_STATES])
    sealed = []
    for connection in rows.iterator(CHUNK):
        connection.seal = seal(connection, connection.policy)
        sealed.append(connection)
        if len(sealed) == CHUNK:
            Connection._base_manager.bulk_update(sealed, ["seal"])
            sealed = []
    Connection._base_manager.bulk_update(sealed, ["seal"])


class Migration(migrations.Migration):
    dependencies = [("bunker", "0006_connection_request_rate")]
    operations = [
        migrations.AddField(
            model_name="connection",
            name="seal",
            field=models.CharField(blank=True, db_default="", default="", max_length=64),
        ),
        migrations.RunPython(seal_all, migrations.RunPython.noop),
    ]
