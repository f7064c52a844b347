from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from layerbench import store, units
from layerbench.records import Network
from layerbench.report import claims, columns, tables
from layerbench.report.columns import row_tuples
from layerbench.report.finding import HOLDS, UNKNOWN, VERDICTS
from layerbench.report.tables import Tables
from layerbench.stats import median
from tests.report import observed, synthetic

RESULTS = Path(__file__).resolve().parents[2] / "results"


def verdicts(checked: pd.DataFrame) -> dict[str, str]:
    return dict(zip(checked["id"], checked["verdict"], strict=True))


def evidence(checked: pd.DataFrame) -> dict[str, str]:
    return dict(zip(checked["id"], checked["evidence"], strict=True))


def test_seven_rows_for_each_run_in_order() -> None:
    runs = [
        columns.of_records(run.path, run.manifest, run.records)
        for run in (synthetic.run(), synthetic.run(path=Path("runs/b"), batch=32, nodes=(2, 4)))
    ]
    checked = claims.check(tables.compute(runs))
    assert list(checked.columns) == ["run", "id", "claim", "verdict", "evidence"]
    assert list(checked["run"]) == ["batch 16"] * 7 + ["batch 32"] * 7
    assert list(checked["id"]) == list("abcdefg") * 2
    assert set(checked["verdict"]) <= set(VERDICTS)
    for label, run in (("batch 16", runs[0]), ("batch 32", runs[1])):
        alone = claims.check(tables.compute([run]))
        assert evidence(alone) == evidence(checked[checked["run"] == label])


@pytest.mark.parametrize("name", ["alexnet-2-cores", "two-hosts-gigabit"])
def test_runs_that_are_kept(name: str) -> None:
    """Worked out from the journal in the plainest way."""
    run = store.load(RESULTS / name)
    checked = claims.check(tables.compute([columns.load(run.path)]))
    told, found = evidence(checked), verdicts(checked)
    largest = max(run.manifest.options.nodes)

    def seconds(kind: str, part: str, nodes: int) -> float:
        of_part = [one for one in run.records if (one.kind, one.part, one.nodes) == (kind, part, nodes)]
        return math.fsum(median(one.samples) if one.samples else one.modelled_seconds or 0.0 for one in of_part)

    for kind in ("conv", "fc", "lstm"):
        here, base = seconds(kind, "step", largest), seconds(kind, "step", 1)
        share = seconds(kind, "communication", largest) / here
        assert f"{100 * share:.1f} % of a step of {kind}" in told["d"]
        lost = largest * here - base
        if f"{kind} has an efficiency" in told["b"]:
            explained = largest * seconds(kind, "communication", largest) / lost
            assert f"{units.seconds(lost)} of node time lost a step, {100 * explained:.1f} %" in told["b"]
    assert found["c"] == HOLDS
    assert found["e"] == HOLDS
    assert found["f"] == HOLDS
    assert found["g"] == UNKNOWN
    assert "median residual of its fit" in told["d"]


def test_overlap_is_read_from_the_runs_folder(tmp_path: Path) -> None:
    row = {"nodes": 1, "placement": "measured", "implicit_seconds": 1.7, "explicit_seconds": 1.0}
    row |= {"speedup": 1.7, "attainable": 1.9, "eta": 0.87}
    (tmp_path / "overlap.json").write_text(json.dumps([row]))
    checked = claims.check(observed.tables_of({"fc": {1: 1.0}}, path=tmp_path))
    assert verdicts(checked)["g"] == HOLDS


def test_what_is_missing_and_what_would_mend_it_is_told() -> None:
    steps = {"conv": {1: 1.0, 2: 0.5, 4: 0.3}, "fc": {1: 1.0, 4: 0.5}}
    told = evidence(claims.check(observed.tables_of(steps, {"fc": {4: 0.4}})))
    assert "There is no lstm in the suite and no time of fc at 2 nodes." in told["a"]
    assert told["d"].endswith("To say it, run a suite that has lstm.")


