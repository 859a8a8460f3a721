"""Whether signer A's backup and the co-signer's make keys that sign: each way in which they do not is named."""

from __future__ import annotations

import os

import pytest

from keycast.audit.restore_journal import JournalEntry
from keycast.audit.tags import AuditTag
from keycast.crypto.musig import KeyAggregate
from keycast.crypto.points import even_half
from keys.split.fitting import fit

KEY = "aa" * 16
HSM = "02" + "33" * 32


def half():
    keypair, secret = even_half()
    with keypair, secret:
        return keypair.public_key.hex()


@pytest.fixture
def sides():
    """Both sides of one key as they should be."""
    a, b = half(), half()
    public = KeyAggregate(b"\x02" + bytes.fromhex(a), b"\x02" + bytes.fromhex(b)).public_key.hex()
    named = {"state": "active", "public_key": public, "half_a": a, "half_b": b, "tweak": "", "authoriser": HSM}
    there = {"tenant": "bb" * 16, "public_key": public, "state": "active", "authorisers": [HSM], "halves": {a: b}}
    return {KEY: {**named, "coming_half": ""}}, {"keys": {KEY: there}, "last_at": 1000, "problems": []}


def only(report):
    (problem,) = report.problems
    assert report.fitting == 0
    assert KEY in problem
    return problem


def test_a_key_that_the_co_signer_has_not_or_no_more_is_lost(sides):
    ours, theirs = sides
    key = theirs["keys"].pop(KEY)
    assert "has not got it" in only(fit(ours, theirs))
    theirs["keys"][KEY] = {**key, "state": "forgotten", "halves": {}}
    assert "destroyed its half" in only(fit(ours, theirs))


def test_halves_of_before_and_after_a_refresh_do_not_belong_together(sides):
    ours, theirs = sides
    theirs["keys"][KEY]["halves"] = {half(): half()}
    journal = [JournalEntry("c", 1, "", 2000, AuditTag.KEY_HALVES_REFRESHED.value, KEY)]
    assert "do not belong together" in only(fit(ours, theirs))
    told = fit(ours, theirs, journal).problems
    assert [("refreshed after the co-signer" in problem) for problem in told] == [False, True]


def test_another_public_key_other_halves_and_another_hsm_key_are_named(sides):
    ours, theirs = sides
    there = theirs["keys"][KEY]
    theirs["keys"][KEY] = {**there, "public_key": os.urandom(32).hex()}
    assert "another public key" in only(fit(ours, theirs))
    theirs["keys"][KEY] = {**there, "authorisers": ["02" + "44" * 32]}
    assert "another HSM key" in only(fit(ours, theirs))
    theirs["keys"][KEY] = there
    ours[KEY]["tweak"] = "01" * 32
    assert "make another public key" in only(fit(ours, theirs))


def test_two_sides_that_fit_are_counted_whatever_the_journal_has_of_before(sides):
    ours, theirs = sides
    later = [JournalEntry("c", 1, "", 2000, AuditTag.KEY_HALVES_REFRESHED.value, KEY)]
    report = fit(ours, theirs, later)
    assert (report.fitting, report.problems, report.notes) == (1, [], [])


def test_a_refresh_under_way_on_either_side_fits(sides):
    ours, theirs = sides
    there = theirs["keys"][KEY]
    there["halves"][half()] = half()
    assert fit(ours, theirs).fitting == 1, "the co-signer has old and new"
    coming = half()
    ours[KEY]["coming_half"], there["halves"] = coming, {coming: half()}
    assert fit(ours, theirs).fitting == 1, "signer A has yet to change over"


def test_what_settles_by_itself_is_a_note(sides):
    ours, theirs = sides
    theirs["keys"][KEY]["state"] = "locked"
    theirs["keys"]["cc" * 16] = {**theirs["keys"][KEY], "state": "active"}
    theirs["keys"]["dd" * 16] = {**theirs["keys"][KEY], "state": "pending"}
    report = fit(ours, theirs)
    assert report.problems == []
    assert ["locked at the co-signer" in report.notes[0], "not in use in this one" in report.notes[1]] == [True, True]
    assert len(report.notes) == 2
