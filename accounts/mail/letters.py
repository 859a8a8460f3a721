"""A mail as it is written: to one person, since addresses are nobody else's business. Sealed wherever it is stored."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Final

from accounts.sealing import open_text, seal_text

PURPOSE: Final = "outgoing mail"


@dataclass(frozen=True, slots=True)
class Letter:
    """What one person is to read; ``html`` says the same as ``text``, or nothing."""

    to: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(default="", repr=False)


def seal_letter(letter: Letter, mail_id: str) -> str:
    """The letter, readable in the row of that id alone: it may hold a sign-in code or an invitation."""
    return seal_text(json.dumps(asdict(letter)), PURPOSE, mail_id)


def open_letter(sealed: str, mail_id: str) -> Letter:
    """What was sealed for that row. Raises SealBroken."""
    return Letter(**json.loads(open_text(sealed, PURPOSE, mail_id)))
