"""What the account security page shows, read from allauth's tables and the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator

from accounts.models import Tenant, User
from keycast.audit.selectors import AuditFilters, AuditLine, page_of_person
from keycast.audit.services import chain_of
from keycast.audit.tags import AuditTag

_SHOWN = 10
_SIGN_IN_TAGS = (
    AuditTag.SIGNED_IN,
    AuditTag.SIGNED_OUT,
    AuditTag.SIGN_IN_FAILED,
    AuditTag.REAUTHENTICATED,
    AuditTag.PASSWORD_CHANGED,
    AuditTag.EMAIL_CHANGED,
    AuditTag.AUTHENTICATOR_ADDED,
    AuditTag.AUTHENTICATOR_REMOVED,
    AuditTag.AUTHENTICATOR_RESET,
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
    # Signing in is written where it happened: at a tenant, or on the platform, where changes of the account stand too.
    found = [line for chain in (tenant.id, None) for line in _sign_ins(chain_of(chain), user)]
    newest = sorted(found, key=lambda line: line.at, reverse=True)[:_SHOWN]
    return [SignIn(line.sentence, line.outcome, line.at) for line in newest]


def _sign_ins(chain: str, user: User) -> list[AuditLine]:
    return page_of_person(
        chain=chain, actor_id=user.id.hex, filters=AuditFilters(tags=_SIGN_IN_TAGS), limit=_SHOWN
    ).lines
