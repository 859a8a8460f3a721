"""Counters and timings for Prometheus. Labels are from closed sets: no key, tenant, user or address ever is one."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server

REGISTRY = CollectorRegistry(auto_describe=True)

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds."""

BUNKER_REQUESTS = Counter(
    "keycast_bunker_requests", "NIP-46 requests answered.", ("method", "outcome"), registry=REGISTRY
)
BUNKER_DROPS = Counter(
    "keycast_bunker_drops", "Events that went no further, by the reason.", ("reason",), registry=REGISTRY
)
BUNKER_SECONDS = Histogram(
    "keycast_bunker_request_seconds",
    "From receipt of a request to its durable reply.",
    ("method",),
    buckets=LATENCY_BUCKETS,
    registry=REGISTRY,
)
RELAY_CLIENTS = Gauge("keycast_relay_clients", "Open websockets of the built-in relay.", registry=REGISTRY)
SERVICE_RESTARTS = Counter(
    "keycast_service_restarts", "Restarts of the parts of an embedded process.", ("service",), registry=REGISTRY
)
FINDINGS = Gauge(
    "keycast_finding_ok", "1 while a look at this is in order, 0 while it is not.", ("finding",), registry=REGISTRY
)
SERVICES = Gauge(
    "keycast_service_ok",
    "1 while a service that custody leans on answers this process.",
    ("service",),
    registry=REGISTRY,
)
JOBS_SILENT = Gauge("keycast_jobs_silent_seconds", "Since the last sign of a background job.", registry=REGISTRY)
JOBS_WAITING = Gauge("keycast_jobs_waiting", "Background jobs that wait to begin.", registry=REGISTRY)
JOBS_OLDEST = Gauge("keycast_jobs_oldest_seconds", "How long the first job in the queue has waited.", registry=REGISTRY)
JOBS_FAILED = Gauge("keycast_jobs_failed", "Failed runs of jobs in the last 30 days.", registry=REGISTRY)
HTTP_ERRORS = Counter(
    "keycast_http_errors", "Errors that reached the request's loop top.", ("error",), registry=REGISTRY
)
CONNECTIONS_ENDED = Counter(
    "keycast_connections_ended",
    "Connections to the web server that were refused or ended, by the bound that they met.",
    ("reason",),
    registry=REGISTRY,
)


def serve(port: int) -> None:
    """Answer Prometheus on 127.0.0.1:``port`` from a thread, for processes that serve no web; 0 does nothing."""
    if port:
        start_http_server(port, addr="127.0.0.1", registry=REGISTRY)


def render() -> bytes:
    """Every metric of this process in the text format of Prometheus."""
    return generate_latest(REGISTRY)
