"""A request rate for each app. Those that are connected already keep the one that all had: nothing that works may break."""

from django.db import migrations, models

CHOICES = [("person", "A person's"), ("machine", "A server's")]


class Migration(migrations.Migration):
    dependencies = [("bunker", "0005_everything_reads_own")]
    operations = [
        migrations.AddField(
            model_name="connection",
            name="request_rate",
            field=models.CharField(choices=CHOICES, default="machine", max_length=8),
        ),
        migrations.AlterField(
            model_name="connection",
            name="request_rate",
            field=models.CharField(choices=CHOICES, default="person", max_length=8),
        ),
    ]
