"""Which outbound relays a worker connects to when tenants name more than it may have: each tenant gets its share.

Connections to relays are shared by everybody, so a relay that several tenants name takes one place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from uuid import UUID

Wanted = Mapping[str, Collection[str]]
"""Transport public keys by the relay on which they are waited for."""


def shared_out(
    wanted: Mapping[UUID, Wanted], limits: Mapping[UUID, int | None], common: Collection[str], room: int
) -> tuple[dict[str, set[str]], int]:
    """(keys by relay, how many wishes were left out). ``common`` are the operator's relays and always served.

    Tenants take turns, each naming the relay that most of its keys wait on, up to its limit, until ``room`` is used up.
    """
    served: dict[str, set[str]] = {}
    for relays in wanted.values():
        for url in common:
            if url in relays:
                served.setdefault(url, set()).update(relays[url])
    turns = deque((tenant, _most_wanted(relays, common, limits.get(tenant))) for tenant, relays in wanted.items())
    left_out = sum(len(set(relays) - set(common)) for relays in wanted.values())
    while turns:
        tenant, urls = turns.popleft()
        while urls:
            url = urls.popleft()
            if url not in served and len(served) >= room:
                continue
            is_new = url not in served
            served.setdefault(url, set()).update(wanted[tenant][url])
            left_out -= 1
            if is_new:
                break
        if urls:
            turns.append((tenant, urls))
    return served, left_out


def _most_wanted(relays: Wanted, common: Collection[str], limit: int | None) -> deque[str]:
    own = sorted(set(relays).difference(common), key=lambda url: (-len(relays[url]), url))
    return deque(own if limit is None else own[:limit])
