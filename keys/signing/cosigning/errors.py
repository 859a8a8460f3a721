"""How the co-signer's refusals and absence reach the rest of the program: keys.errors, with texts safe to show."""

from __future__ import annotations

from uuid import UUID

from keycast.base.errors import KeycastError, Unavailable
from keys.errors import CustodyError, InvalidOperand, KeyExists, KeyLocked, KeyUnavailable
from keys.signing.cosigning.messages import RefusalCode


class CosignerUnavailable(Unavailable):
    """The co-signer does not answer, or cannot serve now; nothing was signed."""

    code = "cosigner-unavailable"
    public_message = "The co-signer is not available. Please try again in a moment."


class CosignerBusy(CosignerUnavailable):
    """Too many requests are waiting for the co-signer."""

    code = "cosigner-busy"
    public_message = "The co-signer is busy. Please try again in a moment."


class CosignerRateLimited(CosignerUnavailable):
    """The co-signer's own limit for this key or tenant is reached."""

    code = "rate-limited"
    public_message = "This key is being used too often. Please try again in a moment."


class TooManyForgets(CosignerUnavailable):
    """The co-signer forgets no more keys within this hour."""

    code = "too-many-forgets"
    public_message = "The co-signer ends no more keys within this hour."


class StaleHalf(CosignerUnavailable):
    """The key's halves were refreshed and this process does not know it yet."""

    code = "stale-half"
    public_message = "Temporarily unavailable. Please try again in a moment."


class StaleChallenge(CosignerUnavailable):
    """The authorisation names a challenge that has passed: the co-signer was started again, or the HSM took long."""

    code = "stale-challenge"
    public_message = "Temporarily unavailable. Please try again in a moment."


class ChangeUnderWay(Unavailable):
    """The co-signer takes one change of a key at a time: fresh halves, or another HSM key."""

    code = "change-under-way"
    public_message = "Another change of this key has not ended yet. Please try again in some minutes."


class HsmKeyPending(Unavailable):
    """The HSM has not made the new key yet."""

    code = "hsm-key-pending"
    public_message = "The HSM is still making the new key."


class HsmKeyRefused(CustodyError):
    """The HSM cannot make the new key; the old one stays in use."""

    code = "hsm-key-refused"
    public_message = "The HSM could not make the new key. The old one stays in use."


class SuccessorNotAuthorised(CustodyError):
    """The present HSM key is disabled or lost, so it cannot sign for its successor."""

    code = "successor-not-authorised"
    public_message = "The present HSM key cannot be used, so it cannot authorise its successor."

    @classmethod
    def of(cls, key_id: UUID, public_key: str) -> SuccessorNotAuthorised:
        """With what to do about it."""
        command = f"manage.py cosigner --replace-authoriser {key_id} {public_key} --reason …"
        return cls(f"{cls.public_message} Enable it; or, if it is lost, run on the co-signer's machine: {command}")


class StoppedByCosigner(CustodyError):
    """The co-signer's operator has stopped the key, its tenant, or everything; nobody here can lift that."""

    code = "stopped-by-cosigner"
    public_message = "The co-signer's operator has stopped this key, and only they can resume it."


class CosignerBudgetReached(CustodyError):
    """The uses of a day that the co-signer's operator allows the key or its tenant are used up."""

    code = "cosigner-budget"
    public_message = "The co-signer has done as much with this key today as its operator allows."


class KindNotAllowedByCosigner(CustodyError):
    """The co-signer's operator does not allow this kind of event."""

    code = "cosigner-kind"
    public_message = "The co-signer does not sign events of this kind with this key."


class NotAskedByApp(CustodyError):
    """The co-signer's operator lets this key be used for nothing that no app asked for."""

    code = "cosigner-not-asked"
    public_message = "The co-signer uses this key only for what a connected app has asked for."


class StaleAppRequest(CustodyError):
    """The app's request is too old, or dated ahead, by the co-signer's clock."""

    code = "cosigner-stale-request"
    public_message = "The co-signer finds this request too old, or dated ahead. Is the clock of the app right?"


class AppNotAdmitted(CosignerUnavailable):
    """The co-signer does not know the app, or not for this: tell it, and ask again."""

    code = "app-not-admitted"
    public_message = "The co-signer does not know this app yet. Please try again in a moment."


