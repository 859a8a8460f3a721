"""Event kinds (NIP-01 and the NIPs index): names for people, and which ones a general grant never covers."""

from __future__ import annotations

KIND_NAMES: dict[int, str] = {
    0: "profile",
    1: "note",
    3: "follow list",
    4: "direct message (NIP-04)",
    5: "deletion request",
    6: "repost",
    7: "reaction",
    8: "badge award",
    13: "seal of a private message",
    16: "repost of another kind",
    20: "picture",
    21: "video",
    22: "short video",
    40: "channel creation",
    41: "channel description",
    42: "channel message",
    62: "request to vanish",
    1018: "poll answer",
    1059: "gift wrap",
    1063: "file description",
    1068: "poll",
    1111: "comment",
    1311: "live chat message",
    1984: "report",
    1985: "label",
    9041: "zap goal",
    9734: "zap request",
    9802: "highlight",
    10000: "mute list",
    10001: "pinned notes",
    10002: "relay list",
    10003: "bookmarks",
    10019: "nutzap settings",
    10050: "private message relays",
    10063: "media servers",
    13194: "wallet description",
    17375: "cashu wallet",
    22242: "relay sign-in",
    23194: "wallet request",
    23195: "wallet answer",
    24133: "remote signing message",
    24242: "media server permission",
    27235: "web sign-in",
    30000: "follow set",
    30008: "profile badges",
    30023: "article",
    30024: "draft article",
    30078: "app data",
    30315: "status",
    31989: "app recommendation",
    31990: "app announcement",
}

# Each of these can hurt the identity itself: overwrite who the user is or follows, delete, sign in as the user,
# speak in private, spend, or unlock other apps' data. A rule covers them only by naming the number.
SENSITIVE_KINDS: frozenset[int] = frozenset(
    {0, 3, 4, 5, 13, 62, 1059, 10000, 10002, 10019, 10050, 10063, 13194, 17375, 22242, 23194, 23195, 24242, 27235}
    | {30000, 30078}
)

# A signed 24133 would let an app speak as the user to other remote signers; no policy can grant it.
FORBIDDEN_KINDS: frozenset[int] = frozenset({24133})


def is_replaceable(kind: int | None) -> bool:
    """Whether relays keep the latest event of this kind alone (NIP-01): one dated ahead would stand until then."""
    return kind is not None and (kind in {0, 3} or 10_000 <= kind < 20_000 or 30_000 <= kind < 40_000)
