"""What an app asks for at connect (NIP-46 "requested permissions"): it can only narrow what the owner grants."""

from __future__ import annotations

from dataclasses import dataclass

from keycast.nostr.nip46 import KEY_METHODS, MAX_PERMISSIONS_TEXT, Nip46Method, PermissionsError, RequestedPermission


@dataclass(frozen=True, slots=True)
class RequestedPermissions:
    """The methods and kinds an app asked for. ``kinds`` None means sign_event of any kind."""

    methods: frozenset[str]
    kinds: frozenset[int] | None

    def covers(self, method: str, kind: int | None) -> bool:
        if method not in self.methods:
            return False
        return method != Nip46Method.SIGN_EVENT or self.kinds is None or kind in self.kinds


def parse_requested(text: str) -> RequestedPermissions | None:
    """Read ``"sign_event:1,nip44_encrypt"``; None when the app asked for nothing in particular.

    Entries that no policy knows grant nothing; they are not an error, since NIP-46 leaves the list open.
    """
    entries = [entry.strip() for entry in text[:MAX_PERMISSIONS_TEXT].split(",") if entry.strip()]
    if not entries:
        return None
    wishes = [wish for wish in map(_read, entries) if wish is not None]
    signing = [wish.kind for wish in wishes if wish.method == Nip46Method.SIGN_EVENT]
    kinds = None if None in signing else frozenset(kind for kind in signing if kind is not None)
    return RequestedPermissions(frozenset(wish.method for wish in wishes), kinds)


def _read(entry: str) -> RequestedPermission | None:
    try:
        wish = RequestedPermission.parse(entry)
    except PermissionsError:
        return None
    return wish if wish.method in KEY_METHODS else None
