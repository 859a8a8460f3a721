"""Signer A was taken over and asks for what no app asked for. The co-signer looks at the app's own request."""

from __future__ import annotations

import pytest

from keycast.crypto.schnorr import Keypair
from keycast.nostr.nip01 import id_of
from keys.cosigner import app_requests
from keys.cosigner import operator_commands as operator
from keys.cosigner.app_requests import ATTEMPTS, FRESH_FOR
from keys.cosigner.brake import CosignerBrake
from keys.cosigner.brake_rules import EVERYTHING, BrakeDefaults, UnknownChoiceError, key_scope
from keys.errors import InvalidOperand
from keys.signing.cosigning import authorisation
from keys.signing.cosigning.authorisation import AuthorisationPurpose
from keys.signing.cosigning.errors import (
    AppNotAdmitted,
    AppsClosedByCosigner,
    CosignerBusy,
    CosignerRefused,
    NotAskedByApp,
    StaleAppRequest,
)
from keys.signing.cosigning.trial_event import trial_event
from tests.keys.cosigner.asking import App, admitted
from tests.keys.cosigner.hostile import ask_to_sign, later, logged, refusals
from tests.keys.cosigner.support import grant, half_a, note


def only_what_apps_ask(bench, scope=EVERYTHING, choice="required"):
    operator.limit(bench.folder / "b.sqlite3", scope, {"asked": choice}, "test")


def no_more_apps(bench):
    operator.limit(bench.folder / "b.sqlite3", EVERYTHING, {"apps": "closed"}, "test")


async def contribute(bench, key, peer, asked=None):
    permit = grant(bench.hsm, key, AuthorisationPurpose.ECDH, peer)
    with await bench.client.ecdh(key.tenant_id, key.key_id, half_a(key), peer, permit, asked):
        pass


async def test_what_no_app_asked_for_is_not_signed_where_the_operator_wants_to_see_it(bench):
    key, other, peer = await bench.key(), await bench.key(), Keypair.generate()[0].public_key
    only_what_apps_ask(bench, key_scope(key.key_id))
    with pytest.raises(NotAskedByApp):
        await ask_to_sign(bench, key, note(key))
    with pytest.raises(NotAskedByApp):
        await contribute(bench, key, peer)
    assert await refusals(bench, key) == [("sign", "not-asked"), ("ecdh", "not-asked")]
    await ask_to_sign(bench, other, note(other))
    assert (await logged(bench, other, "kind", "without"))[-1] == ("cosigner:event:signed", "ok", 1, "no-app")


@pytest.mark.parametrize("wrong", [{"asked": "sometimes"}, {"asked": ""}, {"apps": "shut"}])
def test_a_word_that_nobody_knows_is_no_setting(wrong):
    with pytest.raises(UnknownChoiceError, match=" or "):
        BrakeDefaults(**wrong).limits()


async def test_what_the_settings_demand_holds_where_no_command_says_otherwise(bench):
    await bench.server.stop()
    bench.store.close()
    bench.brake = CosignerBrake(BrakeDefaults(asked="required"))
    await bench.start()
    key = await bench.key()
    with pytest.raises(NotAskedByApp):
        await ask_to_sign(bench, key, note(key))


async def test_the_narrowest_word_of_the_operator_holds(bench):
    key = await bench.key()
    only_what_apps_ask(bench)
    only_what_apps_ask(bench, key_scope(key.key_id), "where-available")
    await ask_to_sign(bench, key, note(key))
    other = await bench.key()
    with pytest.raises(NotAskedByApp):
        await ask_to_sign(bench, other, note(other))


async def test_the_trial_of_a_new_way_of_signing_is_the_one_event_that_needs_no_app(bench):
    key = await bench.key()
    only_what_apps_ask(bench)
    await ask_to_sign(bench, key, trial_event(key.public_key))
    assert (await logged(bench, key, "without"))[-1] == ("cosigner:event:signed", "ok", "trial")


@pytest.mark.parametrize(
    "changes", [{"content": "other"}, {"tags": []}, {"kind": 7}, {"created_at": 1}, {"pubkey": "ab" * 32}]
)
async def test_another_event_than_the_one_asked_for_is_not_signed(bench, changes):
    key = await bench.key()
    app = await admitted(bench, key)
    with pytest.raises(CosignerRefused):
        await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key), changes=changes))
    assert await refusals(bench, key) == [("sign", "wrong-request")]


