"""What ranks find out of where they are."""

from __future__ import annotations

from layerbench.collectives import OneRank, Ranks
from layerbench.overlap.measure import _Launch, _share_cores
from layerbench.overlap_records import OverlapTask
from layerbench.task import Task
from tests.ranks import together
from tests.values import options

TASK = OverlapTask(modes=["explicit"], source="synthetic", depth=1, bucket_bytes=1, workers=1, spare_cores=0)


def launch(ranks: Ranks) -> _Launch:
    return _Launch(Task(options(), 1, 1, "measured", None), [], TASK, ranks, [], lambda _: None)


def test_a_rank_alone_shares_its_cores_with_nobody() -> None:
    assert not _share_cores(launch(OneRank()))


def test_ranks_that_may_use_one_core_share_it_whatever_their_hosts_are_called() -> None:
    assert together(2, lambda rank: _share_cores(launch(rank))) == [True, True]
