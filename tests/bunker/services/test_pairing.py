"""``connect``: one secret, one client; guessing closes the door (threats C2-C5)."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from bunker.errors import PairingRefused
from bunker.models import Connection, ConnectionState, PairingGuard
from bunker.services import PairedConnection, bind_connection, lapse_unused_secrets, pairing, revoke_connection
from bunker.services.pairing import read_metadata
from keycast.audit.models import AuditRow
from tests.bunker.services.conftest import House, secret_of

CLIENT, RIVAL = "11" * 32, "22" * 32


def bind(house: House, secret: str, client: str = CLIENT, **more: str) -> PairedConnection:
    transport = house.key.transport_keys.get()
    return bind_connection(transport_id=transport.id, client_public_key=client, secret=secret, **more)


@pytest.mark.compliance(spec="NIP-46", section="connect", requirement="a secret is mandatory")
@pytest.mark.parametrize("change", [lambda s: "", lambda s: s.upper() + "X", lambda s: f" {s}", lambda s: s[:-1]])
def test_it_refuses_a_missing_or_wrong_secret(house: House, change: object) -> None:
    secret = secret_of(house.issue())
    with pytest.raises(PairingRefused):
        bind(house, change(secret))  # type: ignore[operator]
    assert Connection.objects.get().state == ConnectionState.PENDING


@pytest.mark.parametrize("secret", ["\x00", "\ud800", "x" * 100_000])
def test_it_refuses_a_secret_that_no_database_could_hold(house: House, secret: str) -> None:
    house.issue()
    with pytest.raises(PairingRefused):
        bind(house, secret)


def test_it_refuses_a_secret_after_its_time(house: House) -> None:
    secret = secret_of(house.issue(secret_lifetime=timedelta(minutes=10)))
    with time_machine.travel(timezone.now() + timedelta(minutes=11)), pytest.raises(PairingRefused):
        bind(house, secret)


def test_it_refuses_the_secret_of_another_signer(house: House) -> None:
    from keys.services import create_key

    second = create_key(actor=house.actor, tenant=house.tenant, user=house.owner, name="Second")
    secret = secret_of(house.issue(key=second))
    with pytest.raises(PairingRefused):
        bind(house, secret)


def test_it_refuses_a_used_secret_to_another_client_without_counting_it_as_a_guess(house: House) -> None:
    secret = secret_of(house.issue())
    bind(house, secret)
    for _ in range(10):
        with pytest.raises(PairingRefused):
            bind(house, secret, RIVAL)
    assert not PairingGuard.objects.exists()
    assert Connection.objects.get().client_public_key == CLIENT


def test_a_revoked_url_is_of_no_use(house: House) -> None:
    issued = house.issue()
    revoke_connection(actor=house.actor, connection=issued.connection)
    with pytest.raises(PairingRefused):
        bind(house, secret_of(issued))


def test_a_client_whose_access_was_revoked_hears_so(house: House) -> None:
    issued = house.issue()
    bind(house, secret_of(issued))
    revoke_connection(actor=house.actor, connection=Connection.objects.get())
    with pytest.raises(PairingRefused, match="revoked"):
        bind(house, secret_of(issued))
    with pytest.raises(PairingRefused, match="missing, wrong, used or expired"):
        bind(house, secret_of(issued), RIVAL)


def guess(house: House, count: int) -> None:
    for number in range(count):
        with pytest.raises(PairingRefused, match="missing, wrong, used or expired"):
            bind(house, f"guess {number}", client=f"{number:064x}")


def written_down() -> tuple[int, int]:
    """Rows of single wrong secrets, and of more of them."""
    rows = AuditRow.objects.filter(outcome="denied")
    return rows.filter(tag="bunker:pairing:refused").count(), rows.filter(tag="bunker:pairing:guessed").count()


def test_wrong_secrets_are_written_down_one_by_one_then_once_for_all(house: House) -> None:
    secret = secret_of(house.issue(secret_lifetime=timedelta(hours=1)))
    guess(house, 20)
    assert written_down() == (5, 1)
    assert PairingGuard.objects.get().closed_until is None
    with time_machine.travel(timezone.now() + timedelta(minutes=16)):
        guess(house, 7)
        assert written_down() == (10, 2)
        assert bind(house, secret).is_new


def test_wrong_secrets_far_apart_do_not_add_up(house: House) -> None:
    house.issue()
    for number in range(8):
        with time_machine.travel(timezone.now() + timedelta(minutes=16 * number)), pytest.raises(PairingRefused):
            bind(house, f"guess {number}")
    assert PairingGuard.objects.get().failures == 1
    assert written_down() == (8, 0)


def test_a_client_without_a_secret_writes_nothing(house: House) -> None:
    house.issue()
    before = AuditRow.objects.count()
    with pytest.raises(PairingRefused):
        bind(house, "")
    assert AuditRow.objects.count() == before
    assert not PairingGuard.objects.exists()


def test_the_right_secret_binds_exactly_one_client(house: House) -> None:
    issued = house.issue()
    bound = bind(house, secret_of(issued), requested_permissions="sign_event:1", metadata='{"name":"<b>App</b>"}')
    connection = Connection.objects.get()
    assert bound == PairedConnection(issued.connection.id, is_new=True)
    assert (connection.state, connection.client_public_key) == (ConnectionState.ACTIVE, CLIENT)
    assert connection.client_metadata == {"name": "<b>App</b>"}
    assert connection.requested_permissions == "sign_event:1"
    assert AuditRow.objects.filter(tag="bunker:connection:bound", outcome="ok").count() == 1


def test_the_same_client_is_confirmed_with_its_used_secret_and_nothing_changes(house: House) -> None:
    issued = house.issue()
    bind(house, secret_of(issued))
    again = bind(house, secret_of(issued), requested_permissions="sign_event", metadata='{"name":"Other"}')
    assert again == PairedConnection(issued.connection.id, is_new=False)
    assert Connection.objects.get().requested_permissions == ""


def test_a_newer_url_replaces_the_clients_older_grant(house: House) -> None:
    first, second = house.issue(), house.issue(policy_slug="full")
    bind(house, secret_of(first))
    assert bind(house, secret_of(second)) == PairedConnection(second.connection.id, is_new=True)
    assert Connection.objects.get(id=first.connection.id).state == ConnectionState.REVOKED


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", "1", "null", '"x"', "[" * 2000, '{"name":1}', '{"name":""}', '{"other":"x"}', "x" * 5000],
)
def test_metadata_that_says_nothing_usable_is_dropped(text: str) -> None:
    assert read_metadata(text) == {}


def test_metadata_is_cleaned_and_cut() -> None:
    said = read_metadata(
        '{"name":"A\\u202eB\\nC\\ud800","url":"javascript:alert(1)","icon":"x","image":"https://a.example/'
        + "i" * 400
        + '"}'
    )
    assert said["name"] == "AB C"
    assert "url" not in said
    assert len(said["image"]) == 300


def test_unused_secrets_lapse(house: House) -> None:
    issued = house.issue(secret_lifetime=timedelta(minutes=1))
    assert lapse_unused_secrets() == 0
    assert lapse_unused_secrets(now=timezone.now() + timedelta(minutes=2)) == 1
    assert Connection.objects.get(id=issued.connection.id).state == ConnectionState.LAPSED


@pytest.mark.django_db(transaction=True)
def test_fifty_clients_with_one_secret_are_one_success(house: House) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connections

    secret, transport_id = secret_of(house.issue()), house.key.transport_keys.get().id

    def attempt(number: int) -> bool:
        try:
            bind_connection(transport_id=transport_id, client_public_key=f"{number:064x}", secret=secret)
        except PairingRefused:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(max_workers=10) as pool:
        assert sum(pool.map(attempt, range(1, 51))) == 1


def test_a_secret_that_was_used_since_it_was_found_is_not_used_again(house: House) -> None:
    """Whatever held the others off: the statement that binds looks once more, on every database."""
    connection = house.issue().connection
    stale = Connection.objects.get(pk=connection.pk)
    assert pairing._use_secret(connection, CLIENT, "", "", timezone.now())
    assert not pairing._use_secret(stale, RIVAL, "", "", timezone.now())
    assert Connection.objects.get(pk=connection.pk).client_public_key == CLIENT


def test_a_picture_within_metadata_is_left_out_and_the_name_kept() -> None:
    said = {"name": "App", "image": "data:image/png;base64," + "A" * 20_000, "url": "javascript:alert(1)"}
    assert read_metadata(json.dumps(said)) == {"name": "App"}
