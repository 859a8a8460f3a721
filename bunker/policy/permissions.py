"""What an app asks for at connect (NIP-46 "requested permissions"): it can only narrow what the owner grants."""

from __future__ import annotations

from dataclasses import dataclass

from keycast.nostr.nip46 import KEY_METHODS, Nip46Method, parse_permissions


@dataclass(frozen=True, slots=True)
class Narrowing:
    """The methods and kinds an app asked for. ``kinds`` None means sign_event of any kind."""

    methods: frozenset[str]
    kinds: frozenset[int] | None

    def covers(self, method: str, kind: int | None) -> bool:
        if method not in self.methods:
            return False
        return method != Nip46Method.SIGN_EVENT or self.kinds is None or kind in self.kinds


def narrowing(text: str) -> Narrowing | None:
    """Read ``"sign_event:1,nip44_encrypt"``; None when the app asked for nothing in particular.

    Entries that nobody knows grant nothing and are no error, since NIP-46 leaves the list open. When there is no other
    (``undefined``, ``*``, metadata in the wrong place), the app has said nothing about what it wants.
    """
    known = parse_permissions(text).known
    if not known:
        return None
    wishes = [wish for wish in known if wish.method in KEY_METHODS]
    signing = [wish.kind for wish in wishes if wish.method == Nip46Method.SIGN_EVENT]
    kinds = None if None in signing else frozenset(kind for kind in signing if kind is not None)
    return Narrowing(frozenset(wish.method for wish in wishes), kinds)
