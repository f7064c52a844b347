"""The report's claim: at eight nodes communication dominates FC and LSTM, and convolution is compute bound."""

from __future__ import annotations

from dataclasses import replace

import pytest

from layerbench import machine, suite
from layerbench.predict.answers import Answers
from layerbench.predict.prediction import Prediction, predict
from layerbench.predict.question import Question
from tests.predict.made import half_of_roofline


@pytest.fixture(scope="module")
def found() -> Prediction:
    loaded = suite.load("alexnet")
    return predict(
        Question(
            suite="alexnet",
            layers=loaded.layers,
            machine=machine.load("blue-waters-xk7"),
            nodes=(1, 2, 4, 8),
            batch=loaded.batch,
            estimator=half_of_roofline,
        )
    )


def at_eight(found: Prediction, kind: str) -> Answers:
    return next(one for one in found.of_types if one.name == kind)


def test_convolution_is_compute_bound_at_every_batch(found: Prediction) -> None:
    threshold = at_eight(found, "conv").thresholds[-1]
    assert (threshold.nodes, threshold.spans) == (8, ())


def test_fully_connected_layers_are_communication_bound_below_some_thousands(found: Prediction) -> None:
    threshold = at_eight(found, "fc").thresholds[-1]
    assert threshold.below is not None
    assert 1000 < threshold.below < 10_000


def test_the_lstm_is_communication_bound_at_small_batches_only(found: Prediction) -> None:
    threshold = at_eight(found, "lstm").thresholds[-1]
    assert threshold.below is not None
    assert 16 < threshold.below < 512


def test_communication_takes_less_than_half_from_the_threshold_on_and_more_below(found: Prediction) -> None:
    for kind in ("fc", "lstm"):
        batch = at_eight(found, kind).thresholds[-1].below
        assert batch is not None
        # One sample of each of the eight ranks less.
        shares = [share(found.question, kind, at) for at in (batch, 2 * batch, batch - 8, batch // 2)]
        assert [one < 0.5 for one in shares] == [True, True, False, False]


def share(question: Question, kind: str, batch: int) -> float:
    """Of communication in a step of a type on eight nodes."""
    layers = tuple(layer for layer in question.layers if layer.kind == kind)
    return predict(replace(question, layers=layers, nodes=(8,), batch=batch)).types[0].share
