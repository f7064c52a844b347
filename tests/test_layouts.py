"""Which layout each layer gets: what the cost model says, unless it cannot be run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from layerbench import layouts
from layerbench.errors import UsageError
from layerbench.launch import World
from layerbench.layers import FC, LSTM, AnyLayer, Conv
from layerbench.machine import HERE, of_run, path_here, to_toml
from layerbench.plan import Count
from layerbench.records import Layout, LayoutChoice, Manifest, Network, Roofline
from tests.values import manifest, options

WIDE = FC(name="wide", in_features=9216, out_features=4096)
CONV = Conv(name="conv", input=(27, 27), in_channels=256, out_channels=384, filter=(3, 3), padding=(1, 1))
FEW_UNITS = LSTM(name="units", input_size=64, hidden_size=3, time_steps=4)
ROOFLINE = Roofline(device="host", dtype="fp32", threads=1, flops=1e11, bandwidth=1e10)
SLOW = Network(name=HERE, alpha=1e-4, beta=1e-8)


@pytest.fixture(autouse=True)
def no_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without a calibrated profile."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def run_of(*layers: AnyLayer, batch: int = 64, kernels: str = "numpy", **changes: object) -> Manifest:
    asked = options(layout="best", batch=batch, kernels=kernels, nodes=[1, 4])
    return msgspec.structs.replace(
        manifest(layers=list(layers), options=asked, roofline=ROOFLINE, network=SLOW), **changes
    )


def count(ranks: int) -> Count:
    return Count(ranks, ranks, "emulated", World(1, 1, ()))


def test_the_choice_is_the_models_with_its_figures_and_its_reason() -> None:
    wide, conv = layouts.choose(run_of(WIDE, CONV), count(4))
    assert (wide.layer, wide.nodes, wide.layout) == ("wide", 4, "model")
    assert wide.data_seconds is not None
    assert wide.model_seconds is not None
    assert wide.model_seconds < wide.data_seconds
    assert wide.why.startswith("model: its 151 MB of gradient")
    assert conv.layout == "data", "its activations are larger than its gradient"
    assert layouts.told(wide) == f"wide on 4 nodes: layout {wide.why}"


def test_one_rank_has_nothing_to_choose_and_needs_no_figures() -> None:
    (choice,) = layouts.choose(run_of(WIDE, roofline=None, network=None), count(1))
    assert (choice.layout, choice.data_seconds, choice.model_seconds) == ("data", None, None)
    assert choice.why == "data: one rank has nothing to split"


def test_a_layout_that_leaves_ranks_without_work_is_not_taken() -> None:
    (choice,) = layouts.choose(run_of(FEW_UNITS), count(4))
    assert choice.layout == "data"
    (choice,) = layouts.choose(run_of(WIDE, batch=3), count(4))
    assert choice.layout == "model"


def test_what_the_figures_do_not_explain_needs_telling() -> None:
    def needs(layout: Layout, data: float | None = None, model: float | None = None) -> bool:
        choice = LayoutChoice(nodes=4, layer="fc", layout=layout, data_seconds=data, model_seconds=model)
        return choice.needs_telling

    assert not needs("data", 1.0, 2.0)
    assert needs("data", 2.0, 1.0), "the slower one"
    assert needs("model", 2.0, 1.0), "not the usual one"
    assert not needs("data")


def test_a_layout_that_no_kernel_can_do_is_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "plain.py"
    file.write_text(
        "from layerbench.kernel import Availability\n"
        "class Plain:\n"
        "    name, preference = 'plain', None\n"
        "    def availability(self): return Availability(True)\n"
        "    def supports(self, layer, dtype): return None\n"
        "KERNEL = Plain()\n"
    )
    (choice,) = layouts.choose(run_of(WIDE, kernels=str(file)), count(4))
    assert choice.layout == "data"
    assert choice.why.startswith("data: not model, because no kernel can run wide in fp32: plain: does not offer")
    assert choice.model_seconds is not None


def test_without_a_measured_peak_the_user_is_told_what_to_give() -> None:
    failed = msgspec.structs.replace(ROOFLINE, flops=0.0, reason="no matrix product")
    for roofline in (None, failed):
        with pytest.raises(UsageError, match=r"--layout best needs the peak .* give --layout data or model") as caught:
            layouts.choose(run_of(WIDE, roofline=roofline), count(4))
        assert "\n" not in str(caught.value)


def test_only_what_is_open_is_chosen() -> None:
    run = run_of(WIDE, CONV)
    planned = [count(1), count(4)]
    assert layouts.not_chosen(run, planned) == planned
    known = [LayoutChoice(nodes=4, layer=layer.name, layout="model") for layer in run.layers]
    assert layouts.not_chosen(msgspec.structs.replace(run, layouts=known), planned) == planned[:1]
    assert layouts.not_chosen(msgspec.structs.replace(run, layouts=known[:1]), planned) == planned
    assert layouts.not_chosen(msgspec.structs.replace(run, options=options(layout="model")), planned) == []


def test_choices_are_read_by_count() -> None:
    known = [
        LayoutChoice(nodes=2, layer="wide", layout="data"),
        LayoutChoice(nodes=4, layer="wide", layout="model"),
    ]
    assert layouts.by_layer(run_of(WIDE, layouts=known), 4) == {"wide": "model"}
    assert layouts.by_layer(run_of(WIDE), 4) == {}


def test_a_profile_of_this_machine_does_not_stand_for_another_network_or_hosts() -> None:
    assert layouts.profile(options()) is None
    here = msgspec.structs.replace(of_run(run_of(WIDE)), name=HERE)
    path_here().parent.mkdir(parents=True)
    path_here().write_text(to_toml(here))
    found = layouts.profile(options())
    assert found is not None
    assert found.name == HERE
    assert layouts.profile(options(network="gemini")) is None
    assert layouts.profile(options(hosts=["a", "b"])) is None
    assert layouts.profile(options(dtype="fp64")) is None, "it has no peak of that"
    (choice,) = layouts.choose(run_of(WIDE, roofline=None, network=None), count(4))
    assert choice.layout == "model"


def test_a_network_is_needed_where_it_is_not_known_and_there_are_several_ranks() -> None:
    without = run_of(WIDE, network=None)
    assert layouts.needs_network(without, [count(1), count(4)])
    assert not layouts.needs_network(without, [count(1)])
    assert not layouts.needs_network(run_of(WIDE), [count(4)])
    assert not layouts.needs_network(msgspec.structs.replace(without, options=options()), [count(4)])
