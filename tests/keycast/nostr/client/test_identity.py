"""The file that keeps a client's own key."""

from __future__ import annotations

import pytest

from keycast.nostr.client import BadClientKey
from keycast.nostr.client.identity import load_or_create


def test_a_file_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "client"
    load_or_create(path)
    path.chmod(0o644)
    with pytest.raises(BadClientKey, match="0600"):
        load_or_create(path)


@pytest.mark.parametrize("content", ["short", "00" * 32, "AB" * 32, "ab" * 33])
def test_a_file_with_something_else_is_refused_without_repeating_it(tmp_path, content):
    path = tmp_path / "client"
    path.touch(mode=0o600)
    path.write_text(content)
    with pytest.raises(BadClientKey) as caught:
        load_or_create(path)
    assert content not in str(caught.value)


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadClientKey):
        load_or_create(tmp_path / "link")


def test_the_key_is_made_once_for_the_owner_alone(tmp_path):
    path = tmp_path / "client"
    first = load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create(path).public_key == first.public_key