@pytest.mark.parametrize("kinds", [["conv"], ["fc"], ["lstm"]])
@pytest.mark.parametrize("counts", [[1], [4], [2, 4]])
def test_any_one_type_at_any_counts(kinds: list[str], counts: list[int]) -> None:
    checked = claims.check(observed.tables_of({kind: {n: 1 / n for n in counts} for kind in kinds}))
    assert set(verdicts(checked)) == set("abcdefg")
    assert all(told.endswith(".") for told in checked["evidence"])
    unknown = checked[(checked["verdict"] == UNKNOWN) & (checked["id"] != "g")]
    assert unknown["evidence"].str.contains("To say it, ").all()


def test_a_run_that_only_failed_says_what_it_can() -> None:
    checked = claims.check(tables.of_run(synthetic.run(change=lambda record: None)))
    assert set(checked["verdict"]) == {UNKNOWN}
    assert checked.loc[checked["id"] != "g", "evidence"].str.contains("To say it, ").all()


def test_a_run_of_none_of_the_types_says_so() -> None:
    small = observed.tables_of({"fc": {1: 1.0, 2: 0.5}})
    others = {
        name: frame.assign(kind=pd.Categorical(["other"] * len(frame)))
        for name in ("records", "layer_types", "intensity")
        for frame in [getattr(small, name)]
    }
    told = evidence(claims.check(replace(small, **others)))
    assert told["a"].startswith("There is no conv and no fc and no lstm in the suite. To say it, run a suite that has")
    assert "run a suite that has conv" in told["b"]


def test_text_of_a_run_stays_on_one_line() -> None:
    small = observed.tables_of({"fc": {1: 1.0, 4: 0.5}}, measured=1)
    network = Network(name="a\nb\r\n| c", alpha=1e-6, beta=1e-9, residual=0.1)
    run = replace(small.run, manifest=msgspec.structs.replace(small.manifest, network=network))
    checked = claims.check(replace(small, runs={"x": run}))
    assert "the network model a b | c (median" in evidence(checked)["a"]
    for row in row_tuples(checked):
        assert len(row.evidence.splitlines()) == 1


def many(small: Tables, copies: int) -> Tables:
    """The same run with every layer that many times."""

    def repeated(frame: pd.DataFrame) -> pd.DataFrame:
        codes = pd.Series(np.repeat(np.arange(copies), len(frame)).astype(str))
        whole = frame.iloc[np.tile(np.arange(len(frame)), copies)].reset_index(drop=True)
        return whole.assign(layer=pd.Categorical(whole["layer"].astype("str") + codes))

    layers = [
        msgspec.structs.replace(layer, name=f"{layer.name}{copy}")
        for copy in range(copies)
        for layer in small.manifest.layers
    ]
    run = replace(small.run, manifest=msgspec.structs.replace(small.manifest, layers=layers))
    return replace(small, runs={"x": run}, records=repeated(small.records), intensity=repeated(small.intensity))


def test_a_hundred_thousand_layers_take_less_than_a_second() -> None:
    steps = {kind: {1: 1.0, 2: 0.6} for kind in observed.LAYERS}
    small = observed.tables_of(steps, {kind: {2: 0.1} for kind in steps}, width=0.01)
    large = many(small, 37_000)
    assert len(large.manifest.layers) == 111_000

    def seconds() -> float:
        begin = time.process_time()
        assert verdicts(claims.check(large))["e"] == HOLDS
        return time.process_time() - begin

    assert min(seconds() for _ in range(3)) < 1


def test_a_type_that_was_filtered_out_is_to_be_let_in() -> None:
    run = synthetic.run(
        filter="conv*,fc*", layers=[one for one in synthetic.run().manifest.layers if one.kind != "lstm"]
    )
    told = evidence(claims.check(tables.of_run(run)))
    assert told["d"].endswith("To say it, run without a --filter that leaves lstm out.")
