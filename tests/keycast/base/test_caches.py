"""Caches hold JSON; what somebody else wrote there is never unpickled."""

from __future__ import annotations

import base64
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.cache.backends.base import BaseCache
from django.core.management import call_command
from django.db import connection

from keycast.base.caches import UNREADABLE, JsonDatabaseCache, JsonRedisCache, JsonSerializer, decoded
from tests.e2e.test_processes_apart import redis
from tests.security.hostile_rows import pickled

pytestmark = pytest.mark.django_db
HOSTILE = [b"", b"{", b"nan(", b"\xff", b"[" * 100_000, b"9" * 5000, b"gASVBQAAAAAAAABLAS4="]


@pytest.fixture
def table() -> JsonDatabaseCache:
    call_command("createcachetable", "django_cache", verbosity=0)  # with Redis there is none yet
    found = JsonDatabaseCache("django_cache", {})
    found.clear()
    return found


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    with redis() as url:
        yield url


@pytest.fixture
def store(redis_url: str) -> JsonRedisCache:
    import redis as library

    library.Redis.from_url(redis_url, retry=library.retry.Retry(library.backoff.ConstantBackoff(0.1), 50)).ping()
    return JsonRedisCache(redis_url, {})


@pytest.fixture(params=["table", "store"])
def each(request: pytest.FixtureRequest) -> BaseCache:
    found: BaseCache = request.getfixturevalue(request.param)
    return found


def test_the_deployments_own_cache_is_one_of_them() -> None:
    assert type(cache._connections["default"]) in {JsonDatabaseCache, JsonRedisCache}  # type: ignore[attr-defined]


def test_a_counter_of_failures_is_not_thrown_out_by_whoever_makes_others(
    table: JsonDatabaseCache, settings: Any
) -> None:
    """Django keeps 300 entries and then throws out a third: 400 others, and the count of wrong passwords is 0."""
    configured = settings.CACHES["default"]
    if "JsonDatabaseCache" not in configured["BACKEND"]:
        configured = {}  # Redis bounds itself by memory
    kept = JsonDatabaseCache("django_cache", {"OPTIONS": configured.get("OPTIONS", {"MAX_ENTRIES": 50_000})})
    kept.set("aaa-first-of-all", 4)
    for number in range(400):
        kept.set(f"made-by-a-stranger-{number}", 1)
    assert kept.get("aaa-first-of-all") == 4


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_json_is_unreadable(data: bytes) -> None:
    assert decoded(data) is UNREADABLE
    assert JsonSerializer().loads(data) is UNREADABLE


def test_a_pickle_in_the_table_is_as_if_nothing_were_there(table: JsonDatabaseCache, tmp_path: Path) -> None:
    table.set("x", 1)
    for value in (base64.b64encode(pickled(tmp_path, "mark")).decode(), "nonsense", ""):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE django_cache SET value = %s", [value])
        assert table.get("x", "default") == "default"
        assert table.get_many(["x"]) == {}
    assert list(tmp_path.iterdir()) == []
    table.set("x", 2)
    assert table.get("x") == 2


def test_a_pickle_in_redis_is_as_if_nothing_were_there(store: JsonRedisCache, redis_url: str, tmp_path: Path) -> None:
    import redis as library

    with library.Redis.from_url(redis_url) as client:
        client.set(":1:x", pickled(tmp_path, "mark"))
    assert store.get("x", "default") == "default"
    assert store.get_many(["x"]) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [uuid.UUID(int=1), b"bytes", {1}, object()])
def test_a_value_that_is_no_json_is_refused_where_it_is_set(each: BaseCache, value: Any) -> None:
    with pytest.raises(TypeError):
        each.set("y", value)
    assert each.get("y") is None


@pytest.mark.parametrize("value", [None, True, 0, -5, 2**70, 1.5, "", "text \N{SNOWMAN}", [1, [2]], {"a": {"b": None}}])
def test_values_come_back_as_they_were(each: BaseCache, value: Any) -> None:
    each.set("z", value, 60)
    assert each.get("z", "default") == value
    assert each.get_many(["z", "nothing"]) == {"z": value}


def test_what_ran_out_is_gone(each: BaseCache) -> None:
    each.set("old", 1, 0)
    each.set("kept", 1, None)
    assert each.get("old") is None
    assert each.get("kept") == 1
    assert not each.touch("old", 60)
    assert each.touch("kept", 60)


def test_only_the_first_adds_until_its_value_ran_out(each: BaseCache) -> None:
    each.delete("once")
    assert each.add("once", "first", 60)
    assert not each.add("once", "second", 60)
    assert each.get("once") == "first"
    each.set("once", "over", 0)
    assert each.add("once", "third", 60)
    assert each.get("once") == "third"


def test_it_counts(each: BaseCache) -> None:
    each.set("count", 1)
    assert each.incr("count", 2) == 3
    assert each.get("count") == 3


def test_a_full_table_is_culled(table: JsonDatabaseCache) -> None:
    small = JsonDatabaseCache("django_cache", {"OPTIONS": {"MAX_ENTRIES": 10}})
    small.clear()
    for number in range(40):
        small.set(f"entry{number}", number)
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM django_cache")
        assert cursor.fetchone()[0] <= 11
