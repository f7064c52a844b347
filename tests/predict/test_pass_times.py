"""Where the times of kernels come from when nothing of their class was measured."""

from __future__ import annotations

import numpy as np
import pytest

from layerbench import suite
from layerbench.layers import PASSES
from layerbench.predict.draws import Draws
from layerbench.predict.evidence import of_records
from layerbench.predict.pass_times import PassTimes
from layerbench.predict.published import estimator
from layerbench.predict.question import asked
from layerbench.store import load
from tests.predict.made import half_of_roofline, machine
from tests.predict.test_commands import RUN


def test_published_devices_are_asked_for_gpus_only() -> None:
    assert estimator("host") is None
    assert estimator("cuda") is not None
    assert estimator("host", 0.5) is not None, "what a user assumes goes before both"


def test_a_processor_of_which_nothing_is_known_is_within_a_factor_of_two() -> None:
    found = asked(nodes=[1], from_run=RUN)
    stored = load(RUN)
    passes = PassTimes(found.machine, "fp32", [], None, Draws(0))
    factors = []
    for one in of_records(stored.manifest, stored.records, "fp32"):
        (layer,) = (known for known in stored.manifest.layers if known.weight_shapes == one.origin.weight_shapes)
        told = passes.seconds(layer, one.layer, one.pass_, [one.batch], one.exchanged)[0, 0]
        factors.append(abs(np.log(told / one.seconds)))
        assert passes.source(layer, one.pass_) == "processor"
    assert np.median(factors) < np.log(2)


def test_intervals_of_what_is_assumed_are_wide() -> None:
    passes = PassTimes(machine(), "fp32", [], None, Draws(0))
    for layer in suite.load("alexnet").layers:
        for pass_ in PASSES:
            seconds = passes.seconds(layer, layer, pass_, [16], False)[1:, 0]
            assert np.percentile(seconds, 95) > 2 * np.percentile(seconds, 5)


def test_an_estimator_is_asked_where_there_is_one() -> None:
    made = machine()
    passes = PassTimes(made, "fp32", [], half_of_roofline, Draws(0, replicas=0))
    (layer, *_) = suite.load("alexnet").layers
    assert passes.source(layer, "forward") == "published"
    told = half_of_roofline(layer, "forward", 16, "fp32", made.peak["fp32"].value, made.bandwidth.value).seconds
    assert passes.seconds(layer, layer, "forward", [16], False)[0, 0] == pytest.approx(told)
