"""Exchanges on a link that carries one bucket at a time."""

from __future__ import annotations

import pytest

from layerbench.datamanager.buckets import Bucket
from layerbench.overlap import modelled
from layerbench.records import Network

LINK = Network(name="link", alpha=0.0, beta=1.0)
"""Over two ranks an all-reduce of n bytes takes n seconds."""


def test_without_overlap_all_are_waited_for_and_empty_ones_cost_nothing() -> None:
    assert modelled.blocking_seconds(LINK, 2, [3, 0, 4]) == pytest.approx(7.0)


def test_what_fits_before_the_end_of_the_computation_is_hidden() -> None:
    buckets = [Bucket((1,), 3, packed=False), Bucket((0,), 2, packed=False)]
    assert modelled.exposed_seconds(LINK, 2, buckets, [2.0, 9.0]) == 0.0


def test_the_last_bucket_is_exposed_as_a_whole() -> None:
    buckets = [Bucket((1,), 3, packed=False), Bucket((0,), 2, packed=False)]
    assert modelled.exposed_seconds(LINK, 2, buckets, [0.0, 9.0]) == pytest.approx(2.0)


def test_a_bucket_waits_for_the_one_before_it() -> None:
    buckets = [Bucket((1,), 10, packed=False), Bucket((0,), 2, packed=False)]
    # From 4 s before the end to 6 s after it, then 2 s more.
    assert modelled.exposed_seconds(LINK, 2, buckets, [1.0, 4.0]) == pytest.approx(8.0)


def test_a_bucket_waits_for_its_last_gradient() -> None:
    buckets = [Bucket((2, 1), 3, packed=True)]
    assert modelled.exposed_seconds(LINK, 2, buckets, [0.0, 1.0, 50.0]) == pytest.approx(2.0)


def test_never_more_than_without_overlap() -> None:
    buckets = [Bucket((2,), 5, packed=False), Bucket((1,), 4, packed=False), Bucket((0,), 3, packed=False)]
    exposed = modelled.exposed_seconds(LINK, 2, buckets, [0.0, 0.0, 0.0])
    assert exposed == pytest.approx(modelled.blocking_seconds(LINK, 2, [3, 4, 5]))
