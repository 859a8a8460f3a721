"""What custody refuses with. Every text here may be shown to the owner and sent to a client."""

from __future__ import annotations

from keycast.base.errors import KeycastError, NotFound, Unavailable


class CustodyError(KeycastError):
    """Anything a key operation can refuse with that is not a matter of permission."""

    code = "custody-error"
    public_message = "This key cannot do that."
    http_status = 409


class KeyNotFound(NotFound):
    """No such key in the caller's tenant."""

    code = "key-not-found"
    public_message = "There is no such key here."


class KeyUnavailable(CustodyError):
    """The key is not in a state in which it may be used."""

    code = "key-unavailable"
    public_message = "This key is not in use."


class KeyLocked(KeyUnavailable):
    """The key is locked; unlocking it makes it usable again."""

    code = "key-locked"
    public_message = "This key is locked."


class KeyDamaged(KeyUnavailable):
    """Stored key material did not open, or opened to another key; nothing was signed with it."""

    code = "key-damaged"
    public_message = "This key failed its integrity check and was not used. The operators have been told."


class KeyMismatch(KeyDamaged):
    """Stored key material opened, but to another public key than its row names: the key is quarantined."""


class OpenKeyExpired(KeyUnavailable):
    """An open key was used after its lease; open it again."""

    code = "open-key-expired"
    public_message = "Temporarily unavailable. Please try again in a moment."
    http_status = 503


class NoCapability(CustodyError):
    """The key's mode cannot do what was asked, whatever its state."""

    code = "no-capability"
    public_message = "This kind of key cannot do that."


class InvalidOperand(CustodyError):
    """What was to be signed, encrypted or decrypted is malformed: one text for all of it."""

    code = "invalid-operand"
    public_message = "This content cannot be processed."
    http_status = 400


class SignatureRefused(CustodyError):
    """A signer returned something that does not verify under BIP-340; it was not released."""

    code = "signature-refused"
    public_message = "The signature failed verification and was not released."
    http_status = 500


class KekUnavailable(Unavailable):
    """The key-encryption key is missing, unreadable or out of reach."""

    code = "kek-unavailable"
    public_message = "The key-encryption key is not available."


class ProviderNotConfigured(KekUnavailable):
    """A provider of key-encryption keys or HSM keys is named that this deployment has not set up."""

    code = "provider-not-configured"
    public_message = "This key provider is not set up here."


class KeyModeUnavailable(CustodyError):
    """The key mode exists, but nothing in this deployment can serve it."""

    code = "key-mode-unavailable"
    public_message = "This key mode is not set up here."


class KeyModeNotOffered(CustodyError):
    """The tenant does not offer this key mode."""

    code = "key-mode-not-offered"
    public_message = "This key mode is not offered here."


class InvalidTransition(CustodyError):
    """The key's present state does not allow this step."""

    code = "invalid-transition"
    public_message = "The key's present state does not allow this."


class ConversionUnderWay(CustodyError):
    """The key is being moved to another key mode, or such an attempt is being cleaned up."""

    code = "conversion-under-way"
    public_message = "This key is being moved to another way of being kept. Please try again later."


class NotConverting(CustodyError):
    """There is no conversion of this key to be given up."""

    code = "not-converting"
    public_message = "This key is not being moved to another way of being kept."


class KeyExists(CustodyError):
    """The key cannot be added because it is known already; deliberately silent about where and whose."""

    code = "key-exists"
    public_message = "This key cannot be added: it is already known to Keycast."


class TooManyKeys(CustodyError):
    """The person has as many keys in this tenant as one person may have."""

    code = "too-many-keys"
    public_message = "You have as many keys as one person may have here."


class SecretRefused(CustodyError):
    """What was given as a secret key is not one."""

    code = "secret-refused"
    public_message = "This is not a secret key: give an nsec, 64 hex digits, or an ncryptsec with its password."
    http_status = 400


class PublishedKeyRefused(SecretRefused):
    """A secret key that is printed in specifications and test data: anybody can use it."""

    code = "published-key"
    public_message = "This secret key is published in test data, so anybody could use it. It was refused."


class SealedHalfRefused(CustodyError):
    """What a page sent of a key that the browser split does not open, or does not fit together."""

    code = "sealed-half-refused"
    public_message = "What this page sent does not fit together, so nothing was imported. Please load it again."
    http_status = 400


class PasswordRefused(SecretRefused):
    """An ncryptsec came without its password, or with a wrong one."""

    code = "password-refused"
    public_message = "The password does not open this encrypted secret key."


class ScryptTooCostly(SecretRefused):
    """An ncryptsec asks for more scrypt work than this deployment allows; refused before any of it was done."""

    code = "scrypt-too-costly"
    public_message = "This encrypted secret key asks for too much work to open. Export it again with a lower cost."


class TooManyEncryptedKeys(SecretRefused):
    """A person brought more encrypted keys within an hour than are opened for one; each costs much."""

    code = "too-many-encrypted-keys"
    public_message = "You have brought several encrypted keys within an hour. Please try again later."
    http_status = 429


class TooBusy(Unavailable):
    """Another costly operation of the same kind is running."""

    code = "too-busy"
    public_message = "Another encrypted key is being opened. Please try again in a moment."


class ExportRefused(CustodyError):
    """A key is not given out now; the text says why, the code which of the conditions failed."""

    code = "export-refused"
    public_message = "This key cannot be exported now."


class ExportsAreOff(ExportRefused):
    """The deployment allows no export, in the process that was asked."""

    code = "exports-off"
    public_message = "This server does not allow keys to be exported."


class TooManyExports(ExportRefused):
    """More keys left within an hour than may; the request stays good."""

    code = "too-many-exports"
    public_message = "Too many keys were exported within an hour. Please try again later."
    http_status = 429


class CheckFailed(CustodyError):
    """A check of what is stored of a key found something wrong; the text says what."""

    code = "check-failed"
    public_message = "This key did not pass its check."


class InvalidText(CustodyError):
    """A name or another text that a person typed cannot be kept."""

    code = "invalid-text"
    public_message = "This text cannot be used."
    http_status = 400


class InvalidLine(CustodyError):
    """A line of an import file is not what it should be; the text never repeats it."""

    code = "invalid-line"
    public_message = "This line cannot be read."
    http_status = 400
