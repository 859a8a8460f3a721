"""How far the co-signer's record was compared with the audit log. Fields only; import it from keys.models."""

from __future__ import annotations

from django.db import models


class CosignerComparison(models.Model):
    """One row for the deployment (keys.split.comparison).

    ``sequence`` is the co-signer's last row that was judged and ``row_id`` ours; ``sequence_from`` and ``row_from`` are
    where the next comparison begins to read, which is earlier: the two logs do not write at the same moment.
    """

    sequence = models.BigIntegerField(default=0)
    sequence_from = models.BigIntegerField(default=0)
    row_id = models.BigIntegerField(default=0)
    row_from = models.BigIntegerField(default=0)
    begun_at = models.DateTimeField(null=True, blank=True)
    compared_at = models.DateTimeField(null=True, blank=True)
    problem = models.CharField(max_length=200, blank=True)
    differences = models.PositiveIntegerField(default=0)
    differed_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"the co-signer's record, compared until row {self.sequence}"
