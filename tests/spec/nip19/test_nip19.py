"""NIP-19 texts: the published ones, the round trip of each form, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keycast.crypto.schnorr import Keypair
from keycast.crypto.secret import SecretBytes
from keycast.nostr import bech32, nip19
from keycast.nostr.nip19 import AddressPointer, EventPointer, Nip19Error, ProfilePointer
from tests.vectors import rows

FILE = "nip19_nip06.json"
SPEC = "NIP-19"
KEY = Keypair.generate()[0].public_key_hex
OFF_CURVE = "eefdea4cdb677750a420fee807eacf21eb9898ae79b9768766e4faa04a2d4a34"
DECODERS = [
    nip19.decode_npub,
    nip19.decode_nsec,
    nip19.decode_note,
    nip19.public_key_of,
    ProfilePointer.decode,
    EventPointer.decode,
    AddressPointer.decode,
]


def of(name):
    return lambda file: file["nip19"][name]


def refused(decode, text):
    with pytest.raises(Nip19Error) as refusal:
        decode(text)
    assert str(refusal.value) == "invalid NIP-19 text"


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__qualname__)
def test_a_text_of_another_form_is_refused(decode):
    npub = nip19.encode_npub(KEY)
    good = {
        nip19.decode_npub: npub,
        nip19.public_key_of: npub,
        nip19.decode_note: nip19.encode_note(KEY),
        nip19.decode_nsec: nip19.encode_nsec(SecretBytes.random(32)),
        ProfilePointer.decode: ProfilePointer(KEY).encode(),
        EventPointer.decode: EventPointer(KEY).encode(),
        AddressPointer.decode: AddressPointer("", KEY, 1).encode(),
    }[decode]
    decode(good)
    flipped = good[:-1] + ("q" if good[-1] != "q" else "p")
    for text in (
        "",
        "1",
        "npub1",
        good[:-1],
        good + "q",
        flipped,
        " " + good,
        good + "\n",
        good[:8] + good[8:].upper(),
        good.replace("1", "11", 1),
        "x" + good,
        good + "é",
        good[:20] + "b" + good[21:],
        "nrelay1" + "q" * 20,
        "q" * 6000,
    ):
        refused(decode, text)


def test_a_prefix_is_not_taken_for_another():
    secret = nip19.encode_nsec(SecretBytes.random(32))
    refused(nip19.decode_npub, secret)
    refused(nip19.public_key_of, secret)
    refused(nip19.decode_nsec, nip19.encode_npub(KEY))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_is_refused(size):
    for prefix, decode in (("npub", nip19.decode_npub), ("nsec", nip19.decode_nsec), ("note", nip19.decode_note)):
        refused(decode, bech32.encode(prefix, b"\x01" * size))


def test_a_public_key_off_the_curve_is_refused():
    refused(nip19.decode_npub, bech32.encode("npub", bytes.fromhex(OFF_CURVE)))
    refused(nip19.public_key_of, OFF_CURVE)
    refused(ProfilePointer.decode, bech32.encode("nprofile", b"\x00\x20" + bytes.fromhex(OFF_CURVE)))
    for encode in (nip19.encode_npub, lambda key: ProfilePointer(key).encode()):
        refused(encode, OFF_CURVE)
        refused(encode, KEY.upper())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x00\x20",
        b"\x01\x00",
        b"\x00\x20" + b"\x01" * 31,
        b"\x00\x1f" + b"\x01" * 31,
        b"\x00\x20" + b"\x01" * 33,
    ],
    ids=lambda data: data.hex()[:10],
)
def test_items_that_do_not_add_up_are_refused(data):
    for prefix, decode in (("nevent", EventPointer.decode), ("nprofile", ProfilePointer.decode)):
        refused(decode, bech32.encode(prefix, data))


def test_pointers_with_a_broken_item_are_refused():
    special = b"\x00\x20" + bytes.fromhex(KEY)
    for item in (b"\x03\x02\x00\x01", b"\x03\x04\x00\x01\x00\x00", b"\x02\x01\x00", b"\x01\x01\xff"):
        refused(EventPointer.decode, bech32.encode("nevent", special + item))
    refused(
        AddressPointer.decode,
        bech32.encode("naddr", b"\x00\x01\xff\x02\x20" + bytes.fromhex(KEY) + b"\x03\x04\0\0\0\1"),
    )
    refused(AddressPointer.decode, bech32.encode("naddr", b"\x00\x00\x02\x20" + bytes.fromhex(KEY)))


def test_what_cannot_be_written_is_refused():
    refused(lambda relay: ProfilePointer(KEY, (relay,)).encode(), "w" * 256)
    refused(lambda relay: ProfilePointer(KEY, (relay,)).encode(), "\ud800")
    refused(lambda relay: ProfilePointer(KEY, (relay,) * 20).encode(), "w" * 255)
    refused(lambda kind: EventPointer(KEY, kind=kind).encode(), 65_536)
    refused(lambda event_id: EventPointer(event_id).encode(), "zz")
    refused(nip19.encode_note, "A" * 64)


@given(
    st.text(max_size=100) | st.text(st.sampled_from("1" + bech32.CHARSET), max_size=80).map(lambda tail: "npub1" + tail)
)
def test_no_text_makes_decoding_raise_anything_else(text):
    for decode in DECODERS:
        try:
            decode(text)
        except Nip19Error:
            continue
        assert decode is nip19.public_key_of


@pytest.mark.compliance(spec=SPEC, section="Bare keys and ids", requirement="npub")
@pytest.mark.parametrize("row", rows(FILE, of("npub")))
def test_a_published_npub_reads_and_writes(row):
    assert nip19.decode_npub(row["bech32"]) == row["hex"] == nip19.public_key_of(row["bech32"])
    assert nip19.encode_npub(row["hex"]) == row["bech32"]
    assert nip19.decode_npub(row["bech32"].upper()) == row["hex"]


@pytest.mark.compliance(spec=SPEC, section="Bare keys and ids", requirement="nsec")
@pytest.mark.parametrize("row", rows(FILE, of("nsec")))
def test_a_published_nsec_reads_and_writes(row):
    secret = nip19.decode_nsec(row["bech32"])
    assert secret == SecretBytes(bytes.fromhex(row["hex"]))
    assert nip19.encode_nsec(secret) == row["bech32"]


@pytest.mark.compliance(spec=SPEC, section="Bare keys and ids", requirement="nsec and npub of the same key")
@pytest.mark.parametrize("row", rows(FILE, lambda file: file["nip06"]))
def test_published_pairs_belong_together(row):
    secret = nip19.decode_nsec(row["nsec"])
    assert secret == SecretBytes(bytes.fromhex(row["private_key"]))
    assert Keypair.from_secret(secret).public_key_hex == row["public_key"] == nip19.decode_npub(row["npub"])


@pytest.mark.compliance(spec=SPEC, section="Shareable identifiers with extra metadata", requirement="nprofile")
@pytest.mark.parametrize("row", rows(FILE, of("nprofile")))
def test_a_published_nprofile_reads_and_writes(row):
    pointer = ProfilePointer.decode(row["bech32"])
    assert pointer == ProfilePointer(row["pubkey"], tuple(row["relays"]))
    assert pointer.encode() == row["bech32"]
    assert nip19.public_key_of(row["bech32"]) == row["pubkey"]


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.compliance(spec=SPEC, section="Shareable identifiers with extra metadata", requirement="nevent, naddr")
@given(st.lists(text, max_size=4).map(tuple), st.none() | st.just(KEY), st.none() | st.integers(0, 65_535), text)
def test_pointers_survive_the_round(relays, author, kind, identifier):
    for pointer in (
        EventPointer("ab" * 32, relays, author, kind),
        AddressPointer(identifier, KEY, kind or 0, relays),
        ProfilePointer(KEY, relays),
    ):
        assert type(pointer).decode(pointer.encode()) == pointer


@pytest.mark.compliance(
    spec=SPEC, section="Shareable identifiers with extra metadata", requirement="unknown TLV ignored"
)
def test_items_of_an_unknown_type_are_ignored():
    data = b"\x09\x02hi\x00\x20" + bytes.fromhex(KEY) + b"\xff\x00"
    assert ProfilePointer.decode(bech32.encode("nprofile", data)) == ProfilePointer(KEY)


@given(st.binary(max_size=200))
def test_any_bytes_survive_bech32(data):
    assert bech32.decode("test", bech32.encode("test", data)) == data


@pytest.mark.compliance(spec="BIP-173", section="Bech32", requirement="stray bits at the end are refused")
def test_stray_bits_at_the_end_are_refused():
    values = bytearray([31])  # one group of five bits is no byte
    check = bech32._polymod(bech32._expanded("test") + values + bytes(6)) ^ 1
    text = "test1" + "".join(bech32.CHARSET[v] for v in [31, *(check >> 5 * (5 - i) & 31 for i in range(6))])
    with pytest.raises(bech32.Bech32Error):
        bech32.decode("test", text)
