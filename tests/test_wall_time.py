"""No test asserts on wall time: how long something took says how busy the machine is, not whether the code is right.

A speed is a ratio measured in one run, in a benchmark (tests/bench). A test counts queries, calls or steps, moves a
clock of its own, or awaits an event; what may hang is bounded by ``tests.waiting``, generously.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.paths import ROOT

TESTS = ROOT / "tests"
MAY_MEASURE = {"bench"}
CLOCKS = {"time", "monotonic", "perf_counter", "time_ns", "monotonic_ns", "perf_counter_ns"}
"""Called without an argument, whatever they are called on: ``time.monotonic()``, ``loop.time()``."""
GROWING = {"append", "add", "insert"}
SAME_KIND = {"max", "min", "sorted", "sum", "abs", "round", "int", "float", "approx", "median", "mean", "list"}
"""What they give is as much a time as what they are given; the arguments of other functions are their own business."""

Name = tuple[str, str]
"""The function that a name is used in, and the name."""
WHOLE = -1


def name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def reads_clock(node: ast.AST) -> bool:
    """``time.monotonic()`` and the like."""
    return isinstance(node, ast.Call) and not node.args and not node.keywords and name_of(node.func) in CLOCKS


def parts(node: ast.expr) -> Iterator[ast.expr]:
    """``node`` and what its value is made of."""
    yield node
    if isinstance(node, ast.Call):
        inner = node.args if name_of(node.func) in SAME_KIND else []
    elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp):
        inner = [node.elt, *(each.iter for each in node.generators)]
    else:
        inner = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    for child in inner:
        yield from parts(child)


def walk(node: ast.AST, scope: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every node with the name of the function that it is in."""
    for child in ast.iter_child_nodes(node):
        yield scope, child
        yield from walk(child, child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else scope)


class WallTimes:
    """Names of a module for moments, which were read from a clock, and for durations, which are between two moments."""

    def __init__(self, module: ast.Module) -> None:
        self.moments: set[Name] = set()
        self.durations: set[Name] = set()
        self.functions: set[tuple[str, int]] = set()
        """Functions that return a duration, and at which place of a tuple."""
        self.nodes = list(walk(module))
        self.shared = {name for _, node in self.nodes if isinstance(node, ast.Nonlocal) for name in node.names}
        known = -1
        while known != (known := len(self.moments) + len(self.durations) + len(self.functions)):
            for scope, node in self.nodes:
                self._learn(scope, node)

    def asserted(self) -> Iterator[int]:
        """The line of each assertion that compares a duration, or what the clock says."""
        for scope, node in self.nodes:
            if isinstance(node, ast.Assert) and any(self._compares(scope, each) for each in ast.walk(node.test)):
                yield node.lineno

    def _compares(self, scope: str, node: ast.AST) -> bool:
        if not isinstance(node, ast.Compare):
            return False
        sides = [node.left, *node.comparators]
        return any(self._is_duration(scope, side) or any(map(reads_clock, parts(side))) for side in sides)

    def _learn(self, scope: str, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._assign(scope, target, node.value)
        elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            self._assign(scope, node.target, node.value)
        elif isinstance(node, ast.Return) and node.value is not None:
            self._returns(scope, node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in GROWING:
            for argument in node.args:
                self._assign(scope, node.func.value, argument)

    def _returns(self, scope: str, value: ast.expr) -> None:
        places = enumerate(value.elts) if isinstance(value, ast.Tuple) else [(WHOLE, value)]
        self.functions |= {(scope, place) for place, part in places if self._is_duration(scope, part)}

    def _assign(self, scope: str, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple):
            for place, name in enumerate(target.elts):
                if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts):
                    self._assign(scope, name, value.elts[place])
                elif isinstance(name, ast.Name) and self._gives_duration(value, place):
                    self.durations.add(self._key(scope, name.id))
        elif isinstance(target, ast.Name):
            if self._is_duration(scope, value):
                self.durations.add(self._key(scope, target.id))
            elif self._is_moment(scope, value):
                self.moments.add(self._key(scope, target.id))

    def _gives_duration(self, node: ast.expr, place: int) -> bool:
        node = node.value if isinstance(node, ast.Await) else node
        return isinstance(node, ast.Call) and (name_of(node.func), place) in self.functions

    def _is_moment(self, scope: str, node: ast.expr) -> bool:
        return any(reads_clock(part) or self._names(scope, part, self.moments) for part in parts(node))

    def _is_duration(self, scope: str, node: ast.expr) -> bool:
        return any(
            (
                isinstance(part, ast.BinOp)
                and isinstance(part.op, ast.Sub)
                and not isinstance(part.right, ast.Constant)
                and (self._is_moment(scope, part.left) or self._is_moment(scope, part.right))
            )
            or self._names(scope, part, self.durations)
            or self._gives_duration(part, WHOLE)
            or (
                isinstance(part, ast.Subscript)
                and isinstance(part.slice, ast.Constant)
                and self._gives_duration(part.value, part.slice.value)  # type: ignore[arg-type]
            )
            for part in parts(node)
        )

    def _names(self, scope: str, node: ast.expr, among: set[Name]) -> bool:
        return isinstance(node, ast.Name) and self._key(scope, node.id) in among

    def _key(self, scope: str, name: str) -> Name:
        return ("" if name in self.shared else scope), name


def asserted_in(text: str) -> list[int]:
    """Lines of assertions on wall time; files that name no clock are not looked at."""
    return list(WallTimes(ast.parse(text)).asserted()) if any(f"{clock}()" in text for clock in CLOCKS) else []


def test_no_test_asserts_on_wall_time() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        if path.relative_to(TESTS).parts[0] not in MAY_MEASURE and "node_modules" not in path.parts
        for line in asserted_in(path.read_text(encoding="utf-8"))
    ]
    assert found == [], "count, move a clock, or wait with tests.waiting; a speed belongs into tests/bench"


@pytest.mark.parametrize(
    ("code", "is_found"),
    [
        ("began = time.monotonic()\nf()\nassert time.monotonic() - began < 2", True),
        ("began = perf_counter()\nf()\ntook = perf_counter() - began\nassert took <= 2, took", True),
        ("began = loop.time()\nf()\nassert 0 < (loop.time() - began) / 3 < LIMIT", True),
        ("def took():\n  began = time.time()\n  return f(), time.time() - began\nassert took()[1] < 1", True),
        ("def took():\n  began = time.time()\n  return f(), time.time() - began\n_, t = took()\nassert t < 1", True),
        ("def took():\n  began = time.time()\n  return f(), time.time() - began\nn, t = took()\nassert n < 1", False),
        ("began, waits = time.time(), []\nwaits.append(time.time() - began)\nassert sorted(waits)[5] < 1", True),
        ("def f():\n  def g():\n    nonlocal t\n    t = time.time() - a()\n  assert t < 1", True),
        ("began, most = time.time(), 0.0\nmost = max(most, time.time() - began)\nassert most < 1", True),
        ("deadline = time.monotonic() + 1\nwhile f(): assert time.monotonic() < deadline", True),
        ("assert row.at == approx(time.time(), abs=5)", True),
        ("began = time.time()\nf()\nprint(time.time() - began)", False),
        ("row = make(at=time.time() - 60)\nassert row.count <= 1", False),
        ("assert due(time.time() + 60) <= 1", False),
        ("end = time.time() + 9\nwhile f() and time.time() < end: g()\nassert not f()", False),
        ("assert len(queries) - len(before) < 5", False),
    ],
)
def test_the_look_finds_what_it_should(code: str, is_found: bool) -> None:
    assert bool(asserted_in(code)) is is_found
