"""``manage.py convert_key`` for operators."""

from __future__ import annotations

import json

import pytest
from django.core.management import CommandError, call_command

from keycast.nostr.nip19 import encode_npub
from keys.models import Conversion
from tests.keys.cosigner.rows import again
from tests.keys.hsm.google.conftest import misbehave
from tests.keys.split.conversion.support import signs

pytestmark = pytest.mark.opens_keys


def test_convert_key_with_an_unknown_key_exits_2(deployment):
    with pytest.raises(CommandError) as refused:
        call_command("convert_key", "--key", "00" * 32)
    assert refused.value.returncode == 2


def test_a_rehearsal_changes_nothing(deployment, capsys):
    key = deployment.key()
    call_command("convert_key", "--tenant", deployment.tenant.slug, "--dry-run")
    assert "would-move" in capsys.readouterr().out
    assert not Conversion.objects.exists()
    assert again(key).key_mode == "encrypted"


def test_every_key_of_a_tenant_moves(deployment, capsys):
    keys = [deployment.key(), deployment.key()]
    call_command("convert_key", "--tenant", deployment.tenant.slug, "--json")
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {one["key"]: one["outcome"] for one in told} == {str(key.id): "moved" for key in keys}
    assert all(signs(key) for key in keys)


def test_convert_key_can_cancel_a_conversion_that_waits(deployment, capsys):
    key = deployment.key()
    misbehave(deployment.emulator, "error", "AsymmetricSign", code="PERMISSION_DENIED")
    with pytest.raises(SystemExit) as ended:
        call_command("convert_key", "--key", encode_npub(key.public_key), "--wait", "0")
    assert ended.value.code == 1
    assert "goes-on: The HSM does not allow" in capsys.readouterr().out
    call_command("convert_key", "--key", str(key.id), "--cancel")
    assert "cancelled" in capsys.readouterr().out
    assert again(key).key_mode == "encrypted"
    assert not Conversion.objects.exists()


def test_a_split_key_is_refused(deployment, capsys):
    key = deployment.key()
    call_command("convert_key", "--key", str(key.id))
    with pytest.raises(SystemExit) as ended:
        call_command("convert_key", "--key", str(key.id))
    assert ended.value.code == 1
    assert "never the other way" in capsys.readouterr().out
