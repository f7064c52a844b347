from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layerbench.compare import environments
from layerbench.compare.side import BASE, NEW, Side
from layerbench.environment import FACTS
from layerbench.records import Options
from layerbench.store import StoredRun
from tests import values


def side(name: str, *environment: dict[str, Any], **options: Any) -> Side:
    manifests = [
        values.manifest(environment=one, options=values.options(**options)) for one in environment or ({"a": 1},)
    ]
    return Side(name, [StoredRun(Path(name), manifest, []) for manifest in manifests], [])


def test_every_name_is_that_of_a_fact_or_an_option() -> None:
    facts = {fact.name for fact in FACTS}
    assert set(environments.HARDWARE) | set(environments.SOFTWARE) <= facts
    assert not set(environments.HARDWARE) & set(environments.SOFTWARE)
    assert set(environments.WORK) <= set(Options.__struct_fields__)


@pytest.mark.parametrize("name", environments.HARDWARE)
def test_other_hardware_matters(name: str) -> None:
    found = environments.that_matter(side(BASE, {name: "one"}), side(NEW, {name: "two"}))
    assert found == [f"{name}: one in BASE, two in NEW"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("scaling", "weak"),
        ("dtype", "bf16"),
        ("kernels", "other"),
        ("threads_per_rank", 2),
        ("ranks_per_node", 2),
        ("cache", "cold"),
        ("batch", 9),
        ("oversubscribe", True),
    ],
)
def test_other_work_matters(option: str, value: object) -> None:
    found = environments.that_matter(side(BASE), side(NEW, **{option: value}))
    assert found == [f"{option}: {getattr(values.OPTIONS, option)} in BASE, {value} in NEW"]


def test_the_number_of_hosts_matters_and_their_names_do_not() -> None:
    assert environments.that_matter(side(BASE, hosts=["a"]), side(NEW, hosts=["b"])) == []
    found = environments.that_matter(side(BASE, hosts=["a"]), side(NEW, hosts=["a", "b"]))
    assert found == ["number of hosts: 1 in BASE, 2 in NEW"]


@pytest.mark.parametrize("name", environments.SOFTWARE)
def test_software_is_told_and_does_not_matter(name: str) -> None:
    base, new = side(BASE, {name: "one"}), side(NEW, {name: "two"})
    assert environments.that_matter(base, new) == []
    assert f"{name}: one in BASE, two in NEW" in environments.to_be_told(base, new)


def test_of_several_versions_those_that_differ_are_told() -> None:
    base = side(BASE, {"libraries": {"numpy": "2.0", "mpi4py": "4.0", "old": "1"}})
    new = side(NEW, {"libraries": {"numpy": "2.1", "mpi4py": "4.0", "new": "1"}})
    told = [line for line in environments.to_be_told(base, new) if line.startswith("libraries")]
    assert told == [
        "libraries new: none in BASE, 1 in NEW",
        "libraries numpy: 2.0 in BASE, 2.1 in NEW",
        "libraries old: 1 in BASE, none in NEW",
    ]


def test_what_could_not_be_read_is_no_difference_but_told() -> None:
    base, new = side(BASE, {"turbo": None, "cpu_model": "a"}), side(NEW, {"turbo": True})
    assert environments.that_matter(base, new) == []
    told = environments.to_be_told(base, new)
    assert any(line.startswith("not known in BASE, so not compared: ") and "turbo" in line for line in told)
    assert any(line.startswith("not known in NEW, so not compared: cpu_model") for line in told)
    assert not any("turbo" in line for line in told if line.startswith("not known in NEW"))


def test_repetitions_on_several_machines() -> None:
    one, two = {"cpu_model": "one"}, {"cpu_model": "two"}
    assert environments.that_matter(side(BASE, one, two), side(NEW, two, one)) == []
    assert "runs of BASE differ among themselves: cpu_model" in environments.to_be_told(side(BASE, one, two), side(NEW))
    found = environments.that_matter(side(BASE, one, two), side(NEW, two))
    assert found == ["cpu_model: one or two in BASE, two in NEW"]


def test_a_difference_is_one_line_whatever_is_in_it() -> None:
    found = environments.that_matter(side(BASE, {"cpu_model": "two\nlines"}), side(NEW, {"cpu_model": []}))
    assert found == ["cpu_model: two lines in BASE, none in NEW"]
