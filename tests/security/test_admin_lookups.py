"""The staff admin as an oracle: a filter in the address tells nothing of a column that no page shows (threats W3)."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.keycast.console.conftest import World, operator, operator_client, platform, world

__all__ = ["operator", "operator_client", "platform", "world"]

ORACLES = [
    "/admin/accounts/user/?password__startswith=",
    "/admin/accounts/user/?password__regex=.",
    "/admin/keys/personalkey/?encrypted_secret_key__isnull=False",
    "/admin/keys/personalkey/?user__password__startswith=",
    "/admin/keys/personalkey/?state_reason__startswith=",
    "/admin/bunker/connection/?secret_hash__isnull=False",
    "/admin/bunker/connection/?key__encrypted_secret_key__isnull=False",
    "/admin/accounts/tenant/?invitations__token_hash__isnull=False",
    "/admin/accounts/user/?session=1",
]


@pytest.mark.parametrize("address", ORACLES)
def test_a_column_that_is_no_filter_cannot_be_asked_for(operator_client: Client, world: World, address: str) -> None:
    assert operator_client.get(address).status_code == 400


@pytest.mark.parametrize(
    "address",
    [
        "/admin/accounts/user/?is_staff__exact=1",
        "/admin/keys/personalkey/?state__exact=active",
        "/admin/bunker/connection/?tenant__id__exact={tenant}",
        "/admin/accounts/tenant/?state__exact=active&registration__exact=open",
        "/admin/audit/auditrow/?outcome=denied",
    ],
)
def test_the_filters_on_the_page_work(operator_client: Client, world: World, address: str) -> None:
    assert operator_client.get(address.format(tenant=world.tenant.id)).status_code == 200
