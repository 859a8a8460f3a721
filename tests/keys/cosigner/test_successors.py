"""A taken-over signer A wants another key to authorise: proof, a delay by B's clock, and a refusal that stays.

Each refusal is in the co-signer's own log.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from keycast.crypto.points import even_half
from keys.cosigner import operator_commands
from keys.cosigner.operator_commands import OperatorCommandError
from keys.errors import KeyUnavailable
from keys.signing.cosigning.errors import (
    AuthoriserUnproven,
    CosignerBusy,
    CosignerRefused,
    SuccessorRefused,
)
from keys.signing.cosigning.messages import NO_PROOF, HsmProof
from tests.keys.cosigner.hostile import ask_to_sign, later, logged, refusals, to_sign
from tests.keys.cosigner.support import POLICY, Bench, attested, note
from tests.keys.cosigner.test_authorisers import of, permit, present, signs_by, succeed

DAY = 24 * 3600
STRICT = replace(POLICY, trusts_first=False, delay=DAY * 1000)


@pytest.fixture
async def strict(tmp_path):
    """A co-signer as in production, but for the root of attestations that it accepts."""
    bench = Bench(tmp_path)
    bench.policy = STRICT
    await bench.start()
    yield bench
    await bench.stop()


async def registered(bench):
    key = await bench.key(register=False)
    await bench.client.register_authoriser(*of(key), present(key), attested(present(key)))
    return key


async def test_a_software_key_is_never_the_first_authoriser(strict):
    key = await strict.key(register=False)
    own = strict.hsm.make("of the attacker's own")
    proofs = [
        NO_PROOF,
        attested(present(key)),
        attested(own, version="projects/theirs/locations/e/keyRings/keycast/cryptoKeys/user-1/cryptoKeyVersions/1"),
        HsmProof("", b"not gzip", b""),
    ]
    for proof in proofs:
        with pytest.raises(AuthoriserUnproven):
            await strict.client.register_authoriser(*of(key), own, proof)
    with pytest.raises(KeyUnavailable):
        await ask_to_sign(strict, key, note(key))
    assert (await refusals(strict, key))[:4] == [("register", "unproven")] * 4
    await strict.client.register_authoriser(*of(key), present(key), attested(present(key)))
    assert (await strict.client.authoriser_state(*of(key))).proved_by == "attestation"
    await ask_to_sign(strict, key, note(key))


async def test_a_software_key_never_succeeds_though_the_hsm_signed_for_it(strict):
    """What signer A holds: a way to have the present HSM key sign anything while it is there."""
    key = await registered(strict)
    own = strict.hsm.make("own")
    for proof in (NO_PROOF, attested(present(key)), attested(own, is_local=False), attested(own, is_extractable=True)):
        with pytest.raises(AuthoriserUnproven):
            await succeed(strict, key, own, proof=proof)
    assert await refusals(strict, key) == [("succeed", "unproven")] * 4
    with pytest.raises(CosignerRefused):
        await signs_by(strict, key, "own", "never")


async def test_a_bench_that_trusts_the_first_trusts_no_successor_without_proof(bench):
    key = await bench.key()
    with pytest.raises(AuthoriserUnproven):
        await succeed(bench, key, bench.hsm.make("next"), proof=NO_PROOF)


async def test_a_successor_waits_for_its_day_by_the_co_signers_clock(strict, monkeypatch):
    key = await registered(strict)
    new = strict.hsm.make("next")
    until = await succeed(strict, key, new)
    state = await strict.client.authoriser_state(*of(key))
    assert (state.coming, state.waiting, state.until) == (b"", new, until)
    with pytest.raises(CosignerRefused):
        await signs_by(strict, key, "next", "too early")
    with pytest.raises(CosignerRefused):
        await strict.client.settle_authoriser(*of(key), new)
    with pytest.raises(CosignerBusy):
        await succeed(strict, key, strict.hsm.make("third"))
    later(monkeypatch, DAY - 1)
    assert await succeed(strict, key, new) == until
    assert ("settle", "unauthorised") in await refusals(strict, key)
    later(monkeypatch, 2)
    assert await succeed(strict, key, new) == 0
    await signs_by(strict, key, "next", "its day has come")
    await strict.client.settle_authoriser(*of(key), new)
    tags = [row[0] for row in await logged(strict, key) if row[0].startswith("cosigner:authoriser")]
    assert tags == [f"cosigner:authoriser:{end}" for end in ("registered", "announced", "succeeded", "settled")]


async def test_what_the_owner_refused_never_authorises(strict, monkeypatch):
    key = await registered(strict)
    new = strict.hsm.make("next")
    await succeed(strict, key, new)
    await strict.client.refuse_authoriser(*of(key), new)
    await strict.client.refuse_authoriser(*of(key), new)
    later(monkeypatch, 2 * DAY)
    for _ in range(2):
        with pytest.raises(SuccessorRefused):
            await succeed(strict, key, new)
    assert await refusals(strict, key) == [("succeed", "refused-by-owner")] * 2
    another = strict.hsm.make("another")
    assert await succeed(strict, key, another) > 0, "another one may be named"


async def test_a_refusal_before_it_was_named_holds_too_and_one_afterwards_is_too_late(bench):
    key = await bench.key()
    new, accepted = bench.hsm.make("next"), bench.hsm.make("accepted")
    await bench.client.refuse_authoriser(*of(key), new)
    with pytest.raises(SuccessorRefused):
        await succeed(bench, key, new)
    assert await succeed(bench, key, accepted) == 0
    for too_late in (accepted, present(key)):
        with pytest.raises(CosignerRefused):
            await bench.client.refuse_authoriser(*of(key), too_late)


async def test_halves_can_be_renewed_while_a_successor_waits_and_it_is_accepted_afterwards(strict, monkeypatch):
    key = await registered(strict)
    await succeed(strict, key, strict.hsm.make("next"))
    await ask_to_sign(strict, key, note(key), to_sign(strict, key, note(key)))
    assert even_half()


async def test_the_operators_yes_stands_in_for_an_attestation_and_only_for_that_key(strict):
    key, other = await strict.key(register=False), await strict.key(register=False)
    path = strict.folder / "b.sqlite3"
    operator_commands.approve_authoriser(path, key.key_id, present(key), "its HSM attests nothing")
    with pytest.raises(AuthoriserUnproven):
        await strict.client.register_authoriser(*of(other), present(key))
    await strict.client.register_authoriser(*of(key), present(key))
    assert (await strict.client.authoriser_state(*of(key))).proved_by == "operator"
    new = strict.hsm.make("next")
    operator_commands.approve_authoriser(path, key.key_id, new, "the same")
    assert await succeed(strict, key, new, permit(strict, key, new), NO_PROOF) > 0, "it waits all the same"
    assert [row[0] for row in await logged(strict, key)].count("cosigner:authoriser:approved") == 2
    await strict.client.refuse_authoriser(*of(key), new)
    with pytest.raises(OperatorCommandError, match="refused"):
        operator_commands.approve_authoriser(path, key.key_id, new, "after all")


async def test_the_operator_says_yes_by_a_command(strict, capsys):
    key = await strict.key(register=False)
    with override_settings(COSIGNER_DB=str(strict.folder / "b.sqlite3")):
        order = ("cosigner", "approve", "--key", str(key.key_id))
        with pytest.raises(CommandError, match="66 hexadecimal"):
            call_command(*order, "12", "--reason", "test")
        call_command(*order, present(key).hex(), "--reason", "test")
    assert "on your word" in capsys.readouterr().out
    await strict.client.register_authoriser(*of(key), present(key))
