"""Policy documents: strict, versioned JSON. Unknown fields, versions and methods are refused, never skipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import msgspec

from keycast.nostr.nip46 import KEY_METHODS, Nip46Method

MAX_DOCUMENT_BYTES = 32 * 1024

Kind = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Hex64 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
TagName = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]
TagValue = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
if TYPE_CHECKING:
    KeyMethod: TypeAlias = str
else:  # msgspec refuses any other
    KeyMethod = Literal[KEY_METHODS]


class PolicyError(ValueError):
    """The document is not a policy; the message says where, for the person who wrote it."""


class PolicyRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a policy. Every bound that is present must hold for the rule to match.

    ``kinds``: numbers, or ``"ordinary"`` for every kind that is not sensitive. Needed for sign_event.
    ``peers``: ``"self"``, ``"any"`` or public keys. Needed for the encrypt and decrypt methods. ``"any"`` is anybody
    else: what the user encrypted to themself (drafts, lists, wallets) is opened by ``"self"`` or their own key alone.
    ``tags``: for each name, the event has exactly one such tag and its value is in the list
    (a value that ends in ``*`` matches by what stands before it).
    ``max_content``: most characters an event's content may have.
    ``max_ahead``: how many seconds an event may be dated after the present; absent, 15 minutes, and not at all for a
    kind of which relays keep the latest (NIP-01). Only of rules that allow or ask.
    """

    effect: Literal["allow", "ask", "deny"]
    methods: Annotated[list[KeyMethod], msgspec.Meta(min_length=1, max_length=len(KEY_METHODS))]
    kinds: Annotated[list[Kind], msgspec.Meta(min_length=1, max_length=256)] | Literal["ordinary"] | None = None
    peers: Annotated[list[Hex64], msgspec.Meta(min_length=1, max_length=256)] | Literal["self", "any"] | None = None
    tags: Annotated[dict[TagName, list[TagValue]], msgspec.Meta(max_length=16)] | None = None
    max_content: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_ahead: Annotated[int, msgspec.Meta(ge=0)] | None = None
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""


class PolicyLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much a connection may use: in all, and in any one minute. Absent means no own bound."""

    total_uses: Annotated[int, msgspec.Meta(ge=1)] | None = None
    per_minute: Annotated[int, msgspec.Meta(ge=1)] | None = None


class PolicyDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Version 1: a list of rules and limits. No rule that matches means no."""

    version: Literal[1]
    rules: Annotated[list[PolicyRule], msgspec.Meta(max_length=64)]
    limits: PolicyLimits = PolicyLimits()


_decode_json = msgspec.json.Decoder(PolicyDocument).decode


def parse_document(document: Mapping[str, Any] | str | bytes) -> PolicyDocument:
    """Read a policy from JSON text or a decoded mapping.

    Raises PolicyError for anything that is not exactly a version 1 policy.
    """
    try:
        if isinstance(document, str | bytes):
            if len(document) > MAX_DOCUMENT_BYTES:
                raise PolicyError(f"A policy may be at most {MAX_DOCUMENT_BYTES} bytes long.")
            policy = _decode_json(document)
        else:
            policy = msgspec.convert(document, PolicyDocument, strict=True)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise PolicyError(f"Not a policy: {error}.") from None
    for number, rule in enumerate(policy.rules, start=1):
        _check(rule, number)
    return policy


def _check(rule: PolicyRule, number: int) -> None:
    signs = Nip46Method.SIGN_EVENT in rule.methods
    talks = any(method != Nip46Method.SIGN_EVENT for method in rule.methods)
    if signs and rule.kinds is None and rule.effect != "deny":
        raise PolicyError(f"Rule {number}: sign_event needs kinds.")
    if talks and rule.peers is None and rule.effect != "deny":
        raise PolicyError(f"Rule {number}: encrypting and decrypting need peers.")
    if not signs and (rule.kinds is not None or rule.tags is not None or rule.max_content is not None):
        raise PolicyError(f"Rule {number}: kinds, tags and max_content only bound sign_event.")
    if rule.max_ahead is not None and (not signs or rule.effect == "deny"):
        raise PolicyError(f"Rule {number}: max_ahead only bounds what may be signed.")
    if not talks and rule.peers is not None:
        raise PolicyError(f"Rule {number}: peers only bound encrypting and decrypting.")
