"""The checks of the brake of the co-signer's operator, of its record and of both sides' backups."""

from __future__ import annotations

from tests.mutants.check import Check

_UNASKED = "signer A, taken over, asks for what no app asked for"
_REQUESTS = ("tests/keys/cosigner/test_app_requests.py",)

COSIGNER_OPERATOR = (
    Check(
        "where requests are demanded nothing is done without", _UNASKED, "keys/cosigner/brake.py",
        "if self._rules.chooses(*scopes, rules.ASKED, rules.REQUIRED):", "if False:", _REQUESTS,
    ),
    Check(
        "a closed list takes no app", _UNASKED, "keys/cosigner/brake.py",
        "if note.tag is CosignerAuditTag.APP_ADMITTED and", "if False and", _REQUESTS,
    ),
    Check(
        "the app has signed its request", _UNASKED, "keys/cosigner/app_requests.py",
        "if not schnorr.verify(asked.client, identifier, asked.signature):", "if False:", _REQUESTS,
    ),
    Check(
        "the event is the one asked for", _UNASKED, "keys/cosigner/app_requests.py",
        "if asked != (event.pubkey, event.created_at, event.kind, event.tags, event.content):", "if False:", _REQUESTS,
    ),
    Check(
        "what an app asked is fresh at the co-signer", _UNASKED, "keys/cosigner/app_requests.py",
        "if abs(now - asked.created_at) > FRESH_FOR:", "if False:", _REQUESTS,
    ),
    Check(
        "a request is not used for ever", _UNASKED, "keys/cosigner/app_requests.py",
        "if self._count(asked.id, asked.created_at) > ATTEMPTS:", "if False:", _REQUESTS,
    ),
    Check(
        "the app was admitted for this", _UNASKED, "keys/cosigner/apps.py",
        "if app is None or not app.holds(now) or not app.covers(opened.request.method, kind):", "if app is None:",
        _REQUESTS,
    ),
    Check(
        "a reading grant is signed by the HSM", "signer A, taken over, reads with a reading grant",
        "keys/cosigner/reading.py",
        "self._repository.use_up(record, AuthorisationPurpose.READ, subject, request.grant)", "pass",
        ("tests/keys/cosigner/test_reading.py",),
    ),
    Check(
        "a reading grant is not wider than the co-signer's bounds", "signer A, taken over, reads with a reading grant",
        "keys/cosigner/reading.py",
        "is_too_wide = request.seconds > self._limits.seconds or request.uses > self._limits.uses",
        "is_too_wide = False", ("tests/keys/cosigner/test_reading.py",),
    ),
    Check(
        "a reading grant ends after its uses", "signer A, taken over, reads with a reading grant",
        "keys/cosigner/reading.py", " or reading.used + len(request.peers) > reading.uses", "",
        ("tests/keys/cosigner/test_reading.py",),
    ),
    Check(
        "a reading grant ends with its time", "signer A, taken over, reads with a reading grant",
        "keys/cosigner/open_readings.py", "return self.now() >= reading.ends", "return False",
        ("tests/keys/cosigner/test_reading.py",),
    ),
    Check(
        "a use of a reading grant is counted on disk", "signer A, taken over, reads with a reading grant",
        "keys/cosigner/store.py", "self.counted += [note] * times", "pass",
        ("tests/keys/cosigner/test_reading.py",),
    ),
    Check(
        "a change of the key ends its reading grants", "a reading grant goes on after the key was locked",
        "keys/cosigner/held_keys.py", "over = self.readings.remove_all_of(record.key_id.bytes)",
        "over: list = []", ("tests/keys/cosigner/test_reading.py",),
    ),
    Check(
        "the operator's stop ends reading grants", "a reading grant goes on after the key was locked",
        "keys/cosigner/service.py", "store.on_commit = self.reading.noticed", "pass",
        ("tests/keys/cosigner/test_reading.py",),
    ),
    Check(
        "what the operator stopped is not used", "signer A, taken over, goes on with a key that the co-signer",
        "keys/cosigner/brake.py", "if self._rules.stops and self._rules.stop_of(*scopes) is not None:", "if False:",
        ("tests/keys/cosigner/test_brake.py",),
    ),
    Check(
        "a stop is noticed by the process that serves", "signer A, taken over, goes on with a key that the co-signer",
        "keys/cosigner/brake.py", "is_changed: bool = version != self._version", "is_changed: bool = self._version < 0",
        ("tests/keys/cosigner/test_brake.py",),
    ),
    Check(
        "a budget a day ends", "signer A, taken over, signs all it can", "keys/cosigner/brake.py",
        "if spent.budget and spent.count + asked[spent.place] > spent.budget:", "if False:",
        ("tests/keys/cosigner/test_brake.py",),
    ),
    Check(
        "a budget survives a restart", "signer A, taken over, signs all it can", "keys/cosigner/brake.py",
        "count, told = rows.pop(self._day, (0, 0))", "count, told = rows.pop(self._day, (0, 0)) and (0, 0)",
        ("tests/keys/cosigner/test_brake.py",),
    ),
    Check(
        "a kind that is not allowed is not signed", "signer A, taken over, signs all it can", "keys/cosigner/brake.py",
        'if self._bounds_kinds and "kind" in note.data and not self._rules.allows(*scopes, note.data["kind"]):',
        "if False:", ("tests/keys/cosigner/test_brake.py",),
    ),
    Check(
        "a signature that only the co-signer knows is told", "somebody with signer A's access, but not in Keycast",
        "keys/split/comparison.py", "if not _is_answer(use, ours, explained) and not _is_proof(use)", "if False",
        ("tests/keys/split/test_comparison.py",),
    ),
    Check(
        "a signature that only our log knows is told", "somebody with signer A's access, but not in Keycast",
        "keys/split/comparison.py", "and (key, event) not in known", "and False",
        ("tests/keys/split/test_comparison.py",),
    ),
    Check(
        "another tenant reads nothing of the co-signer's log", "reading the co-signer's log",
        "keys/cosigner/log_requests.py",
        "if request.key != _NONE and await self._repository.find(request) is None:", "if False:",
        ("tests/keys/cosigner/test_log_requests.py",),
    ),
    Check(
        "two halves that do not belong together are named", "backups of the two sides of split keys that do not fit",
        "keys/split/fitting.py", 'if half_b != row["half_b"]:', "if False:",
        ("tests/keys/split/test_fitting.py",),
    ),
)  # fmt: skip
