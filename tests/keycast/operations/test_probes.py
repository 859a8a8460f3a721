"""Health for machines: no detail for strangers, no host needed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from django.test import AsyncClient, Client
from pytest_django import Settings

from bunker.models import WorkerSeat
from keycast.operations import health
from keycast.operations.probe_token import make_probe_token

STRANGER = {"REMOTE_ADDR": "198.51.100.7"}
UNKNOWN_HOST = {"HTTP_HOST": "10.1.2.3:8000"}


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
@pytest.mark.parametrize(
    "caller",
    [
        STRANGER,
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"REMOTE_ADDR": ""},
        {"REMOTE_ADDR": "x"},
    ],
)
def test_a_stranger_gets_no_detail(client: Client, path: str, caller: dict[str, str]) -> None:
    response = client.get(path, **caller)
    assert response.status_code == 404
    assert response.content == b"Not found\n"


@pytest.mark.parametrize("path", ["/readyz", "/metrics"])
def test_in_production_loopback_alone_is_a_proxy_for_all_we_know(
    client: Client, settings: Settings, tmp_path: Path, path: str
) -> None:
    settings.IS_PRODUCTION, settings.DATA_DIR, settings.PROBE_TOKEN = True, tmp_path, ""
    assert client.get(path, REMOTE_ADDR="127.0.0.1").status_code == 404


@pytest.mark.django_db
def test_in_production_the_servers_own_token_opens(client: Client, settings: Settings, tmp_path: Path) -> None:
    settings.IS_PRODUCTION, settings.DATA_DIR, settings.PROBE_TOKEN = True, tmp_path, ""
    make_probe_token()
    assert client.get("/metrics", HTTP_AUTHORIZATION="Bearer ").status_code == 404
    token = (tmp_path / "probe-token").read_text()
    assert len(token) == 43
    assert stat.S_IMODE((tmp_path / "probe-token").stat().st_mode) == 0o600
    assert client.get("/metrics", HTTP_AUTHORIZATION=f"Bearer {token}").status_code == 200
    make_probe_token()
    assert (tmp_path / "probe-token").read_text() == token
    assert [file.name for file in tmp_path.iterdir()] == ["probe-token"]


def test_where_no_token_can_be_kept_nobody_is_let_in(client: Client, settings: Settings, tmp_path: Path) -> None:
    settings.IS_PRODUCTION, settings.DATA_DIR, settings.PROBE_TOKEN = True, tmp_path / "nowhere", ""
    make_probe_token()
    assert client.get("/metrics", HTTP_AUTHORIZATION="Bearer ").status_code == 404


def test_a_wrong_token_gets_no_detail(client: Client, settings: Settings) -> None:
    settings.PROBE_TOKEN = "right"
    for given in ("wrong", "", "rightt", "ríght"):
        assert client.get("/metrics", HTTP_AUTHORIZATION=f"Bearer {given}", **STRANGER).status_code == 404


def test_no_token_set_means_no_token_opens(client: Client, settings: Settings) -> None:
    settings.PROBE_TOKEN = ""
    assert client.get("/metrics", HTTP_AUTHORIZATION="Bearer ", **STRANGER).status_code == 404


def test_the_token_opens_metrics_from_anywhere(client: Client, settings: Settings) -> None:
    settings.PROBE_TOKEN = "right"
    response = client.get("/metrics", HTTP_AUTHORIZATION="Bearer right", **STRANGER)
    assert response.status_code == 200
    assert b"keycast_bunker_requests" in response.content


def test_liveness_says_ok_and_nothing_else_on_any_host(client: Client) -> None:
    response = client.get("/healthz", **STRANGER, **UNKNOWN_HOST)
    assert (response.status_code, response.content) == (200, b"ok\n")
    assert response["Cache-Control"] == "no-store"


@pytest.mark.django_db(transaction=True)
async def test_liveness_and_readiness_answer_in_the_event_loop_too(async_client: AsyncClient) -> None:
    assert (await async_client.get("/healthz")).content == b"ok\n"
    assert (await async_client.get("/readyz")).json()["checks"]["database"]["ok"] is True


@pytest.mark.django_db
def test_it_is_not_ready_without_a_worker(client: Client) -> None:
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["workers"]["ok"] is False


@pytest.mark.django_db
def test_a_worker_long_silent_does_not_count(client: Client, now_ms: int) -> None:
    WorkerSeat.objects.create(id="a", host="h", pid=1, seen_at=now_ms - health.WORKER_ALIVE_MS - 1000)
    assert client.get("/readyz").status_code == 503


@pytest.mark.django_db
def test_it_is_ready_with_a_worker(client: Client, now_ms: int) -> None:
    WorkerSeat.objects.create(id="a", host="h", pid=1, seen_at=now_ms)
    response = client.get("/readyz", **UNKNOWN_HOST)
    assert response.json()["ready"] is True
    assert response.status_code == 200
