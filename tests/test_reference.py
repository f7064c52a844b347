import csv
import importlib.resources
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerbench import reference
from layerbench.errors import StoreError, UsageError
from layerbench.layers import FC, LSTM, PASSES, AnyLayer, Conv
from layerbench.records import Part

ROOT = Path(__file__).resolve().parents[1]

IMAGE = Conv(name="image", input=(224, 224), in_channels=3, out_channels=64, filter=(3, 3), padding=(1, 1))
SPEECH = Conv(name="speech", input=(161, 700), in_channels=1, out_channels=32, filter=(5, 20), stride=(2, 2))
DENSE = FC(name="dense", in_features=4096, out_features=4096)
TALL = FC(name="tall", in_features=2560, out_features=7680)
UNHEARD_OF = Conv(name="unheard of", input=(9, 1235), in_channels=3, out_channels=64, filter=(3, 3))
STATE = LSTM(name="state", input_size=512, hidden_size=512, time_steps=25)


def rows_of_the_file() -> list[dict[str, str]]:
    with (ROOT / "results/deepbench/published_times.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def columns(layer: AnyLayer, batch: int, part: Part = "forward", **changes: Any) -> dict[str, list[Any]]:
    row = {"layer": layer.name, "kind": layer.kind, "part": part, "nodes": 1, "ranks": 1, "batch": batch}
    return {name: [value] for name, value in {**row, "dtype": "fp32", **changes}.items()}


def milliseconds(layer: AnyLayer, batch: int, device: str, part: Part = "forward", **changes: Any) -> list[float]:
    found = reference.matches(columns(layer, batch, part, **changes), [layer])
    return [round(seconds * 1e3, 6) for seconds in found.loc[found["device"] == device, "time_seconds"]]


def test_every_row_of_the_file_is_there_and_counted_alike() -> None:
    rows, frame = rows_of_the_file(), reference.published()
    assert len(frame) == len(rows) == 6086
    for names in (["op", "device"], ["pass", "precision", "stage"]):
        expected = Counter(tuple(row[name] for name in names) for row in rows)
        assert frame.groupby(names, observed=True).size().to_dict() == expected
    assert frame["time_seconds"].tolist() == [float(row["time_ms"]) / 1e3 for row in rows]
    assert list(frame["algorithm"]) == [row["algorithm"] for row in rows]


def test_columns_are_typed_and_a_caller_cannot_change_them_for_the_next() -> None:
    frame = reference.published()
    assert list(frame.columns) == ["time_seconds" if name == "time_ms" else name for name in reference.COLUMNS]
    assert frame["time_seconds"].dtype == "float64"
    assert (frame.drop(columns="time_seconds").dtypes == "category").all()
    frame["time_seconds"] = 0.0
    assert (reference.published()["time_seconds"] > 0).all()


def test_what_is_installed_is_what_the_folder_holds() -> None:
    folder = importlib.resources.files("layerbench.deepbench")
    specs = json.loads((folder / "published_specs.json").read_text())
    assert {f"{row['device']}/{row['stage']}" for row in rows_of_the_file()} <= specs.keys()
    assert "published_times.csv" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("layer", "batch", "device", "part", "expected"),
    [
        (IMAGE, 16, "MI25", "forward", [0.875]),
        (IMAGE, 16, "MI25", "backward_data", [1.665]),
        (IMAGE, 16, "MI25", "backward_weights", [0.742]),
        (DENSE, 64, "MI25", "forward", [0.429]),
        (DENSE, 64, "MI25", "backward_data", [0.619]),
        (DENSE, 64, "KNL7250", "forward", [0.682394]),
        (DENSE, 64, "MI25", "backward_weights", []),
    ],
)
def test_shapes_as_they_stand_in_the_file(
    layer: AnyLayer, batch: int, device: str, part: Part, expected: list[float]
) -> None:
    assert milliseconds(layer, batch, device, part) == expected


def test_width_and_height_are_not_confused() -> None:
    params = "w=700;h=161;c=1;n=4;k=32;filter_w=20;filter_h=5;pad_w=0;pad_h=0;stride_w=2;stride_h=2"
    assert reference.params_of(SPEECH, 4) == ("conv", params)
    assert len(milliseconds(SPEECH, 4, "KNL7250")) == 1
    turned = Conv(name="x", input=(700, 161), in_channels=1, out_channels=32, filter=(20, 5), stride=(2, 2))
    assert milliseconds(turned, 4, "KNL7250") == []


