"""The co-signer hears of apps that ended, and of none that is connected still or again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from bunker.models import Connection
from bunker.services import ended_apps as service
from bunker.services import revoke_connection
from keycast.crypto.schnorr import Keypair
from keys.errors import KeyUnavailable
from keys.models import PersonalKey
from keys.signing.cosigning.errors import CosignerUnavailable
from keys.split import ended_apps
from keys.split.ended_apps import EndedApp
from tests.bunker.services.conftest import House, secret_of
from tests.bunker.services.test_pairing import bind


class Cosigner:
    """Hears, refuses or is away."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers, self.heard = list(answers), list[bytes]()

    async def end_app(self, tenant_id: object, key_id: object, client: bytes) -> None:
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        self.heard.append(client)

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[EndedApp]:
    told: list[EndedApp] = []
    monkeypatch.setattr(ended_apps, "tell", lambda found: told.extend(found) or len(found))
    return told


def connected(house: House) -> Connection:
    client = Keypair.generate()[0].public_key_hex
    bind(house, secret_of(house.issue()), client)
    return Connection.objects.get(client_public_key=client)


def split(house: House) -> None:
    """As far as the query looks."""
    PersonalKey.objects.filter(pk=house.key.pk).update(
        key_mode="hsm", hsm_provider="google", encrypted_secret_key=None, encrypted_half_key=b"x", kek_provider="",
        cosigner_public_key="ab" * 32, authoriser_public_key="02" + "ab" * 32,
        kms_key_name="user-1", kms_key_version="1",
    )  # fmt: skip


def test_apps_of_keys_that_are_not_split_are_nothing_to_the_cosigner(house: House, told: list[EndedApp]) -> None:
    revoke_connection(actor=house.actor, connection=connected(house))
    assert service.tell_cosigner() == 0


def test_live_apps_and_those_that_ended_long_ago_are_left_out(house: House, told: list[EndedApp]) -> None:
    connected(house)
    old = revoke_connection(actor=house.actor, connection=connected(house))
    Connection.objects.filter(pk=old.pk).update(ended_at=timezone.now() - timedelta(days=2))
    split(house)
    assert service.tell_cosigner() == 0


def test_an_app_that_ended_is_told_and_told_again(house: House, told: list[EndedApp]) -> None:
    ended = revoke_connection(actor=house.actor, connection=connected(house))
    split(house)
    assert [service.tell_cosigner() for _ in range(2)] == [1, 1]
    assert told[0] == EndedApp(house.tenant.id, house.key.id, ended.client_public_key)


def test_a_cosigner_that_is_away_is_left_alone_and_one_without_the_key_is_no_hindrance() -> None:
    apps = [EndedApp(*[Keypair.generate()[0].public_key_hex] * 3) for _ in range(3)]  # type: ignore[arg-type]
    refusing, away = Cosigner(KeyUnavailable()), Cosigner(None, CosignerUnavailable())
    assert ended_apps.tell(apps, refusing) == 2  # type: ignore[arg-type]
    assert ended_apps.tell(apps, away) == 1  # type: ignore[arg-type]
    assert len(away.heard) == 1
