"""Jobs that version 0.1 queued, as pickles signed with SECRET_KEY, are queued anew as JSON. To be removed after 0.2.

The signature is checked before anything is read. Then no pickle is run: the reader below knows two classes, both of
time, and refuses any other name, so that somebody who has SECRET_KEY as well gains nothing here either.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django_q import core_signing
from django_q.models import OrmQ

from keycast.operations import job_packages

log = structlog.get_logger(__name__)

FORMER_KEY: Final = "keycast"
AT_ONCE: Final = 200
_KNOWN: Final = frozenset({("datetime", "datetime"), ("datetime", "timezone"), ("datetime", "timedelta")})


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError("a class that no queued job has")
        return super().find_class(module, name)


class _PlainPickles:
    def loads(self, data: bytes) -> Any:
        return _Plain(io.BytesIO(data)).load()


def carry_over() -> int:
    """Queue anew what waits under the former name, and drop what cannot be read; returns how many were carried."""
    carried = 0
    for number, payload in list(
        OrmQ.objects.filter(key=FORMER_KEY).order_by("pk").values_list("pk", "payload")[:AT_ONCE]
    ):
        with transaction.atomic():
            if not OrmQ.objects.filter(pk=number).delete()[0]:
                continue  # another cluster has it
            try:
                package = _package(payload)
            except _UNREADABLE as error:
                log.warning("former_job_dropped", error=type(error).__name__)
                continue
            OrmQ.objects.create(key=settings.Q_CLUSTER["name"], payload=package, lock=timezone.now())
            carried += 1
    return carried


def _package(payload: str) -> str:
    task = core_signing.loads(payload, key=settings.SECRET_KEY, salt=FORMER_KEY, serializer=_PlainPickles)
    if not isinstance(task, dict):
        raise TypeError("No task.")
    return job_packages.dumps(task)


# What damaged or hostile bytes make pickle's reader and the codec raise.
_UNREADABLE: Final = (
    core_signing.BadSignature,
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
