"""Audit rows, the head of each chain, and what is signed about them. Triggers see to it that rows stay as they are."""

from __future__ import annotations

from typing import Any

from django.db import models

from keycast.audit import statements


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


class AuditCheckpoint(models.Model):
    """A signed statement about the first ``size`` rows of a chain (keycast.audit.statements.Checkpoint).

    ``frontier`` has the peaks of the tree of that size, ``consistency`` the proof that the checkpoint before it is a
    beginning of it: 32-byte hashes, one after the other. ``is_published`` once it stands outside of the database too.
    """

    id = models.BigAutoField(primary_key=True)
    chain = models.CharField(max_length=32)
    number = models.BigIntegerField()
    size = models.BigIntegerField()
    root = models.CharField(max_length=64)
    head = models.CharField(max_length=64)
    previous = models.CharField(max_length=64)
    at = models.BigIntegerField()
    key = models.CharField(max_length=16)
    signature = models.BinaryField(max_length=128)
    frontier = models.BinaryField(max_length=2048)
    consistency = models.BinaryField(max_length=4096)
    is_published = models.BooleanField(default=False)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(name="audit_checkpoint_number", fields=["chain", "number"]),
            models.UniqueConstraint(name="audit_checkpoint_size", fields=["chain", "size"]),
        )
        indexes = (
            models.Index(fields=["id"], name="audit_checkpoint_waiting", condition=models.Q(is_published=False)),
        )

    def __str__(self) -> str:
        return f"{self.chain} checkpoint {self.number}"

    @property
    def statement(self) -> statements.Checkpoint:
        """What was signed."""
        return statements.Checkpoint(**_fields(self, statements.Checkpoint))


class AuditCut(models.Model):
    """A signed statement that rows were removed by retention (keycast.audit.statements.Cut). Stays for ever."""

    id = models.BigAutoField(primary_key=True)
    chain = models.CharField(max_length=32)
    number = models.BigIntegerField()
    first = models.BigIntegerField()
    through = models.BigIntegerField()
    count = models.BigIntegerField()
    root = models.CharField(max_length=64)
    head = models.CharField(max_length=64)
    at = models.BigIntegerField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=200)
    key = models.CharField(max_length=16)
    signature = models.BinaryField(max_length=128)
    is_published = models.BooleanField(default=False)

    class Meta:
        ordering = ("id",)
        constraints = (
            models.UniqueConstraint(name="audit_cut_number", fields=["chain", "number"]),
            models.UniqueConstraint(name="audit_cut_through", fields=["chain", "through"]),
        )
        indexes = (models.Index(fields=["id"], name="audit_cut_waiting", condition=models.Q(is_published=False)),)

    def __str__(self) -> str:
        return f"{self.chain} cut {self.number}"

    @property
    def statement(self) -> statements.Cut:
        """What was signed."""
        return statements.Cut(**_fields(self, statements.Cut))


class AuditRetention(models.Model):
    """For how many days the rows of one chain are kept, where that differs from the platform's rule."""

    chain = models.CharField(primary_key=True, max_length=32)
    days = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.chain}: {self.days} days"


class AuditVerification(models.Model):
    """One verification of the log, from its request to its result; jobs carry it on, slice by slice.

    ``chain`` is empty for all of them. ``position`` is where the next slice begins, ``report`` what was found so far
    (keycast.audit.verification.VerificationReport.as_dict). ``rows`` were read, of about ``total``.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Running"
        INTACT = "intact", "Intact"
        BROKEN = "broken", "Broken"
        FAILED = "failed", "Could not be finished"

    id = models.BigAutoField(primary_key=True)
    chain = models.CharField(max_length=32, blank=True)
    is_full = models.BooleanField(default=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    asked_by = models.CharField(max_length=200)
    asked_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    rows = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    position = models.JSONField(default=dict)
    report = models.JSONField(default=dict)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                name="audit_verification_one_at_a_time",
                fields=["chain"],
                condition=models.Q(state__in=["waiting", "running"]),
            ),
        )

    def __str__(self) -> str:
        return f"verification {self.id} of {self.chain or 'all chains'}: {self.state}"

    @property
    def is_finished(self) -> bool:
        return self.finished_at is not None


def _fields(row: models.Model, kind: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in kind.__dataclass_fields__}
