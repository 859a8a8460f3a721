"""The two identities at Google Cloud: who authorises signatures, and who makes, disables and destroys keys.

The *authoriser* may use a key to sign and view its public key; every process that signs has it. The *keeper* may
create, list, disable, enable and schedule the destruction of keys, and use none. It is for jobs and operators'
commands: a process that serves the network gives it up as it starts (keycast.base.hsm_keeping).
docs/hsm.md has the roles.
"""

from __future__ import annotations

import json
import warnings
from enum import Enum
from pathlib import Path
from typing import Any, Final

import google.auth
from django.conf import settings
from google.auth.exceptions import GoogleAuthError
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport

from keycast.base import hsm_keeping
from keys.hsm_errors import HsmForbidden, HsmMisconfigured

_SCOPES: Final = KeyManagementServiceGrpcTransport.AUTH_SCOPES
EMULATED_ACCOUNT: Final = "anybody@emulated.iam.gserviceaccount.com"
"""Who calls the emulator where no file names an account."""


class Identity(Enum):
    """Whose permissions a call is made with."""

    AUTHORISER = "authoriser"
    KEEPER = "keeper"


def credentials_file(identity: Identity) -> str:
    """The file that the settings name; empty: application default credentials. Raises HsmForbidden."""
    if identity is Identity.AUTHORISER:
        return str(settings.GCP_AUTHORISER_CREDENTIALS)
    # Before the path is even read: what serves the network must not be able to keep keys, whatever asks it to.
    if not hsm_keeping.is_allowed():
        raise HsmForbidden("This process serves the network: it may not create, disable or destroy HSM keys.")
    return str(settings.GCP_KEEPER_CREDENTIALS)


def credentials(identity: Identity) -> Any:
    """Google's credentials of this identity. May look for a metadata server. Raises HsmForbidden."""
    path = credentials_file(identity)
    try:
        if path:
            with warnings.catch_warnings():
                # Its warning is about files of strangers; this one is named by whoever runs the server.
                warnings.simplefilter("ignore", DeprecationWarning)
                return google.auth.load_credentials_from_file(path, default_scopes=_SCOPES)[0]  # type: ignore[no-untyped-call]
        return google.auth.default(default_scopes=_SCOPES)[0]
    except (GoogleAuthError, OSError):
        raise HsmForbidden(f"There are no credentials for Google Cloud on this server ({identity.value}).") from None


def emulated_account(identity: Identity) -> str:
    """Whom the emulator takes the caller for: the account that the file names, unchecked. Raises HsmMisconfigured."""
    if settings.IS_PRODUCTION:
        raise HsmMisconfigured("An emulator of Cloud KMS is configured; production refuses it.")
    path = credentials_file(identity)
    if not path:
        return EMULATED_ACCOUNT
    try:
        return str(json.loads(Path(path).read_text(encoding="utf-8"))["client_email"])
    except (OSError, ValueError, KeyError, TypeError):
        raise HsmForbidden(f"The file of the {identity.value}'s credentials cannot be read.") from None
