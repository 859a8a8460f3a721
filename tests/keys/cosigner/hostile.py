"""What somebody in full control of signer A sends, and what the co-signer's own log says of it."""

from __future__ import annotations

import json

from keycast.crypto import musig, split
from keycast.crypto.points import even_half
from keycast.nostr.nip01 import id_of
from keys.signing.cosigning import authorisation
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from tests.keys.cosigner.support import grant, half_a


def a_nonce(message):
    """A public nonce; whose half drew it is nothing that the co-signer could know."""
    stranger, other = even_half()[0], even_half()[0]
    aggregate = musig.KeyAggregate(b"\x02" + stranger.public_key, b"\x02" + other.public_key)
    return musig.make_nonce(stranger, aggregate, message)[1]


def to_sign(bench, key, event, **changes):
    """An authorisation of this event by the key's HSM key."""
    return grant(bench.hsm, key, AuthorisationPurpose.SIGN, id_of(event), **changes)


async def ask_to_sign(bench, key, event, permit=None, nonce=None, asked=None):
    """The co-signer's nonce and part."""
    event_id = id_of(event)
    nonce, permit = nonce or a_nonce(event_id), permit or to_sign(bench, key, event)
    return await bench.client.sign(key.tenant_id, key.key_id, half_a(key), event, event_id, nonce, permit, asked)


async def logged(bench, key, *fields):
    """The rows of the co-signer's log about a key: tag, outcome, and these fields of what it notes."""
    rows = await bench.store.write(
        lambda w: w.execute(
            "SELECT tag, outcome, data FROM audit_auditrow WHERE key_id = ? ORDER BY sequence", (key.key_id.hex,)
        ).fetchall()
    )
    return [(tag, outcome, *map(json.loads(data).get, fields)) for tag, outcome, data in rows]


async def refusals(bench, key):
    """What was refused of this key: the request and the reason, oldest first."""
    rows = await logged(bench, key, "request", "reason")
    return [tuple(row[2:]) for row in rows if row[:2] == ("cosigner:request:refused", "denied")]


def later(monkeypatch, seconds):
    """Move the clock of both signers."""
    real = authorisation.now()
    monkeypatch.setattr(authorisation, "now", lambda: real + int(1000 * seconds))


async def committed(bench, key):
    """Refresh a key's halves up to the commit: the public new half A, and the tweak."""
    opened = await bench.signer._open(key)
    (pair, secret), old = even_half(), opened.aggregate(key)
    with pair, secret:
        new = pair.public_key
        permit = grant(bench.hsm, key, AuthorisationPurpose.REFRESH, new)
        half_b, other = await bench.client.prepare_refresh(key.tenant_id, key.key_id, half_a(key), new, permit)
        made = musig.KeyAggregate(b"\x02" + new, b"\x02" + half_b)
        with other, split.refresh_difference(opened.keypair, old, pair, made, "A") as own:
            tweak = split.refreshed_tweak(old.tweak, own, other)
    await bench.client.commit_refresh(key.tenant_id, key.key_id, new, tweak)
    return new, tweak
