"""A hundred thousand keys, made by bulk SQL, for tests and measurements of the admin's lists."""

from __future__ import annotations

from django.db import connection

KEYS = 100_000
TENANTS = 500
PEOPLE = 20_000
RING = "projects/p/locations/l/keyRings/r"

_SQLITE = {
    "numbers": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})",
    "id": "printf('%08x%024x', {salt}, {i})",
    "hex": "printf('%064x', {i})",
    "blob": "zeroblob(200)",
    "at": "datetime('2026-01-01', '+' || {i} || ' seconds')",
    "yes": "1",
    "no": "0",
}
_POSTGRES = {
    "numbers": "WITH n(i) AS (SELECT generate_series(1, {count}))",
    "id": "(lpad(to_hex({salt}), 8, '0') || lpad(to_hex({i}), 24, '0'))::uuid",
    "hex": "lpad(to_hex({i}), 64, '0')",
    "blob": "decode(repeat('00', 200), 'hex')",
    "at": "timestamptz '2026-01-01' + {i} * interval '1 second'",
    "yes": "true",
    "no": "false",
}


def _say(name: str, **values: object) -> str:
    words = _SQLITE if connection.vendor == "sqlite" else _POSTGRES
    return words[name].format(**values)


def _id(salt: int, i: str) -> str:
    return _say("id", salt=salt, i=i)


def make(keys: int = KEYS, tenants: int = TENANTS, people: int = PEOPLE) -> None:
    """Fill the database; nineteen keys of twenty are encrypted, one is split, and some of each are stopped."""
    yes, no, blob, at = _say("yes"), _say("no"), _say("blob"), _say("at", i="i")
    _run(
        tenants,
        "INSERT INTO accounts_tenant (id, slug, name, state, registration, key_modes, default_key_mode, created_at"
        f"{{more}}) {{numbers}} SELECT {_id(1, 'i')}, 'tenant-' || i, 'Tenant ' || i, 'active', 'open', '[]',"
        f" 'encrypted', {at}{{defaults}} FROM n",
        "accounts_tenant",
    )
    _run(
        people,
        "INSERT INTO accounts_user (id, password, is_superuser, email, name, is_active, is_staff, date_joined{more})"
        f" {{numbers}} SELECT {_id(2, 'i')}, '', {no}, 'person-' || i || '@example.org', '', {yes}, {no}, {at}"
        "{defaults} FROM n",
        "accounts_user",
    )
    hsm, name = "i % 20 = 0", f"'{RING}/cryptoKeys/user-' || i"
    state = "CASE i % 50 WHEN 1 THEN 'locked' WHEN 2 THEN 'disabled' ELSE 'active' END"
    _run(
        keys,
        "INSERT INTO keys_personalkey (id, name, key_mode, kek_provider, hsm_provider, state, state_reason,"
        " state_set_by, public_key, encrypted_secret_key, kek_version, kms_key_name, kms_key_version,"
        " authoriser_public_key, encrypted_half_key,"
        " key_tweak, cosigner_public_key, is_imported, created_at, state_changed_at, tenant_id, user_id{more})"
        f" {{numbers}} SELECT {_id(3, 'i')}, 'Key ' || i, CASE WHEN {hsm} THEN 'hsm' ELSE 'encrypted' END,"
        f" CASE WHEN {hsm} THEN '' ELSE 'local' END, CASE WHEN {hsm} THEN 'google' ELSE '' END, {state}, '', 'owner',"
        f" {_say('hex', i='i')},"
        f" CASE WHEN {hsm} THEN NULL ELSE {blob} END, '1', CASE WHEN {hsm} THEN {name} ELSE '' END,"
        f" CASE WHEN {hsm} THEN {name} || '/cryptoKeyVersions/1' ELSE '' END, CASE WHEN {hsm} THEN '02' ELSE '' END,"
        f" CASE WHEN {hsm} THEN {blob} ELSE NULL END, '', CASE WHEN {hsm} THEN {_say('hex', i='1000000 + i')} ELSE ''"
        f" END, {no}, {at}, {at}, {_id(1, f'1 + i % {tenants}')}, {_id(2, f'1 + i % {people}')}{{defaults}} FROM n",
        "keys_personalkey",
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _run(count: int, statement: str, table: str) -> None:
    """Columns that the statement does not name, and that may not be empty, get what an empty form would give them."""
    more, defaults = _unnamed(table, statement)
    with connection.cursor() as cursor:
        cursor.execute(statement.format(numbers=_say("numbers", count=count), more=more, defaults=defaults))


def _unnamed(table: str, statement: str) -> tuple[str, str]:
    from django.apps import apps

    model = next(model for model in apps.get_models() if model._meta.db_table == table)
    named = statement[statement.index("(") + 1 : statement.index("{more}")].replace(" ", "").split(",")
    empty = {"BooleanField": _say("no"), "JSONField": "'{}'"}
    found = [
        (field.column, _empty(field, empty))
        for field in model._meta.local_concrete_fields
        if field.column not in named and not field.null
    ]
    return "".join(f", {column}" for column, _ in found), "".join(f", {value}" for _, value in found)


def _empty(field: object, empty: dict[str, str]) -> str:
    kind = field.get_internal_type()  # type: ignore[attr-defined]
    default = field.get_default() if field.has_default() else None  # type: ignore[attr-defined]
    if isinstance(default, list | dict):
        import json

        return "'" + json.dumps(default) + "'"
    if isinstance(default, bool):
        return _say("yes") if default else _say("no")
    if isinstance(default, int):
        return str(default)
    return empty.get(kind, f"'{default or ''}'" if "Integer" not in kind else "0")
