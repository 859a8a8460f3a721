"""How to reach OpenBao, out of the settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from django.conf import settings

from keys.hsm_errors import HsmMisconfigured

_URL: Final = re.compile(r"https://[a-zA-Z0-9.\[\]:-]+/?")
_MOUNT: Final = re.compile(r"[a-zA-Z0-9_-]+(/[a-zA-Z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class OpenBaoConfig:
    """``token`` and ``manager_token`` are who signs, and who makes and ends keys: the second is often the same.

    Each is a token, or, with ``_file``, a file that has one; an agent may renew it there.
    """

    url: str
    ca_file: str
    mount: str
    token: str = field(repr=False)
    token_file: str
    manager_token_file: str

    @classmethod
    def from_settings(cls) -> Self:
        return cls(
            url=settings.OPENBAO_URL,
            ca_file=settings.OPENBAO_CA_FILE,
            mount=settings.OPENBAO_MOUNT,
            token=settings.OPENBAO_TOKEN,
            token_file=settings.OPENBAO_TOKEN_FILE,
            manager_token_file=settings.OPENBAO_MANAGER_TOKEN_FILE,
        )

    @property
    def base_url(self) -> str:
        """``https://host[:port]/v1``."""
        return self.url.rstrip("/") + "/v1"

    def problem(self) -> str:
        """What is missing, in plain words; empty when nothing is."""
        if not _URL.fullmatch(self.url):
            return "The address of OpenBao is not set up on this server (https alone is accepted)."
        if not self.ca_file:
            return "The certificate of OpenBao is not set up on this server."
        if not _MOUNT.fullmatch(self.mount):
            return "The name of OpenBao's transit engine cannot be used."
        if not self.token and not self.token_file:
            return "The token for OpenBao is not set up on this server."
        return ""

    def require(self) -> None:
        """Raise HsmMisconfigured where there is a problem."""
        if problem := self.problem():
            raise HsmMisconfigured(problem)

    def read_token(self, *, manages: bool) -> str:
        """The token to be sent now. Raises HsmMisconfigured where its file cannot be read."""
        file = (manages and self.manager_token_file) or self.token_file
        if not file:
            return self.token
        try:
            # Read each time: it is small, and an agent renews it when it likes.
            return Path(file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise HsmMisconfigured("The file with the token for OpenBao cannot be read.") from None
