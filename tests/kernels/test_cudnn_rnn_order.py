"""What is queued for each pass of a recurrent layer, in whatever order they are called."""

from __future__ import annotations

import importlib
import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench.layers import PASSES

orders = importlib.import_module("layerbench.kernels._cudnn_rnn_order")


class Spaces:
    """What two reserve spaces hold, if every step leaves there what cuDNN leaves."""

    def __init__(self) -> None:
        self.operands = {"src": 0, "diff_dst": 0}
        self.reserve: Any = None
        self.kept: Any = None
        self.do(orders.FIRST)

    def do(self, steps: tuple[str, ...]) -> None:
        src, diff_dst = self.operands.values()
        for step in steps:
            if step == "forward":
                self.reserve = ("state", src)
            elif step == "forward_kept":
                self.kept = ("state", src)
            elif step == "restore":
                self.reserve = self.kept
            elif step == "backward_data":
                assert self.reserve == ("state", src), "backward_data on something else than a forward's state"
                self.reserve = ("gradients", src, diff_dst)
            else:
                assert self.reserve == ("gradients", src, diff_dst), "backward_weights on no gradients"


@given(st.data())
@settings(max_examples=300)
def test_whatever_the_order_every_call_finds_what_it_reads(data: st.DataObject) -> None:
    order, spaces = orders.Order(), Spaces()
    graphs: list[tuple[str, ...]] = []
    for _ in range(data.draw(st.integers(1, 12))):
        what = data.draw(st.sampled_from([*PASSES, *PASSES, "src", "diff_dst", "capture", "replay"]))
        if what in PASSES:
            steps = order.steps(what, capturing=False)
            assert what in {step.removesuffix("_kept") for step in steps}
            spaces.do(steps)
        elif what == "capture":
            graphs.append(order.steps(data.draw(st.sampled_from(PASSES)), capturing=True))
            spaces.do(graphs[-1])
        elif what == "replay" and graphs:
            spaces.do(data.draw(st.sampled_from(graphs)))
        elif what in ("src", "diff_dst"):
            spaces.operands[what] += 1
            order.replaced(what)
            # A graph of one pass does not see that its operands are others: the passes before it come first.
            graphs.clear()


def test_in_the_order_of_a_step_each_pass_is_one_call() -> None:
    order = orders.Order()
    for _ in range(3):
        for pass_ in PASSES:
            assert order.steps(pass_, capturing=False) == (pass_,)


def test_backward_data_again_first_gets_back_what_forward_left() -> None:
    order = orders.Order()
    order.steps("forward", capturing=False)
    order.steps("backward_data", capturing=False)
    for _ in range(2):
        assert order.steps("backward_data", capturing=False) == ("restore", "backward_data")
    assert order.steps("forward", capturing=False) == ("forward",)
    assert order.steps("backward_data", capturing=False) == ("backward_data",)


def test_without_backward_data_between_only_the_first_backward_weights_pays_for_it() -> None:
    order = orders.Order()
    found = [order.steps(pass_, capturing=False) for pass_ in ("forward", "backward_weights") * 3]
    assert found[:2] == [("forward",), ("backward_data", "backward_weights")]
    assert found[2:] == [("forward_kept",), ("backward_weights",)] * 2


def test_graphs_may_be_replayed_in_any_order_and_number() -> None:
    order = orders.Order()
    graphs = [order.steps(pass_, capturing=True) for pass_ in PASSES]
    assert graphs == [("forward_kept",), ("restore", "backward_data"), ("backward_weights",)]
    for sequence in itertools.product(range(3), repeat=4):
        spaces = Spaces()
        for index in sequence:
            spaces.do(graphs[index])
