"""The ceilings of a rank: real ones against figures had another way, and libraries that fail in every way."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from layerbench import registry, roofline
from layerbench.device import Host
from layerbench.errors import KernelError, OutOfMemoryError, UnavailableError
from layerbench.kernel import Availability, Budget, Choice, Choices, Job, Kernel, Tensors
from layerbench.launch import rank_environment
from layerbench.layers import LSTM, PASSES, DType, Pass
from layerbench.records import Roofline
from layerbench.roofline import measure
from tests.values import LAYER, options

SLEEP = 2e-3
"""Seconds of a pass of the made-up library."""


class Sleeping:
    """A matrix product that is right, and takes a known time."""

    def __init__(self, tensors: Tensors, seconds: Callable[[Pass], float]) -> None:
        x, w, dy = tensors["src"], tensors["weights"], tensors["diff_dst"]
        self._right = {
            "forward": {"dst": x @ w.T},
            "backward_data": {"diff_src": dy @ w},
            "backward_weights": {"diff_weights": dy.T @ x},
        }
        self.run = {pass_: self._call(seconds(pass_)) for pass_ in PASSES}
        self.gradient = self._right["backward_weights"]["diff_weights"].reshape(-1)

    @staticmethod
    def _call(seconds: float) -> Callable[[], None]:
        return lambda: time.sleep(seconds)

    def poison(self) -> None: ...

    def results(self, pass_: Pass) -> dict[str, np.ndarray]:
        return self._right[pass_]


class Library:
    """A made-up kernel library that takes ``SLEEP`` for every pass."""

    preference: int | None = 1

    def __init__(self, name: str = "made-up", seconds: Callable[[Pass], float] = lambda _: SLEEP) -> None:
        self.name = name
        self.seconds = seconds
        self.searched: list[int] = []
        self.prepared: list[int] = []

    def availability(self) -> Availability:
        return Availability(True, "7.1")

    def supports(self, layer: Any, dtype: DType) -> str | None:
        return None

    def device(self) -> Any:
        return Host()

    def search(self, job: Job, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
        self.searched.append(job.batch)
        return dict.fromkeys(PASSES, Choice(algorithm="asleep"))

    def prepare(self, job: Job, tensors: Tensors, choices: Choices) -> Any:
        self.prepared.append(len(tensors["src"]))
        return Sleeping(tensors, self.seconds)

    def error_limit(self, dtype: DType, choice: Choice) -> float:
        return 1e-5


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make these the only libraries there are, and bandwidth a figure that takes no time."""

    def only(*known: Kernel) -> None:
        monkeypatch.setattr(registry, "registry", lambda: {kernel.name: kernel for kernel in known})
        monkeypatch.setattr(Host, "bandwidth", lambda self, threads: [1e9, threads * 2e9, 1.5e9])

    return only


def probe(**changes: Any) -> Roofline:
    return measure(options(**{"kernels": "auto", **changes}), [LAYER], lambda _: None)


BESIDE = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import msgspec, numpy as np
from layerbench.device import Host
from layerbench.layers import FC
from layerbench.records import Options
from layerbench.roofline import measure

