"""What is computed, and on how many cores its batches are made."""

from __future__ import annotations

import pytest

from layerbench.overlap.workloads import lanes
from layerbench.overlap_records import OverlapTask


@pytest.mark.parametrize(
    ("workers", "stages", "spare", "expected"),
    [(1, 1, 1, 1), (1, 3, 2, 2), (1, 3, 8, 3), (4, 1, 2, 2), (2, 1, 8, 2), (1, 3, 0, 1)],
)
def test_transfer_is_spread_over_workers_of_all_stages(workers: int, stages: int, spare: int, expected: int) -> None:
    task = OverlapTask(modes=[], source="synthetic", depth=3, bucket_bytes=1, workers=workers, spare_cores=spare)
    assert lanes(task, stages) == expected
