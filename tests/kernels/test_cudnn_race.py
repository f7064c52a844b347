"""The search among cuDNN's plans, with its front end and CuPy simulated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from layerbench import verify
from layerbench.errors import KernelError, MeasurementError, OutOfMemoryError
from layerbench.kernel import Budget, Job
from layerbench.layers import DType
from tests.kernels.cudnn_cases import (
    BATCH,
    KERNEL,
    LAYER,
    MIXED,
    PLAIN,
    QUICK,
    UNNAMED,
    Installed,
    installer,
    prepared,
    race,
    search,
    tensors,
)
from tests.kernels.simulated_arrays import CuPy
from tests.kernels.simulated_cudnn import Engine, heur_mode, knob_type


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Puts simulated libraries in place of the real ones, with these plans."""
    return installer(monkeypatch)


def test_the_fastest_plan_wins_and_is_recorded(simulated: Installed) -> None:
    fallback = Engine(0, mode=heur_mode.FALLBACK, seconds=4e-3)
    second = replace(PLAIN, number=5, mode=heur_mode.B, seconds=3e-3)
    simulated(PLAIN, QUICK, second, fallback)
    said: list[str] = []
    for pass_, choice in search(budget=Budget(runs=2, progress=said.append)).items():
        assert choice.algorithm in {"eng2 NCHW k2=3 k14=-1", "eng2 NHWC k2=3 k14=-1"}
        assert choice.settings["engine"] == 2
        assert choice.settings["knobs"] == {"TILE_SIZE": 3, "STAGES": -1}
        assert choice.settings["plan"] == "eng2_k2=3_k14=-1"
        assert choice.settings["layout"] == choice.algorithm.split()[1]
        assert choice.tried == 8, "four plans in two layouts"
        assert any(pass_ in text and choice.algorithm in text for text in said)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_both_layouts_are_candidates(simulated: Installed, layout: str) -> None:
    simulated(PLAIN, replace(QUICK, layout=layout))
    choices = search()
    assert {choice.settings["layout"] for choice in choices.values()} == {layout}
    assert {choice.tried for choice in choices.values()} == {3}
    prepared(choices)


def test_a_layout_that_cudnn_refuses_leaves_the_other(simulated: Installed) -> None:
    simulated(replace(PLAIN, layout="NHWC"))
    assert {choice.settings["layout"] for choice in search().values()} == {"NHWC"}


@pytest.mark.parametrize("dtype", ["fp32", "tf32", "fp16"])
def test_tensor_cores_are_for_tf32_and_not_for_fp32(simulated: Installed, dtype: DType) -> None:
    simulated(PLAIN, replace(QUICK, notes=("TENSOR_CORE",)))
    for choice in search(dtype).values():
        assert choice.settings["engine"] == (1 if dtype == "fp32" else 2)
        assert choice.settings["notes"] == ([] if dtype == "fp32" else ["TENSOR_CORE"])
        assert ("TENSOR_CORE" in choice.settings["deselected"]) == (dtype == "fp32")


