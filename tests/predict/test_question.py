from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from layerbench import machine, store
from layerbench.errors import UsageError
from layerbench.predict.question import Question, asked
from layerbench.records import Record
from tests.predict.made import World, manifest, question

RUN = Path(__file__).parents[2] / "results" / "alexnet-2-cores"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A run folder of the made machine, in weak scaling."""
    path = tmp_path / "run"
    store.create(path, manifest((1, 2), scaling="weak"))
    with store.Journal(path) as journal:
        journal.append(World().records((1, 2), 2))
    return path


def refused(**arguments: object) -> str:
    with pytest.raises(UsageError) as raised:
        asked(**{"nodes": [1, 2], **arguments})  # type: ignore[arg-type]
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_what_is_left_open_comes_from_the_run(made: Path) -> None:
    found = asked(nodes=[2, 1, 2], from_run=made)
    assert (found.suite, found.nodes, found.batch, found.scaling, found.dtype) == (
        "alexnet",
        (1, 2),
        64,
        "weak",
        "fp32",
    )
    assert found.machine.peak["fp32"].value == 2e11
    other = asked(nodes=[1], from_run=made, batch=8, scaling="strong")
    assert (other.batch, other.scaling) == (8, "strong")


def test_without_a_run_it_comes_from_suite_and_machine() -> None:
    found = asked(nodes=[1], suite_name="alexnet", machine_name="h100-cluster")
    assert (found.batch, found.ranks_per_node, found.scaling, found.run) == (128, 8, "strong", None)


def test_layers_are_filtered(made: Path) -> None:
    found = asked(nodes=[1], from_run=made, filter_="fc*,lstm")
    assert [layer.name for layer in found.layers] == ["fc6", "fc7", "fc8", "lstm"]
    assert "nothing" in refused(from_run=made, filter_="nothing")


def test_neither_suite_nor_run_is_refused() -> None:
    assert "--suite" in refused(machine_name="h100-cluster")


def test_unknown_suites_machines_and_runs_are_refused(tmp_path: Path) -> None:
    assert "did you mean 'alexnet'" in refused(suite_name="alexnt", machine_name="h100-cluster")
    assert "--machine h100-clustr: unknown" in refused(suite_name="alexnet", machine_name="h100-clustr")
    assert str(tmp_path) in refused(from_run=tmp_path)


def test_a_run_of_another_suite_is_refused(made: Path, tmp_path: Path) -> None:
    assert "its conv1 is another layer" in refused(from_run=made, suite_name="alexnet-2012")
    mine = tmp_path / "mine.toml"
    mine.write_text('[[layer]]\nkind = "fc"\nname = "only"\nin_features = 8\nout_features = 8\n')
    message = refused(from_run=made, suite_name=str(mine))
    assert "no layer in common" in message
    assert "leave --suite out" in message


def test_a_run_of_another_machine_says_where_it_was_made(made: Path) -> None:
    found = asked(nodes=[1, 2], from_run=made, machine_name="blue-waters-xk7")
    assert found.machine.name == "blue-waters-xk7"
    assert found.carried_from is not None
    assert found.carried_from.peak["fp32"].value == pytest.approx(200e9)


@pytest.mark.parametrize("efficiency", [0.0, 1e-300, -1.0, 1.5, float("nan")])
def test_an_efficiency_is_a_part_of_the_roofline(efficiency: float) -> None:
    assert "--efficiency" in refused(suite_name="alexnet", machine_name="blue-waters-xk7", efficiency=efficiency)


def test_a_profile_of_the_runs_own_machine_is_taken(made: Path, tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text(machine.to_toml(asked(nodes=[1], suite_name="alexnet", from_run=made).machine))
    assert asked(nodes=[1], from_run=made, machine_name=str(profile)).machine.name == "mine"
    assert asked(nodes=[1], from_run=made, machine_name=str(profile)).carried_from is None


def test_a_run_that_measured_no_network_has_that_of_this_machines_profile(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert asked(nodes=[1], from_run=made).machine.between is None
    own = asked(nodes=[1], from_run=made).machine
    network = machine.load("blue-waters-xk7").between
    path = machine.path_here()
    path.parent.mkdir(parents=True)
    path.write_text(machine.to_toml(msgspec.structs.replace(own, between=network, no_network="")))
    assert asked(nodes=[1], from_run=made).machine.between == network
    quicker = {dtype: machine.exact(peak.value * 10) for dtype, peak in own.peak.items()}
    path.write_text(machine.to_toml(msgspec.structs.replace(own, between=network, no_network="", peak=quicker)))
    assert asked(nodes=[1], from_run=made).machine.between is None, "that profile is of another machine"


def test_ranks_of_a_node_are_the_other_machines_where_a_run_is_carried_over(made: Path) -> None:
    assert asked(nodes=[1], from_run=made).ranks_per_node == 1
    assert asked(nodes=[1], from_run=made, machine_name="h100-cluster").ranks_per_node == 8
    assert asked(nodes=[1], from_run=made, machine_name="h100-cluster", ranks_per_node=2).ranks_per_node == 2


def test_a_run_without_any_result_is_refused(tmp_path: Path) -> None:
    def failed(record: Record) -> Record:
        return msgspec.structs.replace(record, status="failed", samples=[])

    path = tmp_path / "run"
    store.create(path, manifest((1, 2)))
    with store.Journal(path) as journal:
        journal.append(failed(record) for record in World().records((1,), 1))
    assert "nothing to calibrate on" in refused(from_run=path)


def run_of(path: Path, records: Sequence[Record], **changes: object) -> Path:
    store.create(path, msgspec.structs.replace(manifest((1, 2)), **changes))
    with store.Journal(path) as journal:
        journal.append(records)
    return path


def test_times_of_ranks_that_shared_cores_are_not_used_and_that_is_said(tmp_path: Path) -> None:
    shared = [
        msgspec.structs.replace(record, oversubscribed=record.nodes == 4) for record in World().records((1, 2, 4), 4)
    ]
    found = asked(nodes=[1, 2], from_run=run_of(tmp_path / "run", shared))
    assert found.run is not None
    assert {record.nodes for record in found.run.records} == {1, 2}
    assert found.run.warnings == (
        "On 4 nodes of the run ranks shared cores (--oversubscribe): these times are not used.",
    )
    only = run_of(tmp_path / "only", [record for record in shared if record.nodes == 4])
    assert "whose ranks shared cores" in refused(from_run=only)


def test_a_run_without_peak_and_bandwidth_is_not_taken_for_one_of_another_device(tmp_path: Path) -> None:
    path = run_of(tmp_path / "run", World().records((1, 2), 2), roofline=None)
    message = refused(from_run=path, machine_name="blue-waters-xk7")
    assert "another device (cuda)" in message
    assert "made on (host)" in message
    profile = tmp_path / "mine.toml"
    profile.write_text(machine.to_toml(question().machine))
    assert asked(nodes=[1], from_run=path, machine_name=str(profile)).carried_from is None


def test_the_layout_is_the_runs_too(tmp_path: Path) -> None:
    options = manifest((1, 2), layout="model").options
    path = run_of(tmp_path / "run", World().records((1, 2), 2, layout="model"), options=options)
    assert asked(nodes=[1], from_run=path).layout == "model"
    assert asked(nodes=[1], from_run=path, layout="data").layout == "data"
    assert asked(nodes=[1], suite_name="alexnet", machine_name="h100-cluster").layout == "data"


@pytest.mark.parametrize("overlap", [-0.1, 1.1, float("nan"), float("inf")])
def test_an_overlap_outside_0_to_1_is_refused(overlap: float) -> None:
    assert "--overlap" in refused(from_run=RUN, overlap=overlap)


@pytest.mark.parametrize(
    "change",
    [
        {"batch": 0},
        {"batch": 2**31},
        {"ranks_per_node": 0},
        {"ranks_per_node": 500_001},
        {"seed": -1},
        {"dtype": "bf16"},
    ],
)
def test_numbers_out_of_range_and_dtypes_without_a_peak_are_refused(change: dict[str, object]) -> None:
    message = refused(from_run=RUN, **change)
    assert message.startswith("--")


def test_a_question_is_a_value() -> None:
    assert question((1, 2)) == question((1, 2))
    assert isinstance(question(), Question)
