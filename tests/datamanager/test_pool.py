"""A pool keeps a few things open, and never closes what is in use."""

from __future__ import annotations

import threading

import pytest

from layerbench.datamanager.pool import Pool


def logged(limit: int) -> tuple[Pool[str, str], list[str]]:
    log: list[str] = []

    def opened(key: str) -> str:
        log.append(f"+{key}")
        return key

    return Pool(limit, opened, lambda value: log.append(f"-{value}")), log


def test_what_was_not_used_for_longest_is_closed() -> None:
    pool, log = logged(2)
    for key in "abacba":
        with pool.use(key) as value:
            assert value == key
    assert log == ["+a", "+b", "+c", "-b", "+b", "-a", "+a", "-c"]
    pool.close()
    assert log[-2:] == ["-b", "-a"]
    assert len(pool) == 0


def test_a_pool_that_was_closed_keeps_things_open_again_when_it_is_told_to() -> None:
    pool, log = logged(2)
    pool.close()
    for _ in range(2):
        with pool.use("a"):
            pass
    assert log == ["+a", "-a"] * 2
    pool.reopen()
    for _ in range(2):
        with pool.use("b"):
            pass
    assert log[4:] == ["+b"]


def test_what_is_in_use_stays_open() -> None:
    pool, log = logged(1)
    with pool.use("a"), pool.use("a"):
        with pool.use("b"):
            pass
        assert log == ["+a", "+b", "-b"]
        pool.close()
        assert "-a" not in log
    assert log == ["+a", "+b", "-b", "-a"]


def test_what_does_not_open_leaves_nothing() -> None:
    pool: Pool[str, str] = Pool(1, lambda key: {}[key], lambda value: None)
    for _ in range(2):
        with pytest.raises(KeyError), pool.use("a"):
            pass
    assert len(pool) == 0


def test_threads_share_what_is_open() -> None:
    pool, log = logged(3)
    using: set[str] = set()

    def work(seed: int) -> None:
        for step in range(300):
            key = "abcde"[(seed * 7 + step * (seed + 1)) % 5]
            with pool.use(key) as value:
                assert value == key

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.close()
    open_now: list[str] = []
    for entry in log:
        if entry[0] == "+":
            assert entry[1:] not in open_now
            open_now.append(entry[1:])
        else:
            open_now.remove(entry[1:])
        assert len(open_now) <= 3 + 4
    assert not open_now
    assert not using
