"""What an app asks for at connect (NIP-46 "requested permissions"): it can only narrow what the owner grants."""

from __future__ import annotations

from dataclasses import dataclass

from bunker.policy.document import KEY_METHODS

MAX_PERMISSIONS_LENGTH = 4096


@dataclass(frozen=True, slots=True)
class Requested:
    """The methods and kinds an app asked for. ``kinds`` None means sign_event of any kind."""

    methods: frozenset[str]
    kinds: frozenset[int] | None

    def covers(self, method: str, kind: int | None) -> bool:
        if method not in self.methods:
            return False
        return method != "sign_event" or self.kinds is None or kind in self.kinds


def parse_requested(text: str) -> Requested | None:
    """Read ``"sign_event:1,nip44_encrypt"``; None when the app asked for nothing in particular.

    Entries that no policy knows grant nothing; they are not an error, since NIP-46 leaves the list open.
    """
    entries = [entry.strip() for entry in text[:MAX_PERMISSIONS_LENGTH].split(",") if entry.strip()]
    if not entries:
        return None
    methods: set[str] = set()
    kinds: set[int] = set()
    any_kind = False
    for entry in entries:
        method, colon, parameter = entry.partition(":")
        if method not in KEY_METHODS:
            continue
        if method != "sign_event":
            methods.add(method)
        elif not colon:
            methods.add(method)
            any_kind = True
        elif parameter.isascii() and parameter.isdigit() and len(parameter) <= 5:
            methods.add(method)
            kinds.add(int(parameter))
    return Requested(frozenset(methods), None if any_kind else frozenset(kinds))
