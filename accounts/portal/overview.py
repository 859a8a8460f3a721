"""What the account security page shows, read from allauth's tables and the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator

from accounts.models import Tenant, User
from keycast.audit.models import AuditRow
from keycast.audit.sentences import sentence
from keycast.audit.services import chain_of
from keycast.audit.tags import Outcome, Tag

_SHOWN = 10
_SIGN_IN_TAGS = (
    Tag.SIGNED_IN,
    Tag.SIGNED_OUT,
    Tag.SIGN_IN_FAILED,
    Tag.REAUTHENTICATED,
    Tag.PASSWORD_CHANGED,
    Tag.EMAIL_CHANGED,
    Tag.AUTHENTICATOR_ADDED,
    Tag.AUTHENTICATOR_REMOVED,
    Tag.AUTHENTICATOR_RESET,
)


@dataclass(frozen=True, slots=True)
class SecurityOverview:
    """The means by which somebody can prove to be the owner of an account."""

    has_password: bool
    has_totp: bool
    passkeys: int
    recovery_codes_left: int | None
    emails: tuple[EmailAddress, ...]

    @property
    def has_second_factor(self) -> bool:
        return self.has_totp or self.passkeys > 0


@dataclass(frozen=True, slots=True)
class SignIn:
    """One line of the account's own history."""

    what: str
    outcome: str
    at: datetime


def security_overview(user: User) -> SecurityOverview:
    """Read what is set up; recovery codes are counted, never opened for display."""
    found = list(Authenticator.objects.filter(user=user))
    codes = next((item for item in found if item.type == Authenticator.Type.RECOVERY_CODES), None)
    return SecurityOverview(
        has_password=user.has_usable_password(),
        has_totp=any(item.type == Authenticator.Type.TOTP for item in found),
        passkeys=sum(item.type == Authenticator.Type.WEBAUTHN for item in found),
        recovery_codes_left=len(codes.wrap().get_unused_codes()) if codes is not None else None,
        emails=tuple(EmailAddress.objects.filter(user=user).order_by("-primary", "email")),
    )


def recent_sign_ins(tenant: Tenant, user: User) -> list[SignIn]:
    """The newest rows about this account's sign-ins, here and on the platform as a whole."""
    chains = [chain_of(tenant.id), chain_of(None)]
    rows = AuditRow.objects.filter(actor_id=user.id.hex, request_id="", chain__in=chains, tag__in=_SIGN_IN_TAGS)
    return [
        SignIn(sentence(row.tag), Outcome(row.outcome).value, datetime.fromtimestamp(row.at / 1_000_000, UTC))
        for row in rows.exclude(outcome=Outcome.INTENT).order_by("-id")[:_SHOWN]
    ]
