import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.image import imread

from layerbench.layers import FC
from layerbench.report import twins
from layerbench.report.columns import row_tuples
from layerbench.report.tables import Tables
from layerbench.report.twins import Twin
from layerbench.report.twins.rows import chosen
from layerbench.report.twins.thinning import visible
from tests.report import synthetic, twinned
from tests.report.pictures import artist, gids, overlaps, words

Drawn = dict[str, Twin]


@pytest.fixture(scope="module")
def usual() -> tuple[Tables, Drawn]:
    computed = twinned.of(twinned.run())
    return computed, twinned.drawn(computed)


@pytest.fixture(scope="module")
def marked() -> tuple[Tables, Drawn]:
    computed = twinned.of(
        twinned.run(change=twinned.in_turn(twinned.marked, synthetic.failed("conv3", 4), synthetic.failed("fc6", 8)))
    )
    return computed, twinned.drawn(computed)


@pytest.fixture(scope="module")
def several() -> tuple[Tables, Drawn]:
    computed = twinned.several()
    return computed, twinned.drawn(computed)


CURVES = [("running_time", "time", "seconds", 1e-3), ("speedup", "speedup", "speedup", 1.0)]
CURVES += [("efficiency", "efficiency", "efficiency", 0.01)]


@pytest.mark.parametrize(("name", "gid", "column", "scale"), CURVES)
def test_curves_are_the_table_and_the_numbers(
    usual: tuple[Tables, Drawn], name: str, gid: str, column: str, scale: float
) -> None:
    computed, drawn = usual
    twin = drawn[name]
    for kind in ("conv", "fc", "lstm"):
        rows = computed.layer_types[computed.layer_types["kind"] == kind]
        for placement in ("measured", "emulated"):
            expected = rows[rows["placement"] == placement]
            x, y = artist(twin.figure, f"{gid}:{kind}:{placement}").get_data()
            assert list(x) == list(expected["nodes"])
            assert np.allclose(y * scale, expected[column])
            segments = artist(twin.figure, f"{gid}:{kind}:{placement}:interval").get_segments()
            low, high = (f"{column}_low", f"{column}_high") if gid != "time" else ("ci_low", "ci_high")
            assert np.allclose([[s[0][1] * scale, s[1][1] * scale] for s in segments], expected[[low, high]])
    assert np.allclose(twin.numbers[column], computed.layer_types[column])
    assert list(twin.numbers["nodes"]) == list(computed.layer_types["nodes"])


def test_the_ideals(usual: tuple[Tables, Drawn]) -> None:
    x, y = artist(usual[1]["speedup"].figure, "speedup:ideal").get_data()
    assert list(x) == list(y) == [1, 2, 4, 8]
    assert set(artist(usual[1]["efficiency"].figure, "efficiency:ideal").get_ydata()) == {100}


def test_bars_of_a_breakdown_are_shares_one_upon_another(usual: tuple[Tables, Drawn]) -> None:
    computed, drawn = usual
    figure = drawn["breakdown"].figure
    ends: dict[Any, float] = {}
    for row in row_tuples(computed.breakdown):
        key = (row.kind, row.nodes)
        name = f"breakdown:{row.kind}:{row.nodes}:{row.part}"
        if row.share == 0:
            assert name not in gids(figure)
            continue
        bar = artist(figure, name)
        assert bar.get_x() == pytest.approx(ends.get(key, 0.0))
        assert bar.get_width() == pytest.approx(100 * row.share)
        ends[key] = bar.get_x() + bar.get_width()
    for row in row_tuples(computed.layer_types):
        assert (f"breakdown:{row.kind}:{row.nodes}:outline" in gids(figure)) == (row.placement == "emulated")
    assert len(drawn["breakdown"].numbers) == len(computed.breakdown)
    parts = [artist(figure, f"breakdown:fc:2:{part}") for part in ("forward", "backward_data", "backward_weights")]
    assert len({part.get_hatch() for part in parts}) == 3
    assert to_hex(artist(figure, "breakdown:fc:2:communication").get_facecolor()) not in {
        to_hex(part.get_facecolor()) for part in parts
    }
    assert "2.37 s" in words(figure)


