"""A page opened in a real browser, from a file, offline."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Opened:
    """A page in the browser, and all that it should not have done."""

    view: Any
    faults: list[str] = field(default_factory=list)

    def choose(self, css: str, value: str) -> None:
        self.view.select_option(css, value)

    def texts(self, css: str) -> list[str]:
        found: list[str] = self.view.locator(css).all_text_contents()
        return found


def opened(context: Any, file: Path) -> Opened:
    """Open a file in a browser's context, and wait until it says that it is ready."""
    found = Opened(context.new_page())
    view = found.view
    view.on("console", lambda message: found.faults.append(f"console: {message.text}"))
    view.on("pageerror", lambda error: found.faults.append(f"error: {error}"))
    view.on("dialog", lambda dialog: (found.faults.append("dialog"), dialog.dismiss()))
    view.on("request", lambda request: found.faults.extend(_elsewhere(request.url, file)))
    view.goto(file.as_uri())
    view.wait_for_selector("html[data-ready]", timeout=30_000)
    return found


def _elsewhere(address: str, file: Path) -> list[str]:
    return [] if address.startswith((file.as_uri(), "blob:")) else [f"request: {address[:100]}"]
