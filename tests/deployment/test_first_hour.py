"""The first hour of docs/operations.md and the script that walks it (.ci/first_hour) belong together."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from django.core.management import get_commands

from tests.paths import ROOT

DOCUMENT = ROOT / "docs/operations.md"
STEPS = {
    "both": (
        "pip install --no-deps ../keycast-*.whl",
        "generate_checkpoint_key",
        "generate_kek",
        "systemctl start keycast-migrate",
        "keycast check --deploy",
        "create_user one@example.com --staff --role security-officer",
        "create_user two@example.com --staff --role security-officer",
        "create_tenant news keys.news.example",
        "nginx",
        "keycast doctor",
        "keycast create_key",
        "keycast bunker_url",
        "keycast nip46 sign",
        "verify_audit",
        "restore_check --dump",
        "--force-reinstall ../keycast-*.whl",
        "systemctl stop",
    ),
    "embedded": ("enable --now keycast\n", "VACUUM INTO"),
    "scaled": (
        "CREATE ROLE keycast_owner",
        "CREATE DATABASE keycast OWNER keycast_owner",
        "ALTER DEFAULT PRIVILEGES",
        "requirepass",
        "audit_grants keycast",
        "enable --now keycast-signer keycast-cosigner",
        "enable --now keycast-web keycast-bunker@9091 keycast-bunker@9092 keycast-jobs",
        "pg_dump",
    ),
}


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    loader = importlib.machinery.SourceFileLoader("first_hour", str(ROOT / ".ci/first_hour"))
    spec = importlib.util.spec_from_loader("first_hour", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["first_hour"] = module
    loader.exec_module(module)
    yield module
    del sys.modules["first_hour"]


@pytest.fixture(scope="module")
def text() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def test_a_block_that_nobody_would_type_is_refused(script: ModuleType) -> None:
    for other in ("```\nls\n```", "```sql\nSELECT 1\n```", "    ls", "~~~\nls\n~~~"):
        with pytest.raises(ValueError, match="is not typed"):
            script.blocks(f"# A page\n\n## The first hour\n\n### A step\n\n{other}\n\n## Next\n")


def test_every_block_of_the_document_is_typed_in_its_order(script: ModuleType, text: str) -> None:
    found = script.blocks(text)
    section = text[text.index("## The first hour") :].partition("\n## ")[0]
    assert section.count("\n```") == 2 * len(found) > 30
    assert "".join(block.text for block in found) == "".join(re.findall(r"```sh\n(.*?)```\n", section, re.DOTALL))
    shapes = {shape: script.typed(shape, text) for shape in script.SHAPES}
    assert {block.number for blocks in shapes.values() for block in blocks} == {block.number for block in found}
    for shape, blocks in shapes.items():
        assert [block.number for block in blocks] == sorted(block.number for block in blocks)
        assert {block.shape for block in blocks} == {"", shape}


def test_each_shape_has_every_step(script: ModuleType, text: str) -> None:
    for shape in script.SHAPES:
        typed = "".join(block.text for block in script.typed(shape, text))
        assert [step for step in STEPS["both"] + STEPS[shape] if step not in typed] == []


def test_nothing_is_made_lenient_for_the_walk(script: ModuleType, text: str) -> None:
    typed = "".join(block.text for block in script.blocks(text))
    assert not re.findall(r"KEYCAST_ENVIRONMENT|DEBUG|\|\| *true|--insecure|2>/dev/null|KEYCAST_EMULATOR", typed)
    walking = "".join(path.read_text(encoding="utf-8") for path in (ROOT / ".ci/stand_ins").iterdir() if path.is_file())
    walking += (ROOT / ".ci/first_hour").read_text(encoding="utf-8")
    assert "KEYCAST_" not in walking.replace("KEYCAST_WALK", "")


def test_commands_and_the_persons_heading_are_there(script: ModuleType, text: str) -> None:
    typed = "\n".join(block.text for block in script.blocks(text))
    named = set(re.findall(r"(?:^|\$\(|/bin/)keycast ([a-z0-9_]+)", typed, re.MULTILINE))
    assert len(named) > 12
    assert named - set(get_commands()) == set()
    assert script.FOR_PERSONS in {block.heading for block in script.blocks(text)}
    assert all(host in text for host in script.HOSTS)
    assert all(officer in typed for officer in script.OFFICERS)


def test_ci_walks_it_and_says_what_stands_in() -> None:
    run = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert re.search(r'^fourth="[^"]*\bfirst_hour\b', run, re.MULTILINE)
    assert "first_hour() { .ci/first_hour; }" in run


def type_in(script: ModuleType, folder: Path, *texts: str) -> None:
    blocks = [script.Block(number, "A step", "", text, True) for number, text in enumerate(texts, 1)]
    script.type_in(blocks, folder, folder, lambda block: None)


@pytest.mark.parametrize(
    "fails", ["false\ntouch on\n", "echo asked; nothing_of_the_name\ntouch on\n", "false | cat\ntouch on\n"]
)
def test_a_block_that_fails_is_shown_with_what_it_said_and_ends_the_walk(
    script: ModuleType, tmp_path: Path, fails: str
) -> None:
    with pytest.raises(script.BlockFailed) as failed:
        type_in(script, tmp_path, "echo good\n", f"echo what went before\n{fails}", "touch on\n")
    assert fails in str(failed.value)
    assert "It said:\nwhat went before\n" in str(failed.value)
    assert "block 2, 'A step', failed with exit code" in str(failed.value)
    assert not (tmp_path / "on").exists()


def test_blocks_share_one_shell(script: ModuleType, tmp_path: Path) -> None:
    type_in(script, tmp_path, "word=found\numask 077\n", 'echo "$word" >kept\n')
    assert (tmp_path / "kept").read_text() == "found\n"
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o600
