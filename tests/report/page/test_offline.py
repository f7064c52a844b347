import base64
import hashlib
import json
import math

import pytest

from layerbench.report.page import offline

pytest.importorskip("jinja2", reason="jinja2 is not installed: pip install 'layerbench[html]'")
pytest.importorskip("plotly", reason="plotly is not installed: pip install 'layerbench[html]'")


def test_json_cannot_end_its_script_and_is_read_as_it_was() -> None:
    value = {"</script><!-- &amp;": "one\u2028two\u2029", "numbers": [1.5, None, "é"]}
    told = offline.json(value)
    assert not set("<>&\u2028\u2029") & set(told)
    assert json.loads(told) == value


def test_what_is_no_number_is_null() -> None:
    assert offline.json([math.nan, math.inf, 1.0]) == "[null,null,1.0]"


def test_only_these_scripts_may_run_and_nothing_is_fetched() -> None:
    rules = dict(rule.strip().split(" ", 1) for rule in offline.policy("one()", "zwei('ü')").split(";"))
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in ("one()", "zwei('ü')")]
    assert rules["script-src"] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "http" not in str(rules)


def test_a_template_is_filled_escaped_and_encoded() -> None:
    page = offline.filled("<p>{{ told }}</p>\n{{ program | safe }}", "run()", told="<b>\x1b & half \ud800")
    assert page == b"<p>&lt;b&gt;\\x1b &amp; half \\ud800</p>\nrun()"


def test_a_template_has_the_scripts_and_the_policy_that_allows_them() -> None:
    made = offline.filled("{{ program }}|{{ policy | safe }}|{{ library | safe }}", "run()").decode()
    program, policy, library = made.split("|", 2)
    assert program == "run()"
    assert "Plotly" in library
    assert policy == offline.policy(library, program)


def test_files_of_a_package() -> None:
    assert offline.text("layerbench.report.page", "page.js").startswith('"use strict";')
