"""What is cut of a layer's tensors for ranks is, put together, the whole again."""

from __future__ import annotations

import numpy as np
import pytest

from layerbench import verify
from layerbench.layers import FC, LSTM, AnyLayer, Conv
from layerbench.partition import shares
from layerbench.slices import of_share, whole

BATCH = 3
LAYERS = (
    Conv(name="conv", input=(6, 5), in_channels=4, out_channels=7, filter=(3, 2)),
    Conv(name="grouped", input=(6, 5), in_channels=6, out_channels=12, filter=(3, 2), groups=3),
    FC(name="fc", in_features=5, out_features=7),
    LSTM(name="lstm", input_size=4, hidden_size=7, time_steps=2),
)


def as_results(layer: AnyLayer, tensors: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Operands in the place of the results that have their shapes."""
    weights = {f"diff_{name}": tensors[name] for name in layer.weight_shapes}
    return {"forward": {"dst": tensors["diff_dst"]}, "backward_weights": weights}


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_slices_put_together_are_the_whole(layer: AnyLayer, ranks: int) -> None:
    tensors = verify.tensors(layer, "fp32", 0, 0, BATCH)
    cut = [of_share(layer, share, tensors) for share in shares(layer, BATCH, ranks, "model")]
    for pass_, expected in as_results(layer, tensors).items():
        found = whole(layer, pass_, [as_results(layer, each)[pass_] for each in cut])  # type: ignore[arg-type]
        assert set(found) == set(expected)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_slice_has_the_shapes_of_the_narrow_layer_in_one_piece(layer: AnyLayer) -> None:
    tensors = verify.tensors(layer, "fp32", 0, 0, BATCH)
    for share in shares(layer, BATCH, 2, "model"):
        assert share.layer is not None
        cut = of_share(layer, share, tensors)
        shapes = {"src": share.layer.input_shape(BATCH), "diff_dst": share.layer.output_shape(BATCH)}
        assert {name: array.shape for name, array in cut.items()} == shapes | share.layer.weight_shapes
        assert all(array.flags.c_contiguous for array in cut.values())


def test_an_lstms_units_keep_their_four_gates() -> None:
    layer = LSTM(name="lstm", input_size=1, hidden_size=3, time_steps=1)
    tensors = verify.tensors(layer, "fp32", 0, 0, 1)
    tensors["weights_input"] = np.arange(12.0).reshape(12, 1)
    last = shares(layer, 1, 2, "model")[1]
    assert of_share(layer, last, tensors)["weights_input"].ravel().tolist() == [2, 5, 8, 11]


def test_ranks_of_a_grouped_convolution_have_the_input_of_their_groups() -> None:
    layer = LAYERS[1]
    tensors = verify.tensors(layer, "fp32", 0, 0, BATCH)
    cut = [of_share(layer, share, tensors)["src"] for share in shares(layer, BATCH, 2, "model")]
    assert [array.shape[1] for array in cut] == [4, 2]
    found = whole(layer, "backward_data", [{"diff_src": array} for array in cut])
    np.testing.assert_array_equal(found["diff_src"], tensors["src"])


def test_a_share_that_is_all_of_the_layer_is_not_copied() -> None:
    layer = LAYERS[2]
    tensors = verify.tensors(layer, "fp32", 0, 0, BATCH)
    (share,) = shares(layer, BATCH, 1, "model")
    assert all(of_share(layer, share, tensors)[name] is array for name, array in tensors.items())
