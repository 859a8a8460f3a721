"""What a tenant settles for itself, its quotas, and proofs of host names."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="TenantDay",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                ("signatures", models.PositiveBigIntegerField(default=0)),
            ],
        ),
        migrations.AddField(
            model_name="tenant",
            name="accent",
            field=models.CharField(
                blank=True, help_text="Colour of its pages, as #rrggbb; empty: Keycast's.", max_length=7
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="default_policy",
            field=models.CharField(blank=True, help_text="The policy offered first for a new app.", max_length=32),
        ),
        migrations.AddField(
            model_name="tenant",
            name="max_apps",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="tenant",
            name="max_keys",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="tenant",
            name="max_members",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="tenant",
            name="max_relays",
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="tenant",
            name="max_signatures",
            field=models.PositiveIntegerField(blank=True, help_text="A day, by UTC.", null=True),
        ),
        migrations.AddField(
            model_name="tenant",
            name="policies",
            field=models.JSONField(
                blank=True, default=list, help_text="Ready-made policies its users may grant; none named: all of them."
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="relays",
            field=models.JSONField(
                blank=True, default=list, help_text="Outbound relays of its own, beside those of the deployment."
            ),
        ),
        migrations.AddField(
            model_name="tenantdomain",
            name="checked_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="tenantdomain",
            name="expires_at",
            field=models.DateTimeField(blank=True, help_text="Until when the proof is looked for.", null=True),
        ),
        migrations.AddField(
            model_name="tenantdomain",
            name="problem",
            field=models.CharField(blank=True, help_text="What the last look at its DNS found wrong.", max_length=200),
        ),
        migrations.AddField(
            model_name="tenantdomain",
            name="token",
            field=models.CharField(blank=True, help_text="What its DNS must show to prove it.", max_length=64),
        ),
        migrations.AlterField(
            model_name="tenantdomain",
            name="host",
            field=models.CharField(help_text="Lower case, A-labels, no port, no dot at the end.", max_length=253),
        ),
        migrations.AddConstraint(
            model_name="tenantdomain",
            constraint=models.UniqueConstraint(fields=("tenant", "host"), name="tenant_domain_claimed_once"),
        ),
        migrations.AddConstraint(
            model_name="tenantdomain",
            constraint=models.UniqueConstraint(
                condition=models.Q(("verified_at__isnull", False)), fields=("host",), name="tenant_domain_verified_once"
            ),
        ),
        migrations.AddField(
            model_name="tenantday",
            name="tenant",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="days", to="accounts.tenant"
            ),
        ),
        migrations.AddConstraint(
            model_name="tenantday",
            constraint=models.UniqueConstraint(fields=("tenant", "day"), name="tenant_day_once"),
        ),
    ]
