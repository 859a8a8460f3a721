"""Name two columns by what is in them: public keys of the co-signer and of the HSM's authoriser.

Django leaves former names in constraints and indexes when a field is renamed, so those are made anew around it.
"""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('keys', '0006_authoriser_since'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='personalkey',
            name='personalkey_encrypted_fields',
        ),
        migrations.RemoveConstraint(
            model_name='personalkey',
            name='personalkey_hsm_fields',
        ),
        migrations.RemoveIndex(
            model_name='personalkey',
            name='personalkey_cosigner',
        ),
        migrations.RemoveConstraint(
            model_name='halfrefresh',
            name='halfrefresh_step_has_fields',
        ),
        migrations.RemoveConstraint(
            model_name='conversion',
            name='conversion_step_has_fields',
        ),
        migrations.RemoveConstraint(
            model_name='succession',
            name='succession_step_has_fields',
        ),
        migrations.RenameField(
            model_name='personalkey',
            old_name='cosigner',
            new_name='cosigner_public_key',
        ),
        migrations.RenameField(
            model_name='personalkey',
            old_name='kms_public_key',
            new_name='authoriser_public_key',
        ),
        migrations.RenameField(
            model_name='halfrefresh',
            old_name='cosigner',
            new_name='cosigner_public_key',
        ),
        migrations.RenameField(
            model_name='conversion',
            old_name='cosigner',
            new_name='cosigner_public_key',
        ),
        migrations.RenameField(
            model_name='conversion',
            old_name='kms_public_key',
            new_name='authoriser_public_key',
        ),
        migrations.RenameField(
            model_name='succession',
            old_name='kms_public_key',
            new_name='authoriser_public_key',
        ),
        migrations.AddConstraint(
            model_name='personalkey',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('key_mode', 'encrypted'), _negated=True), models.Q(('authoriser_public_key', ''), ('kms_key_name', ''), ('kms_key_version', ''), ('cosigner_public_key', ''), ('encrypted_half_key__isnull', True), ('key_tweak', ''), models.Q(models.Q(('encrypted_secret_key__isnull', True), ('state__in', ['pending', 'failed', 'destroyed'])), models.Q(('encrypted_secret_key__isnull', False), ('state__in', ['active', 'locked', 'disabled', 'destruction-scheduled']), models.Q(('kek_version', ''), _negated=True)), _connector='OR')), _connector='OR'), name='personalkey_encrypted_fields'),
        ),
        migrations.AddConstraint(
            model_name='personalkey',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('key_mode', 'hsm'), _negated=True), models.Q(('encrypted_secret_key__isnull', True), models.Q(('state__in', ['pending', 'failed', 'destroyed']), models.Q(models.Q(('kms_key_name', ''), _negated=True), models.Q(models.Q(('provider', 'nethsm'), ('cosigner_public_key', ''), ('encrypted_half_key__isnull', True), ('key_tweak', '')), models.Q(('encrypted_half_key__isnull', False), ('provider', 'google'), models.Q(('kms_key_version', ''), _negated=True), models.Q(('authoriser_public_key', ''), _negated=True), models.Q(('cosigner_public_key', ''), _negated=True), models.Q(('kek_version', ''), _negated=True)), _connector='OR')), _connector='OR')), _connector='OR'), name='personalkey_hsm_fields'),
        ),
        migrations.AddIndex(
            model_name='personalkey',
            index=models.Index(condition=models.Q(('cosigner_public_key', ''), _negated=True), fields=['cosigner_public_key'], name='personalkey_cosigner'),
        ),
        migrations.AddConstraint(
            model_name='halfrefresh',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('cosigner_public_key', ''), ('encrypted_half_key__isnull', False), ('key_tweak', ''), ('step', 'drawn')), models.Q(('encrypted_half_key__isnull', False), ('step', 'agreed'), models.Q(('cosigner_public_key', ''), _negated=True), models.Q(('key_tweak', ''), _negated=True)), models.Q(('encrypted_half_key__isnull', True), ('step', 'switched'), ('switched_at__isnull', False)), _connector='OR'), name='halfrefresh_step_has_fields'),
        ),
        migrations.AddConstraint(
            model_name='conversion',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('half_a__isnull', False), ('half_b__isnull', False), ('step', 'split')), models.Q(('half_a__isnull', False), ('half_b__isnull', False), ('step', 'made'), models.Q(('kms_key_version', ''), _negated=True), models.Q(('authoriser_public_key', ''), _negated=True)), models.Q(('half_a__isnull', False), ('half_b__isnull', True), ('step', 'adopted'), models.Q(('kms_key_version', ''), _negated=True), models.Q(('authoriser_public_key', ''), _negated=True)), models.Q(('half_a__isnull', True), ('half_b__isnull', True), ('step__in', ['cancelled', 'failed'])), _connector='OR'), name='conversion_step_has_fields'),
        ),
        migrations.AddConstraint(
            model_name='succession',
            constraint=models.CheckConstraint(condition=models.Q(('step', 'named'), models.Q(('step__in', ['made', 'accepted']), models.Q(('kms_key_version', ''), _negated=True), models.Q(('authoriser_public_key', ''), _negated=True)), models.Q(('step', 'switched'), ('switched_at__isnull', False), models.Q(('authoriser_public_key', ''), _negated=True)), _connector='OR'), name='succession_step_has_fields'),
        ),
    ]