def test_intensity_has_a_marker_for_each_batch_and_both_conventions(usual: tuple[Tables, Drawn]) -> None:
    computed, drawn = usual
    figure = drawn["intensity"].figure
    forward = computed.intensity[computed.intensity["pass"] == "forward"]
    for layer, rows in forward.groupby("layer", observed=True):
        largest = rows["local_batch"] == 16
        filled, smaller = artist(figure, f"intensity:{layer}"), artist(figure, f"intensity:{layer}:smaller")
        assert list(filled.get_xdata()) == list(rows.loc[largest, "macs_per_byte"])
        assert sorted(smaller.get_xdata()) == sorted(rows.loc[~largest, "macs_per_byte"])
        assert to_hex(smaller.get_markerfacecolor()) == "#ffffff" != to_hex(filled.get_markerfacecolor())
    lstm = forward[(forward["layer"] == "lstm") & (forward["local_batch"] == 16)]
    reread = artist(figure, "intensity:lstm:re-read").get_xdata()
    assert list(reread) == list(lstm["macs_per_byte_weights_reread"])


def test_roofline_has_every_pass_and_the_measured_ceilings(usual: tuple[Tables, Drawn]) -> None:
    computed, drawn = usual
    figure, numbers = drawn["roofline"].figure, drawn["roofline"].numbers
    passes = computed.records[computed.records["roof_flops"].notna() & (computed.records["flops_per_rank"] > 0)]
    passes = passes[passes["part"].isin(["forward", "backward_data", "backward_weights"])]
    assert len(numbers) == len(passes) == 9 * 3 * 4
    for (kind, part, placement), rows in passes.groupby(["kind", "part", "placement"], observed=True):
        points = artist(figure, f"roofline:{kind}:{part}:{placement}")
        assert np.allclose(points.get_xdata(), rows["macs_per_byte"])
        assert np.allclose(points.get_ydata() * 1e9, rows["flops_per_rank"])
        assert (to_hex(points.get_markerfacecolor()) == "#ffffff") == (placement == "emulated")
    x, y = artist(figure, "roofline:ceiling").get_data()
    assert list(y[1:]) == [130, 130]
    assert x[1] == pytest.approx(130 / 18 / 2)
    assert y[0] == pytest.approx(2 * 18 * x[0])
    for told in ("peak 130 GFLOP/s", "18 GB/s", "ridge 3.61"):
        assert told in words(figure)
    for told in ("the fastest of 3 products", "a triad over 256 MiB"):
        assert told in drawn["roofline"].caption


def test_samples_are_the_runs_own_in_order(usual: tuple[Tables, Drawn]) -> None:
    computed, drawn = usual
    twin = drawn["samples"]
    steps = computed.records[computed.records["part"] == "step"]
    spreads = {}
    for row in steps.index:
        values = computed.run.samples.of(row)
        spreads[str(steps.loc[row, "layer"]), int(steps.loc[row, "nodes"])] = values.std() / values.mean()
    widest = sorted(spreads, key=lambda key: -spreads[key])[:24]
    strips = {gid for gid in gids(twin.figure) if gid.endswith(":strip")}
    assert strips == {f"samples:{layer}:{nodes}:strip" for layer, nodes in widest}
    layer, nodes = widest[0]
    at = steps.index[(steps["layer"] == layer) & (steps["nodes"] == nodes)][0]
    relative = computed.run.samples.of(at) / steps.loc[at, "median"] - 1
    strip = artist(twin.figure, f"samples:{layer}:{nodes}:strip")
    assert np.allclose(strip.get_xdata(), 100 * relative)
    low, high = strip.axes.get_xlim()
    assert low < 100 * twin.numbers["relative"].min() < 100 * twin.numbers["relative"].max() < high
    assert np.all(np.diff(strip.get_ydata()) > 0)
    told = twin.numbers[(twin.numbers["layer"] == layer) & (twin.numbers["nodes"] == nodes)]
    assert np.allclose(told["seconds"], computed.run.samples.of(at))
    assert "the 24 of 36 steps" in twin.caption


