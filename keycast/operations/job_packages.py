"""Jobs on their way through the queue: signed JSON, and a job is called only if the table in code has it.

django-q2 would pickle them. Whoever knows SECRET_KEY could then run code in the cluster, and whoever can write the
schedule's table has django-q2 sign for them. Here a package names a path and simple arguments, nothing else is read of
it (no hook, no chain, no result kept in a cache), and the path is looked up where the job runs.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from django.core import signing
from django.db.models.signals import post_save
from django_q.signing import BadSignature, SignedPackage
from picklefield import fields as pickle_fields

SALT: Final = "keycast.operations.job_packages"
MAX_PACKAGE: Final = 10_000
"""Characters of a package: an id or two and a path."""


class JobPackage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed and queued. ``id`` is 32 hex digits; ``func`` is the dotted path of a job."""

    id: str
    name: str
    func: str
    args: tuple[str | int, ...]
    started: datetime


@dataclass(frozen=True, slots=True)
class JobCall:
    """What a worker of the cluster calls: it finds the job in the table at that moment, or refuses."""

    path: str

    def __call__(self, *args: str | int) -> object:
        """Run the job. Raises JobNotRegistered."""
        from keycast.operations.jobs import registered  # noqa: PLC0415 -- it imports what jobs need, only where they run

        return registered(self.path)(*args)

    def __str__(self) -> str:
        return self.path


class PickleRefused(Exception):
    """A column that holds pickles was read; nothing may."""


def dumps(task: Any, compressed: bool = False) -> str:
    """Instead of ``SignedPackage.dumps``. TypeError for arguments that a job cannot have."""
    if not isinstance(task, dict):
        return ""  # django-q2's figures about its cluster, which nothing here stores or reads
    if task.get("kwargs"):
        raise TypeError("A job takes no keyword arguments.")
    try:
        package = msgspec.convert({name: task[name] for name in JobPackage.__struct_fields__}, JobPackage)
    except msgspec.ValidationError as error:
        raise TypeError(f"No job: {error}") from None
    return signing.TimestampSigner(salt=SALT).sign(signing.b64_encode(msgspec.json.encode(package)).decode())


def loads(text: str) -> dict[str, Any]:
    """Instead of ``SignedPackage.loads``: the task as django-q2's cluster wants it. Raises BadSignature."""
    try:
        if len(text) > MAX_PACKAGE:
            raise BadSignature("too long")
        signed = signing.TimestampSigner(salt=SALT).unsign(text)
        package = msgspec.json.decode(signing.b64_decode(signed.encode()), type=JobPackage)
    except (ValueError, TypeError, RecursionError) as error:  # base64's, UTF-8's, and msgspec's are among them
        raise BadSignature(type(error).__name__) from None
    return as_task(package)


def as_task(package: JobPackage) -> dict[str, Any]:
    """A package as django-q2's cluster wants it."""
    return {**msgspec.structs.asdict(package), "func": JobCall(package.func), "kwargs": {}}


def new_task(path: str, *args: str | int, started: datetime) -> dict[str, Any]:
    """A task as django-q2's async_task makes it, for ``dumps``."""
    return {"id": uuid.uuid4().hex, "name": path, "func": path, "args": args, "kwargs": {}, "started": started}


def _refuse(*args: Any, **options: Any) -> Any:
    raise PickleRefused


def install() -> None:
    """Put this in place of django-q2's pickles, in every process: those that queue jobs and those that run them."""
    from django_q.models import Task  # noqa: PLC0415 -- the app registry is ready by now
    from django_q.signals import call_hook  # noqa: PLC0415

    SignedPackage.dumps, SignedPackage.loads = staticmethod(dumps), staticmethod(loads)
    pickle_fields.dbsafe_decode = _refuse  # the field then leaves its text as it is
    post_save.disconnect(call_hook, sender=Task)
