"""Signs of life, runs of jobs, incidents. Housekeeping of this deployment: nothing of it is evidence, all is pruned."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class Sign(models.Model):
    """The latest sign of life of one part, and what it says of itself.

    ``name`` is ``jobs`` for the job cluster, or ``web:HOST:PID`` for a process that serves the web.
    """

    name = models.CharField(primary_key=True, max_length=100)
    at = models.BigIntegerField(help_text="Unix time in milliseconds.")
    status = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.name


class RunOutcome(models.TextChoices):
    """How a run of a job ended. One that was killed stays at its beginning; pages tell by its age."""

    RUNNING = "running", "Running"
    OK = "ok", "Done"
    FAILED = "failed", "Failed"


class JobRun(models.Model):
    """One run of a background job. ``error`` is a class, ``message`` a sentence that may be shown; no traceback."""

    id = models.CharField(primary_key=True, max_length=32)
    path = models.CharField(max_length=256)
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=1, db_default=1)
    outcome = models.CharField(max_length=8, choices=RunOutcome, default=RunOutcome.RUNNING)
    error = models.CharField(max_length=200, blank=True)
    message = models.CharField(max_length=300, blank=True)

    class Meta:
        indexes = (
            models.Index(fields=["-started_at"], name="jobrun_newest"),
            models.Index(fields=["path", "-started_at"], name="jobrun_newest_of_job"),
            models.Index(fields=["-started_at"], name="jobrun_failed", condition=Q(outcome="failed")),
        )

    def __str__(self) -> str:
        return f"{self.path} {self.outcome}"


class Incident(models.Model):
    """Something that was not in order for a while, by the name of its finding; staff are told once, and once after."""

    name = models.CharField(max_length=60)
    detail = models.CharField(max_length=500)
    began_at = models.DateTimeField()
    told_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    told_end_at = models.DateTimeField(null=True)
    telling_until = models.DateTimeField(null=True, help_text="Until when a process is at telling it, or pauses.")

    class Meta:
        constraints = (
            models.UniqueConstraint(name="incident_one_open", fields=["name"], condition=Q(ended_at__isnull=True)),
        )
        indexes = (models.Index(fields=["-began_at"], name="incident_newest"),)

    def __str__(self) -> str:
        return f"{self.name} since {self.began_at:%Y-%m-%d %H:%M}"