def test_reference_bars_are_the_table(usual: tuple[Tables, Drawn]) -> None:
    computed, drawn = usual
    frame = computed.reference
    assert len(frame) > 0
    for row in row_tuples(frame):
        assert artist(drawn["reference"].figure, f"reference:{row.layer}:{row.part}").get_width() == pytest.approx(
            1e3 * row.median
        )
        bar = artist(drawn["reference"].figure, f"reference:{row.layer}:{row.part}:{row.device}:{row.stage}")
        assert bar.get_width() == pytest.approx(1e3 * row.published_seconds)
    assert list(drawn["reference"].numbers["ratio"]) == list(frame["ratio"])


def test_every_figure_marks_what_is_noisy_throttled_and_incomplete(marked: tuple[Tables, Drawn]) -> None:
    _, drawn = marked
    for curve, name in (("time", "running_time"), ("speedup", "speedup"), ("efficiency", "efficiency")):
        figure = drawn[name].figure
        assert list(artist(figure, f"{curve}:fc:measured:noisy").get_xdata()) == [2]
        assert list(artist(figure, f"{curve}:lstm:emulated:throttled").get_xdata()) == [4]
        assert {gid for gid in gids(figure) if gid.endswith(":missing")} == {
            f"{curve}:{k}:missing" for k in ("conv", "fc")
        }
    rows = gids(drawn["breakdown"].figure) | gids(drawn["samples"].figure)
    assert {gid for gid in rows if gid.endswith((":noisy", ":throttled", ":missing"))} == {
        *("breakdown:fc:2:noisy", "breakdown:lstm:4:throttled", "breakdown:conv:4:missing", "breakdown:fc:8:missing"),
        *("samples:fc7:2:noisy", "samples:lstm:4:throttled"),
    }
    parts = ("forward", "backward_data", "backward_weights")
    assert {gid for gid in gids(drawn["roofline"].figure) if gid.endswith((":noisy", ":throttled"))} == {
        *(f"roofline:fc:{part}:measured:noisy" for part in parts),
        *(f"roofline:lstm:{part}:emulated:throttled" for part in parts),
    }
    for name in ("running_time", "speedup", "efficiency", "breakdown", "roofline", "samples"):
        for told in ("emulated (4 and 8 nodes)", "this-machine", "Ring: noisy", "±1 %", "throttled"):
            assert told in drawn[name].caption, name
        assert "Intervals leave out the model's own error (8.0 % in the median)." in drawn[name].caption
    assert "Cross: incomplete" in drawn["running_time"].caption
    assert "Cross: incomplete" in drawn["breakdown"].caption


def test_captions_say_nothing_of_marks_that_are_not_there() -> None:
    drawn = twinned.drawn(twinned.of(twinned.run(measured=8, change=twinned.marked)))
    quiet = twinned.drawn(twinned.of(twinned.run(nodes=[1], samples=200, spread=0.001)))
    assert not [name for name, twin in drawn.items() if "mulated" in twin.caption + words(twin.figure)]
    for twin in quiet.values():
        assert not re.search("noisy|throttled|incomplete|mulated", twin.caption + words(twin.figure)), twin.name


def test_captions_say_how_it_was_run(usual: tuple[Tables, Drawn]) -> None:
    for name, twin in usual[1].items():
        assert "alexnet" in twin.title
        assert not twin.title.endswith(".")
        assert twin.caption.endswith(".")
        assert twin.alt
        if name != "intensity":
            for fact in ("trong scaling, batch 16 over all nodes", "fp32", "onednn", "AMD EPYC"):
                assert fact in twin.caption
    assert "the range where there are too few" in twinned.drawn(twinned.of(twinned.run(samples=3)))["speedup"].caption


