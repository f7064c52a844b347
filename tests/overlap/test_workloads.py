"""What is computed, and on how many cores its batches are made."""

from __future__ import annotations

import pytest

from layerbench.overlap.workloads import lanes, shared_cores
from layerbench.overlap_records import OverlapTask


@pytest.mark.parametrize(
    ("workers", "stages", "spare", "shared", "expected"),
    [
        *((1, 1, 1, 0, 1), (1, 3, 2, 0, 2), (1, 3, 8, 0, 3), (4, 1, 2, 0, 2), (2, 1, 8, 0, 2), (1, 3, 0, 0, 1)),
        *((1, 3, 0, 2, 2), (1, 3, 0, 8, 3), (1, 3, 2, 8, 2)),
    ],
)
def test_transfer_is_spread_over_workers_of_all_stages(
    workers: int, stages: int, spare: int, shared: int, expected: int
) -> None:
    task = OverlapTask(modes=[], source="synthetic", depth=3, bucket_bytes=1, workers=workers, spare_cores=spare)
    assert lanes(task, stages, shared) == expected


@pytest.mark.parametrize(
    ("cores", "device", "expected"), [([], "host", 2), ([3], "host", 0), ([], "cuda:0", 0), ([3], "cuda:0", 0)]
)
def test_cores_are_shared_where_none_is_to_spare_and_the_processor_computes(
    cores: list[int], device: str, expected: int
) -> None:
    assert shared_cores(cores, 2, device) == expected
