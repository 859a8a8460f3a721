"""Split keys as rows of the database, and a signer over them."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from django_scopes import scopes_disabled

from keycast.crypto import schnorr
from keycast.nostr.nip01 import id_of
from keys.hsm_errors import HsmKeyUnusable
from keys.lifecycle.rows import key_ref
from keys.models import KeyState, PersonalKey
from keys.signing.cache import LeasedCache
from keys.signing.cosigned import CosignedSigner
from keys.signing.cosigning.client import blocking
from keys.signing.half import OpenHalf
from keys.signing.kms import registry
from keys.signing.vault import OpenKeyVault
from keys.split import halves
from tests.keys.cosigner.support import FakeHsm, note


class StoredHsm(FakeHsm):
    """An HSM whose keys other processes of a test can use too."""

    def __init__(self, folder):
        super().__init__()
        self.folder, self.refused = folder, frozenset()

    async def authorise(self, hsm, digest):
        if hsm.key_version in self.refused:
            raise HsmKeyUnusable
        return await super().authorise(hsm, digest)

    def make(self, name):
        public = super().make(name)
        pem = self.keys[name].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / f"{name}.pem").write_bytes(pem)
        return public

    def sign(self, name, digest):
        if name not in self.keys:
            self.keys[name] = load_pem_private_key((self.folder / f"{name}.pem").read_bytes(), None)
        return super().sign(name, digest)


def make_row(user, tenant, hsm, client, secret=None):
    """An active split key, made as the backend of its mode makes it."""
    row = PersonalKey(tenant=tenant, user=user, name="Split", key_mode="hsm", hsm_provider="google")
    if secret is None:
        halves.create(row, client)
    else:
        halves.adopt(row, secret, client)
    row.kms_key_name, row.kms_key_version = f"user-{row.id}", "1"
    row.authoriser_public_key = hsm.make(row.kms_key_name).hex()
    halves.register(row, client)
    row.state = KeyState.ACTIVE
    with scopes_disabled():
        row.save()
    return row


def again(row):
    with scopes_disabled():
        return PersonalKey.objects.select_related("tenant", "user").get(pk=row.pk)


def signer_of(hsm, client):
    vault = OpenKeyVault(
        lambda keypair, tenant: OpenHalf(keypair, tenant, 16), registry.provider, LeasedCache(lambda: 60.0, 100)
    )
    return CosignedSigner(vault, {"google": hsm}, client)


def signs(row, hsm, client, content="still here"):
    """Sign with the row as it is in the database now, by a process that has nothing open yet."""
    key = key_ref(again(row))
    event_id = id_of(note(key, content))
    signer = signer_of(hsm, client)
    signature = blocking(lambda _: signer.sign_event_id(key, note(key, content), event_id), client)
    signer.forget_all()
    return schnorr.verify(bytes.fromhex(row.public_key), event_id, signature)
