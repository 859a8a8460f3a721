"""What CONTRIBUTING.md promises of the code and no linter holds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.paths import ROOT

PRODUCT = ("keycast", "accounts", "keys", "bunker")
LOOP_TOPS = {
    "bunker/relays/bridge.py GroupSendQueue.run": "relay",
    "bunker/relays/bridge.py inflow": "relay",
    "bunker/relays/consumer.py RelayConnection.handle": "relay",
    "bunker/relays/outbound.py OutboundRelayConnection.run": "relay",
    "bunker/worker/control.py ControlListener.run": "worker",
    "bunker/worker/engine.py Engine.handle": "request",
    "bunker/worker/engine.py Engine.notify": "request",
    "bunker/worker/engine.py Engine.resume": "request",
    "keys/hsm/pkcs11/thread.py ModuleThread._run": "module thread",
    "keys/signing/isolated/request_handler.py SignerRequestHandler.answer": "request",
}
"""Where any error may end, and of which loop that is the top."""


def is_everything(kind: ast.expr | None) -> bool:
    """``Exception``, ``BaseException``, a tuple with one of them, or nothing."""
    if isinstance(kind, ast.Tuple):
        return any(map(is_everything, kind.elts))
    if isinstance(kind, ast.Attribute):  # builtins.Exception
        return kind.attr in {"Exception", "BaseException"}
    return kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})


def swallows(node: ast.AST) -> bool:
    """Whether any error may end here: a handler that does not raise it again, or ``suppress``."""
    if isinstance(node, ast.ExceptHandler):
        last = node.body[-1]
        return is_everything(node.type) and not (isinstance(last, ast.Raise) and last.exc is None)
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return name == "suppress" and any(map(is_everything, node.args))
    return False


def swallowing(node: ast.AST, place: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
    """The qualified name and the line of each place below ``node`` that swallows every error."""
    for child in ast.iter_child_nodes(node):
        if swallows(child):
            yield ".".join(place), child.lineno  # type: ignore[attr-defined]
        is_named = isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        yield from swallowing(child, (*place, child.name) if is_named else place)  # type: ignore[attr-defined]


def test_an_error_of_any_class_ends_at_loop_tops_alone_and_the_line_says_of_which() -> None:
    found: dict[str, str] = {}
    unsaid = []
    for path in (path for name in PRODUCT for path in sorted((ROOT / name).rglob("*.py"))):
        text = path.read_text(encoding="utf-8")
        for place, line in swallowing(ast.parse(text)):
            name = f"{path.relative_to(ROOT)} {place}"
            found[name] = LOOP_TOPS.get(name, "nobody allowed it")
            if f"# loop top ({found[name]})" not in text.splitlines()[line - 1]:
                unsaid.append(f"{name}, line {line}")
    assert found == LOOP_TOPS
    assert unsaid == []


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ("try: f()\nexcept: pass", True),
        ("try: f()\nexcept Exception: pass", True),
        ("try: f()\nexcept BaseException as error: raise ValueError from error", True),
        ("try: f()\nexcept (ValueError, Exception): pass", True),
        ("try: f()\nexcept builtins.Exception: pass", True),
        ("with contextlib.suppress(Exception): f()", True),
        ("with suppress(KeyError, BaseException): f()", True),
        ("try: f()\nexcept BaseException:\n  g()\n  raise", False),
        ("try: f()\nexcept ValueError: pass", False),
        ("with suppress(OSError): f()", False),
    ],
)
def test_the_look_finds_what_it_should(code: str, is_found: bool) -> None:
    assert bool(list(swallowing(ast.parse(code)))) is is_found


def test_no_class_name_has_two_meanings() -> None:
    """A name is one thing everywhere (docs/glossary.md); Django finds commands by the name Command."""
    places: dict[str, list[str]] = {}
    for path in (path for name in PRODUCT for path in sorted((ROOT / name).rglob("*.py"))):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name not in {"Command", "Migration"}:
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_setting_is_assigned_twice() -> None:
    """A copied line that keeps its old name would take another setting's place, and its own name would be missing."""
    tree = ast.parse((ROOT / "keycast/settings/__init__.py").read_text(encoding="utf-8"))
    names = [target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]  # type: ignore[attr-defined]
    assert sorted(set(names)) == sorted(names)


def test_key_modes_are_named_by_their_enum() -> None:
    """But for migrations and constraints, which name the values that are stored; and `keys.signing` knows no tables."""
    literal = re.compile(r"""\bkey_mode\s*(=|==|!=)\s*["']""")
    found = {
        f"{path.relative_to(ROOT)}:{number}"
        for name in PRODUCT
        for path in (ROOT / name).rglob("*.py")
        if not {"migrations", "models", "signing"} & {*path.relative_to(ROOT).parts}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if literal.search(line)
    }
    assert found == set()
