"""The format is what Google Benchmark 1.9.5 writes; its documentation names the fields, and its output their order."""

import json
import math
import statistics
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from layerbench.export import export
from layerbench.records import Record
from layerbench.store import StoredRun
from tests.export import awkward
from tests.report import synthetic
from tests.values import manifest, record

CONTEXT = {
    "date": str,
    "host_name": str,
    "executable": str,
    "num_cpus": int,
    "mhz_per_cpu": int,
    "cpu_scaling_enabled": bool,
    "caches": list,
    "load_avg": list,
    "library_version": str,
    "library_build_type": str,
    "json_schema_version": int,
}
CACHE = {"type": str, "level": int, "size": int, "num_sharing": int}
COMMON = {"name": str, "family_index": int, "per_family_instance_index": int, "run_name": str, "run_type": str}
TIMES = {"iterations": int, "real_time": float, "cpu_time": float, "time_unit": str}
ITERATION = {**COMMON, "repetitions": int, "repetition_index": int, "threads": int, **TIMES}
AGGREGATE = {**COMMON, "repetitions": int, "threads": int, "aggregate_name": str, "aggregate_unit": str, **TIMES}
OPTIONAL = {"label": str, "error_occurred": bool, "error_message": str, "skipped": bool, "skip_message": str}
AGGREGATES = ["mean", "median", "stddev", "cv"]


def has_fields(value: dict[str, Any], required: dict[str, type], optional: dict[str, type]) -> None:
    assert [name for name in value if name in required] == list(required)
    for name, field in value.items():
        expected = required.get(name) or optional[name]
        assert type(field) is expected, f"{name}: {field!r}"


def check(told: dict[str, Any]) -> None:
    """Raise unless this is what the format allows, down to which entry follows on which."""
    assert list(told) == ["context", "benchmarks"]
    has_fields(told["context"], CONTEXT, {"cpu_model": str, "suite": str, "command": str, "cpu_time": str})
    assert told["context"]["library_build_type"] in ("release", "debug")
    assert told["context"]["json_schema_version"] == 1
    for cache in told["context"]["caches"]:
        has_fields(cache, CACHE, {})
        assert cache["type"] in ("Data", "Instruction", "Unified")
    names: list[str] = []
    for entry in told["benchmarks"]:
        assert entry["time_unit"] == "ns"
        assert math.isfinite(entry["real_time"])
        if entry["run_type"] == "iteration":
            has_fields(entry, ITERATION, OPTIONAL)
            assert entry["name"] == entry["run_name"]
            assert 0 <= entry["repetition_index"] < entry["repetitions"]
            assert ("error_occurred" in entry) == ("error_message" in entry)
            assert ("skipped" in entry) == ("skip_message" in entry)
        else:
            assert entry["run_type"] == "aggregate"
            has_fields(entry, AGGREGATE, OPTIONAL)
            assert entry["name"] == f"{entry['run_name']}_{entry['aggregate_name']}"
            assert entry["aggregate_unit"] == ("percentage" if entry["aggregate_name"] == "cv" else "time")
            assert entry["iterations"] == entry["repetitions"] >= 2
        names.append(entry["run_name"])
    runs = list(dict.fromkeys(names))
    assert names == sorted(names, key=runs.index), "entries of one benchmark stand together"
    families = {name: e["family_index"] for name, e in zip(names, told["benchmarks"], strict=True)}
    assert set(families.values()) == set(range(max(families.values()) + 1))


def told_of(run: StoredRun) -> Any:
    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(export(run, "google-benchmark").read(), parse_constant=no_constant)


def entries_of(run: StoredRun, name: str) -> list[dict[str, Any]]:
    return [entry for entry in told_of(run)["benchmarks"] if entry["run_name"] == name]


def test_a_run_has_the_documented_form() -> None:
    told = told_of(synthetic.run())
    check(told)
    assert told["context"]["host_name"] == "node17"
    assert told["context"]["num_cpus"] == 2
    assert {"type": "Data", "level": 1, "size": 32768, "num_sharing": 0} in told["context"]["caches"]
    assert "not measured" in told["context"]["cpu_time"]


