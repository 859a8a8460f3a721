"""Audit rows and the head of each chain. Nothing here is ever updated or deleted (triggers see to it)."""

from __future__ import annotations

from django.db import models


class AuditChain(models.Model):
    """Head of one chain: a tenant's (its id, 32 hex digits) or ``platform``. Locked while rows are appended."""

    name = models.CharField(primary_key=True, max_length=32)
    sequence = models.BigIntegerField(default=0)
    head = models.BinaryField(max_length=32)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return f"{self.name} at {self.sequence}"


class AuditRow(models.Model):
    """One thing that happened. ``hash`` covers every other column and the hash before it (keycast.audit.chain).

    No foreign keys: a row outlives whatever it speaks of, and keeps a snapshot of the actor. Ids are 32 hex
    digits without dashes, empty when they do not apply. ``at`` is Unix time in microseconds. ``data`` is canonical
    JSON: kinds, sizes, hashes and reasons; never content, never a secret.
    """

    id = models.BigAutoField(primary_key=True)
    chain = models.CharField(max_length=32)
    sequence = models.BigIntegerField()
    at = models.BigIntegerField()
    tag = models.CharField(max_length=48)
    outcome = models.CharField(max_length=16)
    actor_type = models.CharField(max_length=16)
    actor_id = models.CharField(max_length=64)
    actor_label = models.CharField(max_length=200)
    key_id = models.CharField(max_length=32)
    connection_id = models.CharField(max_length=32)
    request_id = models.CharField(max_length=64)
    data = models.TextField()
    previous_hash = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)

    class Meta:
        ordering = ("id",)
        constraints = (models.UniqueConstraint(name="audit_row_sequence", fields=["chain", "sequence"]),)
        # Each index that is not in order of writing costs a page of the disk for every row (docs/decisions/0041):
        # results by key for people, what people did by actor, and nothing else. An app's rows are found by its key.
        # What became of a key beside its use is written rarely, and its index costs no signature anything.
        indexes = (
            models.Index(fields=["key_id", "id"], name="audit_row_key", condition=~models.Q(outcome="intent")),
            models.Index(fields=["actor_id", "id"], name="audit_row_actor", condition=models.Q(request_id="")),
            models.Index(
                fields=["key_id", "id"], name="audit_row_life", condition=models.Q(request_id="") & ~models.Q(key_id="")
            ),
        )

    def __str__(self) -> str:
        return f"{self.chain}#{self.sequence} {self.tag}"
