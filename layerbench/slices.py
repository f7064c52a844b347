"""The tensors of a layer whose outputs are split: the ranks' slices of the whole, and the whole of their slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from layerbench.layers import LSTM, AnyLayer, Conv, Pass
from layerbench.partition import Share, gradient_operation, outputs

GATES = 4


def of_share(layer: AnyLayer, share: Share, operands: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What a rank needs of a layer's operands: its outputs of ``diff_dst`` and of the weights, and its input.

    Parameters
    ----------
    operands
        ``src``, weights by name, ``diff_dst`` of the whole layer, canonical, of any batch.

    Returns
    -------
    dict of ndarray
        Arrays in one piece. All of a grouped convolution's channels belong to a group, those of the input too; other
        layers need all of the input.
    """
    if share.layer is layer:
        return dict(operands)
    sliced = {name: np.ascontiguousarray(_of_weights(layer, share, operands[name])) for name in layer.weight_shapes}
    src = operands["src"]
    if gradient_operation(layer) == "all_gather":
        src = np.ascontiguousarray(src[:, _channels(share, layer.input_shape(1)[1], outputs(layer))])
    axis = _output_axis(layer)
    width = layer.output_shape(1)[axis]
    of_axis = (slice(None),) * axis + (_channels(share, width, outputs(layer)),)
    return {"src": src, **sliced, "diff_dst": np.ascontiguousarray(operands["diff_dst"][of_axis])}


def _output_axis(layer: AnyLayer) -> int:
    return 2 if isinstance(layer, LSTM) else 1


def _channels(share: Share, width: int, items: int) -> slice:
    """A share's part of an axis of ``width`` that is divided into ``items``: one each, or a group of channels each."""
    each = width // items
    return slice(share.outputs.start * each, share.outputs.stop * each)


def _of_weights(layer: AnyLayer, share: Share, weights: np.ndarray) -> np.ndarray:
    if isinstance(layer, LSTM):
        gates = weights.reshape(GATES, layer.hidden_size, -1)
        return gates[:, share.outputs.start : share.outputs.stop].reshape(-1, weights.shape[1])
    return weights[_channels(share, len(weights), outputs(layer))]


def whole(layer: AnyLayer, pass_: Pass, results: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The layer's result of a pass, of what it is on every rank after all exchanges; canonical.

    Parameters
    ----------
    results
        Each rank's, in rank order, as ``Prepared.results`` gives them. An input gradient that was all-reduced is whole
        on every rank.
    """
    if pass_ == "forward":
        return {"dst": np.concatenate([result["dst"] for result in results], axis=_output_axis(layer))}
    if pass_ == "backward_data":
        if isinstance(layer, Conv) and gradient_operation(layer) == "all_gather":
            return {"diff_src": np.concatenate([result["diff_src"] for result in results], axis=1)}
        return {"diff_src": results[0]["diff_src"]}
    return {name: _whole_weights(layer, [result[name] for result in results]) for name in results[0]}


def _whole_weights(layer: AnyLayer, parts: Sequence[np.ndarray]) -> np.ndarray:
    if isinstance(layer, LSTM):
        gates = [part.reshape(GATES, -1, part.shape[1]) for part in parts]
        return np.concatenate(gates, axis=1).reshape(-1, parts[0].shape[1])
    return np.concatenate(parts, axis=0)
