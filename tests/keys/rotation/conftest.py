"""A kind of rotation that changes names: what the framework does, without any custody."""

from __future__ import annotations

import pytest
from django.db.models import Q

from keycast.audit.entries import Actor
from keys.models import PersonalKey
from keys.rotation import registry
from keys.rotation.protocol import RotationItem, RotationKind
from keys.signing.kms import keyfile
from keys.signing.kms import registry as providers
from tests.keys.conftest import make_key

OPERATOR = Actor.command("test")


class Renaming(RotationKind):
    """Gives keys the name "new"; ``failures`` are raised, by the key's name."""

    slug, group, title, command = "renaming", "names", "Rename keys", "none"
    batch = 2

    def __init__(self):
        self.failures, self.rotated, self.on_rotate = {}, [], lambda item: None

    def _left(self, job):
        return PersonalKey.objects.filter(job.scope.keys()).filter(~Q(name="new")).order_by("pk")

    def count(self, job):
        return self._left(job).count()

    def items(self, job, after, limit):
        found = self._left(job).filter(pk__gt=after) if after else self._left(job)
        return [RotationItem(key.id.hex, key.id, key) for key in found[:limit]]

    def rotate(self, job, item):
        self.on_rotate(item)
        if item.row.name in self.failures:
            raise self.failures[item.row.name]

        def change():
            self.rotated.append(item.row.name)
            return bool(PersonalKey.objects.filter(pk=item.key_id, name=item.row.name).update(name="new"))

        return change


@pytest.fixture
def kek_file(tmp_path, monkeypatch):
    path = tmp_path / "kek"
    keyfile.write_new(path, "first")
    monkeypatch.delenv("KEYCAST_KEK", raising=False)
    monkeypatch.setenv("KEYCAST_KEK_FILE", str(path))
    providers.reset()
    return path


@pytest.fixture
def renaming():
    kind = Renaming()
    registry.register(kind)
    yield kind
    registry._kinds.pop("renaming")


@pytest.fixture
def keys(user, tenant):
    return [make_key(user, tenant, f"old {number}") for number in range(5)]