def test_padding_and_stride_are_not_confused() -> None:
    layer = Conv(name="x", input=(9, 8), in_channels=2, out_channels=3, filter=(2, 1), stride=(4, 3), padding=(6, 5))
    params = "w=8;h=9;c=2;n=1;k=3;filter_w=1;filter_h=2;pad_w=5;pad_h=6;stride_w=3;stride_h=4"
    assert reference.params_of(layer, 1) == ("conv", params)


@pytest.mark.parametrize(
    ("layer", "batch", "changes"),
    [
        (IMAGE, 17, {}),
        (IMAGE, 16, {"dtype": "fp64"}),
        (IMAGE, 16, {"ranks": 2}),
        (IMAGE, 16, {"part": "step"}),
        (IMAGE, 16, {"part": "communication"}),
        (IMAGE, 16, {"status": "failed"}),
        (IMAGE, 16, {"placement": "emulated"}),
        (IMAGE, 16, {"cache": "cold"}),
        (IMAGE, 16, {"layer": "another"}),
        (Conv(name="x", input=(224, 224), in_channels=3, out_channels=64, filter=(3, 3), padding=(0, 0)), 16, {}),
        (FC(name="x", in_features=4096, out_features=4095), 64, {}),
        (STATE, 16, {}),
    ],
)
def test_a_near_miss_is_not_matched(layer: AnyLayer, batch: int, changes: dict[str, Any]) -> None:
    assert len(reference.matches({**columns(IMAGE, 16), "status": ["ok"], "cache": ["hot"]}, [IMAGE])) > 5
    assert reference.matches({**columns(layer, batch), **{k: [v] for k, v in changes.items()}}, [layer]).empty


def test_the_precision_decides() -> None:
    found = reference.matches(columns(IMAGE, 16, dtype="fp16"), [IMAGE])
    assert set(found["device"]) == {"V100"}
    assert set(found["precision"]) == {"fp16"}


def test_what_deepbench_has_no_words_for() -> None:
    shape = {"name": "x", "input": (8, 8), "in_channels": 4, "out_channels": 4, "filter": (3, 3)}
    for layer in (
        Conv(**shape, dilation=(1, 2)),
        Conv(**shape, groups=2),
        LSTM(name="x", input_size=256, hidden_size=512, time_steps=25),
    ):
        assert reference.params_of(layer, 16) is None
        assert reference.objection(layer)
    assert reference.objection(Conv(**shape)) is None
    assert reference.params_of(DENSE, 16, "step") is None


def test_an_lstm_is_listed_but_its_times_are_of_another_operation() -> None:
    """DeepBench counts the recurrent product only, which ours is half of: its rates would exceed the chip's peak."""
    listed = reference.params_of(STATE, 16)
    assert listed == ("rnn", "hidden=512;batch=16;timesteps=25;cell=lstm")
    times = reference.published()
    assert len(times[(times["op"] == "rnn") & (times["params"] == listed[1])]) > 5
    assert "product with the input" in str(reference.objection(STATE))
    large = LSTM(name="x", input_size=4096, hidden_size=4096, time_steps=25)
    params = reference.params_of(large, 128)
    assert params is not None
    of_m40 = times[(times["device"] == "M40") & (times["params"] == params[1]) & (times["pass"] == "backward_weights")]
    assert 2 * large.macs(128) / of_m40["time_seconds"].item() > 7e12 > large.macs(128) / of_m40["time_seconds"].item()


def column_major(storage: np.ndarray, rows: int, columns: int) -> np.ndarray:
    return storage.reshape(columns, rows).T


def gemm(a: np.ndarray, b: np.ndarray, params: str) -> np.ndarray:
    """C = op(A) op(B) of column-major storage, as a BLAS computes it, in column-major storage."""
    m, n, k, a_t, b_t = (int(word.partition("=")[2]) for word in params.split(";"))
    left = column_major(a, k, m).T if a_t else column_major(a, m, k)
    right = column_major(b, n, k).T if b_t else column_major(b, k, n)
    return np.asarray((left @ right).T).reshape(-1)


def test_a_fully_connected_layers_passes_are_these_products() -> None:
    """One storage of input, weights and output serves all three passes, and gives what the layer is defined by."""
    batch, layer = 3, FC(name="x", in_features=5, out_features=2)
    generator = np.random.default_rng(1)
    x, w, dy = (generator.normal(size=shape) for shape in ((batch, 5), (2, 5), (batch, 2)))
    # (N, I) row by row is in × batch column by column; the weights lie as out × in.
    x_stored, dy_stored, w_stored = x.reshape(-1), dy.reshape(-1), w.T.reshape(-1)
    operands = {
        "forward": (w_stored, x_stored, x @ w.T),
        "backward_data": (w_stored, dy_stored, dy @ w),
        "backward_weights": (dy_stored, x_stored, (dy.T @ x).T),
    }
    for part in PASSES:
        listed = reference.params_of(layer, batch, part)
        assert listed is not None
        assert listed[0] == "gemm"
        left, right, expected = operands[part]
        np.testing.assert_allclose(gemm(left, right, listed[1]), expected.reshape(-1))


