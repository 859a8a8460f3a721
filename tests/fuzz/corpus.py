"""The inputs that are kept: one JSON file a target, each input as base64, smallest first."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def path_of(name: str) -> Path:
    return FOLDER / f"{name.lower().replace(' ', '-')}.json"


def kept(name: str) -> list[bytes]:
    path = path_of(name)
    return [base64.b64decode(text) for text in json.loads(path.read_text())] if path.exists() else []


def keep(name: str, inputs: Collection[bytes]) -> None:
    FOLDER.mkdir(exist_ok=True)
    texts = [base64.b64encode(data).decode() for data in sorted(set(inputs), key=lambda data: (len(data), data))]
    path_of(name).write_text(json.dumps(texts, indent=0) + "\n")
