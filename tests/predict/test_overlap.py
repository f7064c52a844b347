from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from layerbench.predict.overlap import Backward, hideable

seconds = st.floats(0.0, 10.0)


def layer(passes: float, exchange: float, own: float = 0.0, *, data: bool = True) -> Backward:
    return Backward(np.array([passes]), np.array([exchange]), np.array([own]), np.array([data]))


def hidden(*layers: Backward) -> list[float]:
    return [float(value[0]) for value in hideable(layers)]


def test_an_exchange_hides_behind_the_backward_passes_of_the_layers_before_it() -> None:
    # Layers in the network's order; the last goes backward first.
    assert hidden(layer(2, 1), layer(3, 4), layer(5, 1)) == [0, 2, 1]


def test_exchanges_follow_one_another() -> None:
    # The last layer's 4 seconds begin at 1 and end at 5; the middle one's begin then, and the passes end at 6.
    assert hidden(layer(2, 1), layer(3, 4), layer(1, 4)) == [0, 1, 4]


def test_a_layer_alone_and_the_first_layer_hide_nothing() -> None:
    assert hidden(layer(2, 7)) == [0]


def test_in_the_model_layout_only_the_input_gradients_hide_behind_the_own_pass() -> None:
    assert hidden(layer(2, 3, 1, data=False)) == [1]
    assert hidden(layer(2, 3, 9, data=False)) == [3]


def test_an_exchange_hides_also_behind_what_a_layer_in_the_model_layout_takes() -> None:
    assert hidden(layer(1, 0), layer(1, 2, 0, data=False), layer(1, 10)) == [0, 0, 4]


@given(st.lists(st.tuples(seconds, seconds, seconds, st.booleans()), min_size=1, max_size=8))
@settings(deadline=None)
def test_never_more_is_hidden_than_is_exchanged_or_computed(layers: list[tuple[float, float, float, bool]]) -> None:
    chain = [layer(passes, exchange, own, data=data) for passes, exchange, own, data in layers]
    found = hidden(*chain)
    assert all(0 <= one <= each[1] for one, each in zip(found, layers, strict=True))
    of_data = sum(one for one, each in zip(found, layers, strict=True) if each[3])
    after = sum(passes + (0 if data else exchange) for passes, exchange, _, data in layers[:-1])
    assert of_data <= after + 1e-9
