"""Roles of platform staff, requests that a second person decides on, and looks by support."""

import uuid

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


def existing_staff_operate(apps, schema_editor):
    """Nobody gets the power to approve by an upgrade: security officers are named (manage.py staff)."""
    apps.get_model("accounts", "User").objects.filter(is_staff=True).update(staff_role="operator")


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_tenant_settings"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="staff_role",
            field=models.CharField(
                blank=True,
                choices=[
                    ("operator", "Operator"),
                    ("security-officer", "Security officer"),
                    ("auditor", "Auditor"),
                    ("support", "Support"),
                ],
                default="",
                max_length=24,
            ),
        ),
        migrations.RunPython(existing_staff_operate, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("is_staff", False), ("staff_role", "")),
                    models.Q(
                        ("is_staff", True), ("staff_role__in", ["operator", "security-officer", "auditor", "support"])
                    ),
                    _connector="OR",
                ),
                name="staff_have_a_role",
            ),
        ),
        migrations.CreateModel(
            name="Approval",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("kind", models.CharField(max_length=40)),
                ("target_id", models.CharField(blank=True, max_length=64)),
                ("parameters", models.JSONField(default=dict)),
                ("fingerprint", models.CharField(help_text="SHA-256 of kind, target and parameters.", max_length=64)),
                (
                    "description",
                    models.CharField(help_text="What is to happen, in words, as it was when asked.", max_length=300),
                ),
                ("reason", models.CharField(max_length=200)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("approved", "Approved"),
                            ("denied", "Denied"),
                            ("withdrawn", "Withdrawn"),
                            ("expired", "Expired"),
                        ],
                        default="open",
                        max_length=16,
                    ),
                ),
                ("asked_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("expires_at", models.DateTimeField()),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("decision_reason", models.CharField(blank=True, max_length=200)),
                (
                    "used_at",
                    models.DateTimeField(
                        blank=True, help_text="When the approval was spent; it is good for once.", null=True
                    ),
                ),
            ],
            options={
                "verbose_name": "request for approval",
                "verbose_name_plural": "requests for approval",
                "ordering": ("-asked_at",),
            },
        ),
        migrations.CreateModel(
            name="SupportView",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("reason", models.CharField(max_length=200)),
                ("opened_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("closes_at", models.DateTimeField()),
                ("closed_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "ordering": ("-opened_at",),
            },
        ),
        migrations.AddField(
            model_name="approval",
            name="asked_by",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="approval",
            name="decided_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="supportview",
            name="person",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="supportview",
            name="staff",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddField(
            model_name="supportview",
            name="tenant",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="accounts.tenant",
            ),
        ),
        migrations.AddConstraint(
            model_name="approval",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "open")), fields=("fingerprint",), name="approval_open_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="approval",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["open", "approved", "denied", "withdrawn", "expired"])),
                name="approval_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="approval",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_at__isnull", True), ("state", "open")),
                    ("decided_at__isnull", False),
                    _connector="OR",
                ),
                name="approval_decided_when_closed",
            ),
        ),
        migrations.AddConstraint(
            model_name="approval",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state__in", ["approved", "denied"]), _negated=True),
                    models.Q(
                        ("decided_by__isnull", False), models.Q(("decided_by", models.F("asked_by")), _negated=True)
                    ),
                    _connector="OR",
                ),
                name="approval_by_another_person",
            ),
        ),
        migrations.AddConstraint(
            model_name="approval",
            constraint=models.CheckConstraint(
                condition=models.Q(("used_at__isnull", True), ("state", "approved"), _connector="OR"),
                name="approval_used_when_approved",
            ),
        ),
        migrations.AddConstraint(
            model_name="supportview",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("person__isnull", True), ("tenant__isnull", False)),
                    models.Q(("person__isnull", False), ("tenant__isnull", True)),
                    _connector="OR",
                ),
                name="support_view_of_one",
            ),
        ),
    ]
