import importlib.util
import re
from typing import Any

import pytest

from layerbench.errors import UsageError
from layerbench.report import html_extra


def installed(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Of what a page needs nothing but these is."""
    found = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> Any:
        return (name if name in names else None) if name in html_extra.NEEDS else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)


def test_with_all_that_it_needs_a_page_is_made_unless_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, *html_extra.NEEDS)
    assert [html_extra.wanted(html) for html in (None, True, False)] == [True, True, False]
    assert html_extra.left_out("plan.html") == ""


@pytest.mark.parametrize(
    ("there", "missing"), [((), "jinja2 and plotly"), (("jinja2",), "plotly"), (("plotly",), "jinja2")]
)
def test_without_it_is_left_out_or_the_demand_is_refused(
    monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], missing: str
) -> None:
    installed(monkeypatch, *there)
    assert [html_extra.wanted(html) for html in (None, False)] == [False, False]
    assert html_extra.left_out("plan.html") == "plan.html was left out: it needs pip install 'layerbench[html]'"
    told = f"--html needs {missing}, not installed here: pip install 'layerbench[html]'"
    with pytest.raises(UsageError, match=f"^{re.escape(told)}$"):
        html_extra.wanted(True)