a, b = np.random.default_rng(0).standard_normal((2, 1024, 1024), dtype=np.float32)
out = np.empty_like(a)
seconds = min(Host().time_parts([lambda: np.matmul(a, b, out=out)], 1)[0] for _ in range(8))
told = []
layers = [FC(name="fc", in_features=4, out_features=2)]
found = measure(msgspec.json.decode(sys.argv[1], type=Options), layers, told.append)
assert told[-1] == "roofline: bandwidth", told
print(2 * 1024**3 / seconds)
print(msgspec.json.encode(found).decode())
"""


def test_the_real_ceilings_of_a_core_are_plausible() -> None:
    # In a process of its own, as a rank is: libraries read their number of threads once.
    done = subprocess.run(
        [sys.executable, "-c", BESIDE, msgspec.json.encode(options(kernels="auto")).decode()],
        env=rank_environment(1, (), os.environ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    plain, printed = done.stdout.splitlines()
    found = msgspec.json.decode(printed, type=Roofline)
    assert (found.device, found.dtype, found.threads, found.reason) == ("host", "fp32", 1, "")
    assert 1 / 3 < found.flops / float(plain) < 3
    assert found.flops == max(found.flops_samples)
    assert re.search(r", fc (\d+) x \1 x \1, (forward|backward_data|backward_weights), ", found.flops_source)
    assert 1e9 < found.bandwidth < 200e9
    assert found.bandwidth == max(found.bandwidth_samples)
    assert "24 bytes an element" in found.bandwidth_source


def test_the_rate_is_two_flop_a_mac_over_the_shortest_time(
    libraries: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roofline, "SECONDS", 10.0)
    monkeypatch.setattr(roofline, "SIZES", (256, 512))
    libraries(Library(seconds=lambda pass_: SLEEP if pass_ == "backward_data" else 3 * SLEEP))
    found = probe(threads_per_rank=2)
    # Sleeping takes no longer for the larger matrices, so their rate is the higher one.
    assert found.flops_source == "made-up 7.1, fc 512 x 512 x 512, backward_data, asleep"
    assert len(found.flops_samples) == roofline.SAMPLES
    assert found.flops == max(found.flops_samples) == pytest.approx(2 * 512**3 / SLEEP, rel=0.3)
    assert (found.bandwidth, found.bandwidth_samples) == (4e9, [1e9, 4e9, 1.5e9])


def test_the_fastest_library_of_the_same_device_counts(libraries: Callable[..., None]) -> None:
    class Elsewhere(Library):
        def device(self) -> Any:
            host = Host()
            host.name = "elsewhere"
            return host

    class Unwanted(Library):
        preference = None

    class Missing(Library):
        def availability(self) -> Availability:
            return Availability(False, reason="not installed")

        def device(self) -> Any:
            raise RuntimeError("there is no such device")

    slow, fast = Library("slow", lambda _: 4 * SLEEP), Library("fast")
    left_out = [made("x" + made.__name__, lambda _: SLEEP / 100) for made in (Elsewhere, Unwanted, Missing)]
    libraries(slow, fast, *left_out)
    assert probe().flops_source.startswith("fast 7.1")
    assert slow.prepared
    assert not any(library.prepared for library in left_out)
    asked = probe(kernels="xUnwanted")
    assert asked.flops_source.startswith("xUnwanted"), "the run's own library counts, preferred or not"


def test_a_search_is_not_repeated_where_it_would_take_the_time_that_is_left(
    libraries: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roofline, "SECONDS", 4.0)
    monkeypatch.setattr(roofline, "SIZES", (256, 512))

    class Searching(Library):
        def search(self, job: Job, tensors: Tensors, budget: Budget) -> dict[Pass, Choice]:
            time.sleep(0.3)
            return super().search(job, tensors, budget)

    library = Searching()
    libraries(library)
    assert probe().reason == ""
    assert library.searched == [256]
    assert 512 in library.prepared


def test_a_slow_library_is_timed_once_at_the_smallest_size(libraries: Callable[..., None]) -> None:
    library = Library(seconds=lambda _: 0.3)
    libraries(library)
    begin = time.monotonic()
    found = probe()
    assert time.monotonic() - begin < 5
    assert set(library.prepared) == {2, 256}
    assert 1 <= len(found.flops_samples) < roofline.SAMPLES
    assert found.flops == pytest.approx(2 * 256**3 / 0.3, rel=0.2)


def failing(error: Exception, at: int = 0) -> Library:
    """A library that raises from a size on."""

    class Failing(Library):
        def prepare(self, job: Job, tensors: Tensors, choices: Choices) -> Any:
            if job.batch >= at:
                raise error
            return super().prepare(job, tensors, choices)

    return Failing("failing")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KernelError("refused\nwith a second line"), "failing: refused with a second line"),
        (ZeroDivisionError("a defect"), "failing: ZeroDivisionError: a defect"),
        (MemoryError("5 TiB"), "failing: MemoryError: 5 TiB"),
    ],
)
def test_a_library_that_raises_leaves_its_reason_and_the_bandwidth(
    libraries: Callable[..., None], error: Exception, words: str
) -> None:
    libraries(failing(error))
    found = probe()
    assert (found.flops, found.flops_samples, found.flops_source) == (0.0, [], "")
    assert found.reason == f"no peak: no matrix product in fp32: {words}"
    assert found.bandwidth == 2e9


def test_what_was_measured_before_a_failure_stands(libraries: Callable[..., None]) -> None:
    libraries(failing(KernelError("too large"), at=512))
    found = probe()
    assert found.reason == ""
    assert " 256 x 256 x 256, " in found.flops_source
    libraries(failing(KernelError("refused")), Library("other"))
    found = probe()
    assert found.reason == ""
    assert found.flops_source.startswith("other")


def test_a_wrong_product_is_no_ceiling(libraries: Callable[..., None]) -> None:
    class Idle(Library):
        def prepare(self, job: Job, tensors: Tensors, choices: Choices) -> Any:
            return Sleeping({name: 0 * values for name, values in tensors.items()}, lambda _: 0.0)

    libraries(Idle("idle"))
    found = probe()
    assert found.flops == 0.0
    assert found.reason.endswith("idle: every pass of a product of 256 gave a wrong result")


def test_a_dtype_without_a_product_leaves_its_reason(libraries: Callable[..., None]) -> None:
    class LSTMOnly(Library):
        def supports(self, layer: Any, dtype: DType) -> str | None:
            return None if layer.kind == "lstm" else f"no {layer.kind} in {dtype}"

    libraries(LSTMOnly("recurrent"))
    lstm = LSTM(name="lstm", input_size=8, hidden_size=8, time_steps=2)
    found = measure(options(kernels="auto", dtype="fp16"), [LAYER, lstm], lambda _: None)
    assert (found.flops, found.dtype) == (0.0, "fp16")
    assert found.reason == "no peak: no matrix product in fp16: recurrent: no fc in fp16"


def test_a_run_without_any_kernel_has_no_device(libraries: Callable[..., None]) -> None:
    class Nothing(Library):
        def supports(self, layer: Any, dtype: DType) -> str | None:
            return "does nothing"

    libraries(Nothing())
    with pytest.raises(UnavailableError, match="does nothing"):
        probe()


def test_what_does_not_fit_is_not_tried(libraries: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    libraries(library)
    # A product of 512 takes nine matrices of a MiB: input, weights and output, the gradient of each, and three copies.
    monkeypatch.setattr(Host, "free_memory", lambda self: 9 * 2**20 - 1)
    assert " 256 x 256 x 256, " in probe().flops_source
    monkeypatch.setattr(Host, "free_memory", lambda self: 2**20)
    assert "a product of 256 needs 2.36 MB of memory and 1.05 MB are free" in probe().reason


def test_no_bandwidth_leaves_its_reason_and_the_peak(
    libraries: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    libraries(Library())

    def none_left(self: Host, threads: int) -> list[float]:
        raise OutOfMemoryError("too little is free")

    monkeypatch.setattr(Host, "bandwidth", none_left)
    found = probe()
    assert found.flops > 0
    assert (found.bandwidth, found.bandwidth_samples, found.bandwidth_source) == (0.0, [], "")
    assert found.reason == "no bandwidth: too little is free"
