from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from layerbench.compare.match import Pair, Untested, match
from layerbench.compare.side import BASE, NEW, Side
from layerbench.layers import FC
from layerbench.records import Record
from layerbench.store import StoredRun
from tests import values
from tests.report import synthetic


def side(name: str, *records: Record, **of_manifest: Any) -> Side:
    return Side(name, [StoredRun(Path(name), values.manifest(**of_manifest), list(records))], [])


def matched(base: Record, new: Record) -> tuple[list[Pair], list[Untested]]:
    return match(side(BASE, base), side(NEW, new))


IDENTITY = {
    "layer": "other",
    "part": "backward_data",
    "nodes": 2,
    "ranks": 3,
    "threads_per_rank": 2,
    "layout": "model",
    "batch": 16,
    "local_batch": 4,
    "dtype": "bf16",
    "cache": "cold",
    "placement": "emulated",
    "oversubscribed": True,
    "device": "gpu",
}


@pytest.mark.parametrize("name", IDENTITY)
def test_what_is_another_measurement_is_not_matched(name: str) -> None:
    pairs, untested = matched(values.RECORD, values.record(**{name: IDENTITY[name]}))
    assert pairs == []
    assert [record.missing for record in untested] == [True, False]
    if name not in ("layer", "part", "nodes"):
        called, base, new = name.replace("_", " "), getattr(values.RECORD, name), IDENTITY[name]
        assert f"{called} {base} in BASE, {new} in NEW" in untested[0].reason
        assert f"{called} {new} in NEW, {base} in BASE" in untested[1].reason


@pytest.mark.parametrize(
    ("name", "value"),
    [("kernels", "other"), ("algorithm", "other"), ("inner", 7), ("noisy", True), ("network", "other"), ("macs", 1)],
)
def test_what_is_measured_otherwise_is_matched(name: str, value: object) -> None:
    pairs, untested = matched(values.RECORD, values.record(**{name: value}))
    assert len(pairs) == 1
    assert untested == []


def test_another_shape_or_scaling_is_not_matched() -> None:
    wider = FC(name="fc", in_features=4, out_features=3)
    _, untested = match(side(BASE, values.RECORD), side(NEW, values.RECORD, layers=[wider]))
    assert [record.reason for record in untested] == ["only in BASE: another shape", "only in NEW: another shape"]
    weak = values.options(scaling="weak")
    _, untested = match(side(BASE, values.RECORD), side(NEW, values.RECORD, options=weak))
    assert untested[0].reason == "only in BASE: scaling strong in BASE, weak in NEW"


def test_why_a_record_is_on_one_side_only() -> None:
    on_two = values.record(nodes=2)
    _, untested = match(side(BASE, values.RECORD, on_two), side(NEW, values.RECORD, values.record(layer="new")))
    assert [(record.layer, record.nodes, record.reason, record.missing) for record in untested] == [
        ("fc", 2, "only in BASE: NEW has no such node count", True),
        ("new", 1, "only in NEW: BASE has no such layer and part", False),
    ]


FAILED = values.record(status="failed", reason="wrong result", samples=[])
SKIPPED = values.record(status="skipped", reason="a batch of 1", samples=[])
COMPUTED = values.record(samples=[], modelled_seconds=1e-3)
NOTHING = values.record(samples=[0.0] * 6, reason="one rank has nothing to exchange")


@pytest.mark.parametrize(
    ("base", "new", "reason", "missing"),
    [
        (values.RECORD, FAILED, "failed in NEW: wrong result", True),
        (FAILED, values.RECORD, "failed in BASE: wrong result", False),
        (FAILED, FAILED, "failed in BASE: wrong result", False),
        (values.RECORD, SKIPPED, "skipped in NEW: a batch of 1", True),
        (COMPUTED, COMPUTED, "computed, not measured", False),
        (COMPUTED, FAILED, "computed, not measured", True),
        (NOTHING, NOTHING, "one rank has nothing to exchange", False),
        (values.RECORD, values.record(samples=[]), "no samples in NEW", True),
        (values.RECORD, values.record(samples=[1e-3, 0.0]), "a sample of NEW took no time", False),
    ],
)
def test_what_has_no_time_has_no_verdict(base: Record, new: Record, reason: str, missing: bool) -> None:
    pairs, untested = matched(base, new)
    assert pairs == []
    assert [(record.reason, record.missing) for record in untested] == [(reason, missing)]


def test_a_repetition_that_failed_is_left_out() -> None:
    runs = [StoredRun(Path("a"), values.MANIFEST, [record]) for record in (FAILED, values.RECORD, values.RECORD)]
    ((pair,), _) = match(Side(BASE, runs, []), side(NEW, values.RECORD))
    assert sorted(pair.base_samples) == [1, 2]
    assert pair.base is runs[1].records[0]


def emulated_step(computed: float) -> Callable[[Record], Record | None]:
    def change(record: Record) -> Record | None:
        if record.part != "step" or record.nodes != 4:
            return None
        samples = [1e-3 * i + computed for i in (1, 2, 3)]
        return msgspec.structs.replace(record, samples=samples, modelled_seconds=computed)

    return change


def test_a_step_is_compared_with_one_computed_communication() -> None:
    runs = [synthetic.run(nodes=[4], measured=1, change=emulated_step(c)) for c in (0.5, 0.7, 0.9, 0.1)]
    base, new = Side(BASE, runs[:3], []), Side(NEW, runs[3:], [])
    pairs, untested = match(base, new)
    assert (len(pairs), untested) == (9, [])
    for pair in pairs:
        for samples in (*pair.base_samples.values(), *pair.new_samples.values()):
            np.testing.assert_allclose(samples, [0.701, 0.702, 0.703])


def test_a_step_that_is_shorter_than_its_communication_has_no_verdict() -> None:
    base = values.record(part="step", placement="emulated", samples=[2.0] * 3, modelled_seconds=1.0)
    pairs, untested = matched(base, msgspec.structs.replace(base, modelled_seconds=9.0))
    assert pairs == []
    assert untested[0].reason == "no time is left beside its computed communication"


def test_records_are_in_the_order_of_base() -> None:
    names = ["c", "a", "b"]
    records = [values.record(layer=name) for name in names]
    pairs, _ = match(side(BASE, *records), side(NEW, *sorted(records, key=lambda record: record.layer)))
    assert [pair.base.layer for pair in pairs] == names
