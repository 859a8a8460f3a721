"""Tags in plain words, for the people who read the log."""

from __future__ import annotations

from typing import Final

from keycast.audit.tags import Outcome, Tag

_SENTENCES: Final[dict[Tag, str]] = {
    Tag.TENANT_CREATED: "Tenant created",
    Tag.TENANT_CHANGED: "Tenant settings changed",
    Tag.TENANT_LOCKED: "Tenant locked: nothing is signed for its users",
    Tag.TENANT_UNLOCKED: "Tenant unlocked",
    Tag.TENANT_SUSPENDED: "Tenant suspended",
    Tag.TENANT_RESUMED: "Tenant resumed",
    Tag.TENANT_QUOTAS_CHANGED: "Limits of the tenant changed",
    Tag.DOMAIN_ADDED: "Host name added",
    Tag.DOMAIN_CLAIM_RENEWED: "Claim of a host name begun again",
    Tag.DOMAIN_VERIFIED: "Host name verified",
    Tag.DOMAIN_MADE_PRIMARY: "Host name made the primary one",
    Tag.DOMAIN_REMOVED: "Host name removed",
    Tag.USER_CREATED: "Account created",
    Tag.USER_CHANGED: "Account changed",
    Tag.USER_LOCKED: "Account locked: nothing is signed for it",
    Tag.USER_UNLOCKED: "Account unlocked",
    Tag.USER_DEACTIVATED: "Account deactivated",
    Tag.USER_REACTIVATED: "Account reactivated",
    Tag.USER_MADE_STAFF: "Made a member of platform staff",
    Tag.USER_STAFF_ENDED: "No longer a member of platform staff",
    Tag.USER_STAFF_ROLE_CHANGED: "Role on the platform's staff changed",
    Tag.MEMBERSHIP_ADDED: "Member added",
    Tag.MEMBERSHIP_ROLE_CHANGED: "Role of a member changed",
    Tag.MEMBERSHIP_SUSPENDED: "Member suspended",
    Tag.MEMBERSHIP_RESUMED: "Member resumed",
    Tag.MEMBERSHIP_REMOVED: "Member removed",
    Tag.INVITATION_SENT: "Invitation sent",
    Tag.INVITATION_ACCEPTED: "Invitation accepted",
    Tag.INVITATION_WITHDRAWN: "Invitation withdrawn",
    Tag.SIGNED_IN: "Signed in",
    Tag.SIGNED_OUT: "Signed out",
    Tag.SIGN_IN_FAILED: "Sign-in failed",
    Tag.REAUTHENTICATED: "Confirmed their identity again",
    Tag.PASSWORD_CHANGED: "Password changed",
    Tag.EMAIL_CHANGED: "E-mail address changed",
    Tag.EMAIL_VERIFIED: "E-mail address verified",
    Tag.AUTHENTICATOR_ADDED: "Second factor or passkey added",
    Tag.AUTHENTICATOR_REMOVED: "Second factor or passkey removed",
    Tag.AUTHENTICATOR_RESET: "Recovery codes made anew",
    Tag.KEY_REQUESTED: "Key requested",
    Tag.KEY_CREATED: "Key created",
    Tag.KEY_CREATION_FAILED: "Key could not be created",
    Tag.KEY_CREATION_RETRIED: "Making of the key tried again",
    Tag.KEY_CHECKED: "Stored material of the key checked",
    Tag.KEY_IMPORTED: "Key imported",
    Tag.KEY_IMPORT_REFUSED: "Key import refused",
    Tag.KEY_RENAMED: "Key renamed",
    Tag.KEY_LOCKED: "Key locked",
    Tag.KEY_UNLOCKED: "Key unlocked",
    Tag.KEY_DISABLED: "Key disabled",
    Tag.KEY_ENABLED: "Key enabled",
    Tag.KEY_QUARANTINED: "Key set aside: what was opened does not match its public key",
    Tag.KEY_EXPORTED: "Key exported",
    Tag.KEY_CONVERTED: "Key moved to another key mode",
    Tag.KEY_REWRAPPED: "Key sealed anew under another key-encryption key",
    Tag.KEY_HALVES_REFRESHED: "Both halves of the key renewed",
    Tag.KEY_IDENTITY_ROTATED: "Key replaced by a new one",
    Tag.KEY_DESTRUCTION_SCHEDULED: "Destruction of the key scheduled",
    Tag.KEY_DESTRUCTION_CANCELLED: "Destruction of the key cancelled",
    Tag.KEY_DESTROYED: "Key destroyed",
    Tag.HSM_KEY_DESTROYED: "Key in the HSM given up for destruction",
    Tag.HSM_INVENTORY_TAKEN: "HSM compared with the database",
    Tag.HSM_ORPHAN_IGNORED: "Key in the HSM that is in no row: left as it is",
    Tag.HSM_ORPHAN_REOPENED: "Key in the HSM that is in no row: to be looked at again",
    Tag.HSM_ORPHAN_CONDEMNED: "Key in the HSM that is in no row: to be destroyed",
    Tag.HSM_ORPHAN_DESTROYED: "Key in the HSM that is in no row: given up for destruction",
    Tag.TRANSPORT_KEY_CREATED: "Remote-signer key created",
    Tag.TRANSPORT_KEY_ROTATED: "Remote-signer key replaced",
    Tag.KEK_ROTATED: "Key-encryption key rotated",
    Tag.KEK_RETIRED: "Old key-encryption key retired",
    Tag.ROTATION_REHEARSED: "Rotation rehearsed: counted, nothing changed",
    Tag.ROTATION_STARTED: "Rotation started",
    Tag.ROTATION_RESUMED: "Rotation taken up again",
    Tag.ROTATION_FINISHED: "Rotation ended",
    Tag.ROTATION_CANCELLED: "Rotation cancelled",
    Tag.TRANSPORT_KEY_RETIRED: "Replaced remote-signer key retired",
    Tag.BUNKER_URL_ISSUED: "Bunker URL issued",
    Tag.CONNECTION_BOUND: "App connected",
    Tag.CONNECTION_APPROVED: "App approved",
    Tag.CONNECTION_RENAMED: "App renamed",
    Tag.CONNECTION_POLICY_CHANGED: "What the app may do was changed",
    Tag.CONNECTION_LOCKED: "App locked",
    Tag.CONNECTION_UNLOCKED: "App unlocked",
    Tag.CONNECTION_REVOKED: "App revoked",
    Tag.CONNECTION_LOGGED_OUT: "App logged itself out",
    Tag.CONNECTION_EXPIRED: "App's access expired",
    Tag.CONNECTION_LAPSED: "Bunker URL lapsed unused",
    Tag.PAIRING_REFUSED: "Connecting refused",
    Tag.PAIRING_CLOSED: "Connecting closed for a while after wrong secrets",
    Tag.CONNECT: "App asked to connect",
    Tag.SIGN_EVENT: "Sign an event",
    Tag.GET_PUBLIC_KEY: "Tell the public key",
    Tag.PING: "Ping",
    Tag.NIP04_ENCRYPT: "Encrypt a message (NIP-04)",
    Tag.NIP04_DECRYPT: "Decrypt a message (NIP-04)",
    Tag.NIP44_ENCRYPT: "Encrypt a message (NIP-44)",
    Tag.NIP44_DECRYPT: "Decrypt a message (NIP-44)",
    Tag.SWITCH_RELAYS: "Switch relays",
    Tag.LOGOUT: "Log the app out",
    Tag.UNKNOWN_METHOD: "Unknown request",
    Tag.STAFF_CHANGED_OBJECT: "Changed by platform staff",
    Tag.STAFF_VIEWED_TENANT: "Viewed by platform staff",
    Tag.SUPPORT_VIEW_CLOSED: "View by platform staff closed",
    Tag.APPROVAL_ASKED: "Asked for a second person's approval",
    Tag.APPROVAL_GRANTED: "Approved by a second person",
    Tag.APPROVAL_DENIED: "Denied by a second person",
    Tag.APPROVAL_WITHDRAWN: "Request for approval withdrawn",
    Tag.APPROVAL_EXPIRED: "Request for approval expired",
    Tag.DEPLOYMENT_LOCKED: "Whole deployment locked",
    Tag.DEPLOYMENT_UNLOCKED: "Deployment unlocked",
    Tag.AUDIT_VERIFIED: "Audit log verified",
}
_OUTCOMES: Final[dict[Outcome, str]] = {
    Outcome.INTENT: "begun",
    Outcome.OK: "done",
    Outcome.DENIED: "refused",
    Outcome.FAILED: "failed",
    Outcome.UNKNOWN: "interrupted, outcome unknown",
}


def sentence(tag: str) -> str:
    """What a tag means, in a few plain words; a tag from a newer version stands for itself."""
    try:
        return _SENTENCES[Tag(tag)]
    except ValueError:
        return tag


def outcome_word(outcome: str) -> str:
    """How it ended, in one or a few words."""
    try:
        return _OUTCOMES[Outcome(outcome)]
    except ValueError:
        return outcome
