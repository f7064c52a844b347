"""How deep learning's layers scale over nodes.

>>> run = layerbench.run("alexnet", nodes=[1, 2], batch=16)   # doctest: +SKIP
>>> run.frame()                                               # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerbench.api import Run, load, run

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "load", "run"]


def __getattr__(name: str) -> Any:
    # Heavy libraries are loaded on first use, so that `layerbench --help` is quick.
    if name in ("Run", "load", "run"):
        from layerbench import api

        return getattr(api, name)
    raise AttributeError(f"module 'layerbench' has no attribute {name!r}")
