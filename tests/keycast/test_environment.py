"""The one list of settings: .env.example names every variable that the code reads, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

NAME = re.compile(r"[A-Z][A-Z0-9_]{2,}")
READERS = {
    "str",
    "bool",
    "int",
    "float",
    "list",
    "dict",
    "url",
    "db_url",
    "cache_url",
    "email_url",
    "secret",
    "named",
    "get",
}
INTERNAL = {
    "DJANGO_SETTINGS_MODULE",
    "KEYCAST_PARENT_PID",
    "KEYCAST_TEST_ROOT",
    "KEYCAST_TEST_ONLY",
    "VIRTUAL_ENV",
    "PATH",
    "HOME",
}
"""Set by our own processes, or by the system; nobody configures Keycast with them."""
FOLDERS = ("keycast", "accounts", "keys", "bunker", "tests", "scripts")


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from (path for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts)


def is_environment(node: ast.expr) -> bool:
    text = ast.unparse(node)
    return text in {"env", "os.environ", "environ", "os"} or text.endswith(".environ")


def reads(tree: ast.AST) -> Iterator[str]:
    """Names read by env.str("X"), secret("X"), named("X"), os.environ["X"], os.environ.get("X"), os.getenv("X")."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and is_environment(node.value) and isinstance(node.ctx, ast.Load):
            arguments: list[ast.expr] = [node.slice]
        elif isinstance(node, ast.Call) and node.args:
            call = node.func
            by_method = isinstance(call, ast.Attribute) and is_environment(call.value)
            known = by_method and call.attr in READERS | {"getenv", "setdefault", "pop"}  # type: ignore[union-attr]
            by_name = isinstance(call, ast.Name) and call.id in {"secret", "named"}
            arguments = node.args[:1] if known or by_name else []
        else:
            continue
        for argument in arguments:
            if (
                isinstance(argument, ast.Constant)
                and isinstance(argument.value, str)
                and NAME.fullmatch(argument.value)
            ):
                yield argument.value


def read_in_code() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sources():
        for name in reads(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                name.startswith("KEYCAST_") or "tests" not in path.parts
            ):  # tests speak to their own children as they like
                found.setdefault(name, str(path.relative_to(ROOT)))
    return found


def documented() -> list[str]:
    return re.findall(r"^#? ?([A-Z][A-Z0-9_]{2,})=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)


def test_a_variable_that_the_code_reads_is_documented() -> None:
    known = set(documented())
    missing = {
        name: where
        for name, where in read_in_code().items()
        if name not in INTERNAL and name not in known and name.removesuffix("_FILE") not in known
    }
    assert missing == {}


def test_a_documented_variable_is_read_somewhere() -> None:
    code = set(read_in_code())
    assert [name for name in documented() if name not in code] == []


def test_no_variable_is_documented_twice() -> None:
    names = documented()
    assert sorted(set(names)) == sorted(names)


def test_nothing_is_set_in_the_example_so_that_copying_it_changes_nothing() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('env.str("ABC_DEF", default="")', ["ABC_DEF"]),
        ('os.environ["ABC_DEF"]', ["ABC_DEF"]),
        ('os.environ.get("ABC_DEF")', ["ABC_DEF"]),
        ('os.getenv("ABC_DEF")', ["ABC_DEF"]),
        ('secret("ABC_DEF")', ["ABC_DEF"]),
        ('something.get("ABC_DEF")', []),
        ("env.str(name)", []),
    ],
)
def test_the_scanner_finds_every_way_of_reading_an_environment_variable(code: str, found: list[str]) -> None:
    assert list(reads(ast.parse(code))) == found
