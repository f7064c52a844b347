import io
import math
import subprocess
import sys

import msgspec
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from layerbench import suite
from layerbench.layers import FC, LSTM, AnyLayer
from layerbench.records import Record
from layerbench.report import axes, figure, panels, tables
from layerbench.report.columns import row_tuples
from layerbench.report.tables import Tables
from layerbench.store import StoredRun
from tests.report import synthetic
from tests.report.pictures import artist, gids, overlaps, words

ALEXNET = suite.load("alexnet").layers


def drawn(run: StoredRun) -> tuple[Tables, Figure]:
    computed = tables.of_run(run)
    return computed, figure.draw(computed)


@pytest.fixture(scope="module")
def usual() -> tuple[Tables, Figure]:
    return drawn(synthetic.run())


@pytest.mark.parametrize("kind", ["conv", "fc", "lstm"])
@pytest.mark.parametrize(("curve", "column", "scale"), [("time", "seconds", 1e-3), ("speedup", "speedup", 1.0)])
def test_points_are_the_tables(usual: tuple[Tables, Figure], kind: str, curve: str, column: str, scale: float) -> None:
    computed, picture = usual
    types = computed.layer_types[computed.layer_types["kind"] == kind]
    for placement, nodes in (("measured", [1, 2]), ("emulated", [4, 8])):
        x, y = artist(picture, f"{curve}:{kind}:{placement}").get_data()
        assert list(x) == nodes
        expected = types[types["placement"] == placement]
        assert np.allclose(y * scale, expected[column])
        intervals = artist(picture, f"{curve}:{kind}:{placement}:interval").get_segments()
        low, high = ("ci_low", "ci_high") if curve == "time" else ("speedup_low", "speedup_high")
        assert np.allclose([s[0][1] * scale for s in intervals], expected[low])
        assert np.allclose([s[1][1] * scale for s in intervals], expected[high])


def test_emulated_is_hollow_and_dashed_measured_filled_and_solid(usual: tuple[Tables, Figure]) -> None:
    _, picture = usual
    for curve in ("time", "speedup"):
        for kind in ("conv", "fc", "lstm"):
            colour = panels.look(kind, ["conv", "fc", "lstm"]).colour.lower()
            measured, emulated = (artist(picture, f"{curve}:{kind}:{p}") for p in ("measured", "emulated"))
            assert to_hex(measured.get_markerfacecolor()) == colour
            assert to_hex(emulated.get_markerfacecolor()) == "#ffffff"
            assert to_hex(emulated.get_markeredgecolor()) == colour
            solid, dashed = (artist(picture, f"{curve}:{kind}:{p}:line") for p in ("measured", "emulated"))
            assert solid.get_linestyle() == "-"
            assert list(solid.get_xdata()) == [1, 2]
            assert dashed.get_linestyle() == "--"
            assert [x for x in dashed.get_xdata() if not math.isnan(x)] == [2, 4, 4, 8]


def test_types_differ_by_marker_and_by_colour(usual: tuple[Tables, Figure]) -> None:
    looks = [panels.look(kind, ["conv", "fc", "lstm", "gru"]) for kind in ("conv", "fc", "lstm", "gru")]
    assert len({look.marker for look in looks}) == 4
    assert len({look.colour for look in looks}) == 4
    _, picture = usual
    assert {artist(picture, f"time:{kind}:measured").get_marker() for kind in ("conv", "fc", "lstm")} == {"o", "s", "^"}


def test_bars_are_the_shares_hollow_and_hatched_where_emulated(usual: tuple[Tables, Figure]) -> None:
    computed, picture = usual
    for row in row_tuples(computed.layer_types):
        bar = artist(picture, f"share:{row.kind}:{row.nodes}")
        assert bar.get_height() == pytest.approx(100 * row.communication_share)
        assert bool(bar.get_hatch()) == (row.nodes > 2)
        assert (to_hex(bar.get_facecolor()) == "#ffffff") == (row.nodes > 2)


def test_intensity_bars_are_the_table_in_both_conventions(usual: tuple[Tables, Figure]) -> None:
    computed, picture = usual
    for row in row_tuples(computed.layers):
        assert artist(picture, f"intensity:{row.layer}").get_width() == pytest.approx(row.macs_per_byte)
    reread = computed.layers["macs_per_byte_weights_reread"].iloc[-1]
    assert artist(picture, "intensity:lstm:re-read").get_width() == pytest.approx(reread)
    assert "weights read once" in words(picture)
    assert "weights re-read each step" in words(picture)


def test_the_ideal_line(usual: tuple[Tables, Figure]) -> None:
    x, y = artist(usual[1], "speedup:ideal").get_data()
    assert list(x) == list(y) == [1, 2, 4, 8]