def test_several_runs_are_told_apart_by_letter_colour_marker_and_line(several: tuple[Tables, Drawn]) -> None:
    computed, drawn = several
    figure = drawn["running_time"].figure
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["conv (5 layers)", "fc", "lstm"]
    seen = []
    for letter, label in zip("ABCDE", computed.runs, strict=True):
        rows = computed.layer_types[(computed.layer_types["run"] == label) & (computed.layer_types["kind"] == "conv")]
        rows = rows[rows["placement"] == "measured"]
        points = artist(figure, f"time:{letter}:conv:measured")
        assert list(points.get_xdata()) == list(rows["nodes"])
        assert np.allclose(points.get_ydata(), rows["seconds"])
        line = artist(figure, f"time:{letter}:conv:measured:line")
        seen.append((points.get_markeredgecolor(), points.get_marker(), str(line._dash_pattern)))
        assert f"{letter}: " in words(figure)
        assert f"{letter} ({label})" in drawn["running_time"].caption
    assert [len(set(trait)) for trait in zip(*seen, strict=True)] == [5, 5, 5]
    assert artist(figure, "time:A:conv:emulated:line").get_linestyle() == "--"
    assert list(artist(figure, "time:B:fc:missing").get_xdata())
    assert "time:D:lstm:measured" not in gids(figure)
    assert "A, C and D: 4 and 8 nodes" in drawn["speedup"].caption
    assert "over the smallest node count of each run" in drawn["speedup"].title
    assert "B: 8 and 16 nodes" in drawn["speedup"].caption


def test_several_runs_share_a_breakdown_an_intensity_and_a_roofline(several: tuple[Tables, Drawn]) -> None:
    computed, drawn = several
    roofs = {gid for gid in gids(drawn["roofline"].figure) if gid.endswith(":ceiling")}
    assert roofs == {"roofline:A:ceiling", "roofline:C:ceiling", "roofline:E:ceiling"}
    assert "B and D: The run has no measured roofline" in drawn["roofline"].caption
    row = computed.breakdown[(computed.breakdown["run"] == list(computed.runs)[2])].iloc[0]
    bar = artist(drawn["breakdown"].figure, f"breakdown:C:{row['kind']}:{row['nodes']}:{row['part']}")
    assert bar.get_width() == pytest.approx(100 * row["share"])
    assert {"intensity:conv1, fp32", "intensity:conv1, bf16"} <= gids(drawn["intensity"].figure)
    assert "4 of 5 node counts are drawn" in drawn["breakdown"].caption
    same = twinned.drawn(twinned.of(twinned.run(path=Path("a")), twinned.run(path=Path("b"))))["intensity"]
    assert len(same.numbers) == 9 * 4
    assert "intensity:conv1" in gids(same.figure)


def test_one_layer_name_for_two_shapes_is_told_by_run() -> None:
    def of_size(size: int, path: str) -> Any:
        return twinned.run(path=Path(path), nodes=[1], layers=[FC(name="fc", in_features=size, out_features=size)])

    figure = twinned.drawn(twinned.of(of_size(64, "a"), of_size(640, "b")))["intensity"].figure
    assert {"intensity:fc, A", "intensity:fc, B"} <= gids(figure)


def test_what_has_nothing_to_show_is_left_out() -> None:
    assert list(twinned.drawn(twinned.of(twinned.run(None, nodes=[1], layers=twinned.ALEXNET[-1:])))) == [
        *("running_time", "breakdown", "intensity", "samples")
    ]
    nothing = twinned.run(nodes=[1], change=lambda record: synthetic.failed(record.layer, 1)(record))
    assert set(twinned.drawn(twinned.of(nothing))) == {"intensity", "roofline"}


def test_ceilings_of_another_dtype_are_drawn_with_no_kernel_under_them() -> None:
    other = msgspec.structs.replace(twinned.ROOFLINE, dtype="bf16")
    twin = twinned.drawn(twinned.of(twinned.run(other, nodes=[1])))["roofline"]
    assert len(twin.numbers) == 0
    assert "no kernel ran on what" in words(twin.figure)
    assert "no kernel ran on what" in twin.alt
    assert overlaps(twin.figure) == []


