"""What is queued is signed JSON; what is called is in the tables of jobs, or is refused where it would run."""

from __future__ import annotations

import base64
import pickle
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core import signing
from django.utils import timezone
from django_q.models import Failure, OrmQ, Success, Task
from django_q.signing import BadSignature, SignedPackage
from django_q.tasks import async_task

from keycast.operations import job_packages, jobs
from keycast.operations.job_packages import SALT, JobCall
from tests.security.hostile_rows import pickled, plant_tasks

PATH = "keycast.operations.jobs.heartbeat"


def task(**changes: Any) -> dict[str, Any]:
    fields = {"id": "a" * 32, "name": "x", "func": PATH, "args": (), "kwargs": {}, "started": timezone.now()}
    return {**fields, **changes}


def signed(data: bytes, salt: str = SALT) -> str:
    return signing.TimestampSigner(salt=salt).sign(signing.b64_encode(data).decode())


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "x:y:z", "\N{SNOWMAN}", "\ud800", "." * 20_000, signed(b""), signed(b"{}"), signed(b"[" * 5000),
        signed(b'{"id":"a","name":"x","func":["os"],"args":[],"started":"2026-01-01T00:00:00Z"}'),
        signed(b'{"id":"a","name":"x","func":"x","args":[],"started":"2026-01-01T00:00:00Z","hook":"os.system"}'),
        signed(b'{"id":"a","name":"x","func":"x","args":[{}],"started":"2026-01-01T00:00:00Z"}'),
    ],
    ids=range(12),
)  # fmt: skip
def test_what_is_no_package_is_refused(text: str) -> None:
    with pytest.raises(BadSignature):
        SignedPackage.loads(text)


def test_a_pickle_is_refused_whoever_signed_it(tmp_path: Path) -> None:
    for salt in (SALT, "keycast", "keycast-jobs"):
        with pytest.raises(BadSignature):
            SignedPackage.loads(signed(pickled(tmp_path, "mark"), salt))
    assert list(tmp_path.iterdir()) == []


def test_a_package_of_another_key_or_purpose_is_refused(settings: Any) -> None:
    text = SignedPackage.dumps(task())
    data = signing.b64_decode(text.rpartition(":")[0].rpartition(":")[0].encode())
    with pytest.raises(BadSignature):
        SignedPackage.loads(signed(data, "another purpose"))
    settings.SECRET_KEY = "another key " * 5
    with pytest.raises(BadSignature):
        SignedPackage.loads(text)
    settings.SECRET_KEY_FALLBACKS = ["insecure-development-only-secret-key-do-not-deploy"]
    assert str(SignedPackage.loads(text)["func"]) == PATH


@pytest.mark.parametrize(
    "changes",
    [
        {"args": (UUID(int=1),)}, {"args": (b"x",)}, {"args": (1.5,)}, {"args": (True,)}, {"args": ([],)},
        {"kwargs": {"x": 1}}, {"func": print},
    ],
    ids=range(7),
)  # fmt: skip
def test_what_a_job_cannot_take_is_refused_where_it_is_queued(changes: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        SignedPackage.dumps(task(**changes))


def test_nothing_but_path_and_arguments_is_carried() -> None:
    text = SignedPackage.dumps(
        task(args=("id", 3), hook="os.system", chain=[("os.system", ())], cached=True, group="x", timeout=1, sync=True)
    )
    found = SignedPackage.loads(text)
    assert set(found) == {"id", "name", "func", "args", "kwargs", "started"}
    assert (str(found["func"]), found["args"], found["kwargs"]) == (PATH, ("id", 3), {})
    assert found["started"].tzinfo is not None


@pytest.mark.parametrize("path", ["os.mkdir", "antigravity.fly", "builtins.exec", "keycast.operations.jobs.record"])
def test_a_path_that_is_no_job_is_refused_where_it_would_run(path: str, tmp_path: Path) -> None:
    call = SignedPackage.loads(SignedPackage.dumps(task(func=path)))["func"]
    with pytest.raises(jobs.JobNotRegistered):
        call(str(tmp_path / "mark"))
    assert list(tmp_path.iterdir()) == []
    assert "antigravity" not in sys.modules


@pytest.mark.django_db
def test_a_job_runs_and_crosses_the_clusters_own_queues() -> None:
    call = pickle.loads(pickle.dumps(JobCall(PATH)))  # noqa: S301 -- as multiprocessing hands it to another process
    assert call() is None
    assert str(call) == PATH
    assert (jobs.seconds_since_heartbeat() or 0) < 5


@pytest.mark.django_db
def test_what_is_queued_is_no_pickle() -> None:
    async_task("keys.jobs.tell_cosigner", "0" * 32)
    payload = OrmQ.objects.get().payload
    data = signing.b64_decode(payload.partition(":")[0].encode())
    assert data.startswith(b"{")
    assert b"tell_cosigner" in data


@pytest.mark.django_db
def test_no_column_of_pickles_is_read(tmp_path: Path) -> None:
    plant_tasks(tmp_path)
    for row in (*Task.objects.all(), *Success.objects.all(), *Failure.objects.all()):
        assert base64.b64decode(row.result)
        assert Task.get_result(row.id) == row.result
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db
def test_no_hook_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[object] = []
    monkeypatch.setattr(jobs, "forget_old_runs", called.append)
    now = datetime.now(UTC)
    hook = "keycast.operations.jobs.forget_old_runs"
    Task.objects.create(id="a" * 32, name="x", func="x", started=now, stopped=now, hook=hook)
    assert called == []


def test_django_qs_figures_about_its_cluster_are_not_stored() -> None:
    assert job_packages.dumps(object(), True) == ""
