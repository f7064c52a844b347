"""Operands are normal and shard exactly; a wrong kernel is found out."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench import verify
from layerbench.errors import KernelError, VerificationError
from layerbench.kernel import Budget, Job
from layerbench.layers import DTYPES, FC, LSTM, PASSES, AnyLayer, Conv, DType, Pass

NUMPY = importlib.import_module("layerbench.kernels.reference").KERNEL

CONV = Conv(name="conv", input=(9, 9), in_channels=4, out_channels=6, filter=(3, 3), padding=(1, 1), groups=2)
FULL = FC(name="fc", in_features=64, out_features=32)
RECURRENT = LSTM(name="lstm", input_size=6, hidden_size=5, time_steps=4)
LAYERS = [CONV, FULL, RECURRENT]
LARGE = [
    Conv(name="conv", input=(24, 24), in_channels=16, out_channels=32, filter=(5, 5), padding=(2, 2)),
    FC(name="fc", in_features=1024, out_features=512),
    LSTM(name="lstm", input_size=96, hidden_size=96, time_steps=10),
]


def by_name(layer: AnyLayer) -> str:
    return layer.name


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", LARGE, ids=by_name)
def test_operands_are_normal_and_not_zero(layer: AnyLayer, dtype: DType) -> None:
    """Half-precision inputs filled through an integer type were mostly zeros and ran up to 15 % too fast."""
    for name, tensor in verify.tensors(layer, dtype, 1, 0, 16).items():
        values = tensor.astype(np.float64).reshape(-1)
        deviations = (values - values.mean()) / values.std()
        expected = layer.fan_in**-0.5 if name in layer.weight_shapes else 1.0
        if dtype == "int8":
            expected = 32.0
        assert abs(values.mean()) < 0.05 * expected, name
        assert values.std() == pytest.approx(expected, rel=0.05), name
        assert np.mean(deviations**3) == pytest.approx(0, abs=0.1), name
        assert np.mean(deviations**4) == pytest.approx(3, abs=0.25), name
        assert np.mean(values == 0) < (0.02 if dtype == "int8" else 0.001), name
        # Two operands from one stream would be the same numbers.
        assert len(np.unique(values)) > (100 if dtype == "int8" else 0.1 * min(len(values), 10_000)), name


def test_operands_have_streams_of_their_own() -> None:
    t = verify.tensors(FC(name="fc", in_features=50, out_features=50), "fp32", 1, 0, 3)
    rows = np.concatenate([t["src"], t["diff_dst"], t["weights"] * 50**0.5])
    assert np.abs(np.corrcoef(rows) - np.eye(len(rows))).max() < 0.8


@pytest.mark.parametrize("layer", LAYERS, ids=by_name)
@pytest.mark.parametrize(
    ("dtype", "held"),
    [
        ("fp64", np.float64),
        ("fp32", np.float32),
        ("tf32", np.float32),
        ("bf16", np.float32),
        ("fp16", np.float16),
        ("int8", np.int8),
    ],
)
def test_operands_have_the_shapes_and_dtype_of_the_layer(layer: AnyLayer, dtype: DType, held: type[np.generic]) -> None:
    t = verify.tensors(layer, dtype, 0, 2, 5)
    assert {name: tensor.shape for name, tensor in t.items()} == {
        "src": layer.input_shape(3),
        **layer.weight_shapes,
        "diff_dst": layer.output_shape(3),
    }
    assert all(tensor.dtype == held and tensor.flags.c_contiguous for tensor in t.values())


def test_bf16_operands_are_the_nearest_that_bf16_holds() -> None:
    exact = verify.tensors(FULL, "fp32", 4, 0, 8)["src"]
    rounded = verify.tensors(FULL, "bf16", 4, 0, 8)["src"]
    assert not (rounded.view(np.uint32) & 0xFFFF).any()
    assert np.abs(rounded - exact).max() > 0
    assert (np.abs(rounded - exact) <= 2.0**-8 * np.abs(exact)).all()


@settings(max_examples=30, deadline=None)
@given(
    layer=st.sampled_from(LAYERS),
    parts=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    seed=st.integers(0, 2**63),
)
def test_shards_are_slices_of_the_whole_batch(layer: AnyLayer, parts: list[int], seed: int) -> None:
    batch = sum(parts)
    whole = verify.tensors(layer, "fp32", seed, 0, batch)
    axis = 1 if isinstance(layer, LSTM) else 0
    start, shards = 0, []
    for part in parts:
        shards.append(verify.tensors(layer, "fp32", seed, start, start + part))
        start += part
    for name, tensor in whole.items():
        if name in layer.weight_shapes:
            assert all(np.array_equal(shard[name], tensor) for shard in shards)
        else:
            np.testing.assert_array_equal(np.concatenate([s[name] for s in shards], axis=axis), tensor)


def test_seeds_differ_and_repeat() -> None:
    one, again, two = (verify.tensors(FULL, "fp32", seed, 0, 2) for seed in (1, 1, 2))
    for name, tensor in one.items():
        assert np.array_equal(tensor, again[name])
        assert not np.array_equal(tensor, two[name])


class Tampered:
    """The NumPy kernel with its prepared layer, and its refusal, changed by a test."""

    name = "tampered"

    def __init__(self, tamper: Callable[[Any], None], least_batch: int = 1) -> None:
        self._tamper = tamper
        self._least_batch = least_batch

    def __getattr__(self, name: str) -> Any:
        return getattr(NUMPY, name)

    def prepare(self, job: Job, tensors: dict[str, np.ndarray], choices: Any) -> Any:
        if job.batch < self._least_batch:
            raise KernelError(f"needs {self._least_batch} samples, not {job.batch}")
        prepared = NUMPY.prepare(job, tensors, choices)
        self._tamper(prepared)
        return prepared


def verified(layer: AnyLayer, kernel: Any, batch: int = 4) -> dict[Pass, verify.Verification]:
    job = Job(layer, batch, "fp32")
    operands = verify.tensors(layer, "fp32", 0, 0, batch)
    return verify.verify(kernel, job, operands, NUMPY.search(job, operands, Budget(runs=1)))


def after(prepared: Any, pass_: Pass, change: Callable[[], None]) -> None:
    """Have ``change`` follow every run of a pass."""
    run = prepared.run[pass_]

    def both() -> None:
        run()
        change()

    prepared.run = {**prepared.run, pass_: both}


@pytest.mark.parametrize("layer", LAYERS, ids=by_name)
@pytest.mark.parametrize("dtype", ["fp32", "fp64"])
def test_a_right_kernel_passes(layer: AnyLayer, dtype: DType) -> None:
    job = Job(layer, 4, dtype)
    operands = verify.tensors(layer, dtype, 0, 0, 4)
    checks = verify.verify(NUMPY, job, operands, NUMPY.search(job, operands, Budget(runs=1)))
    assert list(checks) == list(PASSES)
    for check in checks.values():
        assert check.ok
        assert 0 <= check.relative_error <= check.limit == {"fp32": 1e-5, "fp64": 1e-12}[dtype]
        assert check.batch == 2


def test_one_sample_is_verified_with_one() -> None:
    assert {check.batch for check in verified(FULL, NUMPY, batch=1).values()} == {1}


def test_a_kernel_that_refuses_a_small_batch_is_verified_with_the_whole() -> None:
    checks = verified(FULL, Tampered(lambda _: None, least_batch=3))
    assert all(check.ok and check.batch == 4 for check in checks.values())


def test_a_kernel_that_refuses_the_whole_batch_too_raises() -> None:
    with pytest.raises(KernelError, match="needs 9 samples, not 4"):
        verified(FULL, Tampered(lambda _: None, least_batch=9))


def test_one_wrong_weight_is_found() -> None:
    def one_weight_off(prepared: Any) -> None:
        prepared._weights[3, 5] *= 1.01

    checks = verified(FULL, Tampered(one_weight_off))
    assert not checks["forward"].ok
    assert not checks["backward_data"].ok
    assert checks["backward_weights"].ok
    assert checks["forward"].relative_error < 0.01


def test_weights_shifted_by_one_are_found() -> None:
    def shifted(prepared: Any) -> None:
        prepared._weights[...] = np.roll(prepared._weights, 1, axis=-1)

    checks = verified(CONV, Tampered(shifted))
    assert not checks["forward"].ok
    assert not checks["backward_data"].ok


@pytest.mark.parametrize("layer", LAYERS, ids=by_name)
@pytest.mark.parametrize("pass_", PASSES)
def test_one_value_that_is_not_a_number_is_found(layer: AnyLayer, pass_: Pass) -> None:
    def spoil_one(prepared: Any) -> None:
        results = prepared.results

        def spoiled(asked: Pass) -> dict[str, np.ndarray]:
            found: dict[str, np.ndarray] = results(asked)
            if asked == pass_:
                next(iter(found.values())).flat[-1] = np.nan
            return found

        prepared.results = spoiled

    checks = verified(layer, Tampered(spoil_one))
    assert [p for p in PASSES if not checks[p].ok] == [pass_]
    assert checks[pass_].relative_error == math.inf


@pytest.mark.parametrize("layer", LAYERS, ids=by_name)
@pytest.mark.parametrize("pass_", PASSES[1:])
def test_a_pass_that_writes_nothing_is_found(layer: AnyLayer, pass_: Pass) -> None:
    """What prepare() or an earlier pass left behind must not pass for a result."""

    def idle(prepared: Any) -> None:
        for earlier in PASSES:
            prepared.run[earlier]()
        prepared.run = {**prepared.run, pass_: lambda: None}

    checks = verified(layer, Tampered(idle))
    assert not checks[pass_].ok
    assert checks[pass_].relative_error == math.inf


def test_one_of_two_results_not_written_is_found() -> None:
    def forget_the_hidden_weights(prepared: Any) -> None:
        after(prepared, "backward_weights", lambda: prepared._diff_hidden.fill(np.nan))

    checks = verified(RECURRENT, Tampered(forget_the_hidden_weights))
    assert [p for p in PASSES if not checks[p].ok] == ["backward_weights"]


def test_a_gradient_that_adds_to_what_was_there_is_found() -> None:
    def accumulate(prepared: Any) -> None:
        run = prepared.run["backward_weights"]

        def accumulating() -> None:
            before = prepared.gradient.copy()
            run()
            prepared.gradient += before

        prepared.run = {**prepared.run, "backward_weights": accumulating}

    assert not verified(FULL, Tampered(accumulate))["backward_weights"].ok


def test_results_of_another_shape_or_name_are_an_error_of_the_kernel() -> None:
    def transposed(prepared: Any) -> None:
        results = prepared.results
        prepared.results = lambda pass_: {name: result.T for name, result in results(pass_).items()}

    def renamed(prepared: Any) -> None:
        results = prepared.results
        prepared.results = lambda pass_: {f"{name}_": result for name, result in results(pass_).items()}

    for tamper in (transposed, renamed):
        with pytest.raises(VerificationError, match="tampered: fc: results must be"):
            verified(FULL, Tampered(tamper))


def test_a_right_zero_is_no_error() -> None:
    """The hidden weights of a single step get no gradient, so both sides are exactly zero."""
    layer = LSTM(name="lstm", input_size=3, hidden_size=2, time_steps=1)
    assert all(check.ok for check in verified(layer, NUMPY).values())
