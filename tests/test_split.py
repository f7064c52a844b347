"""The shares of a layer get algorithms that each of them can have, and a kernel that splits wrongly is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerbench import verify
from layerbench.errors import KernelError, UnavailableError
from layerbench.kernel import Budget, Choice, Choices, Job, Kernel, Prepared, Tensors
from layerbench.layers import FC, LSTM, PASSES, AnyLayer, Conv, Pass
from layerbench.partition import narrowed, shares
from layerbench.registry import find, named
from layerbench.slices import of_share
from layerbench.split import ChoicesBySize, Rank, search_split, verify_split

BATCH = 5
GROUPED = Conv(name="conv", input=(9, 7), in_channels=9, out_channels=12, filter=(3, 2), groups=3)
DENSE = FC(name="fc", in_features=9, out_features=7)
RECURRENT = LSTM(name="lstm", input_size=4, hidden_size=7, time_steps=3)
ONCE = Budget(runs=1)
NUMPY = named("numpy")


def ranks_of(layer: AnyLayer, ranks: int) -> list[Rank]:
    return [
        Rank(Job(share.layer, BATCH, "fp32", first_unit=share.outputs.start), share)
        for share in shares(layer, BATCH, ranks, "model")
        if share.layer is not None
    ]


def searched(kernel: Kernel, layer: AnyLayer, every: list[Rank]) -> ChoicesBySize:
    def operands(samples: int) -> Tensors:
        return verify.tensors(layer, "fp32", 0, 0, samples)

    return search_split(kernel, layer, every, of_share(layer, every[0].share, operands(BATCH)), operands, ONCE)


def checked(kernel: Kernel, layer: AnyLayer, ranks: int) -> dict[Pass, verify.Verification]:
    every = ranks_of(layer, ranks)

    def operands(samples: int) -> Tensors:
        return verify.tensors(layer, "fp32", 0, 0, samples)

    return verify_split(kernel, layer, every, operands, searched(kernel, layer, every))


@pytest.mark.parametrize("name", ["numpy", "onednn"])
@pytest.mark.parametrize("layer", [GROUPED, DENSE, RECURRENT], ids=lambda layer: layer.name)
@pytest.mark.parametrize("ranks", [2, 3])
def test_every_kind_of_layer_is_verified_in_uneven_shares(name: str, layer: AnyLayer, ranks: int) -> None:
    kernel = named(name)
    if not kernel.availability().ok:
        pytest.skip(f"{name}: {kernel.availability().reason}")
    found = checked(kernel, layer, ranks)
    assert set(found) == set(PASSES)
    assert all(each.ok and 0 < each.relative_error < 1e-5 and each.batch == 2 for each in found.values())


class Wrapped:
    """The NumPy kernel, with what the test changes."""

    def __init__(self, **changes: Any) -> None:
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        return self._changes.get(name) or getattr(NUMPY, name)


def test_units_that_take_another_ranks_gradient_are_found() -> None:
    def prepare(job: Job, tensors: Tensors, choices: Choices) -> Prepared:
        return NUMPY.prepare(Job(job.layer, job.batch, job.dtype, first_unit=0), tensors, choices)

    found = checked(Wrapped(prepare=prepare), RECURRENT, 2)
    assert found["forward"].ok
    assert not found["backward_data"].ok
    assert not found["backward_weights"].ok


def test_the_smaller_shares_are_verified_too() -> None:
    class Wrong:
        """Right for four outputs and more."""

        def __init__(self, job: Job, prepared: Any) -> None:
            self._few, self._prepared = job.layer.weight_shapes["weights"][0] < 4, prepared

        def __getattr__(self, name: str) -> Any:
            return getattr(self._prepared, name)

        def results(self, pass_: Pass) -> dict[str, np.ndarray]:
            found: dict[str, np.ndarray] = self._prepared.results(pass_)
            return {name: array * 1.01 if self._few else array for name, array in found.items()}

    def prepare(job: Job, tensors: Tensors, choices: Choices) -> Prepared:
        return Wrong(job, NUMPY.prepare(job, tensors, choices))  # type: ignore[return-value]

    found = checked(Wrapped(prepare=prepare), DENSE, 2)
    assert not any(each.ok for each in found.values())


class Picky(Wrapped):
    """Offers an algorithm for each number of outputs, and no share another's."""

    def __init__(self) -> None:
        super().__init__()
        self.searched: list[int] = []

    def search(self, job: Job, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
        size = job.layer.weight_shapes["weights"][0]
        self.searched.append(size)
        return {pass_: Choice(f"for {size}") for pass_ in PASSES}

    def prepare(self, job: Job, tensors: Tensors, choices: Choices) -> Prepared:
        size = job.layer.weight_shapes["weights"][0]
        if choices["forward"].algorithm != f"for {size}":
            raise KernelError(f"not offered for {size} outputs")
        return NUMPY.prepare(job, tensors, choices)


def test_a_share_that_cannot_have_the_largest_ones_algorithms_gets_its_own() -> None:
    kernel = Picky()
    every = ranks_of(DENSE, 2)
    found = searched(kernel, DENSE, every)
    assert kernel.searched == [4, 3]
    assert found[3]["forward"].algorithm == "for 3"
    assert found[3]["backward_data"].algorithm == "for 4", "what is added up is laid out alike"


def test_equal_shares_are_searched_once() -> None:
    kernel = Picky()
    layer = FC(name="fc", in_features=9, out_features=8)
    searched(kernel, layer, ranks_of(layer, 4))
    assert kernel.searched == [2]


def test_a_kernel_that_refuses_few_samples_is_verified_with_all() -> None:
    def prepare(job: Job, tensors: Tensors, choices: Choices) -> Prepared:
        if job.batch < BATCH:
            raise KernelError("too few samples")
        return NUMPY.prepare(job, tensors, choices)

    for layer in (DENSE, RECURRENT):
        found = checked(Wrapped(prepare=prepare), layer, 2)
        assert {each.batch for each in found.values()} == {BATCH}
        assert all(each.ok for each in found.values())


def test_a_kernel_that_says_nothing_of_splitting_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "plain.py"
    file.write_text(
        "from layerbench.registry import named\n"
        "class Plain:\n"
        "    name, preference = 'plain', None\n"
        "    def __getattr__(self, name):\n"
        "        if name == 'splits_outputs':\n"
        "            raise AttributeError(name)\n"
        "        return getattr(named('numpy'), name)\n"
        "KERNEL = Plain()\n"
    )
    assert find(str(file), narrowed(DENSE, 3), "fp32").name == "plain"
    with pytest.raises(UnavailableError, match="fc in fp32: plain: does not offer its results for exchange") as caught:
        find(str(file), narrowed(DENSE, 3), "fp32", split=True)
    assert "\n" not in str(caught.value)
