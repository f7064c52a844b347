from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from layerbench.kernel_times import devices, evaluate, text, times
from layerbench.kernel_times.devices import Device
from layerbench.kernel_times.evaluate import Checked
from layerbench.kernel_times.shapes import Shape
from tests.kernel_times import made

KNOWN = made.devices(a=(10, 500), b=(10.5, 480), c=(6.6, 330), d=(15.7, 900), e=(12.3, 480))


def bumpy(device: Device, shape: Shape) -> float:
    """Different for every shape and device, and the same each time."""
    return 0.5 + 0.1 * np.sin(7 * shape.features[0] + 3 * shape.features[4]) + 0.05 * np.sin(1e-12 * device.peak_flops)


@pytest.fixture(scope="module")
def published() -> list[Checked]:
    return evaluate.evaluate(times.tables(times.published(), devices.shipped()), list(devices.shipped()))


@pytest.mark.parametrize("op", list(text.AIMS))
def test_the_published_devices_are_predicted_within_the_aims(published: list[Checked], op: str) -> None:
    found = evaluate.summary(each for each in published if each.op == op)
    device, shape = text.AIMS[op]
    assert found.device_left_out <= device
    assert found.shape_left_out <= shape
    assert found.device_left_out < found.plain
    assert 0.86 <= found.held <= 0.97
    assert 0.86 <= found.held_shape <= 0.97


def test_every_published_time_is_checked_once(published: list[Checked]) -> None:
    tables = times.tables(times.published(), devices.shipped())
    assert [each.row for each in published] == [row for table in tables.values() for row in table.rows]


def test_nothing_measured_on_a_device_has_a_part_in_its_prediction() -> None:
    true = made.frame(KNOWN, bumpy)
    random = np.random.default_rng(0)
    own = true["device"] == "d"
    spoilt = true.assign(
        time_seconds=np.where(own, true["time_seconds"] * random.lognormal(0, 2, len(true)), true["time_seconds"])
    )
    one, other = (evaluate.evaluate(times.tables([frame], KNOWN), ["d"]) for frame in (true, spoilt))
    assert [each.row for each in one] != [each.row for each in other]
    assert [replace(each, row=one[0].row) for each in one] == [replace(each, row=one[0].row) for each in other]


def test_no_time_of_a_shape_has_a_part_in_its_prediction_where_it_is_left_out() -> None:
    passes = ("forward", "backward_data", "backward_weights")
    params = [
        f"hidden={hidden};batch={batch};timesteps=50;cell=lstm" for hidden in (256, 512, 1024) for batch in (16, 32, 64)
    ]
    true = pd.concat([made.frame(KNOWN, bumpy, params, "rnn", pass_) for pass_ in passes], ignore_index=True)
    left_out = params[4]
    changed = (true["params"] == left_out) & (true["device"] != "d")
    spoilt = true.assign(time_seconds=np.where(changed, 5 * true["time_seconds"], true["time_seconds"]))
    one, other = (
        [each for each in evaluate.evaluate(times.tables([frame], KNOWN), ["d"]) if each.row.params == left_out]
        for frame in (true, spoilt)
    )
    assert len(one) == len(passes)
    assert [each.shape_left_out for each in one] == [each.shape_left_out for each in other]
    assert [each.device_left_out for each in one] != [each.device_left_out for each in other]


def test_the_plain_way_by_hand() -> None:
    excess = {"a": 0.1, "b": 0.2, "c": 0.9, "d": 0.0, "e": 0.3}
    checked = evaluate.evaluate(times.tables([made.frame(KNOWN, lambda device, _: excess[device.name])], KNOWN), ["d"])
    for each in checked:
        assert each.plain == pytest.approx(each.row.seconds * np.exp(0.25))


def test_a_device_is_told_by_others_alone_whatever_the_order() -> None:
    frame = made.frame(KNOWN, bumpy)
    tables = times.tables([frame], KNOWN)
    backwards = times.tables([frame.iloc[::-1]], KNOWN)
    one = {each.row.key: each.device_left_out for each in evaluate.evaluate(tables, ["d"])}
    other = {each.row.key: each.device_left_out for each in evaluate.evaluate(backwards, ["d"])}
    assert one == other


def test_the_seed_splits_the_shapes_and_the_same_splits_them_alike() -> None:
    tables = times.tables([made.frame(KNOWN, bumpy)], KNOWN)
    first, again, second = (
        [each.shape_left_out for each in evaluate.evaluate(tables, ["d"], seed=seed)] for seed in (1, 1, 2)
    )
    assert first == again != second


def test_a_shape_that_no_other_device_was_given_is_predicted_by_those_like_it() -> None:
    own = {"d": KNOWN["d"]}
    others = {name: device for name, device in KNOWN.items() if name != "d"}
    new = "m=2048;n=64;k=1024;a_t=0;b_t=0"
    frames = [made.frame(others, lambda _, __: 0.4), made.frame(own, lambda _, __: 0.4, [new])]
    (each,) = evaluate.evaluate(times.tables([pd.concat(frames)], KNOWN), ["d"])
    assert each.device_left_out.seconds == pytest.approx(each.row.seconds)
    assert each.plain is None


def test_an_operation_that_no_other_device_was_given_is_left_out() -> None:
    one = made.frame({"a": KNOWN["a"]}, lambda _, __: 0.4)
    assert evaluate.evaluate(times.tables([one], KNOWN), ["a"]) == []


def test_the_nearest_device_is_told_with_its_distance() -> None:
    table = times.tables([made.frame(KNOWN, bumpy)], KNOWN)["gemm"]
    assert evaluate.nearest(table, "a") == ("b", pytest.approx(float(np.hypot(np.log(1.05), np.log(0.96)))))
    assert evaluate.nearest(table, "none") is None
