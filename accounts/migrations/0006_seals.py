"""Accounts, places in tenants and invitations get a seal. Those that are there are taken as ours, once, now.

In one migration with its columns: where somebody has Django forget that it ran, it fails at them, and seals nothing.
"""

from django.db import migrations, models


def seal_field():
    return models.CharField(blank=True, db_default="", default="", editable=False, max_length=64)


def seal_all(apps, schema_editor):
    from accounts import account_seals, row_seals

    User = apps.get_model("accounts", "User")
    address, factor = apps.get_model("account", "EmailAddress"), apps.get_model("mfa", "Authenticator")
    for chunk in row_seals.chunks(User):
        means = account_seals.means_of_all([user.pk for user in chunk], address, factor)
        for user in chunk:
            user.means = means[user.pk]
            user.seal = account_seals.ACCOUNT.of(user)
        User._base_manager.bulk_update(chunk, ["means", "seal"])
    row_seals.seal_all(apps.get_model("accounts", "Membership"), account_seals.MEMBERSHIP)
    row_seals.seal_all(apps.get_model("accounts", "Invitation"), account_seals.INVITATION)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0005_outgoing_mail"),
        ("account", "0009_emailaddress_unique_primary_email"),
        ("mfa", "0003_authenticator_type_uniq"),
    ]
    operations = [
        migrations.AddField(model_name="invitation", name="seal", field=seal_field()),
        migrations.AddField(model_name="membership", name="seal", field=seal_field()),
        migrations.AddField(
            model_name="user",
            name="means",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="SHA-256 of how one signs in.",
                max_length=64,
            ),
        ),
        migrations.AddField(model_name="user", name="seal", field=seal_field()),
        migrations.RunPython(seal_all, migrations.RunPython.noop),
    ]
