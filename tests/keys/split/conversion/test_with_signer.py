"""A conversion where keys are opened by a signer in a process of its own: here nothing can be opened at all."""

from __future__ import annotations

import pytest
from django.conf import settings

from keycast.audit.entries import Actor
from keys import services
from keys.errors import KekUnavailable
from keys.models import Conversion, ConversionStep
from keys.signing.kms import registry
from tests.keys.cosigner.rows import again
from tests.keys.hsm.google.conftest import misbehave
from tests.keys.signing.isolated.support import SignerProcess, asking
from tests.keys.split.conversion.support import finished, signs

pytestmark = pytest.mark.opens_keys
SYSTEM = Actor.system("test")


@pytest.fixture
def signer(deployment, tmp_path, monkeypatch):
    def none_here(*_):
        raise KekUnavailable

    process = SignerProcess(
        tmp_path / "signer",
        KEYCAST_HSM_PROVIDERS="google",
        KEYCAST_KMS_EMULATOR="1",
        KEYCAST_KMS_ENDPOINT=settings.KMS_ENDPOINT,
        KEYCAST_GCP_KEY_RING=settings.GCP_KEY_RING,
        KEYCAST_COSIGNER_SOCKET=str(deployment.process.socket),
    )
    with process, asking(process.socket):
        for name in ("provider", "default_provider"):
            monkeypatch.setattr(registry, name, none_here)
        yield process


def test_a_signer_that_is_away_begins_nothing_and_is_waited_for(deployment, signer):
    key = deployment.key()
    deployment.converting(key)
    signer.kill()
    assert not finished(key)
    assert Conversion.objects.get().step == ConversionStep.MADE
    signer.start()
    assert finished(key)
    assert signs(key)


def test_halves_are_drawn_sealed_and_handed_over_by_it(deployment, signer):
    key = deployment.key()
    assert signs(key, "before")
    deployment.converting(key)
    assert signs(key, "meanwhile")
    assert finished(key)
    assert again(key).key_mode == "hsm"
    assert again(key).public_key == key.public_key
    assert signs(key, "after")


def test_a_failed_attempt_is_cleaned_up_and_made_again(deployment, signer):
    key = deployment.key()
    deployment.converting(key)
    misbehave(deployment.emulator, "error", "AsymmetricSign", code="PERMISSION_DENIED")
    assert not finished(key)
    services.cancel_conversion(actor=SYSTEM, key=key)
    deployment.emulator.apply({"faults": []})
    assert finished(key)
    deployment.converting(key)
    assert finished(key)
    assert signs(key)