def test_the_base_is_named() -> None:
    two = twinned.of(twinned.run(nodes=[2, 4], path=Path("a")), twinned.run(nodes=[2, 8], path=Path("b")))
    assert "over 2 nodes, by layer type" in twinned.drawn(two)["speedup"].title


def test_names_are_in_order_and_known(usual: tuple[Tables, Drawn]) -> None:
    assert (*usual[1], *twins.OVERLAP_NAMES) == twins.NAMES
    assert twins.FORMATS == ("png", "svg", "pdf")


def test_files_have_their_format_and_size(usual: tuple[Tables, Drawn]) -> None:
    for name in ("running_time", "samples"):
        figure = usual[1][name].figure
        png, svg, pdf = (twins.rendered(figure, kind) for kind in twins.FORMATS)
        assert imread(io.BytesIO(png)).shape[1] == round(3.35 * 300)
        assert svg.startswith(b"<?xml")
        assert b"<dc:date>" not in svg
        assert pdf.startswith(b"%PDF")
        assert b"/CreationDate" not in pdf
        assert b"/CIDFontType2" in pdf
        assert b"/Type3" not in pdf
        assert twins.rendered(figure, "pdf") == pdf


DIGEST = """
import hashlib
from layerbench.report import twins
from tests.report import twinned
drawn = twinned.drawn(twinned.of(twinned.run(nodes=[1, 4])))
figures = [drawn[name].figure for name in ("speedup", "roofline")]
print(hashlib.sha256(b"".join(twins.rendered(one, kind) for one in figures for kind in twins.FORMATS)).hexdigest())
"""


def test_files_are_the_same_in_every_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).resolve().parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_names_with_markup_are_drawn_as_they_are() -> None:
    layers = [FC(name="$x^2$", in_features=10, out_features=10), FC(name="層_1", in_features=10, out_features=10)]
    for twin in twinned.drawn(twinned.of(twinned.run(layers=layers))).values():
        if twin.name in ("intensity", "samples"):
            assert "$x^2$" in words(twin.figure)
        for kind in twins.FORMATS:
            assert twins.rendered(twin.figure, kind)


def test_of_many_points_those_that_hide_one_another_are_drawn_once() -> None:
    layers = [FC(name=f"l{i}", in_features=8 + i % 40, out_features=8 + i) for i in range(400)]
    twin = twinned.drawn(twinned.of(twinned.run(nodes=[1, 2], layers=layers, samples=6)))["roofline"]
    points = [
        artist(twin.figure, gid) for gid in gids(twin.figure) if gid.startswith("roofline:fc") and gid.count(":") == 3
    ]
    shown = sum(len(one.get_xdata()) for one in points)
    assert len(twin.numbers) == 2400
    assert 0 < shown < 2400
    assert f"drawn once: {shown:,} of 2,400" in twin.caption
    grouped = twin.numbers.groupby(["part", "placement"], observed=True).size()
    assert len(points) == len(grouped)


def test_thinning_keeps_one_of_each_cell_and_the_ends() -> None:
    import pandas as pd

    values = np.geomspace(1, 1e6, 50_000)
    frame = pd.DataFrame({"x": values, "y": values, "by": np.arange(50_000) % 2})
    kept = visible(frame, "x", "y", ["by"])
    assert len(kept) <= 2 * 101
    assert kept["x"].min() == 1.0
    assert set(kept["by"]) == {0, 1}
    assert np.max(np.diff(np.log10(kept.loc[kept["by"] == 0, "x"]))) < 0.07
    assert visible(frame.head(10), "x", "y", ["by"]).equals(frame.head(10))


@pytest.mark.parametrize(("count", "most"), [(3, 5), (5, 5), (12, 4), (1000, 7)])
def test_chosen_are_even_and_have_both_ends(count: int, most: int) -> None:
    indices = chosen(count, most)
    assert (indices[0], indices[-1], len(indices)) == (0, count - 1, min(count, most))
    gaps = np.diff(indices)
    assert gaps.max() - gaps.min() <= 1


def test_importing_them_is_cheap() -> None:
    program = "import sys, layerbench.report.twins; print([m for m in ('pandas', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
