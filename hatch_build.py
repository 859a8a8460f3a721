"""What the built package depends on, read from requirements/*.in, so that it stands in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Requirements(MetadataHookInterface):
    """``pip install keycast`` brings base.in, ``keycast[scaled]`` what production.in has beyond it, and so on."""

    def update(self, metadata: dict[str, Any]) -> None:
        metadata["dependencies"] = self._asked("base")
        metadata["optional-dependencies"] = {"scaled": self._asked("production"), "pkcs11": self._asked("pkcs11")}

    def _asked(self, name: str) -> list[str]:
        text = (Path(self.root) / "requirements" / f"{name}.in").read_text(encoding="utf-8")
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        return [line for line in lines if line and not line.startswith("-r ")]
