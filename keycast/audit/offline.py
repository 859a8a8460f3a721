"""Checks an export without a database, without settings and without Django: ``python -m keycast.audit.offline``.

The format and what it proves are in docs/audit.md. One pass, constant memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol, cast

from keycast.audit.chain import Body, genesis, row_hash
from keycast.audit.merkle import is_included
from keycast.audit.statements import Checkpoint, Keyring, StatementError, from_line, parse_public_key

FORMAT: Final = "keycast.audit.export.1"
COLUMNS: Final = (
    *("chain", "sequence", "at", "tag", "outcome", "actor_type", "actor_id", "actor_label"),
    *("key_id", "connection_id", "request_id", "data"),
)
_NUMBERS: Final = frozenset({"sequence", "at"})
PROVEN, BROKEN, USAGE, UNSIGNED = 0, 1, 2, 3


class ExportError(ValueError):
    """The first thing wrong with an export; ``line`` counts from 1."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(f"Line {line}: {detail}")
        self.line, self.detail = line, detail


@dataclass(slots=True)
class ExportSummary:
    """What an export that is in order shows: ``rows`` in all, of which the last ``unsigned`` are not signed yet."""

    chain: str = ""
    rows: int = 0
    unsigned: int = 0
    first: int = 0
    last: int = 0
    is_complete: bool = False
    checkpoints: int = 0


class _Output(Protocol):
    def write(self, text: str) -> object: ...


class ExportReader:
    """Takes the lines of an export one after the other. Raises ExportError at the first that is not right."""

    def __init__(self, keys: Keyring) -> None:
        self.findings = ExportSummary()
        self._keys = keys
        self._digest = hashlib.sha256()
        self._line = 0
        self._points: dict[int, Checkpoint] = {}
        self._header: Mapping[str, Any] | None = None
        self._last: tuple[int, bytes] | None = None
        self._loose = 0
        self._is_over = False

    def take(self, raw: bytes) -> None:
        """One line, with its line break."""
        self._line += 1
        if self._is_over:
            self._fail("Something follows the last line.")
        line = self._parse(raw)
        if self._header is None:
            self._begin(line)
        elif "checkpoint" in line:
            self._note_checkpoint(line["checkpoint"])
        elif "row" in line:
            self._note_row(line)
        elif "end" in line:
            self._end(line["end"])
        else:
            self._fail("Neither a row nor a checkpoint nor the end.")
        self._digest.update(raw)

    def finish(self) -> ExportSummary:
        """What it all shows, after the last line."""
        if not self._is_over:
            self._line += 1
            self._fail("The export stops before its end.")
        return self.findings

    def _fail(self, detail: str) -> None:
        raise ExportError(self._line, detail)

    def _parse(self, raw: bytes) -> Mapping[str, Any]:
        try:
            line = json.loads(raw.decode())
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict) or not raw.endswith(b"\n"):
            raise ExportError(self._line, "Not a line of JSON.")
        return line

    def _begin(self, line: Mapping[str, Any]) -> None:
        if line.get("format") != FORMAT or not isinstance(line.get("chain"), str):
            self._fail(f"Not an export of the format {FORMAT}.")
        self._header = line
        self.findings.chain = line["chain"]
        self.findings.is_complete = line.get("complete") is True

    def _note_checkpoint(self, line: Any) -> None:
        try:
            point, signature = from_line(Checkpoint, line)
        except StatementError as error:
            raise ExportError(self._line, f"{str(error).capitalize()}.") from None
        problem = self._keys.problem(point, signature)
        if problem or point.chain != self.findings.chain:
            self._fail(f"Checkpoint {point.number}: {problem or 'it is about another chain.'}")
        self._points = {point.number: point}
        self.findings.checkpoints += 1

    def _note_row(self, line: Mapping[str, Any]) -> None:
        row, previous, stored = self._row(line)
        sequence = row[1]
        if row_hash(previous, row) != stored:
            self._fail(f"Row {sequence} does not have its hash.")
        self._join(sequence, previous)
        proof = line.get("proof")
        if proof is None:
            self._loose += 1
        else:
            self._prove(sequence, stored, proof)
            self._loose = 0
        self._last = (sequence, stored)
        self.findings.rows += 1
        self.findings.first = self.findings.first or sequence
        self.findings.last = sequence

    def _row(self, line: Mapping[str, Any]) -> tuple[Body, bytes, bytes]:
        try:
            values = tuple(line["row"][name] for name in COLUMNS)
            previous, stored = bytes.fromhex(line["previous_hash"]), bytes.fromhex(line["hash"])
        except (KeyError, TypeError, ValueError):
            raise ExportError(self._line, "A row without all of its fields.") from None
        kinds = [int if name in _NUMBERS else str for name in COLUMNS]
        if any(type(value) is not kind for value, kind in zip(values, kinds, strict=True)):
            self._fail("A field of the row is of another type.")
        if values[0] != self.findings.chain:
            self._fail("A row of another chain.")
        return cast("Body", values), previous, stored

    def _join(self, sequence: int, previous: bytes) -> None:
        """A row continues the one before it; where it does not, that one must have been proven by itself."""
        if self._last is None:
            if sequence == 1 and previous != genesis(self.findings.chain):
                self._fail("The first row does not continue the beginning of its chain.")
            return
        last, last_hash = self._last
        if sequence == last + 1:
            if previous != last_hash:
                self._fail(f"Row {sequence} does not continue the row before it.")
            return
        if sequence <= last:
            self._fail(f"Row {sequence} comes after row {last}.")
        if self.findings.is_complete:
            self._fail(f"Rows {last + 1} to {sequence - 1} are missing, and it says that none is.")
        self._keep_loose()

    def _keep_loose(self) -> None:
        """Rows without proof before a gap: nothing vouches for them."""
        self.findings.unsigned += self._loose
        self._loose = 0

    def _prove(self, sequence: int, stored: bytes, proof: Any) -> None:
        try:
            point = self._points[proof["checkpoint"]]
            path = [bytes.fromhex(each) for each in proof["path"]]
        except (KeyError, TypeError, ValueError):
            raise ExportError(self._line, "A proof that names no checkpoint before it.") from None
        if not is_included(stored, sequence - 1, point.size, path, bytes.fromhex(point.root)):
            self._fail(f"The proof does not show that row {sequence} is among the rows of checkpoint {point.number}.")

    def _end(self, line: Any) -> None:
        self._is_over = True
        self._keep_loose()
        if not isinstance(line, dict) or line.get("rows") != self.findings.rows:
            self._fail(f"It says that there are other than {self.findings.rows} rows.")
        if line.get("sha256") != self._digest.hexdigest():
            self._fail("The lines before the end are not those that were written.")