async def test_what_the_app_has_not_signed_is_not_its_request(bench):
    key = await bench.key()
    app = await admitted(bench, key)
    with pytest.raises(CosignerRefused):
        await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key), by=Keypair.generate()[0]))
    assert await refusals(bench, key) == [("sign", "wrong-request")]


@pytest.mark.parametrize("told", [bytes(32), bytes(range(32))])
async def test_a_conversation_key_of_signer_as_own_choice_opens_nothing(bench, told):
    key = await bench.key()
    app = await admitted(bench, key)
    with pytest.raises(CosignerRefused):
        await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key), key=told))
    assert await refusals(bench, key) == [("sign", "wrong-request")]


@pytest.mark.parametrize("tags", [[], [["p"]], [["p", "zz"]], [["p", "ab" * 32], ["p", "cd" * 32]]])
async def test_a_request_has_one_recipient(bench, tags):
    key = await bench.key()
    app = await admitted(bench, key)
    with pytest.raises(CosignerRefused):
        await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key), tags=tags))


async def test_another_method_is_no_request_to_sign(bench):
    key, peer = await bench.key(), Keypair.generate()[0]
    app = await admitted(bench, key)
    for method, params in (("ping", []), ("sign_event", []), ("nip44_decrypt", [peer.public_key_hex, "x"])):
        with pytest.raises(CosignerRefused):
            await ask_to_sign(bench, key, note(key), asked=app.request(method, params))
    for method, params in (("sign_event", ["{}"]), ("nip44_decrypt", ["ab" * 32, "x"]), ("nip44_decrypt", [])):
        with pytest.raises(CosignerRefused):
            await contribute(bench, key, peer.public_key, app.request(method, params))
    assert {reason for _, reason in await refusals(bench, key)} == {"wrong-request"}


async def test_an_app_that_was_not_admitted_is_refused_and_so_is_another_keys(bench):
    key, other = await bench.key(), await bench.key()
    stranger, app = App(), await admitted(bench, other)
    for asking in (stranger, app):
        with pytest.raises(AppNotAdmitted):
            await ask_to_sign(bench, key, note(key), asked=asking.to_sign(note(key)))
    assert await refusals(bench, key) == [("sign", "app-not-admitted")] * 2


async def test_a_request_to_another_remote_signer_is_none_to_this_one(bench):
    """One app may be connected to two keys: what it asks of the one is not asked of the other."""
    key, other = await bench.key(), await bench.key()
    app = await admitted(bench, key)
    elsewhere = App()
    elsewhere.keypair = app.keypair
    await bench.client.admit_app(other.tenant_id, other.key_id, elsewhere.admission())
    with pytest.raises(AppNotAdmitted):
        await ask_to_sign(bench, key, note(key), asked=elsewhere.to_sign(note(key)))


async def test_an_app_is_admitted_for_methods_and_kinds(bench):
    key, peer = await bench.key(), Keypair.generate()[0]
    app = await admitted(bench, key, methods=("sign_event",), kinds=((2, 9), (11, 11)))
    with pytest.raises(AppNotAdmitted):
        await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key)))
    with pytest.raises(AppNotAdmitted):
        await contribute(bench, key, peer.public_key, app.request("nip44_decrypt", [peer.public_key_hex, "x"]))
    await bench.client.admit_app(key.tenant_id, key.key_id, app.admission(kinds=[(1, 9)]))
    await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key)))


async def test_an_app_that_ended_is_refused_on_every_remote_signer_and_again_after_a_restart(bench):
    key = await bench.key()
    app = await admitted(bench, key)
    await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key)))
    for _ in range(2):
        await bench.client.end_app(key.tenant_id, key.key_id, app.public_key)
    with pytest.raises(AppNotAdmitted):
        await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key)))
    await bench.restart()
    await bench.client.close()
    with pytest.raises(AppNotAdmitted):
        await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key)))
    tags = [tag for tag, *_ in await logged(bench, key) if ":app:" in tag]
    assert tags == ["cosigner:app:admitted", "cosigner:app:ended"]