def test_axes_are_log_log_with_plain_node_counts_and_units(usual: tuple[Tables, Figure]) -> None:
    time, speedup, share, intensity = usual[1].axes
    for panel in (time, speedup):
        assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
        assert [label.get_text() for label in panel.get_xticklabels()] == ["1", "2", "4", "8"]
        assert panel.get_xlabel() == "nodes"
    assert [label.get_text() for label in share.get_xticklabels()] == ["1", "2", "4", "8"]
    assert time.get_ylabel() == "running time (ms)"
    assert share.get_ylabel() == "share of the running time (%)"
    assert intensity.get_xscale() == "log"
    assert "MACs per byte" in intensity.get_xlabel()
    ticks = [time.yaxis.get_major_formatter()(value, 0) for value in time.yaxis.get_majorticklocs()]
    assert "1,000" in ticks


def test_the_figure_says_how_it_was_made(usual: tuple[Tables, Figure]) -> None:
    said = words(usual[1])
    for fact in (
        *("alexnet", "strong scaling", "batch 16 over all nodes", "fp32", "onednn", "1 thread per rank", "AMD EPYC"),
        *("measured", "emulated", "this-machine", "3.8 GB/s", "conv (5 layers)"),
    ):
        assert fact in said


CASES = {
    "usual": {},
    "one count": {"nodes": [1]},
    "one emulated count": {"nodes": [4]},
    "ten counts": {"nodes": [1, 2, 3, 4, 6, 8, 12, 16, 32, 64], "measured": 4, "batch": 128},
    "one to ten": {"nodes": range(1, 11)},
    "close counts": {"nodes": [1, 30, 31, 32]},
    "weak": {"scaling": "weak", "spread": 0.05},
    "all measured": {"measured": 8},
    "one layer": {"layers": ALEXNET[-1:]},
    "no fc": {"layers": [layer for layer in ALEXNET if layer.kind != "fc"]},
    "base is 2": {"nodes": [2, 4, 8]},
    "failed": {"change": synthetic.failed("conv3", 4)},
    "base failed": {"change": synthetic.failed("fc6", 1)},
    "only one type left": {"change": lambda r: r if r.kind == "lstm" else None},
    "few samples": {"samples": 3},
    "batch 1": {"nodes": [1], "batch": 1},
    "long names": {
        "layers": [FC(name=f"{'decoder_' * 7}{i}", in_features=100 * i + 100, out_features=900) for i in range(14)]
    },
    "many layers": {"layers": [LSTM(name=f"l{i}", input_size=64, hidden_size=64 + i, time_steps=9) for i in range(60)]},
}


@pytest.mark.parametrize("case", CASES)
def test_no_text_covers_another_or_leaves_the_page(case: str) -> None:
    _, picture = drawn(synthetic.run(**CASES[case]))
    assert overlaps(picture) == []


def test_one_count_has_no_speed_up_and_one_rank_no_communication() -> None:
    _, picture = drawn(synthetic.run(nodes=[1]))
    assert [panel.get_title(loc="left") for panel in picture.axes] == ["Running time of a step", "Arithmetic intensity"]
    _, picture = drawn(synthetic.run(nodes=[4]))
    assert [panel.get_title(loc="left") for panel in picture.axes] == [
        "Running time of a step",
        "Communication in a step",
        "Arithmetic intensity",
    ]


def test_an_incomplete_type_is_a_cross_and_no_line_spans_it() -> None:
    computed, picture = drawn(synthetic.run(change=synthetic.failed("conv3", 4)))
    for panel in ("time", "speedup", "share"):
        assert f"{panel}:conv:missing" in gids(picture)
    assert list(artist(picture, "time:conv:emulated").get_xdata()) == [8]
    assert "time:conv:emulated:line" not in gids(picture)
    assert f"share:conv:{4}" not in gids(picture)
    assert list(artist(picture, "time:fc:emulated").get_xdata()) == [4, 8]
    assert "incomplete" in words(picture)
    assert figure.can_draw(computed)


def test_noisy_points_are_ringed_and_only_they() -> None:
    def change(record: Record) -> Record:
        return msgspec.structs.replace(record, noisy=record.key == ("fc7", "step", 2))

    _, picture = drawn(synthetic.run(change=change))
    assert list(artist(picture, "time:fc:measured:noisy").get_xdata()) == [2]
    assert {gid for gid in gids(picture) if gid.endswith("noisy")} == {
        *(f"{panel}:fc:measured:noisy" for panel in ("time", "speedup")),
        "share:fc:2:noisy",
    }
    ring, bar = artist(picture, "share:fc:2:noisy"), artist(picture, "share:fc:2")
    assert ring.get_xdata()[0] == pytest.approx(bar.get_x() + bar.get_width() / 2)
    assert ring.get_ydata()[0] == pytest.approx(bar.get_height())
    assert "did not shrink to ±1 %" in words(picture)


def test_no_mark_stands_where_one_rank_exchanges_nothing() -> None:
    def change(record: Record) -> Record:
        marked = record.key in {("fc7", "step", 1), ("fc7", "step", 2)}
        return msgspec.structs.replace(record, noisy=marked, throttled=marked)

    _, picture = drawn(synthetic.run(change=change))
    assert list(artist(picture, "time:fc:measured:noisy").get_xdata()) == [1, 2]
    assert {gid for gid in gids(picture) if gid.startswith("share:") and gid.endswith(("noisy", "throttled"))} == {
        *("share:fc:2:noisy", "share:fc:2:throttled"),
    }


