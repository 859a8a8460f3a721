"""What a method is to the engine: an answer at once, a use of the user's key, or a change of the connection itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol
from uuid import UUID

from bunker.policy import RequestedUse
from keycast.audit.tags import AuditTag
from keycast.base.errors import KeycastError
from keycast.nostr.nip46 import Nip46Method
from keys.refs import KeyRef
from keys.signing.cosigning.messages import AskedUse


class UnknownMethod(KeycastError):
    """A method that NIP-46 does not have, or not any more."""

    code = "unknown-method"
    public_message = "This remote signer does not know that method."


class BadParameters(KeycastError):
    """The parameters are not what the method takes."""

    code = "bad-parameters"
    public_message = "The parameters of this request are not valid."


class RequestContext:
    """On whose behalf a request runs: the key, the client, and the connection between them (None for a stranger)."""

    __slots__ = (
        "client",
        "connection_id",
        "key",
        "offered_relays",
        "relays",
        "signer_public_key",
        "transport_id",
        "uses",
    )

    def __init__(
        self,
        key: KeyRef,
        client: str,
        *,
        transport_id: UUID,
        signer_public_key: str,
        connection_id: UUID | None = None,
        uses: int = 0,
        relays: Sequence[str] = (),
        offered_relays: Callable[[], Sequence[str] | None] | None = None,
    ) -> None:
        self.key = key
        self.client = client
        self.transport_id = transport_id
        self.signer_public_key = signer_public_key
        self.connection_id = connection_id
        self.uses = uses
        self.relays = relays
        self.offered_relays = offered_relays


class KeyOperations(Protocol):
    """The part of the signing service (keys.services.signing_service) that methods call."""

    async def sign_event(self, key: KeyRef, event: Any, asked: AskedUse | None = None) -> Any: ...
    async def crypt(
        self,
        key: KeyRef,
        method: Nip46Method,
        peer: str,
        text: str,
        client: str = "",
        asked: AskedUse | None = None,
    ) -> str: ...


class InfoMethod:
    """Needs neither the key nor a decision: any connected app may ask. ``result`` is never empty."""

    __slots__ = ("result",)
    name: str
    tag: AuditTag
    is_audited: ClassVar[bool] = False

    def __init__(self, result: str) -> None:
        self.result = result


class KeyMethod:
    """Uses the user's key, so policy decides on ``call``, and the audit log hears of it before and after.

    ``facts`` go into the audit row of the intent, what ``outcome`` returns into that of the result: kinds, sizes and
    ids, never content.
    """

    __slots__ = ("call", "facts", "result_size")
    name: str
    tag: AuditTag

    def __init__(self, call: RequestedUse, facts: Mapping[str, Any], result_size: int = 0) -> None:
        self.call = call
        self.facts = facts
        self.result_size = result_size
        """Bytes that the result will have in the answer, as far as that is known before; 0 when it is surely small."""

    async def run(self, keys: KeyOperations, key: KeyRef, asked: AskedUse | None = None) -> str:
        """Do it; the result for the client. ``asked`` is what it asked, for the co-signer of a split key.

        Raises KeycastError.
        """
        raise NotImplementedError

    def outcome(self) -> Mapping[str, Any]:
        """What the result's audit row says, after ``run``."""
        return {}


class ConnectionMethod:
    """Changes the connection through bunker.services, which write their own audit rows. ``run`` blocks."""

    __slots__ = ()
    name: str
    tag: AuditTag

    def run(self) -> str:
        """Do it; the result for the client. Raises KeycastError."""
        raise NotImplementedError


Operation = InfoMethod | KeyMethod | ConnectionMethod


def require(params: Sequence[str], count: int) -> None:
    """Refuse fewer than ``count`` parameters; NIP-46 clients may send more."""
    if len(params) < count:
        raise BadParameters(f"This method takes {count} parameter{'s' if count != 1 else ''}.")
