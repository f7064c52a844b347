"""What has to be queued for a pass of a recurrent layer, whatever was queued before it.

cuDNN's three calls share a reserve space. ``forward`` fills it, ``backward_data`` reads that **and leaves the gate
gradients in its place**, and ``backward_weights`` reads those: nothing else goes from one call to the next, since the
workspace is free between them. So a second ``backward_data`` on the same reserve space computes from gradients as if
they were gates. This is why PyTorch copies the reserve space of every backward pass whose graph is retained
(``_cudnn_rnn_backward`` in its ``derivatives.yaml``), and what TensorFlow's issue 26331 met.

The harness may call passes in any order, any number of times. Called in the order of a training step, forward,
backward_data, backward_weights, each is cuDNN's call and nothing else. Otherwise what cuDNN needs is made good, within
the call:

* ``backward_data`` without a new ``forward`` first copies what a forward left in a second reserve space, the kept one;
* ``backward_weights`` after ``forward`` alone first runs ``backward_data``. From then on a ``forward`` fills the kept
  space and leaves the gate gradients alone, until the next ``backward_data``, so that only one call pays for it.

A graph in which calls are captured may be replayed at any time, unseen. So from the first capture on, ``forward`` fills
the kept space and ``backward_data`` copies it every time; that copy is in its time then.
"""

from __future__ import annotations

from typing import Literal

from layerbench.layers import Pass

Step = Literal["forward", "forward_kept", "restore", "backward_data", "backward_weights"]
"""cuDNN's calls on the reserve space; ``forward_kept`` fills the kept one, ``restore`` copies that into the other."""

FIRST: tuple[Step, ...] = ("forward_kept", "restore", "backward_data", "backward_weights")
"""What :class:`Order` takes to have been queued when it begins."""


class Order:
    """What the two reserve spaces hold once everything queued so far is done."""

    def __init__(self) -> None:
        self._holds: Literal["state", "gradients", "stale"] = "gradients"
        self._kept = True
        self._apart = False
        self._captured = False

    def replaced(self, operand: Literal["src", "diff_dst"]) -> None:
        """An operand is another one from now on."""
        if operand == "src":
            self._kept = False
            self._holds = "stale"
        elif self._holds == "gradients":
            self._holds = "stale"

    def steps(self, pass_: Pass, *, capturing: bool) -> tuple[Step, ...]:
        """What to queue for a pass, which is taken to be queued then.

        Parameters
        ----------
        capturing
            Whether it goes into a graph. It is expected to be replayed for the first time before anything else runs.
        """
        self._captured = self._captured or capturing
        if pass_ == "forward":
            return self._forward()
        if pass_ == "backward_data":
            self._apart = False
            return self._backward_data()
        if self._holds == "gradients":
            return ("backward_weights",)
        before = self._backward_data()
        self._apart = True
        return (*before, "backward_weights")

    def _forward(self) -> tuple[Step, ...]:
        if self._apart or self._captured:
            self._kept = True
            return ("forward_kept",)
        self._holds = "state"
        return ("forward",)

    def _backward_data(self) -> tuple[Step, ...]:
        in_place = self._holds == "state" and not self._captured
        self._holds = "gradients"
        if in_place:
            return ("backward_data",)
        refreshed: tuple[Step, ...] = () if self._kept else ("forward_kept",)
        self._kept = True
        return (*refreshed, "restore", "backward_data")
