"""Background jobs of custody."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module

from django.utils import timezone
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor
from keys import jobs, services
from keys.models import PersonalKey


def test_every_schedule_names_a_function_that_runs_without_arguments(db):
    for _, path, minutes in jobs.SCHEDULES:
        module, _, name = path.rpartition(".")
        assert getattr(import_module(module), name)() == 0
        assert minutes > 0


def test_the_destruction_job_destroys_keys_that_are_due(key, user):
    services.schedule_destruction(actor=Actor.user(user), key=key)
    with scopes_disabled():
        PersonalKey.objects.filter(pk=key.pk).update(destruction_due_at=timezone.now() - timedelta(minutes=1))
    assert jobs.destroy_due_keys() == 1
    assert jobs.destroy_due_keys() == 0