async def test_an_admission_ends_with_the_apps_grant_or_lapses(bench, monkeypatch):
    key = await bench.key()
    app = await admitted(bench, key)
    app.expires_at = authorisation.now() + 60_000
    await bench.client.admit_app(key.tenant_id, key.key_id, app.admission())
    later(monkeypatch, 61)
    with pytest.raises(AppNotAdmitted):
        await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key)))
    await bench.client.admit_app(key.tenant_id, key.key_id, app.admission(expires_at=0))
    await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key)))
    later(monkeypatch, 31 * 86_400)
    with pytest.raises(AppNotAdmitted):
        await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key)))


async def test_a_request_is_good_for_ten_minutes_either_way(bench):
    key = await bench.key()
    app = await admitted(bench, key)
    now = authorisation.now() // 1000
    for at in (now - FRESH_FOR - 30, now + FRESH_FOR + 30, 0):
        with pytest.raises(StaleAppRequest):
            await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key), at=at))
    assert await refusals(bench, key) == [("sign", "stale-request")] * 3
    await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key), at=now - FRESH_FOR + 60))


async def test_a_replayed_request_gives_its_own_event_some_times_and_no_more_also_after_a_restart(bench):
    key = await bench.key()
    app = await admitted(bench, key)
    asked = app.to_sign(note(key))
    for _ in range(ATTEMPTS - 1):
        await ask_to_sign(bench, key, note(key), asked=asked)
    with pytest.raises(CosignerRefused):
        await ask_to_sign(bench, key, note(key, "another"), asked=asked)
    await bench.restart()
    await bench.client.close()
    await ask_to_sign(bench, key, note(key), asked=asked)
    with pytest.raises(CosignerRefused):
        await ask_to_sign(bench, key, note(key), asked=asked)
    assert await refusals(bench, key) == [("sign", "wrong-request"), ("sign", "replayed")]
    await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key)))  # the app's next one


async def test_the_memory_of_used_requests_is_bounded_and_frees_itself(bench, monkeypatch):
    monkeypatch.setattr(app_requests, "MAX_USED", 2)
    key = await bench.key()
    app = await admitted(bench, key)
    for _ in range(2):
        await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key)))
    with pytest.raises(CosignerBusy):
        await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key)))
    later(monkeypatch, 3 * FRESH_FOR)
    await ask_to_sign(bench, key, note(key), asked=app.to_sign(note(key)))


async def test_an_app_of_signer_as_own_is_let_in_unless_the_operator_closed_the_list_and_is_in_the_log(bench):
    """What is not protected against, and what is left of it where the operator has closed the list."""
    key = await bench.key()
    known = await admitted(bench, key)
    no_more_apps(bench)
    with pytest.raises(AppsClosedByCosigner):
        await admitted(bench, key)
    with pytest.raises(AppsClosedByCosigner):
        await bench.client.admit_app(key.tenant_id, key.key_id, known.admission(kinds=[(0, 65_535)]))
    await bench.client.admit_app(key.tenant_id, key.key_id, known.admission())  # what it has already
    await ask_to_sign(bench, key, note(key), asked=known.to_sign(note(key)))
    assert await refusals(bench, key) == [("admit-app", "apps-closed")] * 2
    rows = await logged(bench, key, "app", "methods", "kinds", "by")
    assert [row[2:] for row in rows if row[0] == "cosigner:app:admitted"] == [
        (known.public_key.hex(), "sign_event,nip44_decrypt", "1,7", "service")
    ]


async def test_an_admission_that_claims_to_be_the_owners_is_refused_while_nothing_verifies_it(bench):
    key = await bench.key()
    with pytest.raises(InvalidOperand):
        await bench.client.admit_app(key.tenant_id, key.key_id, App().admission(proof=b"signed, surely"))


async def test_what_an_app_asked_for_is_signed_and_opened_and_the_log_says_for_whom(bench):
    key, peer = await bench.key(), Keypair.generate()[0]
    only_what_apps_ask(bench)
    app = await admitted(bench, key)
    event, asked = note(key), app.to_sign(note(key))
    await ask_to_sign(bench, key, event, asked=asked)
    await contribute(bench, key, peer.public_key, app.request("nip44_decrypt", [peer.public_key_hex, "x"]))
    rows = await logged(bench, key, "app", "without")
    assert [row[0::2] for row in rows[-2:]] == [
        ("cosigner:event:signed", app.public_key.hex()),
        ("cosigner:ecdh:contributed", app.public_key.hex()),
    ]
    assert id_of(event)
