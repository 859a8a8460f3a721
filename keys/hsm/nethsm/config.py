"""How to reach the NetHSM, out of the settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Self

from django.conf import settings

from keys.hsm_errors import HsmMisconfigured

_URL: Final = re.compile(r"https://[a-zA-Z0-9.\[\]:-]+(/api/v1)?/?")
_USER: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,60}")
#: NetHSM takes no shorter passphrase.
SHORTEST_PASSWORD: Final = 10


@dataclass(frozen=True, slots=True)
class NetHsmConfig:
    """The settings that name the device and who Keycast is to it.

    ``admin_*`` is the R-Administrator; ``namespace_password`` is what the passphrases of namespaces' Administrators
    are derived from, ``operator_password`` what those of their Operators are derived from.
    """

    url: str
    ca_file: str
    operator_user: str
    admin_user: str
    operator_password: str = field(repr=False)
    admin_password: str = field(repr=False)
    namespace_password: str = field(repr=False)

    @classmethod
    def from_settings(cls) -> Self:
        return cls(
            url=settings.NETHSM_URL,
            ca_file=settings.NETHSM_CA_FILE,
            operator_user=settings.NETHSM_OPERATOR_USER,
            admin_user=settings.NETHSM_ADMIN_USER,
            operator_password=settings.NETHSM_OPERATOR_PASSWORD,
            admin_password=settings.NETHSM_ADMIN_PASSWORD,
            namespace_password=settings.NETHSM_NAMESPACE_PASSWORD or settings.NETHSM_ADMIN_PASSWORD,
        )

    @property
    def base_url(self) -> str:
        """``https://host[:port]/api/v1``."""
        return self.url.rstrip("/").removesuffix("/api/v1") + "/api/v1"

    def signing_problem(self) -> str:
        """What is missing for signing, in plain words; empty when nothing is."""
        if not _URL.fullmatch(self.url):
            return "The address of the NetHSM is not set up on this server (https alone is accepted)."
        if not self.ca_file:
            return "The certificate of the NetHSM is not set up on this server."
        if not _USER.fullmatch(self.operator_user) or self.operator_user == "admin":
            return "The operator's user name for the NetHSM cannot be used."
        if len(self.operator_password) < SHORTEST_PASSWORD:
            return "The operator's password for the NetHSM is not set up on this server, or too short."
        return ""

    def problem(self) -> str:
        """What is missing for making keys, in plain words; empty when nothing is."""
        if len(self.namespace_password) < SHORTEST_PASSWORD:
            return "The administrator's password for the NetHSM is not set up on this server, or too short."
        if self.namespace_password == self.operator_password:
            return "The administrator and the operator of the NetHSM must have different passwords."
        return self.signing_problem()

    def require(self, problem: str) -> None:
        """Raise HsmMisconfigured with ``problem``, if there is one."""
        if problem:
            raise HsmMisconfigured(problem)
