"""The report's pages in the browser that all tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from layerbench.report import page
from layerbench.report.tables import Tables
from tests.browsed import Opened
from tests.report.page import made

Open = Callable[..., Opened]


@pytest.fixture(scope="session")
def open_page(open_html: Callable[..., Opened]) -> Open:
    """Open the page of some tables; a page stays open until all tests are done."""

    def open_(tables: Tables, **options: Any) -> Opened:
        return open_html(page.render(tables, made.claims(tables)), **options)

    return open_


@pytest.fixture(scope="session")
def ordinary(open_page: Open) -> Opened:
    """The page of a run with every mark; whoever changes what it shows restores it."""
    return open_page(made.every_mark(), accept_downloads=True)
