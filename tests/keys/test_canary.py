"""A known secret goes through everything custody does, fails in every way, and is then looked for (threats L1, L4)."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from dataclasses import replace

import pytest
from django.db import connection

from keycast.audit.entries import Actor
from keycast.base.errors import KeycastError
from keycast.crypto.secret import SecretBytes
from keycast.nostr import nip19, nip49
from keycast.nostr.nip01 import UnsignedEvent
from keys import selectors, services
from keys.errors import KeyDamaged
from keys.importing.lines import ImportLine
from keys.lifecycle import creation
from keys.lifecycle.creation import WantedKey
from keys.services import parse_secret_input
from keys.signing.kms import registry

CANARY = bytes.fromhex("8f3c1e5ad7b94260f1a8c3e7b5d2946f0e8d7c6b5a493827160f5e4d3c2b1a09")
PASSWORD = "canary password of the canary"
PEER = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


def forms_of(secret):
    """Every way in which it could be written down, and the halves that a cut-off log would show."""
    hexed = secret.hex()
    texts = [hexed, nip19.encode_nsec(SecretBytes(secret)), base64.b64encode(secret).decode()]
    texts += [base64.urlsafe_b64encode(secret).decode(), repr(secret), repr(list(secret)), PASSWORD]
    texts += [hexed[i : i + 16] for i in (0, 16, 32, 48)]
    return {text.lower() for text in texts}


def places():
    """Everything that custody wrote to the database, as text."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            for row in cursor.fetchall():
                for value in row:
                    content = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                    yield table, content


def failure_of(service):
    try:
        service()
    except KeycastError as error:
        return "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    raise AssertionError("it was to fail")


async def async_failure_of(awaitable):
    try:
        await awaitable
    except KeycastError as error:
        return "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    raise AssertionError("it was to fail")


def found_in(text):
    lowered = text.lower()
    return [form for form in forms_of(CANARY) if form in lowered]


def test_the_search_finds_what_it_looks_for():
    assert found_in(f"sk={CANARY.hex()}")
    assert found_in(nip19.encode_nsec(SecretBytes(CANARY)))


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("close_connections")
async def test_the_canary_secret_is_in_no_log_error_repr_or_table(caplog):
    from asgiref.sync import sync_to_async

    caplog.set_level(logging.DEBUG)
    shown = await sync_to_async(_use_and_fail)()
    ref = (await sync_to_async(list)(selectors.key_refs(await sync_to_async(_ids)())))[0]
    service = services.signing_service()
    event = UnsignedEvent(ref.public_key, 1, 1, [], "content")
    await service.sign_event(ref, event)
    shown.append(repr(service) + repr(ref))
    shown.append(await async_failure_of(service.crypt(ref, "nip44_decrypt", PEER, "x" * 200)))
    shown.append(await async_failure_of(service.crypt(ref, "nip44_encrypt", "zz", "x")))
    service.forget_all()
    broken = replace(ref, sealed=replace(ref.sealed, blob=ref.sealed.blob[:-1]))
    shown.append(await async_failure_of(service.sign_event(broken, event)))
    text = "\n".join(shown) + caplog.text + "\n".join(str(vars(record)) for record in caplog.records)
    assert found_in(text) == []
    leaks = await sync_to_async(_leaks)()
    assert leaks == []


def _ids():
    from django_scopes import scopes_disabled

    from keys.models import PersonalKey

    with scopes_disabled():
        return list(PersonalKey.objects.filter(is_imported=True).values_list("pk", flat=True))


def _leaks():
    windows = [CANARY[i : i + 8] for i in range(25)]
    texts = [form.encode() for form in forms_of(CANARY)]
    return [
        table
        for table, content in places()
        if any(window in content for window in windows) or any(text in content.lower() for text in texts)
    ]


def _use_and_fail():
    """Everything synchronous; returns the text of every failure and repr."""
    from .conftest import make_tenant, make_user

    tenant = make_tenant()
    user = make_user(tenant)
    nsec = nip19.encode_nsec(SecretBytes(CANARY))
    sealed = nip49.encrypt(SecretBytes(CANARY), PASSWORD, log_n=4)
    shown = [
        failure_of(lambda: parse_secret_input(nsec[:-1] + "x")),
        failure_of(lambda: parse_secret_input(CANARY.hex() + "0")),
        failure_of(lambda: parse_secret_input(sealed, PASSWORD + "x")),
        failure_of(lambda: parse_secret_input(sealed[:-1] + ("q" if sealed[-1] != "q" else "p"), PASSWORD)),
    ]
    secret = parse_secret_input(sealed, PASSWORD)
    wanted = WantedKey(user, "Canary", secret)
    line = ImportLine(user.email, "Canary", nsec, PASSWORD)
    shown += [repr(secret), repr(wanted), repr(line), repr([line]), str({"line": line}), f"{secret}"]

    def add():
        return services.import_key(actor=Actor.user(user), tenant=tenant, user=user, name="Canary", secret=secret)

    shown.append(
        failure_of(
            lambda: services.import_key(
                actor=Actor.client("ab" * 32), tenant=tenant, user=user, name="x", secret=secret
            )
        )
    )
    key = add()
    shown += [failure_of(add), repr(key), str(vars(key))]
    sound = creation.PersonalKey.encrypted_secret_key
    shown.append(repr(registry.provider("local")) + str(vars(registry.provider("local"))) + repr(sound))
    services.lock_key(actor=Actor.user(user), key=key, reason="x")
    return shown


def test_secret_bytes_cannot_be_copied_pickled_or_serialised():
    import copy
    import pickle

    secret = SecretBytes(CANARY)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps, bytes, list):
        with pytest.raises(TypeError):
            attempt(secret)
    with pytest.raises(TypeError):
        pickle.dumps(WantedKey(None, "x", secret))


def test_a_damage_error_has_one_text():
    assert str(KeyDamaged()) == KeyDamaged.public_message
