"""What Prometheus reads: closed sets of labels, and a port of its own for processes without a web."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from bunker.relays.hub import RelayHub, set_hub
from keycast.base import metrics
from keycast.lifespan import Lifespan


def test_no_port_means_no_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    monkeypatch.setattr(metrics, "start_http_server", lambda port, **options: started.append(port))
    metrics.serve(0)
    assert started == []


def test_a_worker_process_answers_on_loopback_at_its_own_port() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    metrics.serve(port)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert b"keycast_bunker_requests" in answer.read()


async def test_open_relay_connections_are_counted() -> None:
    hub = RelayHub()
    hub.connections = 7
    set_hub(hub)
    lifespan = Lifespan([])
    try:
        lifespan.start()
        assert b"keycast_relay_clients 7.0" in metrics.render()
    finally:
        await lifespan.stop()
        set_hub(None)


def test_labels_are_from_closed_sets() -> None:
    labels = {name for family in metrics.REGISTRY.collect() for sample in family.samples for name in sample.labels}
    assert labels <= {"method", "outcome", "reason", "service", "error", "le", "finding"}
