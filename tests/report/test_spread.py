from __future__ import annotations

import math

import pandas as pd
import pytest

from layerbench.report import spread
from layerbench.report.spread import Spread


def test_geometric_mean_and_range_by_kind() -> None:
    kinds = pd.Series(pd.Categorical(["a", "a", "b", "b", "c"]))
    found = spread.by_kind(kinds, pd.Series([2.0, 8.0, 5.0, math.nan, 0.0]))
    assert found.keys() == {"a", "b"}
    assert found["a"] == pytest.approx((4, 2, 8))
    assert found["b"] == pytest.approx((5, 5, 5))


def test_in_words() -> None:
    assert str(Spread(4.0, 2.0, 8.0)) == "4 (2 to 8)"
    assert str(Spread(1.0, 1.0, 1.0 + 1e-9)) == "1"
    assert str(Spread(4540.0, 253.0, 72600.0)) == "4.54 k (253 to 72.6 k)"
