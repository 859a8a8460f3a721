"""Tells the co-signer that apps have ended, so that it refuses what would be asked in their name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from keycast.base.errors import KeycastError
from keys.signing.cosigning.client import CosignerClient, blocking
from keys.signing.cosigning.errors import CosignerUnavailable


class EndedApp(NamedTuple):
    """An app (its public key, 64 hex digits) that asks for nothing more of a key."""

    tenant_id: UUID
    key_id: UUID
    client: str


def tell(ended: Sequence[EndedApp], client: CosignerClient | None = None) -> int:
    """Tell of each; how many the co-signer has heard. One that is away is asked again with the next run."""

    async def work(cosigner: CosignerClient) -> int:
        heard = 0
        for app in ended:
            try:
                await cosigner.end_app(app.tenant_id, app.key_id, bytes.fromhex(app.client))
                heard += 1
            except CosignerUnavailable:
                break
            except KeycastError:  # the key itself has ended there
                continue
        return heard

    return blocking(work, client) if ended else 0
