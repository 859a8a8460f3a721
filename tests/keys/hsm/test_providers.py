"""A provider is one folder: nothing outside it asks which one it has to do with."""

from __future__ import annotations

import re
from pathlib import Path

from keys.hsm import providers
from keys.models import Provider

ROOT = Path(__file__).parents[3]
PRODUCT = ("accounts", "bunker", "keycast", "keys", "templates")
OF_ITS_OWN = re.compile(r"keys/(hsm/(google|nethsm|openbao|pkcs11)|migrations|models)/")
NAMES = "google|nethsm|openbao|pkcs11"
BRANCH = re.compile(rf"Provider\.({NAMES.upper()}|LOCAL)\b|provider(\.name)? ?(==|!=) ?[\"']({NAMES})[\"']")


def test_nothing_outside_the_folders_of_providers_branches_on_one():
    files = [path for top in PRODUCT for path in (ROOT / top).rglob("*") if path.suffix in {".py", ".html", ".txt"}]
    found = [
        f"{name}:{number}: {line.strip()}"
        for path in files
        if not OF_ITS_OWN.match(name := path.relative_to(ROOT).as_posix())
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if BRANCH.search(line)
    ]
    assert found == []


def test_each_folder_describes_a_provider_that_rows_can_have():
    assert set(providers.known()) == {"google", "nethsm", "openbao", "pkcs11"}
    assert set(providers.known()) < set(Provider.values)


def test_one_that_authorises_draws_names_and_one_that_signs_does_not():
    for name, provider in providers.known().items():
        assert provider.hsm is not None
        assert providers.splits(name) is (provider.hsm.new_key_name is not None)