@pytest.mark.parametrize("dtype", ["fp64", "fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("note", ["DOWN_CONVERT_INPUTS", "REDUCED_PRECISION_REDUCTION"])
def test_plans_that_compute_less_precisely_are_no_candidates(simulated: Installed, note: str, dtype: DType) -> None:
    simulated(PLAIN, replace(QUICK, notes=(note,)))
    assert {choice.settings["engine"] for choice in search(dtype).values()} == {1}


@pytest.mark.parametrize(
    ("notes", "limits"),
    [
        (("WINOGRAD", "WINOGRAD_TILE_4x4"), (1e-3, 5e-3)),
        (("WINOGRAD_TILE_4x4",), (1e-3, 5e-3)),
        (("FFT",), (1e-3, 5e-3)),
        ((), (1e-5, 5e-3)),
    ],
)
def test_algorithms_that_transform_operands_may_err_more(
    simulated: Installed, notes: tuple[str, ...], limits: tuple[float, float]
) -> None:
    simulated(replace(PLAIN, notes=notes))
    for choice in search().values():
        assert choice.settings["notes"] == list(notes)
        assert (KERNEL.error_limit("fp32", choice), KERNEL.error_limit("fp16", choice)) == limits


@pytest.mark.parametrize("fault", ["build", "run"])
def test_a_plan_that_fails_is_left_out(simulated: Installed, fault: str) -> None:
    simulated(replace(QUICK, fault=fault), PLAIN)
    for choice in search().values():
        assert choice.settings["engine"] == 1
        assert choice.tried == 2


@pytest.mark.parametrize(("fault", "reason"), [("build", "cannot be finalized"), ("run", "EXECUTION_FAILED")])
def test_where_all_fail_the_first_reason_is_told_in_one_line(simulated: Installed, fault: str, reason: str) -> None:
    simulated(replace(QUICK, fault=fault), replace(PLAIN, fault="build"))
    with pytest.raises(KernelError, match=rf"conv forward.*eng2.*{reason}") as caught:
        search()
    assert "\n" not in str(caught.value)


def test_where_nothing_is_offered_cudnn_is_quoted(simulated: Installed) -> None:
    simulated()
    with pytest.raises(KernelError, match="No valid engine configs for this graph"):
        search()


def test_a_lost_gpu_ends_the_search(simulated: Installed) -> None:
    simulated(replace(QUICK, fault="lost"), PLAIN)
    with pytest.raises(MeasurementError, match="lost") as caught:
        search()
    assert not isinstance(caught.value, KernelError)


def test_the_workspace_is_limited(simulated: Installed) -> None:
    simulated(replace(QUICK, workspace=5000), replace(PLAIN, workspace=1000))
    assert {choice.workspace_bytes for choice in search().values()} == {5000}
    assert {choice.workspace_bytes for choice in search(budget=Budget(runs=1, workspace=4999)).values()} == {1000}
    with pytest.raises(KernelError, match=r"more workspace than the 10 bytes allowed; the least is 1000 bytes"):
        search(budget=Budget(runs=1, workspace=10))


def test_a_workspace_that_does_not_fit_the_gpu_leaves_the_plan_out(simulated: Installed) -> None:
    simulated(replace(QUICK, workspace=10**6), PLAIN, cupy=CuPy(free=10**5))
    assert {choice.settings["engine"] for choice in search().values()} == {1}


def test_operands_that_do_not_fit_are_one_line(simulated: Installed) -> None:
    simulated(QUICK, cupy=CuPy(free=1000))
    with pytest.raises(OutOfMemoryError, match=r"conv: .*smaller batch"):
        search()
    with pytest.raises(OutOfMemoryError, match=r"conv: .*smaller batch"):
        prepared(MIXED)


def test_a_plan_with_knobs_that_have_no_names_is_found_by_its_own(simulated: Installed) -> None:
    simulated(PLAIN, UNNAMED, replace(UNNAMED, knobs=((knob_type.NOT_SET, 3),), seconds=1e-3))
    choices = search()
    assert {choice.settings["plan"] for choice in choices.values()} == {"eng2_k5=4"}
    for verified in verify.verify(KERNEL, Job(LAYER, BATCH, "fp32"), tensors(), choices).values():
        assert verified.ok


def test_a_plan_that_ranks_with_a_sample_less_could_not_find_is_no_candidate(simulated: Installed) -> None:
    simulated(PLAIN, replace(UNNAMED, least_batch=BATCH))
    assert {choice.settings["engine"] for choice in search().values()} == {1}


def test_what_a_first_run_takes_to_load_does_not_count(simulated: Installed) -> None:
    for slow, loading in ((PLAIN.seconds, 0.04), (0.02, 0.1)):
        simulated(replace(PLAIN, seconds=slow), replace(QUICK, loading=loading))
        assert {choice.settings["engine"] for choice in search().values()} == {2}


def test_a_hopeless_plan_runs_once_and_a_slow_one_twice(simulated: Installed) -> None:
    simulated(replace(QUICK, layout="NCHW"), replace(PLAIN, layout="NCHW", seconds=0.2))
    search(budget=Budget(runs=3))
    # Of the quick one: once alone, then the mean of many, twice more.
    assert KERNEL.device().timed == [1, 50, 50, 50] * 3
    simulated(replace(QUICK, layout="NCHW", seconds=1e-3), replace(PLAIN, layout="NCHW", seconds=4e-3))
    search(budget=Budget(runs=3))
    assert KERNEL.device().timed == [1, 1, 1, 1] * 3


def test_a_workspace_that_grows_gives_up_what_it_had(simulated: Installed) -> None:
    simulated(QUICK, cupy=CuPy(free=1000))
    scratch = race.Scratch()
    assert scratch.pointer(0) is None
    small = scratch.pointer(600)
    assert scratch.pointer(500) == small
    scratch.pointer(900)
    with pytest.raises(OutOfMemoryError, match="a workspace of 1001 bytes"):
        scratch.pointer(1001)
    scratch.pointer(1000)


def test_the_search_leaves_its_operands_as_they_are(simulated: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated(QUICK, PLAIN)
    made = []
    to_device = race.arrays.to_device

    def kept(array: np.ndarray, dtype: DType) -> Any:
        made.append((array, to_device(array, dtype)))
        return made[-1][1]

    monkeypatch.setattr(race.arrays, "to_device", kept)
    search()
    assert len(made) == 3
    for array, operand in made:
        np.testing.assert_array_equal(operand.get(), array)
