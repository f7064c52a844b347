"""Predicted times of weak scaling, as jobs of the same work on every count."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerbench import machine, suite
from layerbench.errors import UsageError
from layerbench.predict import write
from layerbench.predict.prediction import predict
from layerbench.predict.question import Question
from layerbench.schedule.read import read_jobs


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "predicted"


def test_predicted_steps_of_weak_scaling_are_made_those_of_one_batch(file: Path) -> None:
    file.write_text(
        "layer,part,nodes,seconds,batch\nconv1,step,1,2,16\nconv1,step,2,2.5,32\nconv1,forward,2,1,64\n"
        "fc,step,1,3,16\nfc,step,2,4,\n"
    )
    conv, fc = read_jobs(file)
    assert (conv.nodes, conv.seconds) == ((1, 2), (2.0, 1.25))
    assert fc.seconds == (3.0, 4.0), "a count that tells no batch is taken as it stands, and with it the others"
    file.write_text("layer,part,nodes,seconds,batch\nconv1,step,1,2,-16\n")
    with pytest.raises(UsageError, match="batch"):
        read_jobs(file)


@pytest.mark.parametrize("as_text", [write.as_json, write.as_csv])
def test_what_predict_writes_of_weak_scaling_says_the_same_as_its_curves(file: Path, as_text: object) -> None:
    loaded = suite.load("alexnet")
    found = predict(
        Question(
            suite="alexnet",
            layers=tuple(layer for layer in loaded.layers if layer.name in ("conv5", "lstm")),
            machine=machine.load("blue-waters-xk7"),
            nodes=(1, 2, 8),
            batch=16,
            scaling="weak",
            efficiency=0.5,
        )
    )
    file.write_bytes(as_text(found))  # type: ignore[operator]
    layers = {job.type: job.seconds for job in read_jobs(file)}
    file.write_bytes(write.as_curves(found))
    curves = {job.type: job.seconds for job in read_jobs(file)}
    assert layers == {kind: pytest.approx(seconds) for kind, seconds in curves.items()}
