"""What a rotation is about: one key, one tenant's keys, or everything."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q
from django_scopes import scopes_disabled

from accounts.models import Tenant
from keys.models import PersonalKey
from keys.rotation.errors import WrongScope


@dataclass(frozen=True, slots=True)
class RotationScope:
    """``text`` is ``all``, ``tenant:<hex>`` or ``key:<hex>``; the ids are set as far as they apply."""

    text: str
    tenant_id: UUID | None = None
    key_id: UUID | None = None

    @classmethod
    def everything(cls) -> RotationScope:
        return cls("all")

    @classmethod
    def of_tenant(cls, tenant: Tenant) -> RotationScope:
        return cls(f"tenant:{tenant.id.hex}", tenant.id)

    @classmethod
    def of_key(cls, key: PersonalKey) -> RotationScope:
        return cls(f"key:{key.id.hex}", key.tenant_id, key.id)

    @classmethod
    def parse(cls, text: str) -> RotationScope:
        """The scope that ``text`` names. Raises WrongScope, also when there is no such tenant or key."""
        kind, _, hexadecimal = text.partition(":")
        if text == "all":
            return cls.everything()
        try:
            found = UUID(hexadecimal)
        except ValueError:
            raise WrongScope from None
        # The scope to rotate is being looked for; access is checked by who starts it.
        with scopes_disabled():
            if kind == "tenant" and (tenant := Tenant.objects.filter(pk=found).first()) is not None:
                return cls.of_tenant(tenant)
            if kind == "key" and (key := PersonalKey.objects.filter(pk=found).first()) is not None:
                return cls.of_key(key)
        raise WrongScope

    @classmethod
    def stored(cls, text: str, tenant_id: UUID | None) -> RotationScope:
        """As a row of Rotation keeps it; asks no database."""
        kind, _, hexadecimal = text.partition(":")
        return cls(text, tenant_id, UUID(hexadecimal) if kind == "key" else None)

    @property
    def kind(self) -> str:
        """``all``, ``tenant`` or ``key``."""
        return self.text.partition(":")[0]

    def overlaps(self, other: RotationScope) -> bool:
        """Whether one key can be in both."""
        if "all" in {self.kind, other.kind}:
            return True
        if self.kind == other.kind == "key":
            return self.key_id == other.key_id
        return self.tenant_id == other.tenant_id

    def keys(self) -> Q:
        """The condition on PersonalKey."""
        if self.key_id is not None:
            return Q(pk=self.key_id)
        return Q(tenant_id=self.tenant_id) if self.tenant_id is not None else Q()
