"""The checks: each by a name, the lines as they are, the lines without it, and the tests that must then fail.

``threat`` is the row of docs/threats.md that the check stands for; where rows have no id of their own, its first words.
"""

from __future__ import annotations

from typing import Final

from tests.mutants.check import Check
from tests.mutants.cosigner_operator_checks import COSIGNER_OPERATOR
from tests.mutants.import_checks import IMPORTS
from tests.mutants.key_export_checks import KEY_EXPORTS
from tests.mutants.people_checks import PEOPLE

NIP44: Final = ("tests/spec/nip44/test_vectors.py", "tests/spec/nip44/test_behaviour.py")
GUARD: Final = ("tests/keycast/serving/test_guard.py",)

CHECKS = (
    # Requests
    Check(
        "a request has the id that it claims", "T4", "bunker/relays/event_checks.py",
        "if computed.hex() != event.id:", "if False:",
        ("tests/bunker/relays/test_event_checks.py",),
    ),
    Check(
        "a request is signed by its author", "T4", "bunker/relays/event_checks.py",
        "if not schnorr.verify(bytes.fromhex(event.pubkey), computed, bytes.fromhex(event.sig)):", "if False:",
        ("tests/bunker/relays/test_event_checks.py",),
    ),
    Check(
        "a request is fresh", "T2", "bunker/relays/event_checks.py",
        "if not -self.limits.freshness <= now - event.created_at <= self.limits.freshness:", "if False:",
        ("tests/bunker/relays/test_event_checks.py",),
    ),
    Check(
        "a request has one recipient that is served", "T5", "bunker/relays/event_checks.py",
        "if not serves(recipient, lane.scope) and not (lane.takes_replies and serves(event.pubkey, lane.scope)):",
        "if False:",
        ("tests/bunker/relays/test_event_checks.py",),
    ),
    # Connections
    Check(
        "a stranger asks for nothing but connect", "C1", "bunker/worker/engine.py",
        "elif connection is None:", "elif False:",
        ("tests/bunker/engine/test_refusals.py",),
    ),
    Check(
        "a secret is used once", "C3", "bunker/services/pairing.py",
        "Connection.objects.filter(id=connection.id, state=ConnectionState.PENDING).update(",
        "Connection.objects.filter(id=connection.id).update(",
        ("tests/bunker/services/test_pairing.py",),
    ),
    Check(
        "a secret ends with its time", "C2", "bunker/services/pairing.py",
        "            secret_expires_at__gt=now,\n", "",
        ("tests/bunker/services/test_pairing.py",),
    ),
    Check(
        "a connection that ended is refused", "C11", "bunker/worker/engine.py",
        "if refusal is not None:\n            await self._refusals.refuse(item, request.id",
        "if False:\n            await self._refusals.refuse(item, request.id",
        ("tests/bunker/engine/test_refusals.py::test_a_logged_out_app_is_refused_until_it_connects_again",),
    ),
    Check(
        "the key is not used for who was revoked after the claim", "C11", "bunker/worker/key_requests.py",
        "            standing(item.signer, self._grants.same(item, connection), time.time()),\n", "            None,\n",
        ("tests/security/test_revoked_meanwhile.py",),
    ),
    Check(
        "a result is not released to who was revoked meanwhile", "C11", "bunker/worker/key_requests.py",
        "if refusal is None:\n            self._delivery.let_out", "if True:\n            self._delivery.let_out",
        ("tests/security/test_revoked_meanwhile.py",),
    ),
    Check(
        "an app keeps to its request rate", "a connected app fills disk", "bunker/worker/admission.py",
        "if not bucket.take(now=now):", "if False:",
        ("tests/security/test_small_requests.py",),
    ),
    Check(
        "of one client a bounded number is under way", "F1", "bunker/worker/fairness.py",
        "        elif share.under_way >= self.at_once:\n            return None\n", "",
        ("tests/bunker/worker/test_admission.py",),
    ),
    Check(
        "an app asks so often a day", "a connected app fills disk", "bunker/worker/admission.py",
        "if not connection.take_of_day(day, most):", "if False:",
        ("tests/security/test_small_requests.py",),
    ),
    Check(
        "strangers are answered seldom", "F2", "bunker/worker/admission.py",
        "            and shared.take(now=item.received)\n", "",
        ("tests/bunker/engine/test_refusals.py::test_strangers_are_answered_seldom_where_no_app_is_waited_for",),
    ),
    # Policy
    Check(
        "what no rule allows is refused", "C10", "bunker/policy/engine.py",
        'return Deny(f"{_subject(call)} is not among the things this app may do.")', 'return Allow("")',
        ("tests/bunker/policy",),
    ),
    Check(
        "kind 24133 is never signed", "C9", "bunker/policy/engine.py",
        "if call.kind in FORBIDDEN_KINDS:", "if False:",
        ("tests/bunker/policy",),
    ),
    Check(
        "what an app asked for narrows", "C9", "bunker/policy/engine.py",
        "if self._asks_for is not None and not self._asks_for.covers(call.method, call.kind):", "if False:",
        ("tests/bunker/policy",),
    ),
    Check(
        "uses run out", "C12", "bunker/policy/engine.py",
        "if limit is not None and call.uses >= limit:", "if False:",
        ("tests/bunker/policy",),
    ),
    Check(
        "anybody is not oneself", "an app that reads messages", "bunker/policy/engine.py",
        'and (call.peer != call.self_public_key or self._effect == "deny")', "",
        ("tests/bunker/policy",),
    ),
    Check(
        "nothing is dated far ahead", "an app collects signatures", "bunker/policy/engine.py",
        "if most is None or call.ahead <= most:", "if True:",
        ("tests/bunker/policy",),
    ),
    Check(
        "the author of an event is the key that signs", "C8", "bunker/methods/sign_event.py",
        "if template.pubkey is not None and template.pubkey != key:", "if False:",
        ("tests/bunker/engine/test_refusals.py", "tests/bunker/methods"),
    ),
    Check(
        "a tag that a policy asks for is there once", "C9", "bunker/policy/engine.py",
        "if len(found) != 1 or len(found[0]) < 2:", "if not found or len(found[0]) < 2:",
        ("tests/bunker/policy",),
    ),
    Check(
        "a replaced key reads and no more", "an old identity that goes on", "bunker/policy/engine.py",
        "if self._is_replaced and not replaced.STILL_DONE.covers(call.method, call.kind):", "if False:",
        ("tests/bunker/policy/test_replaced.py",),
    ),
    Check(
        "a request id means one request", "T3", "bunker/worker/ledger.py",
        "        if not is_same:\n", "        if False:\n",
        ("tests/bunker/engine/test_refusals.py::test_a_request_id_means_one_request_until_no_resend_can_come",),
    ),
    Check(
        "a tenant signs so much a day", "F3", "bunker/worker/daily_quota.py",
        "if limit is not None and today.written + today.taken >= limit:", "if False:",
        ("tests/bunker/worker/test_daily_quota.py",),
    ),
    # Messages
    Check(
        "a message that was altered does not open", "T7, T8", "keycast/nostr/nip44.py",
        "if not hmac.compare_digest(mac, raw[-_MAC:]):", "if False:", NIP44,
    ),
    Check(
        "a message is padded as its length says", "T7, T8", "keycast/nostr/nip44.py",
        "if size > limit or len(padded) != start + padded_length(size):", "if size > limit:", NIP44,
    ),
    Check(
        "a payload's length is looked at first", "T9, T10", "keycast/nostr/nip44.py",
        'if not MIN_PAYLOAD <= len(payload) <= longest or payload[0] == "#":', 'if payload[:1] == "#":', NIP44,
    ),
    Check(
        "a payload is written the one right way", "T7, T8", "keycast/nostr/nip44.py",
        "if raw[:1] != VERSION or not _is_canonical(payload, raw):", "if raw[:1] != VERSION:", NIP44,
    ),
    # Keys
    Check(
        "no signature leaves that does not verify", "K5", "keys/signing/service.py",
        "if len(signature) == 64 and schnorr.verify(bytes.fromhex(key.public_key), digest, signature):", "if True:",
        ("tests/keys/signing",),
    ),
    Check(
        "a sealed secret opens for its tenant alone", "K1-K3", "keys/signing/envelope.py",
        "_DOMAIN + self.tenant_id.bytes + self.row_id.bytes", "_DOMAIN + self.row_id.bytes",
        ("tests/keys/signing/test_envelope.py",),
    ),
    Check(
        "a sealed secret opens in its row alone", "K1-K3", "keys/signing/envelope.py",
        "self.tenant_id.bytes + self.row_id.bytes + parent", "self.tenant_id.bytes + parent",
        ("tests/keys/signing/test_envelope.py",),
    ),
    # People
    Check(
        "a powerful grant takes a fresh proof", "a stolen session connects", "bunker/portal/connecting.py",
        'if not TEMPLATES[form.cleaned_data["policy"]].needs_proof:', "if True:",
        ("tests/security/test_stolen_session.py",),
    ),
    Check(
        "a mail's address ends its own app alone", "a stolen session connects", "bunker/services/notices.py",
        ".filter(tenant=tenant, pk=connection_id)", ".filter(tenant=tenant)",
        ("tests/security/test_stolen_session.py",),
    ),
    # The way out
    Check(
        "no relay within our network", "a relay inside our network", "bunker/relays/ssrf_guard.py",
        "if not relay.is_private_allowed and not all(is_public(address) for address in found):", "if False:",
        ("tests/bunker/relays/test_ssrf_guard.py",),
    ),
    Check(
        "addresses that only look public are not", "a relay inside our network", "keycast/base/outbound.py",
        "return address.is_global and not _is_in(address, _V4_REFUSED)", "return True",
        ("tests/bunker/relays/test_ssrf_guard.py",),
    ),
    Check(
        "no relay by a local name", "a relay inside our network", "bunker/relay_addresses.py",
        "        if is_local_name(host):\n", "        if False:\n",
        ("tests/bunker/relays/test_ssrf_guard.py",),
    ),
    # The way in
    Check(
        "one network has its share of requests", "F8", "keycast/serving/guard.py",
        "if not self._networks.take(address):", "if self._networks.take(address) and False:", GUARD,
    ),
    Check(
        "a body is as long as it may be", "F9", "keycast/serving/guard.py",
        "if length is not None and length > most:", "if False:", GUARD,
    ),
    Check(
        "a proof of a key answers this connection", "B2", "bunker/relays/client_keys.py",
        "if not self._challenge or not secrets.compare_digest(given.encode(), self._challenge.encode()):", "if False:",
        ("tests/bunker/relays/test_client_keys.py",),
    ),
    Check(
        "a proof of a key is for this relay", "B2", "bunker/relays/client_keys.py",
        'if not self._is_here(single_tag_value(event, "relay") or ""):', "if False:",
        ("tests/bunker/relays/test_client_keys.py",),
    ),
    Check(
        "a subscription has so many values", "B3", "bunker/relays/requested_filters.py",
        "if count_values(values) > limits.filter_values_per_connection:", "if False:",
        ("tests/bunker/relays/test_subscriptions.py", "tests/bunker/relays/test_costs.py"),
    ),
    Check(
        "a subscription names whom it is about", "B1", "bunker/relays/requested_filters.py",
        "if not all(item.is_narrow for item in filters):", "if False:",
        ("tests/bunker/relays/test_subscriptions.py", "tests/bunker/relays/test_client_keys.py"),
    ),
    # The log
    Check(
        "a row of the log that was edited is named", "A2", "keycast/audit/verification.py",
        "if row_hash(bytes(stored_previous), tuple(body)) != bytes(stored):", "if False:",
        ("tests/keycast/audit/test_verification.py",),
    ),
    Check(
        "a row that is missing from the log is named", "A2", "keycast/audit/verification.py",
        "    if sequence != expected:\n", "    if False:\n",
        ("tests/keycast/audit/test_verification.py",),
    ),
    Check(
        "a forged checkpoint is not believed", "A2", "keycast/audit/verification.py",
        'problem = self._keys.problem(point.statement, bytes(point.signature)) if self._keys else ""', 'problem = ""',
        ("tests/keycast/audit/test_checkpoints.py",),
    ),
    # Whoever writes the database
    Check(
        "only jobs that are registered in code run", "somebody writes the database", "keycast/operations/jobs.py",
        "    if not is_registered(path):\n", "    if False:\n",
        ("tests/keycast/operations/test_jobs.py::test_what_the_tables_do_not_have_is_no_job_and_is_not_imported",),
    ),
    # The database as somebody else may have written it
    Check(
        "a worker serves what has a seal that fits", "somebody writes the database", "bunker/worker/loader.py",
        "if row.state in SEALED_STATES and not _is_granted(signer, row, policies):", "if False:",
        ("tests/bunker/services/test_grant_seals.py",),
    ),
    Check(
        "a secret that waits has a seal that fits", "somebody writes the database", "bunker/services/pairing.py",
        "return found if found is not None and is_granted(found) else None", "return found",
        ("tests/bunker/services/test_grant_seals.py",),
    ),
    Check(
        "nothing is sealed anew that had no seal", "somebody writes the database", "bunker/services/lifecycle.py",
        "    if not is_granted(connection):\n", "    if False:\n",
        ("tests/bunker/services/test_grant_seals.py",),
    ),
    Check(
        "the former queue's pickles make no object", "somebody writes the database or Redis",
        "keycast/operations/former_queue.py", "if (module, name) not in _KNOWN:", "if False:",
        ("tests/keycast/operations/test_job_cluster.py",),
    ),
    Check(
        "no column of pickles is read", "somebody writes the database or Redis", "keycast/operations/job_packages.py",
        "    pickle_fields.dbsafe_decode = _refuse", "    _refuse",
        ("tests/keycast/operations/test_job_packages.py",),
    ),
    # The co-signer, before a signer A that was taken over
    Check(
        "an authorisation has a window", "signer A, taken over, hoards authorisations", "keys/cosigner/challenges.py",
        "if c.value == challenge and now - c.made < ACCEPTED_FOR)", "if c.value == challenge)",
        ("tests/keys/cosigner/test_hostile_signer_a.py",),
    ),
    Check(
        "an authorisation holds once", "signer A, taken over, hoards authorisations", "keys/cosigner/challenges.py",
        "        if digest in known.used:\n", "        if False:\n",
        ("tests/keys/cosigner/test_hostile_signer_a.py",),
    ),
    Check(
        "the co-signer verifies its part", "a fault, or bad randomness, in the co-signer", "keys/cosigner/key_use.py",
        'if not musig.verify_partial(session, "B", partial):', "if False:",
        ("tests/keys/cosigner/test_hostile_signer_a.py",),
    ),
    Check(
        "the co-signer's nonce takes in what tells uses apart", "a fault, or bad randomness, in the co-signer",
        "keycast/crypto/musig.py", "ffi.NULL if extra is None else extra", "ffi.NULL",
        ("tests/keys/cosigner/test_hostile_signer_a.py",),
    ),
    Check(
        "an authoriser is in the key ring that the co-signer was told", "signer A, taken over, names an HSM key",
        "keys/cosigner/attestation/__init__.py", "if named is None or named[1] != key_ring:", "if named is None:",
        ("tests/keys/cosigner/test_attestation.py",),
    ),
    Check(
        "an authoriser was made in the HSM and stays there", "signer A, taken over, names an HSM key",
        "keys/cosigner/attestation/__init__.py", "if not flags[0] or not flags[1] or flags[2]:", "if False:",
        ("tests/keys/cosigner/test_attestation.py",),
    ),
    Check(
        "the owner of the HSM vouches for the partition, too", "signer A, taken over, names an HSM key",
        "keys/cosigner/attestation/chains.py", "and {_key(card), _key(found)} <= owned and", "and",
        ("tests/keys/cosigner/test_attestation.py",),
    ),
    Check(
        "a successor waits for its day", "the same with a key that passes, unnoticed", "keys/cosigner/authorisers.py",
        "if authorisation.now() < self._day_of(waits):", "if False:",
        ("tests/keys/cosigner/test_successors.py",),
    ),
    Check(
        "a refused successor stays refused", "the same with a key that passes, unnoticed",
        "keys/cosigner/authorisers.py",
        "if found is not None and found.status is CandidateStatus.REFUSED:", "if False:",
        ("tests/keys/cosigner/test_successors.py",),
    ),
    Check(
        "a server keeps no HSM keys", "signer A, taken over, enables at Google", "keys/hsm/google/identities.py",
        "if not hsm_keeping.is_allowed():", "if False:",
        ("tests/keys/hsm/google/test_identities.py",),
    ),
    # HSMs behind PKCS#11, and OpenBao
    Check(
        "a signature of OpenBao is verified before it is used", "an OpenBao that misbehaves",
        "keys/hsm/openbao/transit.py",
        "if not authoriser_keys.verify(key, digest, compact):", "if False:",
        ("tests/keys/hsm/openbao/test_failures.py",),
    ),
    Check(
        "what a token seals is bound to its place", "a secret sealed under a key in a token",
        "keys/hsm/pkcs11/kek.py",
        "return _DOMAIN + bytes([len(label)]) + label + tenant_id.bytes + aad", "return _DOMAIN",
        ("tests/keys/hsm/pkcs11/test_kek.py",),
    ),
    Check(
        "a server that does not bind is refused", "a secret sealed under a key in a token",
        "keys/hsm/openbao/kek.py",
        'or self._decrypt(sealed, b"another") is not None:', "or False:",
        ("tests/keys/hsm/openbao/test_kek.py",),
    ),
    Check(
        "an authoriser's key on P-256 counts with a low S alone",
        "an authoriser's key on P-256 read as one on secp256k1",
        "keycast/crypto/authoriser_keys.py",
        "or s > _P256_ORDER // 2:", "or False:",
        ("tests/keycast/crypto/test_authoriser_keys.py",),
    ),
    Check(
        "a signature of a token is verified before it is used", "a signature of the HSM that is of another key",
        "keys/hsm/pkcs11/authoriser.py",
        "if not authoriser_keys.verify(public_key, digest, compact):", "if False:",
        ("tests/keys/hsm/pkcs11/test_authoriser.py",),
    ),
    Check(
        "a key that could leave its token is not used", "a PKCS#11 module that hangs",
        "keys/hsm/pkcs11/keeper.py",
        "if not keypairs.is_right_kind(found[0]):", "if False:",
        ("tests/keys/hsm/pkcs11/test_keys.py",),
    ),
    Check(
        "a wrong PIN is tried once", "a PKCS#11 module that hangs",
        "keys/hsm/pkcs11/token.py",
        "if pin in self._refused:", "if False:",
        ("tests/keys/hsm/pkcs11/test_keys.py",),
    ),
    Check(
        "only what was never in use is withdrawn", "signer A, taken over, destroys keys", "keys/cosigner/forgetting.py",
        "            if record.state != records.PENDING:\n", "            if False:\n",
        ("tests/keys/cosigner/test_hostile_endings.py",),
    ),
    Check(
        "a bounded number of keys is forgotten an hour", "signer A, taken over, destroys keys",
        "keys/cosigner/forgetting.py", "if records.forgets_since(writing, now - _HOUR) >= self._limits.an_hour:",
        "if False:", ("tests/keys/cosigner/test_forgetting.py",),
    ),
    Check(
        "the write-ahead log is cut", "signer A, taken over, keeps an old half usable", "keys/cosigner/store.py",
        '"PRAGMA wal_checkpoint(TRUNCATE)"', '"PRAGMA wal_checkpoint(PASSIVE)"',
        ("tests/keys/cosigner/test_forgetting.py",),
    ),
    Check(
        "the root that authorisations share is signed", "an authorisation made up from those that share",
        "keys/cosigner/held_keys.py", "    if not authoriser_keys.verify(*named):\n", "    if False:\n",
        ("tests/keys/cosigner/test_together.py",),
    ),
    *COSIGNER_OPERATOR,
    *KEY_EXPORTS,
    *IMPORTS,
    *PEOPLE,
)  # fmt: skip
