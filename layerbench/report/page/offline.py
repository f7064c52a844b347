"""A page as one file that works offline: its template filled, its scripts and data within it, and nothing fetched."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from typing import Any

import msgspec

from layerbench.report.page import words

_UNSAFE = {
    ord("<"): "\\u003c",
    ord(">"): "\\u003e",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
"""What could end a script's element, or a line of it, within a string of JSON."""


def filled(template: str, program: str, **values: Any) -> bytes:
    """Fill a page's template.

    Parameters
    ----------
    template
        In Jinja's language. Besides the values it has ``library``, the script of plotly.js, ``program``, and
        ``policy``, the content security policy that allows these two scripts.
    program
        The page's own script.
    values
        What else is in the template. Text is escaped, its control characters made visible.

    Returns
    -------
    bytes
        HTML in UTF-8; the same for the same arguments and library versions.
    """
    from jinja2 import Environment
    from plotly.offline import get_plotlyjs

    library = get_plotlyjs()
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=words.visible)
    page = environment.from_string(template).render(
        library=library, program=program, policy=policy(library, program), **values
    )
    # A name from JSON may hold half a character, and a folder's name be no text at all.
    return page.encode("utf-8", "replace")


def text(package: str, name: str) -> str:
    """A file of text that is installed with a package."""
    return (importlib.resources.files(package) / name).read_text(encoding="utf-8")


def policy(*scripts: str) -> str:
    """A content security policy that lets the page's own scripts run and nothing else: no request, no other script.

    Charts set styles on their elements and are saved by way of an image.
    """
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def json(value: Any) -> str:
    """JSON that stands within a script's element; NaN becomes null."""
    return msgspec.json.encode(value).decode().translate(_UNSAFE)
