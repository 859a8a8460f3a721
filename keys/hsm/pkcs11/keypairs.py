"""Key pairs in a token: made there, found by their label, looked at. All of it on the module's thread."""

from __future__ import annotations

from typing import Any, Final

from keycast.crypto.authoriser_keys import Curve, tagged
from keycast.crypto.errors import CryptoError
from keys.hsm.pkcs11 import names
from keys.hsm.pkcs11.failures import FailureKind, TokenFailure
from keys.hsm.pkcs11.library import p11
from keys.hsm_errors import HsmMisconfigured

PARAMETERS: Final = {
    Curve.SECP256K1: bytes.fromhex("06052b8104000a"),  # 1.3.132.0.10
    Curve.P256: bytes.fromhex("06082a8648ce3d030107"),  # 1.2.840.10045.3.1.7
}
"""CKA_EC_PARAMS: the curve's object identifier in DER (SEC 2, A.2; RFC 5480)."""
_OTHER_USES: Final = ("DECRYPT", "DERIVE", "SIGN_RECOVER", "UNWRAP")


def private_keys(session: Any, label: str) -> list[Any]:
    """Every private key of this label."""
    wanted = {p11.Attribute.CLASS: p11.ObjectClass.PRIVATE_KEY, p11.Attribute.LABEL: label}
    return list(session.get_objects(wanted))


def the_private_key(session: Any, label: str) -> Any:
    """The private key of this label. Raises TokenFailure where there is none, or more than one."""
    found = private_keys(session, label)
    if len(found) != 1:
        raise TokenFailure(FailureKind.KEY, f"{len(found)} keys of this label")
    return found[0]


def the_signing_key(session: Any, label: str) -> Any:
    """The private key of this label, if it may sign. Raises TokenFailure."""
    found = the_private_key(session, label)
    # python-pkcs11 gives a key the methods that its attributes allowed when it was found.
    if not hasattr(found, "sign"):
        raise TokenFailure(FailureKind.KEY, "CKA_SIGN is false")
    return found


def generate(session: Any, label: str, curve: Curve = Curve.SECP256K1) -> Any:
    """Make a key pair in the token, for ECDSA alone; its private key."""
    wanted = {p11.Attribute.EC_PARAMS: PARAMETERS[curve]}
    parameters = session.create_domain_parameters(p11.KeyType.EC, wanted, local=True)
    _, private = parameters.generate_keypair(
        id=names.id_of(label),
        label=label,
        store=True,
        mechanism=p11.Mechanism.EC_KEY_PAIR_GEN,
        capabilities=p11.MechanismFlag.SIGN | p11.MechanismFlag.VERIFY,
        private_template={
            p11.Attribute.PRIVATE: True,
            p11.Attribute.SENSITIVE: True,
            p11.Attribute.EXTRACTABLE: False,
            **{p11.Attribute[name]: False for name in _OTHER_USES},
        },
    )
    return private


def is_right_kind(key: Any) -> bool:
    """Whether a private key was made in the token, on a curve that authorises, and can neither leave it nor do more."""
    attribute = p11.Attribute
    return (
        _read(key, attribute.KEY_TYPE) == p11.KeyType.EC
        and _read(key, attribute.EC_PARAMS) in PARAMETERS.values()
        and all(_read(key, found) is True for found in (attribute.LOCAL, attribute.SENSITIVE))
        and _read(key, attribute.EXTRACTABLE) is False
        # What was extractable once may have been taken out then.
        and all(_read(key, found) is True for found in (attribute.ALWAYS_SENSITIVE, attribute.NEVER_EXTRACTABLE))
        and not any(_read(key, attribute[name]) for name in _OTHER_USES)
    )


def may_sign(key: Any) -> bool:
    """CKA_SIGN."""
    return _read(key, p11.Attribute.SIGN) is True


def public_key(session: Any, label: str) -> bytes:
    """The key pair's public key, with its curve (keycast.crypto.authoriser_keys). Raises HsmMisconfigured."""
    wanted = {p11.Attribute.CLASS: p11.ObjectClass.PUBLIC_KEY, p11.Attribute.LABEL: label}
    # Some tokens keep no public keys beside private ones, and tell the point by those.
    found = [*session.get_objects(wanted), *private_keys(session, label)]
    told = [(key, point) for key in found if (point := _read(key, p11.Attribute.EC_POINT))]
    if not told:
        raise HsmMisconfigured("The HSM does not tell the public key.")
    key, point = told[0]
    curves = [curve for curve, parameters in PARAMETERS.items() if _read(key, p11.Attribute.EC_PARAMS) == parameters]
    try:
        return tagged(curves[0], _unwrapped(bytes(point)))
    except (CryptoError, IndexError):
        raise HsmMisconfigured("The HSM's public key is on no curve that authorises.") from None


def destroy(session: Any, label: str) -> None:
    """Delete everything of this label. Safe to repeat."""
    for found in list(session.get_objects({p11.Attribute.LABEL: label})):
        found.destroy()


def _read(key: Any, attribute: Any) -> Any:
    try:
        return key[attribute]
    except (p11.exceptions.AttributeTypeInvalid, p11.exceptions.AttributeSensitive):
        return None


def _unwrapped(point: bytes) -> bytes:
    """CKA_EC_POINT is a point in a DER OCTET STRING; tokens from before v2.30 leave that out."""
    return point[2:] if len(point) == 67 and point[:2] == b"\x04\x41" else point