def test_throttled_points_have_a_square_around_them_and_only_they() -> None:
    def change(record: Record) -> Record:
        return msgspec.structs.replace(record, throttled=record.key == ("lstm", "step", 4))

    _, picture = drawn(synthetic.run(change=change))
    square = artist(picture, "time:lstm:emulated:throttled")
    assert (list(square.get_xdata()), square.get_marker()) == ([4], "s")
    assert {gid for gid in gids(picture) if gid.endswith("throttled")} == {
        *(f"{panel}:lstm:emulated:throttled" for panel in ("time", "speedup")),
        "share:lstm:4:throttled",
    }
    assert "Throttled: the device ran below its usual clock" in " ".join(words(picture).split())


def test_all_measured_shows_no_sign_of_emulation() -> None:
    _, picture = drawn(synthetic.run(measured=8))
    assert not [gid for gid in gids(picture) if "emulated" in gid]
    assert "mulated" not in words(picture)


def test_the_range_is_not_called_a_95_percent_interval() -> None:
    _, picture = drawn(synthetic.run(samples=3))
    assert "the range where there are too few samples" in " ".join(words(picture).split())


def test_weak_scaling_is_named() -> None:
    _, picture = drawn(synthetic.run(scaling="weak"))
    said = words(picture)
    assert "weak scaling, batch 16 on each node" in said
    assert "Scaled speed-up over 1 node" in said


def test_the_base_is_named_where_it_is_not_one_node() -> None:
    _, picture = drawn(synthetic.run(nodes=[2, 4, 8]))
    assert "Speed-up over 2 nodes" in words(picture)
    assert list(artist(picture, "speedup:ideal").get_ydata()) == [1, 2, 4]


def test_many_layers_are_summed_up_by_type() -> None:
    layers: list[AnyLayer] = [FC(name=f"fc{i}", in_features=100 * i + 100, out_features=900) for i in range(40)]
    computed, picture = drawn(synthetic.run(layers=layers))
    frame = computed.layers
    expected = frame["macs"].sum() / frame["bytes"].sum()
    assert artist(picture, "intensity:fc").get_width() == pytest.approx(expected)
    (bar,) = panels.intensity_bars(frame)
    assert (bar.low, bar.high) == (frame["macs_per_byte"].min(), frame["macs_per_byte"].max())
    assert "40 layers" in words(picture)


def test_nothing_complete_cannot_be_drawn() -> None:
    run = synthetic.run(nodes=[1], change=lambda r: synthetic.failed(r.layer, 1)(r))
    assert not figure.can_draw(tables.of_run(run))


def test_files_are_the_same_every_time_and_have_the_size_they_claim() -> None:
    first, again = (drawn(synthetic.run())[1] for _ in range(2))
    png = figure.rendered(first, "png")
    assert png == figure.rendered(again, "png")
    svg = figure.rendered(first, "svg")
    assert svg == figure.rendered(again, "svg")
    assert b"<dc:date>" not in svg
    assert imread(io.BytesIO(png)).shape[1] == figure.WIDTH * figure.DPI


def test_drawing_leaves_the_users_settings_alone_and_is_not_changed_by_them() -> None:
    import matplotlib

    before = figure.rendered(drawn(synthetic.run(nodes=[1]))[1], "png")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        after = figure.rendered(drawn(synthetic.run(nodes=[1]))[1], "png")
        assert matplotlib.rcParams["font.size"] == 30
    assert before == after


def test_names_with_markup_or_foreign_letters_are_drawn_as_they_are() -> None:
    layers = [FC(name="$x^2$", in_features=10, out_features=10), FC(name="層_1", in_features=10, out_features=10)]
    _, picture = drawn(synthetic.run(layers=layers))
    assert "$x^2$" in words(picture)
    assert figure.rendered(picture, "svg")


def test_importing_the_report_is_cheap() -> None:
    program = "import sys, layerbench.report; print([m for m in ('pandas', 'matplotlib', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("low", [1e-6, 0.03, 1, 7, 950])
@pytest.mark.parametrize("span", [2.25, 4, 30, 1e3, 1e6, 1e12])
@pytest.mark.parametrize("base", [2, 10])
def test_log_axes_have_a_readable_number_of_labels(low: float, span: float, base: int) -> None:
    values = axes.round_values(low, low * span, base)
    assert 1 <= len(values) <= 9
    assert all(low <= value <= low * span for value in values)
    assert values == sorted(set(values))


def test_labels_of_close_counts_are_left_out() -> None:
    assert axes.apart([1, 2, 4, 8]) == [1, 2, 4, 8]
    assert axes.apart([1, 1000, 1001, 1024]) == [1, 1024]
    assert axes.apart([4]) == [4]
