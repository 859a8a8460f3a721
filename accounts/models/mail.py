"""The outbox. Services are in accounts.mail."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone


class MailProblem(models.TextChoices):
    """What stood in the way of a mail when it was last tried."""

    NONE = "", "None"
    AWAY = "away", "The mail server did not answer, or takes nothing"
    REFUSED = "refused", "The mail server refused this one"
    UNREADABLE = "unreadable", "The sealed text does not open"


class OutgoingMail(models.Model):
    """A mail on its way. ``sealed`` holds address and text until it is sent or given up (accounts.mail.letters).

    ``next_try_at`` lies in the future while somebody tries it or it pauses; after ``expires_at`` it is given up.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    sealed = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    next_try_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    problem = models.CharField(max_length=16, choices=MailProblem, blank=True, default="")
    tried_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    given_up_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = (
            models.Index(
                fields=["created_at"], name="outgoingmail_waiting", condition=Q(sent_at=None, given_up_at=None)
            ),
            models.Index(fields=["given_up_at"], name="outgoingmail_given_up", condition=Q(given_up_at__isnull=False)),
        )
        constraints = (
            models.CheckConstraint(
                name="outgoingmail_is_empty_at_its_end",
                condition=Q(sent_at=None, given_up_at=None) | Q(sealed=""),
            ),
        )

    def __str__(self) -> str:
        return f"mail {self.id}"
