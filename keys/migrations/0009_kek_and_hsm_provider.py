"""Give the key-encryption key's provider and the HSM a column each: they shared one, and the mode said which it was."""

from django.db import migrations, models
from django.db.models import F


def move_hsms(apps, schema_editor):
    keys = apps.get_model("keys", "PersonalKey").objects.using(schema_editor.connection.alias)
    keys.filter(key_mode="hsm").update(hsm_provider=F("kek_provider"), kek_provider="")


def move_back(apps, schema_editor):
    keys = apps.get_model("keys", "PersonalKey").objects.using(schema_editor.connection.alias)
    keys.filter(key_mode="hsm").update(kek_provider=F("hsm_provider"), hsm_provider="")


class Migration(migrations.Migration):

    dependencies = [
        ('keys', '0008_lock_authority'),
    ]

    operations = [
        # Django leaves former names in constraints and indexes when a field is renamed: away first, made anew below.
        migrations.RemoveConstraint(
            model_name='personalkey',
            name='personalkey_provider_fits_mode',
        ),
        migrations.RemoveConstraint(
            model_name='personalkey',
            name='personalkey_hsm_fields',
        ),
        migrations.RemoveIndex(
            model_name='personalkey',
            name='personalkey_list',
        ),
        migrations.RenameField(
            model_name='personalkey',
            old_name='provider',
            new_name='kek_provider',
        ),
        migrations.AlterField(
            model_name='personalkey',
            name='kek_provider',
            field=models.CharField(blank=True, choices=[('local', 'Local key file'), ('google', 'Google Cloud KMS'), ('nethsm', 'NetHSM')], max_length=16, verbose_name="key-encryption key's provider"),
        ),
        migrations.AddField(
            model_name='personalkey',
            name='hsm_provider',
            field=models.CharField(blank=True, choices=[('local', 'Local key file'), ('google', 'Google Cloud KMS'), ('nethsm', 'NetHSM')], max_length=16, verbose_name='HSM'),
        ),
        migrations.RunPython(move_hsms, move_back),
        migrations.AddIndex(
            model_name='personalkey',
            index=models.Index(fields=['created_at', 'id', 'tenant', 'key_mode', 'kek_provider', 'hsm_provider', 'state'], name='personalkey_list'),
        ),
        migrations.AddConstraint(
            model_name='personalkey',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('hsm_provider', ''), ('kek_provider__in', ['local', 'google']), ('key_mode', 'encrypted')), models.Q(('hsm_provider__in', ['google', 'nethsm']), ('kek_provider', ''), ('key_mode', 'hsm')), _connector='OR'), name='personalkey_provider_fits_mode'),
        ),
        migrations.AddConstraint(
            model_name='personalkey',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('key_mode', 'hsm'), _negated=True), models.Q(('encrypted_secret_key__isnull', True), models.Q(('state__in', ['pending', 'failed', 'destroyed']), models.Q(models.Q(('kms_key_name', ''), _negated=True), models.Q(models.Q(('hsm_provider', 'nethsm'), ('cosigner_public_key', ''), ('encrypted_half_key__isnull', True), ('key_tweak', '')), models.Q(('encrypted_half_key__isnull', False), ('hsm_provider', 'google'), models.Q(('kms_key_version', ''), _negated=True), models.Q(('authoriser_public_key', ''), _negated=True), models.Q(('cosigner_public_key', ''), _negated=True), models.Q(('kek_version', ''), _negated=True)), _connector='OR')), _connector='OR')), _connector='OR'), name='personalkey_hsm_fields'),
        ),
    ]