def check(lines: Iterable[bytes], keys: Keyring) -> ExportSummary:
    """Check a whole export. Raises ExportError."""
    reader = ExportReader(keys)
    for line in lines:
        reader.take(line)
    return reader.finish()


def report_on(path: str, keys: Keyring, *, is_json: bool, out: _Output) -> int:
    """Check a file and say what was found; the exit code (0 proven, 1 broken, 2 asked wrongly, 3 partly unsigned)."""
    if not keys:
        out.write("Without a public key nothing can be proven: give --key.\n")
        return USAGE
    try:
        with Path(path).open("rb") as file:
            findings = check(file, keys)
    except OSError as error:
        out.write(f"{path} cannot be read: {error.strerror}.\n")
        return USAGE
    except ExportError as error:
        said = {"proven": False, "line": error.line, "detail": error.detail}
        out.write(json.dumps(said) + "\n" if is_json else f"BROKEN {error}\n")
        return BROKEN
    if is_json:
        out.write(json.dumps({"proven": not findings.unsigned, **asdict(findings)}) + "\n")
    else:
        out.write(_sentence(findings))
    return UNSIGNED if findings.unsigned else PROVEN


def _sentence(found: ExportSummary) -> str:
    rows = f"{found.rows} rows of chain {found.chain}"
    span = f", {found.first} to {found.last} without a gap" if found.is_complete and found.rows else ""
    if found.unsigned:
        return f"{rows}{span}: {found.rows - found.unsigned} proven, {found.unsigned} NOT signed by any checkpoint.\n"
    return f"{rows}{span}: all proven by {found.checkpoints} signed checkpoints.\n"


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="keycast.audit.offline", description="Check an export of the audit log.")
    parser.add_argument("export", help="the file")
    parser.add_argument("--key", action="append", default=[], required=True, help="public key: base64, or a PEM file")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a sentence")
    asked = parser.parse_args(arguments)
    try:
        texts = [Path(key).read_text(encoding="utf-8") if Path(key).is_file() else key for key in asked.key]
        keys = Keyring(map(parse_public_key, texts))
    except (OSError, StatementError) as error:
        parser.error(str(error))
    return report_on(asked.export, keys, is_json=asked.json, out=sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