def test_the_form_holds_for_awkward_words_and_unknown_machines() -> None:
    check(told_of(awkward.run()))
    check(told_of(StoredRun(awkward.run().path, manifest(environment={}), [record()])))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: told["benchmarks"][0].pop("cpu_time"),
        lambda told: told["benchmarks"][0].update(real_time=1),
        lambda told: told["benchmarks"][0].update(run_type="sample"),
        lambda told: told["benchmarks"][0].update(extra=1),
        lambda told: told["benchmarks"].append(told["benchmarks"][0]),
        lambda told: told["context"].pop("date"),
    ],
)
def test_the_check_of_the_form_can_fail(spoil: Callable[[Any], None]) -> None:
    told = told_of(synthetic.run())
    spoil(told)
    with pytest.raises((AssertionError, KeyError)):
        check(told)


def test_samples_are_repetitions_and_their_aggregates_follow() -> None:
    run = synthetic.run()
    record = next(r for r in run.records if r.key == ("conv1", "forward", 2))
    entries = entries_of(run, "conv1/forward/nodes:2")
    repetitions, aggregates = entries[: len(record.samples)], entries[len(record.samples) :]
    assert [e["repetition_index"] for e in repetitions] == list(range(20))
    assert {e["repetitions"] for e in entries} == {20}
    values = [e["real_time"] for e in repetitions]
    assert values == pytest.approx([seconds * 1e9 for seconds in record.samples])
    assert [e["aggregate_name"] for e in aggregates] == AGGREGATES
    mean, median, stddev, cv = (e["real_time"] for e in aggregates)
    assert mean == pytest.approx(statistics.mean(values))
    assert median == statistics.median(values)
    assert stddev == pytest.approx(statistics.stdev(values))
    assert cv == pytest.approx(statistics.stdev(values) / statistics.mean(values))
    assert {e["threads"] for e in entries} == {2}
    assert {e["cpu_time"] for e in entries} == {0.0}


def test_iterations_are_what_a_sample_repeats() -> None:
    run = StoredRun(awkward.run().path, manifest(), [record(inner=12)])
    assert [e["iterations"] for e in told_of(run)["benchmarks"]] == [12, 12, 2, 2, 2, 2]


def test_one_sample_has_no_aggregates_and_a_mean_of_zero_no_cv() -> None:
    run = StoredRun(awkward.run().path, manifest(), [record(samples=[1e-3]), record(part="step", samples=[0.0, 0.0])])
    check(told_of(run))
    assert [e["run_type"] for e in entries_of(run, "fc/forward/nodes:1")] == ["iteration"]
    names = [e.get("aggregate_name") for e in entries_of(run, "fc/step/nodes:1")]
    assert names == [None, None, "mean", "median", "stddev"]


def test_emulated_and_computed_times_are_marked_wherever_they_stand() -> None:
    run = synthetic.run()
    told = told_of(run)["benchmarks"]
    emulated = {record.key for record in run.records if record.placement == "emulated"}
    for entry in told:
        layer, part, nodes = entry["run_name"].removesuffix("/emulated").split("/")
        is_emulated = (layer, part, int(nodes.removeprefix("nodes:"))) in emulated
        assert entry["run_name"].endswith("/emulated") == is_emulated
        assert entry.get("label", "").startswith("emulated") == is_emulated
    (computed,) = entries_of(run, "fc6/communication/nodes:8/emulated")
    assert computed["real_time"] > 0
    assert "time computed by network this-machine" in computed["label"]
    assert "communication computed by" in entries_of(run, "fc6/step/nodes:8/emulated")[0]["label"]


def test_a_noisy_record_says_so() -> None:
    def noisy(one: Record) -> Record:
        return msgspec.structs.replace(one, noisy=True, throttled=True, algorithm="direct")

    run = synthetic.run(nodes=[1], change=noisy)
    assert {e["label"] for e in told_of(run)["benchmarks"]} == {"noisy; throttled; direct"}


def test_what_failed_and_what_was_skipped_keep_their_reasons() -> None:
    (failed,) = entries_of(awkward.run(), "dense/forward/nodes:2")
    assert (failed["error_occurred"], failed["error_message"]) == (True, awkward.REASON)
    assert (failed["iterations"], failed["real_time"]) == (0, 0.0)
    (skipped,) = entries_of(awkward.run(), "dense/backward_data/nodes:2")
    assert (skipped["skipped"], skipped["skip_message"]) == (True, awkward.REASON)
    assert "error_occurred" not in skipped
