"""Opened secrets leave the cache wiped: on expiry, on forget, when it is full, before a fork."""

from __future__ import annotations

import os
import threading

import pytest

from keys.signing.cache import LeasedCache
from keys.signing.sweeper import sweep_interval
from tests.waiting import until


class Secret:
    def __init__(self):
        self.is_wiped = False

    def wipe(self):
        self.is_wiped = True


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def put(cache, key):
    secret = Secret()
    return secret, cache.put(key, secret, cache.ticket(key))


def test_a_lease_of_zero_keeps_nothing(clock):
    cache = LeasedCache(lambda: 0, 10, clock)
    secret, kept = put(cache, "a")
    assert not kept
    assert cache.get("a") is None
    assert not secret.is_wiped, "its only owner is the caller, who wipes it after use"


def test_use_does_not_renew_the_lease(clock):
    cache = LeasedCache(lambda: 60, 10, clock)
    secret, _ = put(cache, "a")
    for _ in range(59):
        clock.now += 1
        assert cache.get("a") is secret
    clock.now += 1
    assert cache.get("a") is None


def test_a_sweep_wipes_what_expired_and_nothing_else(clock):
    cache = LeasedCache(lambda: 60, 10, clock)
    old, _ = put(cache, "old")
    clock.now += 30
    new, _ = put(cache, "new")
    clock.now += 30
    cache.sweep()
    assert old.is_wiped
    assert not new.is_wiped


def test_a_shorter_lease_set_later_is_honoured(clock):
    leases = [60.0, 2.0]
    cache = LeasedCache(lambda: leases.pop(0), 10, clock)
    long, _ = put(cache, "long")
    short, _ = put(cache, "short")
    clock.now += 2
    cache.sweep()
    assert short.is_wiped
    assert not long.is_wiped


def test_when_full_the_oldest_goes_wiped(clock):
    cache = LeasedCache(lambda: 60, 2, clock)
    (first, _), (second, _), (third, _) = put(cache, 1), put(cache, 2), put(cache, 3)
    assert [first.is_wiped, second.is_wiped, third.is_wiped] == [True, False, False]
    assert len(cache) == 2


def test_forget_wipes_one_and_forget_all_every_one(clock):
    cache = LeasedCache(lambda: 60, 10, clock)
    secrets = {name: put(cache, name)[0] for name in "abc"}
    cache.forget("a")
    assert [secret.is_wiped for secret in secrets.values()] == [True, False, False]
    cache.forget_all()
    assert all(secret.is_wiped for secret in secrets.values())
    cache.forget("never seen")


@pytest.mark.parametrize("forget", [lambda cache: cache.forget("a"), lambda cache: cache.forget_all()])
def test_what_was_forgotten_while_it_was_being_opened_is_not_kept(clock, forget):
    cache = LeasedCache(lambda: 60, 10, clock)
    ticket = cache.ticket("a")
    forget(cache)
    assert not cache.put("a", Secret(), ticket)
    assert cache.get("a") is None


def test_the_memory_of_what_was_forgotten_is_bounded(clock):
    cache = LeasedCache(lambda: 60, 10, clock)
    ticket = cache.ticket(0)
    for number in range(1000):
        cache.forget(number)
    assert len(cache._forgotten) <= 10
    assert not cache.put(0, Secret(), ticket), "a cleared memory forgets too much rather than too little"


@pytest.mark.parametrize("lease", [0.4, 1.0, 5.0, 300.0])
def test_the_lease_is_an_upper_bound_for_a_sweeper_that_comes_once_in_an_interval(clock, lease):
    cache = LeasedCache(lambda: lease, 10, clock)
    secret, kept = put(cache, "a")
    assert kept
    began = clock.now
    while not secret.is_wiped:
        clock.now += sweep_interval(lease)
        cache.sweep()
    assert began + lease / 2 <= clock.now <= began + lease + 1e-9


def test_the_sweeper_wipes_though_nobody_asks():
    cache = LeasedCache(lambda: 0.4, 10)
    secret, kept = put(cache, "a")
    assert kept
    until(lambda: secret.is_wiped)


def test_the_sweeper_ends_when_nothing_is_left_and_starts_again():
    def threads():
        return [thread for thread in threading.enumerate() if thread.name == "lease-sweeper"]

    cache = LeasedCache(lambda: 0.2, 10)
    for _ in range(2):
        secret, _ = put(cache, "a")
        assert len(threads()) == 1
        until(lambda: not threads())
        assert secret.is_wiped


def test_a_forked_child_inherits_no_open_secret_and_can_use_its_cache():
    cache = LeasedCache(lambda: 60, 10)
    secret, _ = put(cache, "a")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _, kept = put(cache, "b")
        os.write(writer, b"1" if secret.is_wiped and cache.get("a") is None and kept else b"0")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1) == b"1"
    assert put(cache, "c")[1], "the parent goes on"


def test_many_threads_leave_nothing_unwiped_behind():
    cache = LeasedCache(lambda: 60, 8)
    made = []

    def work(seed):
        for number in range(300):
            key = (seed + number) % 16
            secret = Secret()
            if cache.put(key, secret, cache.ticket(key)):
                made.append(secret)
            if number % 7 == 0:
                cache.forget(key)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache) <= 8
    cache.forget_all()
    assert all(secret.is_wiped for secret in made)
