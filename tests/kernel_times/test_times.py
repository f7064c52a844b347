from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from layerbench.errors import StoreError, UsageError
from layerbench.kernel_times import devices, times
from tests.kernel_times import made

KNOWN = made.devices(a=(10, 500), b=(5, 300))


def test_the_published_tables_have_the_shapes_of_all_devices() -> None:
    found = times.tables(times.published(), devices.shipped())
    assert {op: len(table.devices) for op, table in found.items()} == {"conv": 8, "gemm": 8, "rnn": 7}
    assert {op: len(table.rows) for op, table in found.items()} == {"conv": 2208, "gemm": 1280, "rnn": 1007}
    # Two devices were given some products of other sizes than the others.
    assert [len(found["gemm"].shapes), int(np.isnan(found["gemm"].excess).sum())] == [171, 171 * 8 - 1280]


def test_excess_is_the_logarithm_of_a_time_over_its_rooflines() -> None:
    table = times.tables([made.frame(KNOWN, lambda device, _: 0.5 if device.name == "a" else 0.25)], KNOWN)["gemm"]
    assert [device.name for device in table.devices] == ["a", "b"]
    np.testing.assert_allclose(table.excess, np.broadcast_to([0.5, 0.25], table.excess.shape))


def test_a_shape_given_several_times_counts_with_the_median() -> None:
    frames = [made.frame(KNOWN, lambda _, __, excess=excess: np.log(excess)) for excess in (1.0, 2.0, 9.0)]
    table = times.tables([pd.concat(frames)], KNOWN)["gemm"]
    np.testing.assert_allclose(table.excess, np.log(2))
    assert len(table.rows) == 3 * 2 * len(made.PRODUCTS)


def test_only_training_in_single_precision_counts() -> None:
    frame = made.frame(KNOWN, lambda _, __: 0.5)
    others = [frame.assign(stage="inference"), frame.assign(precision="fp16"), frame.assign(op="sparse")]
    other_times = [each.assign(time_seconds=1.0) for each in others]
    table = times.tables([pd.concat([*other_times, frame])], KNOWN)["gemm"]
    np.testing.assert_allclose(table.excess, 0.5)


def test_a_devices_earlier_times_give_way_to_later_ones() -> None:
    frames = [made.frame(KNOWN, lambda _, __: 0.5), made.frame({"a": KNOWN["a"]}, lambda _, __: 0.1, made.PRODUCTS[:4])]
    table = times.tables(frames, KNOWN)["gemm"]
    assert np.isnan(table.excess[:, 0]).sum() == len(made.PRODUCTS) - 4
    np.testing.assert_allclose(table.excess[:, 0][~np.isnan(table.excess[:, 0])], 0.1)
    np.testing.assert_allclose(table.excess[:, 1], 0.5)


def test_times_that_do_not_count_replace_none() -> None:
    frames = [made.frame(KNOWN, lambda _, __: 0.5), made.frame(KNOWN, lambda _, __: 0.1).assign(precision="int8")]
    np.testing.assert_allclose(times.tables(frames, KNOWN)["gemm"].excess, 0.5)


def test_devices_without_figures_are_all_named_with_what_to_write() -> None:
    frame = made.frame(KNOWN, lambda _, __: 0.5)
    with pytest.raises(UsageError, match=r'no peak and bandwidth of a, b: .* \["a"\] with peak_flops = 15.7e12'):
        times.tables([frame], {})


def test_a_pass_or_time_that_cannot_be_is_told() -> None:
    frame = made.frame(KNOWN, lambda _, __: 0.5)
    with pytest.raises(UsageError, match="times of a: pass 'backward_data' is none of gemm; expected forward"):
        times.tables([frame.assign(**{"pass": "backward_data"})], KNOWN)
    for seconds, told in ((0.0, "0 ms"), (-1.0, "-1000 ms"), (float("nan"), "nan ms"), (float("inf"), "inf ms")):
        with pytest.raises(UsageError, match=f"takes {told}; expected a finite time above 0"):
            times.tables([frame.assign(time_seconds=seconds)], KNOWN)


def test_a_file_without_a_time_that_counts_is_told(tmp_path: Path) -> None:
    path = made.write(tmp_path / "times.csv", made.frame(KNOWN, lambda _, __: 0.5).assign(precision="fp16"))
    with pytest.raises(UsageError, match=r"times\.csv: has no time of stage training, precision fp32"):
        times.read(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(StoreError, match="is no table of DeepBench times"):
        times.read(path)
