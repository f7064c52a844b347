"""A loop over a data manager that is to end in an error."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from layerbench.datamanager.manager import Batch, DataManager
from layerbench.errors import DataError


def ended(
    batches: DataManager,
    step: Callable[[Batch], object] = lambda batch: None,
    error: type[BaseException] = DataError,
) -> tuple[list[int], BaseException]:
    """Run a loop into an error: the batches that it was given before, and the error."""
    seen = []

    def loop() -> None:
        with batches:
            for batch in batches:
                step(batch)
                seen.append(batch.index)

    with pytest.raises(error) as caught:
        loop()
    return seen, caught.value
