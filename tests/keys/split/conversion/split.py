"""A split key of a deployment, made as its owner would."""

from __future__ import annotations

from keycast.audit.entries import Actor
from keys import services
from keys.models import KeyState
from tests.keys.cosigner.rows import again


def split_key(deployment, name="Split"):
    common = {"actor": Actor.user(deployment.user), "tenant": deployment.tenant, "user": deployment.user}
    row = services.create_key(**common, name=name, key_mode="hsm", provider="google")
    assert services.finish_pending_key(row.id)
    row = again(row)
    assert row.state == KeyState.ACTIVE
    return row
