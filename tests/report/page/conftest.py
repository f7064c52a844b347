"""A real browser, started once, and pages opened in it from files, offline."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from layerbench.report import page
from layerbench.report.tables import Tables
from tests.report.page import made

CHROMIUM = "chromium"


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


Open = Callable[..., Opened]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    for needed in ("jinja2", "plotly"):
        pytest.importorskip(needed, reason=f"{needed} is not installed: pip install 'layerbench[html]'")
    program = shutil.which(CHROMIUM)
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def open_page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Open the page of some tables; a page stays open until all tests are done."""
    contexts = []
    folder = tmp_path_factory.mktemp("pages")

    def opened(tables: Tables, *, width: int = 1280, scheme: str = "light", **options: Any) -> Opened:
        file = folder / f"{len(contexts)}.html"
        file.write_bytes(page.render(tables, made.claims(tables)))
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, **options
        )
        contexts.append(context)
        found = Opened(context.new_page())
        view = found.view
        view.on("console", lambda message: found.faults.append(f"console: {message.text}"))
        view.on("pageerror", lambda error: found.faults.append(f"error: {error}"))
        view.on("dialog", lambda dialog: (found.faults.append("dialog"), dialog.dismiss()))
        view.on("request", lambda request: found.faults.extend(_elsewhere(request.url, file)))
        view.goto(file.as_uri())
        view.wait_for_selector("html[data-ready]", timeout=30_000)
        return found

    yield opened
    for context in contexts:
        context.close()


def _elsewhere(address: str, file: Path) -> list[str]:
    return [] if address.startswith((file.as_uri(), "blob:")) else [f"request: {address[:100]}"]


@pytest.fixture(scope="session")
def ordinary(open_page: Open) -> Opened:
    """The page of a run with every mark; whoever changes what it shows restores it."""
    return open_page(made.every_mark(), accept_downloads=True)
