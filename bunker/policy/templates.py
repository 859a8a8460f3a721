"""The ready-made policies an owner chooses from when connecting an app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bunker.policy.kinds import SENSITIVE_KINDS
from keycast.nostr.nip46 import CRYPT_METHODS, Nip46Method

_MESSAGES = list(CRYPT_METHODS)
_TO_SELF = ["nip44_encrypt", "nip04_encrypt"]
_SOCIAL_KINDS = [1, 6, 7, 16, 20, 21, 22, 42, 1018, 1063, 1068, 1111, 1311, 1985, 9734, 9802, 30023, 30024, 30315]


@dataclass(frozen=True, slots=True)
class PolicyTemplate:
    """A policy with words: ``may`` and ``may_not`` are sentences for the owner, ``document`` is what is granted."""

    slug: str
    title: str
    summary: str
    may: tuple[str, ...]
    may_not: tuple[str, ...]
    document: dict[str, Any]

    @property
    def needs_proof(self) -> bool:
        """Whether granting it takes a fresh proof of who grants: it opens messages, or signs a sensitive kind."""
        return any(_is_sensitive(rule) for rule in self.document["rules"] if rule["effect"] != "deny")


def _is_sensitive(rule: dict[str, Any]) -> bool:
    if any(method != Nip46Method.SIGN_EVENT for method in rule["methods"]):
        return True
    kinds = rule.get("kinds")
    return isinstance(kinds, list) and not SENSITIVE_KINDS.isdisjoint(kinds)


def _policy(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "rules": list(rules)}


READ_ONLY = PolicyTemplate(
    slug="read-only",
    title="Read only",
    summary="The app learns who you are, and nothing more.",
    may=("See your public key",),
    may_not=("Sign anything", "Read or write your private messages"),
    document=_policy(),
)

SOCIAL = PolicyTemplate(
    slug="social",
    title="Social",
    summary="Post, reply, react and zap in your name.",
    may=(
        "Sign notes, replies, comments, reposts, reactions and highlights",
        "Sign pictures, videos, articles, polls, statuses and live chat",
        "Sign zap requests",
    ),
    may_not=(
        "Change your profile, your follows or your relays",
        "Delete what you posted",
        "Read or write your private messages",
        "Sign in to websites or relays as you",
        "Sign for later: nothing is dated more than 15 minutes after the present",
    ),
    document=_policy({"effect": "allow", "methods": ["sign_event"], "kinds": _SOCIAL_KINDS}),
)

_MESSAGING_RULES: tuple[dict[str, Any], ...] = (
    {"effect": "allow", "methods": ["sign_event"], "kinds": [4, 13, 10050, 22242]},
    {"effect": "allow", "methods": _MESSAGES, "peers": "any"},
    {"effect": "allow", "methods": _TO_SELF, "peers": "self"},  # the copy of a sent message (NIP-17)
)

MESSAGING = PolicyTemplate(
    slug="messaging",
    title="Messaging",
    summary="Read and write private messages in your name.",
    may=(
        "Read and write your private messages, with anyone",
        "Sign direct messages and the seals of private messages",
        "Publish which relays you receive messages on, and sign in to relays to fetch them",
    ),
    may_not=(
        "Read what you encrypted to yourself: drafts, lists, wallets, and copies of messages that you sent",
        "Post in public",
        "Change your profile or your follows",
        "Delete what you posted",
    ),
    document=_policy(*_MESSAGING_RULES),
)

MESSAGING_WITH_OWN = PolicyTemplate(
    slug="messaging-own",
    title="Messaging, and your own copies",
    summary="As Messaging, and the app reads what you encrypted to yourself: sent messages, drafts, wallets.",
    may=(
        *MESSAGING.may,
        "Read what you encrypted to yourself: copies of messages that you sent, and drafts, lists and wallets",
    ),
    may_not=MESSAGING.may_not[1:],
    document=_policy(*_MESSAGING_RULES, {"effect": "allow", "methods": _MESSAGES, "peers": "self"}),
)

FULL = PolicyTemplate(
    slug="full",
    title="Everything",
    summary="The app can do all that your key can. Only for apps you trust with your name.",
    may=(
        "Sign any event, also your profile, follows, relays, deletions and sign-ins",
        "Read and write your private messages, with anyone",
        "Read and write what you encrypted to yourself: drafts, lists, wallets",
    ),
    may_not=(
        "See or copy your secret key",
        "Control your other apps through remote signing",
        "Sign for later: nothing is dated more than 15 minutes after the present",
    ),
    document=_policy(
        {"effect": "allow", "methods": ["sign_event"], "kinds": "ordinary"},
        {"effect": "allow", "methods": ["sign_event"], "kinds": sorted(SENSITIVE_KINDS)},
        {"effect": "allow", "methods": _MESSAGES, "peers": "any"},
        {"effect": "allow", "methods": _MESSAGES, "peers": "self"},
    ),
)

TEMPLATES: dict[str, PolicyTemplate] = {
    template.slug: template for template in (READ_ONLY, SOCIAL, MESSAGING, MESSAGING_WITH_OWN, FULL)
}
