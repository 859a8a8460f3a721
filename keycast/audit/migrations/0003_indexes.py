from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_append_only")]

    operations = [
        migrations.RemoveIndex(model_name="auditrow", name="audit_row_time"),
        migrations.RemoveIndex(model_name="auditrow", name="audit_row_key"),
        migrations.RemoveIndex(model_name="auditrow", name="audit_row_connection"),
        migrations.RemoveIndex(model_name="auditrow", name="audit_row_request"),
        migrations.AddIndex(
            model_name="auditrow",
            index=models.Index(
                condition=models.Q(("outcome", "intent"), _negated=True),
                fields=["key_id", "id"],
                name="audit_row_key",
            ),
        ),
        migrations.AddIndex(
            model_name="auditrow",
            index=models.Index(
                condition=models.Q(("request_id", "")), fields=["actor_id", "id"], name="audit_row_actor"
            ),
        ),
    ]
