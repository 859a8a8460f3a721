"""What can happen, by name. A tag reads ``source:subject:action`` and, once released, keeps its meaning for ever.

Every use of a key is written twice under one tag: first with ``AuditOutcome.INTENT``, committed before anything is
signed, then with how it ended. Add a tag here together with its sentence in keycast.audit.descriptions.
"""

from __future__ import annotations

from enum import StrEnum


class AuditOutcome(StrEnum):
    """How far the thing came. ``UNKNOWN`` closes an intent whose end nobody saw (a crash in between)."""

    INTENT = "intent"
    OK = "ok"
    DENIED = "denied"
    FAILED = "failed"
    UNKNOWN = "unknown"


class AuditTag(StrEnum):
    """Every kind of audit row, at most 48 characters."""

    # Tenants and their host names
    TENANT_CREATED = "accounts:tenant:created"
    TENANT_CHANGED = "accounts:tenant:changed"
    TENANT_LOCKED = "accounts:tenant:locked"
    TENANT_UNLOCKED = "accounts:tenant:unlocked"
    TENANT_SUSPENDED = "accounts:tenant:suspended"
    TENANT_RESUMED = "accounts:tenant:resumed"
    TENANT_QUOTAS_CHANGED = "accounts:tenant:quotas-changed"
    DOMAIN_ADDED = "accounts:domain:added"
    DOMAIN_CLAIM_RENEWED = "accounts:domain:claim-renewed"
    DOMAIN_VERIFIED = "accounts:domain:verified"
    DOMAIN_MADE_PRIMARY = "accounts:domain:made-primary"
    DOMAIN_REMOVED = "accounts:domain:removed"

    # People
    USER_CREATED = "accounts:user:created"
    SIGN_UP_REPEATED = "accounts:user:sign-up-repeated"
    ACCOUNT_NOT_SEALED = "accounts:user:not-sealed"
    SEALS_BROKEN = "accounts:seals:broken"
    ROW_SEALED = "accounts:seals:renewed"
    USER_CHANGED = "accounts:user:changed"
    USER_LOCKED = "accounts:user:locked"
    USER_UNLOCKED = "accounts:user:unlocked"
    USER_DEACTIVATED = "accounts:user:deactivated"
    USER_REACTIVATED = "accounts:user:reactivated"
    USER_MADE_STAFF = "accounts:user:made-staff"
    USER_STAFF_ENDED = "accounts:user:staff-ended"
    USER_STAFF_ROLE_CHANGED = "accounts:user:staff-role-changed"
    MEMBERSHIP_ADDED = "accounts:membership:added"
    MEMBERSHIP_ROLE_CHANGED = "accounts:membership:role-changed"
    MEMBERSHIP_SUSPENDED = "accounts:membership:suspended"
    MEMBERSHIP_RESUMED = "accounts:membership:resumed"
    MEMBERSHIP_REMOVED = "accounts:membership:removed"
    INVITATION_SENT = "accounts:invitation:sent"
    INVITATION_ACCEPTED = "accounts:invitation:accepted"
    INVITATION_WITHDRAWN = "accounts:invitation:withdrawn"

    # Sign-in
    SIGNED_IN = "accounts:session:signed-in"
    SIGNED_OUT = "accounts:session:signed-out"
    SIGN_IN_FAILED = "accounts:session:sign-in-failed"
    REAUTHENTICATED = "accounts:session:reauthenticated"
    PASSWORD_CHANGED = "accounts:password:changed"  # noqa: S105 -- a tag
    EMAIL_CHANGED = "accounts:email:changed"
    EMAIL_VERIFIED = "accounts:email:verified"
    AUTHENTICATOR_ADDED = "accounts:authenticator:added"
    AUTHENTICATOR_REMOVED = "accounts:authenticator:removed"
    AUTHENTICATOR_RESET = "accounts:authenticator:reset"

    # Keys
    KEY_REQUESTED = "keys:key:requested"
    KEY_CREATED = "keys:key:created"
    KEY_CREATION_FAILED = "keys:key:creation-failed"
    KEY_CREATION_RETRIED = "keys:key:creation-retried"
    KEY_CHECKED = "keys:key:checked"
    KEY_ROTATION_ASKED = "keys:key:rotation-asked"
    KEY_IMPORTED = "keys:key:imported"
    KEY_IMPORT_REFUSED = "keys:key:import-refused"
    KEY_RENAMED = "keys:key:renamed"
    KEY_LOCKED = "keys:key:locked"
    KEY_UNLOCKED = "keys:key:unlocked"
    KEY_DISABLED = "keys:key:disabled"
    KEY_ENABLED = "keys:key:enabled"
    KEY_QUARANTINED = "keys:key:quarantined"
    KEY_EXPORTED = "keys:key:exported"
    KEY_EXPORT_ASKED = "keys:key:export-asked"
    KEY_EXPORT_CANCELLED = "keys:key:export-cancelled"
    KEY_EXPORT_REFUSED = "keys:key:export-refused"
    KEY_CONVERSION_BEGUN = "keys:key:conversion-begun"
    KEY_CONVERSION_ENDED = "keys:key:conversion-ended"
    KEY_CONVERTED = "keys:key:converted"
    KEY_REWRAPPED = "keys:key:rewrapped"
    KEY_HALVES_REFRESHED = "keys:key:halves-refreshed"
    KEY_IDENTITY_ROTATED = "keys:key:identity-rotated"
    KEY_DESTRUCTION_SCHEDULED = "keys:key:destruction-scheduled"
    KEY_DESTRUCTION_CANCELLED = "keys:key:destruction-cancelled"
    KEY_DESTROYED = "keys:key:destroyed"
    COSIGNER_LOG_DIFFERS = "keys:cosigner-log:differs"
    READING_ENDED = "keys:reading:ended"
    HSM_KEY_ANNOUNCED = "keys:hsm-key:announced"
    HSM_KEY_REFUSED = "keys:hsm-key:refused"
    HSM_KEY_DESTROYED = "keys:hsm-key:destroyed"
    HSM_KEY_DISABLED = "keys:hsm-key:disabled"
    HSM_KEY_ENABLED = "keys:hsm-key:enabled"
    HSM_KEY_REPLACED = "keys:hsm-key:replaced"
    HSM_INVENTORY_TAKEN = "keys:hsm-inventory:taken"
    HSM_ORPHAN_IGNORED = "keys:hsm-orphan:ignored"
    HSM_ORPHAN_REOPENED = "keys:hsm-orphan:reopened"
    HSM_ORPHAN_CONDEMNED = "keys:hsm-orphan:condemned"
    HSM_ORPHAN_DESTROYED = "keys:hsm-orphan:destroyed"
    TRANSPORT_KEY_CREATED = "keys:transport-key:created"
    TRANSPORT_KEY_ROTATED = "keys:transport-key:rotated"
    KEK_ROTATED = "keys:key-encryption-key:rotated"
    KEK_RETIRED = "keys:key-encryption-key:retired"
    ROTATION_REHEARSED = "keys:rotation:rehearsed"
    ROTATION_STARTED = "keys:rotation:started"
    ROTATION_RESUMED = "keys:rotation:resumed"
    ROTATION_FINISHED = "keys:rotation:finished"
    ROTATION_CANCELLED = "keys:rotation:cancelled"
    TRANSPORT_KEY_RETIRED = "keys:transport-key:retired"

    # Connections
    BUNKER_URL_ISSUED = "bunker:connection:url-issued"
    CONNECTION_BOUND = "bunker:connection:bound"
    CONNECTION_APPROVED = "bunker:connection:approved"
    CONNECTION_RENAMED = "bunker:connection:renamed"
    CONNECTION_POLICY_CHANGED = "bunker:connection:policy-changed"
    CONNECTION_LOCKED = "bunker:connection:locked"
    CONNECTION_UNLOCKED = "bunker:connection:unlocked"
    CONNECTION_REVOKED = "bunker:connection:revoked"
    CONNECTION_LOGGED_OUT = "bunker:connection:logged-out"
    CONNECTION_EXPIRED = "bunker:connection:expired"
    CONNECTION_LAPSED = "bunker:connection:lapsed"
    PAIRING_REFUSED = "bunker:pairing:refused"
    PAIRING_CLOSED = "bunker:pairing:closed"
    PAIRING_GUESSED = "bunker:pairing:guessed"

    # Requests of connected apps (NIP-46); see of_method
    CONNECT = "bunker:connect:request"
    SIGN_EVENT = "bunker:sign_event:request"
    GET_PUBLIC_KEY = "bunker:get_public_key:request"
    PING = "bunker:ping:request"
    NIP04_ENCRYPT = "bunker:nip04_encrypt:request"
    NIP04_DECRYPT = "bunker:nip04_decrypt:request"
    NIP44_ENCRYPT = "bunker:nip44_encrypt:request"
    NIP44_DECRYPT = "bunker:nip44_decrypt:request"
    SWITCH_RELAYS = "bunker:switch_relays:request"
    LOGOUT = "bunker:logout:request"
    UNKNOWN_METHOD = "bunker:unknown:request"

    # Staff and operation
    STAFF_CHANGED_OBJECT = "admin:object:changed"
    STAFF_VIEWED_TENANT = "admin:tenant:viewed"
    SUPPORT_VIEW_CLOSED = "admin:tenant:view-closed"
    APPROVAL_ASKED = "admin:approval:asked"
    APPROVAL_GRANTED = "admin:approval:granted"
    APPROVAL_DENIED = "admin:approval:denied"
    APPROVAL_WITHDRAWN = "admin:approval:withdrawn"
    APPROVAL_EXPIRED = "admin:approval:expired"
    JOB_RUN = "platform:job:run-asked"
    RELEASE_ASKED = "accounts:release:asked"
    RELEASE_GRANTED = "accounts:release:granted"
    RELEASE_REFUSED = "accounts:release:refused"
    RELEASE_WITHDRAWN = "accounts:release:withdrawn"
    DEPLOYMENT_LOCKED = "platform:deployment:locked"
    DEPLOYMENT_UNLOCKED = "platform:deployment:unlocked"
    AUDIT_VERIFIED = "platform:audit:verified"
    AUDIT_EXPORTED = "platform:audit:exported"
    AUDIT_CUT = "platform:audit:cut"
    AUDIT_RETENTION_CHANGED = "platform:audit:retention-changed"
    DATABASE_RESTORED = "platform:database:restored"


_BY_METHOD = {tag.value.split(":")[1]: tag for tag in AuditTag if tag.value.endswith(":request")}


def of_method(method: str) -> AuditTag:
    """The tag of a NIP-46 method's requests; ``AuditTag.UNKNOWN_METHOD`` for any other name."""
    return _BY_METHOD.get(method, AuditTag.UNKNOWN_METHOD)
