"""What a person sees: plain lines for logs, a bar on a terminal, and every failure in both."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from layerbench.assignment import Progressed, Recorded, Started
from layerbench.launch import World
from layerbench.layers import FC, Conv
from layerbench.plan import Count
from layerbench.records import Network, Roofline
from layerbench.terminal import Bar, Lines, heading, network_line, recorded, roofline_line

MEASURED = Count(2, 4, "measured", World(4, 2))
EMULATED = Count(8, 8, "emulated", World(1, 1))
NETWORK = Network(name="this-machine", alpha=1.5e-6, beta=2**-30, residual=0.07)
ROOFLINE = Roofline(device="host", dtype="fp32", threads=1, flops=1.78e11, bandwidth=1.15e10)

BIG = Conv(name="conv1", input=(55, 55), in_channels=96, out_channels=256, filter=(5, 5), padding=(2, 2))
SMALL = FC(name="fc6", in_features=16, out_features=16)


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lines(screen: io.StringIO) -> Lines:
    return Lines(Console(file=screen, width=40))


def printed(screen: io.StringIO) -> list[str]:
    """Plain lines without their clock."""
    shown = screen.getvalue().splitlines()
    assert all(re.match(r"\d+:\d\d ", line) for line in shown), shown
    return [line.partition(" ")[2] for line in shown]


def test_headings_say_what_runs() -> None:
    assert heading(MEASURED) == "2 nodes, 4 ranks: measured"
    assert heading(Count(1, 1, "measured", World(1, 1))) == "1 node, 1 rank: measured"
    assert heading(EMULATED) == "8 nodes, 8 ranks: emulated on one rank, communication modelled"


@pytest.mark.parametrize(
    ("network", "line"),
    [
        (NETWORK, "network this-machine: α 1.5 µs, 1/β 1.07 GB/s, median residual 7%"),
        (Network(name="lab", alpha=0.0, beta=0.0), "network lab: α 0 s, 1/β unlimited"),
    ],
)
def test_a_network_in_one_line(network: Network, line: str) -> None:
    assert network_line(network) == line


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "178 GFLOP/s, 11.5 GB/s"),
        ({"flops": 0.0, "reason": "no peak: no kernel"}, "11.5 GB/s (no peak: no kernel)"),
        (
            {"flops": 0.0, "bandwidth": 0.0, "reason": "no peak: a; no bandwidth: b"},
            "unknown (no peak: a; no bandwidth: b)",
        ),
    ],
)
def test_a_roofline_in_one_line(changes: dict[str, Any], line: str) -> None:
    assert roofline_line(msgspec.structs.replace(ROOFLINE, **changes)) == f"roofline of one rank: {line}"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Recorded("fc", 5, 0, 0, 0), "5 ok"),
        (Recorded("fc", 5, 0, 0, 2), "5 ok, 2 noisy"),
        (Recorded("fc", 3, 2, 0, 0, "wrong result"), "3 ok, 2 failed: wrong result"),
        (Recorded("fc", 0, 0, 5, 0, "no sample"), "5 skipped: no sample"),
    ],
)
def test_what_became_of_a_layer(event: Recorded, text: str) -> None:
    assert recorded(event) == text


def test_lines_of_a_whole_sweep(lines: Lines, screen: io.StringIO) -> None:
    lines.sweep_started(Path("runs/one"), [MEASURED], [SMALL])
    lines.note("the last line was cut off")
    lines.roofline_started()
    lines.roofline_known(ROOFLINE)
    lines.launch_started(MEASURED, [SMALL])
    lines.event(Started(4))
    lines.event(Progressed("fc6: 3 samples"))
    lines.event(Recorded("fc6", 5, 0, 0, 1))
    lines.network_started()
    lines.network_known(NETWORK)
    lines.launch_failed(8, "no rank made progress for 120 s")
    assert printed(screen) == [
        "run folder runs/one",
        "the last line was cut off",
        roofline_line(ROOFLINE),
        "2 nodes, 4 ranks: measured",
        "  fc6: 5 ok, 1 noisy",
        "measuring the network between two ranks",
        network_line(NETWORK),
        "8 nodes: failed: no rank made progress for 120 s",
    ]


@pytest.mark.parametrize("hostile", ["[bold]x[/bold] [/]", "a [link=http://x]b[/link]", "long " * 20 + "end", "\\[x]"])
def test_text_is_shown_as_it_is(lines: Lines, screen: io.StringIO, hostile: str) -> None:
    lines.note(hostile)
    assert printed(screen) == [hostile]


class Terminal:
    """A bar on a terminal that is wide enough, and what it has written so far."""

    def __init__(self) -> None:
        self._screen = io.StringIO()
        self.bar = Bar(Console(file=self._screen, force_terminal=True, width=120, height=30))

    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._screen.getvalue())

    def percent(self) -> float:
        (task,) = self.bar._progress.tasks
        return task.percentage

    def description(self) -> str:
        (task,) = self.bar._progress.tasks
        return task.description


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


def test_the_bar_names_the_layer_and_ends_at_the_whole(terminal: Terminal) -> None:
    layers = [BIG, SMALL]
    with terminal.bar as bar:
        bar.sweep_started(Path("runs/one"), [MEASURED, EMULATED], layers)
        seen = [terminal.percent()]
        for count in (MEASURED, EMULATED):
            bar.launch_started(count, layers)
            assert terminal.description().endswith("starting ranks")
            for layer in layers:
                bar.event(Progressed(f"{layer.name}: 3 samples"))
                assert terminal.description() == f"{count.nodes} nodes: {layer.name}: 3 samples"
                bar.event(Recorded(layer.name, 5, 0, 0, 0))
                seen.append(terminal.percent())
    assert seen[0] == 0
    assert seen[-1] == pytest.approx(100)
    assert seen == sorted(seen)
    assert seen[1] - seen[0] > 3 * (seen[2] - seen[1]), "a big layer is more of the way than a small one"
    assert "run folder runs/one" in terminal.text()


def test_a_launch_that_fails_moves_the_bar_by_all_it_has_lost(terminal: Terminal) -> None:
    layers = [BIG, SMALL]
    with terminal.bar as bar:
        bar.sweep_started(Path("runs/one"), [MEASURED, MEASURED], layers)
        bar.launch_started(MEASURED, layers)
        bar.event(Recorded("conv1", 5, 0, 0, 0))
        bar.launch_failed(2, "a rank was ended by SIGKILL")
        assert terminal.percent() == pytest.approx(50)
        bar.launch_failed(8, "the network could not be measured")
        assert terminal.percent() == pytest.approx(50), "what was lost is lost once"
    assert "2 nodes: failed: a rank was ended by SIGKILL" in terminal.text()


def test_a_layer_told_of_twice_counts_once(terminal: Terminal) -> None:
    with terminal.bar as bar:
        bar.sweep_started(Path("runs/one"), [MEASURED], [BIG, SMALL])
        bar.launch_started(MEASURED, [BIG, SMALL])
        bar.event(Recorded("fc6", 5, 0, 0, 0))
        once = terminal.percent()
        bar.event(Recorded("fc6", 5, 0, 0, 0))
        assert terminal.percent() == once > 0


def test_what_went_wrong_stays_on_the_screen_and_what_went_well_does_not(terminal: Terminal) -> None:
    with terminal.bar as bar:
        bar.sweep_started(Path("runs/one"), [MEASURED], [BIG, SMALL])
        bar.launch_started(MEASURED, [BIG, SMALL])
        bar.event(Recorded("conv1", 3, 2, 0, 0, "wrong result [x]"))
        bar.event(Recorded("fc6", 5, 0, 0, 0))
    assert "conv1: 3 ok, 2 failed: wrong result [x]" in terminal.text()
    assert "fc6: 5 ok" not in terminal.text()


def test_the_bar_shows_markup_as_it_is(terminal: Terminal) -> None:
    with terminal.bar as bar:
        bar.sweep_started(Path("runs/one"), [MEASURED], [SMALL])
        bar.network_started()
        assert terminal.description() == "measuring the network between two ranks"
        bar.network_known(NETWORK)
        bar.roofline_started()
        assert terminal.description() == "measuring the roofline of one rank"
        bar.roofline_known(msgspec.structs.replace(ROOFLINE, reason="odd [/] reason"))
        bar.event(Progressed("odd[/]: 1 samples"))
    assert "odd[/]: 1 samples" in terminal.text()
    assert network_line(NETWORK) in terminal.text()
    assert "11.5 GB/s (odd [/] reason)" in terminal.text()
