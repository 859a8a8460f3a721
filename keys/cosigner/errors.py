"""How work of the co-signer refuses."""

from __future__ import annotations

from keys.signing.cosigning.messages import RefusalCode


class CosignerRefusalError(Exception):
    """The co-signer refuses; the code is all that leaves the process."""

    def __init__(self, code: RefusalCode) -> None:
        self.code = code
        super().__init__(code.value)
