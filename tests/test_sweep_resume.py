"""A sweep is taken up only where it is the same sweep on the same machine; what differs is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layerbench import store, sweep
from layerbench.errors import StoreError, UsageError
from layerbench.layers import FC
from layerbench.listener import Listener
from layerbench.records import PARTS, Manifest, Network, Options
from tests.values import LAYER, MANIFEST, OPTIONS, manifest, options, record

OTHER = FC(name="fc2", in_features=4, out_features=2)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a sweep that was started."""
    path = tmp_path / "run"
    sweep.start(path, MANIFEST, cores=2)
    return path


def refused(run: Path, now: Manifest) -> str:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match="cannot be resumed, it differs") as caught:
        sweep.resume(run, now, 2)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    said = str(caught.value)
    assert "\n" not in said
    assert str(run) in said
    return said


CHANGED: dict[str, Any] = {
    "nodes": [1, 2, 4],
    "batch": 16,
    "scaling": "weak",
    "dtype": "fp64",
    "kernels": "onednn",
    "threads_per_rank": 2,
    "ranks_per_node": 2,
    "filter": "conv*",
    "rel_error": 0.02,
    "max_time": 1.0,
    "max_samples": 7,
    "cache": "cold",
    "oversubscribe": True,
    "network": "gemini",
    "launcher": "none",
    "launcher_args": "-v",
    "seed": 1,
    "layout": "model",
    "workspace": 2**20,
    "cuda_graph": True,
    "collectives": "staged",
    "devices": 2,
}


def test_every_option_is_compared_but_the_timeout_and_where_ranks_run() -> None:
    assert set(CHANGED) == set(Options.__struct_fields__) - {"timeout", "hosts", "allocated"}


@pytest.mark.parametrize("name", CHANGED)
def test_an_option_that_differs_is_named_with_both_values(run: Path, name: str) -> None:
    said = refused(run, manifest(options=options(**{name: CHANGED[name]})))
    assert f"--{name.replace('_', '-')} was {getattr(OPTIONS, name)}, now {CHANGED[name]}" in said


def test_the_timeout_may_change(run: Path) -> None:
    sweep.resume(run, manifest(options=options(timeout=5.0)), 2)


def test_hosts_may_be_others_but_not_more_or_fewer_than_counts_need(run: Path, tmp_path: Path) -> None:
    assert "ranks had no other machines, now 1" in refused(run, manifest(options=options(hosts=["a"])))
    assert "ranks had no other machines, now 2" in refused(run, manifest(options=options(allocated=8)))
    path = tmp_path / "elsewhere"
    sweep.start(path, manifest(options=options(hosts=["a", "b"])), cores=2)
    assert "ranks had 2 other machines, now 1" in refused(path, manifest(options=options(hosts=["a"])))
    taken_up, _ = sweep.resume(path, manifest(options=options(hosts=["c", "d", "e"])), 2)
    assert taken_up.options.hosts == ["c", "d", "e"]


def test_the_machine_of_ranks_elsewhere_is_left_to_them_and_the_software_is_not(tmp_path: Path) -> None:
    path, there = tmp_path / "elsewhere", options(hosts=["a", "b"])
    sweep.start(path, manifest(options=there), cores=2)
    sweep.resume(path, manifest(options=there, environment={**MANIFEST.environment, "cpu_model": "another"}), 2)
    assert "python was" in refused(path, manifest(options=there, environment={**MANIFEST.environment, "python": "2"}))


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([FC(name="fc", in_features=5, out_features=2)], "layers fc (suite small, now small)"),
        ([LAYER, OTHER], "layers fc2 "),
        ([], "layers fc "),
    ],
)
def test_layers_that_differ_are_named(run: Path, layers: list[FC], words: str) -> None:
    assert words in refused(run, manifest(layers=layers))


def test_layers_in_another_order_are_another_sweep(tmp_path: Path) -> None:
    run = tmp_path / "run"
    sweep.start(run, manifest(layers=[LAYER, OTHER]), cores=2)
    assert "layers in another order" in refused(run, manifest(layers=[OTHER, LAYER]))


def test_another_machine_is_refused_and_other_facts_may_change(run: Path) -> None:
    environment = {**MANIFEST.environment, "usable_core_count": 64, "load_average": 3.0}
    said = refused(run, manifest(environment=environment))
    assert "usable core count was 2, now 64" in said
    assert "load average" not in said
    sweep.resume(run, manifest(environment={**MANIFEST.environment, "load_average": 3.0}), 2)


def test_every_difference_is_named_at_once(run: Path) -> None:
    said = refused(run, manifest(options=options(batch=16, seed=1), environment={}, layers=[OTHER]))
    for words in ("--batch", "--seed", "cpu model", "layers fc, fc2"):
        assert words in said


def test_what_was_found_is_kept_and_what_ended_is_running_again(run: Path) -> None:
    network = Network(name="this-machine", alpha=1e-6, beta=1e-9)
    ended = manifest(network=network, outcome="interrupted", end="2024-01-01T00:00:00+00:00", start="2023")
    store.write_manifest(run, ended)
    taken_up, notes = sweep.resume(run, manifest(start="2024", command="another"), 2)
    assert notes == []
    assert taken_up.manifest == manifest(network=network, outcome="running", end="", start="2023")
    assert taken_up.cores == 2


def test_a_torn_line_is_set_aside_and_told(run: Path) -> None:
    with store.Journal(run) as journal:
        journal.append([record()])
    with (run / store.RECORDS).open("ab") as file:
        file.write(b'{"layer":"to')
    _, notes = sweep.resume(run, MANIFEST, 2)
    assert len(notes) == 1
    assert "was cut off" in notes[0]
    assert store.load(run).records == [record()]
    assert store.load(run).warnings == []


def test_a_complete_run_says_that_nothing_was_missing(run: Path) -> None:
    with store.Journal(run) as journal:
        journal.append([record(part=part, nodes=nodes) for nodes in OPTIONS.nodes for part in PARTS])

    class Listening(Listener):
        def note(self, text: str) -> None:
            noted.append(text)

    noted: list[str] = []
    taken_up, _ = sweep.resume(run, MANIFEST, 2)
    assert len(sweep.execute(taken_up, Listening())) == 2 * len(PARTS)
    assert noted == ["nothing was missing: every layer has its records at every count"]


def test_what_is_no_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a run folder"):
        sweep.resume(tmp_path, MANIFEST, 2)


def test_a_sweep_that_cannot_be_planned_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        sweep.start(tmp_path / "run", manifest(options=options(threads_per_rank=9)), cores=2)
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_not_started_again(run: Path) -> None:
    with pytest.raises(StoreError, match="already holds a run"):
        sweep.start(run, MANIFEST, cores=2)
