"""Whether there is a page: what it needs is an extra, ``layerbench[html]``."""

from __future__ import annotations

import importlib.util

from layerbench.errors import UsageError

NEEDS = ("jinja2", "plotly")
INSTALL = "pip install 'layerbench[html]'"


def wanted(html: bool | None) -> bool:
    """Whether to make a page.

    Parameters
    ----------
    html
        Whether it was asked for; None for wherever it can be made.

    Raises
    ------
    UsageError
        If it was, and cannot be made.
    """
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if html and missing:
        raise UsageError(f"--html needs {' and '.join(missing)}, not installed here: {INSTALL}")
    return not missing if html is None else html


def left_out(page: str) -> str:
    """Why there is no page of this name though nobody asked for none; empty where there is one."""
    return "" if wanted(None) else f"{page} was left out: it needs {INSTALL}"
