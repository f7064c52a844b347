"""A layer whose outputs are split over ranks: which algorithms its shares get, and their comparison with float64.

Rank 0 does both for all ranks. All shares get the same algorithms, those that are fastest for the largest. Where a
library does not offer these for the others, which are smaller by one output, they get their own, but for an input
gradient that is added up: that must be laid out alike.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

from layerbench.errors import KernelError
from layerbench.kernel import Budget, Choices, Job, Kernel, PreparedUnits, Tensors
from layerbench.layers import PASSES, AnyLayer, Pass, SplitLSTM
from layerbench.partition import Share, gradient_operation
from layerbench.slices import of_share, whole
from layerbench.step import exchange_among
from layerbench.verify import FEW, Verification, relative_error, verify

ChoicesBySize = Mapping[int, Choices]
"""By the number of outputs of a share."""


class Rank(NamedTuple):
    """What a rank prepares, and its share of the whole."""

    job: Job
    share: Share

    @property
    def size(self) -> int:
        return self.share.outputs.batch


def search_split(
    kernel: Kernel,
    layer: AnyLayer,
    ranks: Sequence[Rank],
    own: Tensors,
    operands: Callable[[int], Tensors],
    budget: Budget,
) -> ChoicesBySize:
    """The fastest algorithms for the shares of a layer.

    Parameters
    ----------
    ranks
        Every rank, the largest share first.
    own
        Operands of the largest share.
    operands
        Operands of the whole layer for the first so many samples.

    Raises
    ------
    KernelError
        If no algorithm can do it.
    """
    largest, *others = {rank.size: rank for rank in ranks}.values()
    batch = largest.job.batch
    choices = kernel.search(largest.job, own, budget)
    found = {largest.size: choices}
    for rank in others:
        few = min(FEW, batch)
        try:
            kernel.prepare(replace(rank.job, batch=few), of_share(layer, rank.share, operands(few)), choices)
            found[rank.size] = choices
        except KernelError:
            of_size = kernel.search(rank.job, of_share(layer, rank.share, operands(batch)), budget)
            if gradient_operation(layer) == "all_reduce":
                of_size["backward_data"] = choices["backward_data"]
            found[rank.size] = of_size
    return found


def verify_split(
    kernel: Kernel,
    layer: AnyLayer,
    ranks: Sequence[Rank],
    operands: Callable[[int], Tensors],
    choices: ChoicesBySize,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[Pass, Verification]:
    """Compare every pass of the chosen algorithms with the float64 reference, as :func:`layerbench.verify.verify` does.

    Of a convolution or a fully connected layer a share is a layer by itself: one of each size is compared, and of each
    pass the larger error counts. An LSTM's ranks need one another at every time step: all of them run here, in lockstep
    in one process, and together are compared with the whole layer.

    Parameters
    ----------
    ranks
        Every rank, in order.
    operands
        Operands of the whole layer for the first so many samples.
    progress
        Told what is being verified.

    Raises
    ------
    KernelError
        If the kernel cannot prepare or run a share.
    VerificationError
        If results have other names or shapes than the contract gives them.
    """
    batch = ranks[0].job.batch
    compare = _in_lockstep if isinstance(ranks[0].job.layer, SplitLSTM) else _each_size
    for samples in sorted({min(FEW, batch), batch}):
        few = [Rank(replace(rank.job, batch=samples), rank.share) for rank in ranks]
        try:
            return compare(kernel, layer, few, operands(samples), choices, progress)
        except KernelError:
            # Algorithms may refuse so few samples.
            if samples == batch:
                raise
    raise AssertionError("a batch has at least one sample")


def _each_size(
    kernel: Kernel,
    layer: AnyLayer,
    ranks: Sequence[Rank],
    operands: Tensors,
    choices: ChoicesBySize,
    progress: Callable[[str], None],
) -> dict[Pass, Verification]:
    found: dict[Pass, Verification] = {}
    for size, rank in {rank.size: rank for rank in ranks}.items():
        progress(f"a share of {size}")
        for pass_, verified in verify(kernel, rank.job, of_share(layer, rank.share, operands), choices[size]).items():
            found[pass_] = max(verified, found.get(pass_, verified), key=lambda each: each.relative_error)
    return found


def _in_lockstep(
    kernel: Kernel,
    layer: AnyLayer,
    ranks: Sequence[Rank],
    operands: Tensors,
    choices: ChoicesBySize,
    progress: Callable[[str], None],
) -> dict[Pass, Verification]:
    # The package's folder mapping hides kernels/ from static analysis, so it is imported by name.
    reference = importlib.import_module("layerbench.kernels.reference").reference
    prepared: list[PreparedUnits] = []
    for rank in ranks:
        progress(f"rank {rank.share.rank}")
        own = of_share(layer, rank.share, operands)
        prepared.append(cast(PreparedUnits, kernel.prepare(rank.job, own, choices[rank.size])))

    def run(pass_: Pass) -> None:
        for of_ranks in zip(*(each.segments[pass_] for each in prepared), strict=True):
            for segment in of_ranks:
                segment.run()
            exchange_among([segment.exchange for segment in of_ranks])

    first = ranks[0].job
    verifications: dict[Pass, Verification] = {}
    for pass_ in PASSES:
        for each in prepared:
            each.poison()
        # As the ranks will run them: each pass needs what those before it left.
        for before in PASSES[: PASSES.index(pass_) + 1]:
            run(before)
        kernel.device().synchronize()
        results = whole(layer, pass_, [each.results(pass_) for each in prepared])
        error = relative_error(kernel.name, layer.name, results, reference(layer, pass_, operands))
        limit = max(kernel.error_limit(first.dtype, of_size[pass_]) for of_size in choices.values())
        verifications[pass_] = Verification(error, limit, error <= limit, first.batch)
    return verifications
