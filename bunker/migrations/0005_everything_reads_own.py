"""Connections with *Everything* keep what it says they may: since now, "any" peer is anybody but the user themself."""

from django.db import migrations

CHUNK = 500
RULE = {
    "effect": "allow",
    "methods": ["nip04_encrypt", "nip04_decrypt", "nip44_encrypt", "nip44_decrypt"],
    "peers": "self",
}


def add_rule(apps, schema_editor):
    Connection = apps.get_model("bunker", "Connection")
    changed = []
    for connection in Connection._base_manager.filter(policy_slug="full").only("policy").iterator(CHUNK):
        rules = connection.policy.get("rules") if isinstance(connection.policy, dict) else None
        if not isinstance(rules, list) or any(isinstance(rule, dict) and rule.get("peers") == "self" for rule in rules):
            continue
        rules.append(RULE)
        changed.append(connection)
        if len(changed) == CHUNK:
            Connection._base_manager.bulk_update(changed, ["policy"])
            changed = []
    Connection._base_manager.bulk_update(changed, ["policy"])


class Migration(migrations.Migration):
    dependencies = [("bunker", "0004_lock_authority")]
    operations = [migrations.RunPython(add_rule, migrations.RunPython.noop)]
