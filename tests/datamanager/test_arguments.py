from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from layerbench.datamanager.host import Host
from layerbench.datamanager.manager import DataManager
from layerbench.datamanager.source import Field, Stage
from layerbench.errors import OutOfMemoryError, UsageError
from tests.datamanager.made import Made, Tiny


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"depth": 0}, "depth is the number of slots, a whole number of at least 1, not 0"),
        ({"depth": -3}, "at least 1, not -3"),
        ({"depth": 2.0}, "at least 1, not 2.0"),
        ({"depth": True}, "at least 1, not true"),
        ({"timeout": 0}, "timeout is a positive number of seconds, or None to wait for ever, not 0"),
        ({"timeout": -1.0}, "not -1.0"),
        ({"timeout": float("nan")}, "not nan"),
        ({"timeout": "1"}, "not '1'"),
        ({"workers": 0}, "workers of read are a whole number of at least 1, not 0"),
        ({"workers": {"decode": 0}}, "workers of decode are"),
        ({"workers": {"decod": 2}}, r"no stage 'decod' \(did you mean 'decode'\?\); it has read, decode, cast"),
        ({"device": "gpu"}, "device 'gpu' is not known: it is 'host', 'cuda' or 'cuda:N'"),
        ({"device": "cuda:x"}, "device 'cuda:x' is not known"),
        ({"device": 3}, "device is 'host', 'cuda', 'cuda:N' or a Device, not 'int'"),
        ({"cores": []}, r"cores are numbers of cores, at least one, not \[\]"),
        ({"cores": 3}, r"cores are numbers of cores, such as \[0, 1\], not 3"),
        ({"cores": [-1]}, r"cores are numbers of cores, at least one, not \[-1\]"),
        ({"cores": [100000]}, r"cores: this process cannot use \[100000\] of \[100000\]"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line(asked: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        DataManager(Made([[1]]), **asked)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_core_that_is_not_there_is_not_silently_left_out() -> None:
    here = min(os.sched_getaffinity(0))
    with pytest.raises(UsageError, match=rf"cannot use \[4000\] of \[{here}, 4000\]"):
        DataManager(Made([[1]]), cores=[here, 4000])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fields": ()}, "a source has fields, at least one; this one has none"),
        ({"stages": []}, "a source has stages, at least one"),
        ({"batch_size": 0}, "a source's batch_size is a whole number of at least 1, not 0"),
        ({"batches": -1}, "a source's batches is a whole number or None, not -1"),
        ({"stages": [Stage("a", max), Stage("a", max)]}, "the stages of a source have different names; 2 of this one"),
        ({"fields": [Field("x", (), np.dtype(object))]}, "field 'x' has dtype object"),
    ],
)
def test_a_source_that_cannot_be_run_is_refused(change: dict[str, Any], told: str) -> None:
    source = Tiny(1)
    for name, value in change.items():
        setattr(source, name, value)
    with pytest.raises(UsageError, match=told):
        DataManager(source)


@pytest.mark.parametrize("wrong", [[1, 2], np.zeros((4, 2)), None, "images", iter([])])
def test_what_is_no_source_is_refused_with_the_kinds_there_are(wrong: Any) -> None:
    kind = type(wrong).__name__
    told = f"^expected a source, such as Arrays, .* or Batches, not '{kind}', which has no fields; Batches makes one of"
    with pytest.raises(UsageError, match=told):
        DataManager(wrong)


def test_slots_that_do_not_fit_memory_are_refused_before_they_are_allocated() -> None:
    source = Tiny(1)
    source.batch_size = 2**42
    with pytest.raises(OutOfMemoryError, match=r"3 slots of 70.4 TB each do not fit the .* of memory that are free"):
        DataManager(source)


@pytest.mark.parametrize("device", [None, "host", Host()])
def test_the_processor_has_several_names(device: Any) -> None:
    with DataManager(Tiny(2), device=device) as batches:
        assert [batch.index for batch in batches] == [0, 1]


@pytest.mark.parametrize("timeout", [None, 1, 1e30, float("inf")])
def test_one_may_wait_for_ever(timeout: float | None) -> None:
    with DataManager(Tiny(2), timeout=timeout) as batches:
        assert len(list(batches)) == 2


def test_numbers_may_be_numpys() -> None:
    source = Tiny(2)
    source.batch_size = np.int64(2)  # type: ignore[assignment]
    with DataManager(source, depth=np.int64(2), workers=np.int32(1)) as batches:  # type: ignore[arg-type]
        assert len(list(batches)) == 2