def test_records_as_columns_and_in_their_order() -> None:
    records = {
        name: [*columns(TALL, 64)[name], *columns(IMAGE, 16)[name], *columns(IMAGE, 16, "step")[name]]
        for name in columns(IMAGE, 16)
    }
    found = reference.matches(records, [IMAGE, TALL])
    assert list(found.columns) == list(reference.MATCHED)
    assert list(dict.fromkeys(found["layer"])) == ["tall", "image"]
    assert set(found["part"]) == {"forward"}
    assert found["nodes"].tolist() == [1] * len(found)
    assert set(found["stage"]) == {"training"}


def test_no_records_match_nothing_in_all_columns() -> None:
    found = reference.matches({name: [] for name in columns(IMAGE, 16)}, [IMAGE])
    assert list(found.columns) == list(reference.MATCHED)
    assert found.empty


def test_a_missing_column_is_named() -> None:
    with pytest.raises(UsageError, match=r"^records need .*: ranks missing$"):
        reference.matches({name: v for name, v in columns(IMAGE, 16).items() if name != "ranks"}, [IMAGE])


@pytest.mark.parametrize(
    "text",
    ["", "device,time_ms\nx,1\n", ",".join(reference.COLUMNS) + "\na,b,c,d,e,f,soon,g\n", "\xff\xfe"],
)
def test_a_file_that_is_no_such_table_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "times.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match=r"times\.csv is no table of DeepBench times") as raised:
        reference.read(path)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"none\.csv cannot be read: No such file"):
        reference.read(tmp_path / "none.csv")


def test_the_devices_and_what_is_said_of_them() -> None:
    assert set(reference.devices()) == {row["device"] for row in rows_of_the_file()}
    assert len(reference.devices()) == 8
    for device, stage in {(row["device"], row["stage"]) for row in rows_of_the_file()}:
        told = reference.specs(device, stage)
        assert {"GPU Model", "CPU Model"} & told.keys()
        assert all(value.strip(" -") and "\u00a0" not in value for value in told.values())
    assert reference.specs("V100", "training")["CUDA Version"] == "10.1.243"
    assert "OpenMPI Version" not in reference.specs("V100", "training"), "a dash is no version"
    assert reference.specs("V100", "inference") == {}


@pytest.mark.parametrize(
    ("layer", "batch", "part", "dtype", "device", "lacking"),
    [
        (IMAGE, 16, "forward", "fp32", "V100", ""),
        (IMAGE, 16, "backward_data", "fp32", "MI25", ""),
        (IMAGE, 16, "backward_data", "fp32", "V100", "pass"),
        (IMAGE, 16, "backward_data", "bf16", "V100", "precision"),
        (IMAGE, 16, "forward", "fp16", "MI25", "precision"),
        (IMAGE, 17, "forward", "fp32", "V100", "shape"),
        (UNHEARD_OF, 16, "forward", "fp32", "V100", "shape"),
        (DENSE, 64, "forward", "fp32", "V100", ""),
        (DENSE, 64, "backward_data", "fp32", "V100", ""),
        (DENSE, 64, "backward_weights", "fp32", "V100", "pass"),
        (DENSE, 64, "backward_weights", "tf32", "V100", "precision"),
        (DENSE, 63, "backward_weights", "fp32", "V100", "shape"),
    ],
)
def test_what_a_kernel_lacks(layer: AnyLayer, batch: int, part: Part, dtype: str, device: str, lacking: str) -> None:
    times = reference.published()
    of_device = times[times["device"] == device]
    (why,) = reference.missing([(layer, part, batch, dtype)], of_device)
    assert why == reference.NOT_PUBLISHED.get(lacking, "")
    found = reference.matches(columns(layer, batch, part, dtype=dtype), [layer], of_device)
    assert found.empty == bool(lacking)


def test_what_is_another_operation_lacks_more_than_a_shape() -> None:
    grouped = Conv(name="x", input=(224, 224), in_channels=4, out_channels=64, filter=(3, 3), groups=2)
    for layer in (STATE, grouped):
        assert reference.missing([(layer, "forward", 16, "fp32")], reference.published()) == [
            reference.objection(layer)
        ]