class AppsClosedByCosigner(CustodyError):
    """The co-signer's operator lets no further app in, and none have more than it has."""

    code = "cosigner-apps-closed"
    public_message = "The co-signer's operator lets no further app use this key."


class AuthoriserUnproven(CustodyError):
    """The co-signer wants to be shown that a key is in an HSM, and was not."""

    code = "authoriser-unproven"
    public_message = (
        "The co-signer does not take this key for one in our HSM: its attestation is missing or does not fit. "
        "Its operator can say yes: manage.py cosigner approve."
    )
    http_status = 403

    @classmethod
    def of(cls, key_id: UUID, public_key: str) -> AuthoriserUnproven:
        """With the command by which the co-signer's operator says yes; it fits where problems of keys are kept."""
        return cls(
            f"Not proved to be an HSM's. At the co-signer: cosigner approve --key {key_id} {public_key} --reason …"
        )


class SuccessorRefused(CustodyError):
    """The owner or staff refused this HSM key."""

    code = "successor-refused"
    public_message = "This HSM key was refused, and will not take the other's place."
    http_status = 403


class NothingToRefuse(CustodyError):
    """No HSM key waits to take another's place, or it has taken it."""

    code = "nothing-to-refuse"
    public_message = "No new HSM key waits for this key any more."
    http_status = 409


class SuccessorWaits(Unavailable):
    """The co-signer accepts the new HSM key later, unless somebody refuses it."""

    code = "successor-waits"
    public_message = "The co-signer waits before it accepts the new HSM key."


class NoReading(CosignerUnavailable):
    """No reading grant of this app is open at the co-signer (any more)."""

    code = "no-reading"


class ReadingRefused(CustodyError):
    """The co-signer's operator allows none for so long or so many uses; or this app's was ended before its time."""

    code = "reading-refused"
    public_message = "The co-signer allows no such reading grant now."


class CosignerRefused(CustodyError):
    """The co-signer does not accept the authorisation."""

    code = "cosigner-refused"
    public_message = "The co-signer refused: the request is not authorised."
    http_status = 403


class CosignerMisbehaved(CustodyError):
    """The co-signer answered with something that is not what was asked; it was not used."""

    code = "cosigner-misbehaved"
    public_message = "The co-signer's answer failed verification and was not used."
    http_status = 500


_BY_CODE: dict[str, type[KeycastError]] = {
    RefusalCode.UNKNOWN_KEY: KeyUnavailable,
    RefusalCode.KEY_EXISTS: KeyExists,
    RefusalCode.KEY_LOCKED: KeyLocked,
    RefusalCode.KEY_UNAVAILABLE: KeyUnavailable,
    RefusalCode.STALE_HALF: StaleHalf,
    RefusalCode.UNPROVEN: AuthoriserUnproven,
    RefusalCode.REFUSED_BY_OWNER: SuccessorRefused,
    RefusalCode.STALE_CHALLENGE: StaleChallenge,
    RefusalCode.WRONG_EVENT: InvalidOperand,
    RefusalCode.MALFORMED: InvalidOperand,
    RefusalCode.STOPPED_BY_OPERATOR: StoppedByCosigner,
    RefusalCode.OVER_BUDGET: CosignerBudgetReached,
    RefusalCode.KIND_NOT_ALLOWED: KindNotAllowedByCosigner,
    RefusalCode.NO_READING: NoReading,
    RefusalCode.READING_REFUSED: ReadingRefused,
    RefusalCode.NOT_ASKED: NotAskedByApp,
    RefusalCode.STALE_REQUEST: StaleAppRequest,
    RefusalCode.APP_NOT_ADMITTED: AppNotAdmitted,
    RefusalCode.APPS_CLOSED: AppsClosedByCosigner,
    RefusalCode.RATE_LIMITED: CosignerRateLimited,
    RefusalCode.TOO_MANY_FORGETS: TooManyForgets,
    RefusalCode.BUSY: CosignerBusy,
    RefusalCode.UNAVAILABLE: CosignerUnavailable,
    RefusalCode.SELF_CHECK_FAILED: CosignerMisbehaved,
}


def error_of(code: str) -> KeycastError:
    """The error for a refusal; an unknown code is a refusal like any other."""
    return _BY_CODE.get(code, CosignerRefused)()
