"""Profiles by name and by file: those that ship, the user's own, and the one of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerbench import machine as machines
from layerbench.errors import UsageError
from layerbench.machine import HERE, load, names, parse, path_here, to_toml
from layerbench.machine.profiles import built_in
from tests.machine.made import MACHINE


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, with no profile in it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def keep(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_toml(MACHINE))


def test_four_machines_ship_with_layerbench() -> None:
    assert built_in() == ["a100-cluster", "blue-waters-xk7", "h100-cluster", "h200-cluster"]
    assert names() == built_in()


@pytest.mark.parametrize("name", built_in())
def test_every_shipped_profile_says_where_each_figure_comes_from(name: str) -> None:
    found = load(name)
    assert found.name == name
    assert found.description
    assert found.device == "cuda"
    assert parse(to_toml(found).encode(), name, name) == found
    assert found.between is not None
    links = [link for link in (found.between, found.within) if link is not None]
    figures = [*found.peak.values(), found.bandwidth, found.launch]
    figures += [figure for link in links for figure in (link.alpha, link.beta)]
    for figure in figures:
        assert figure.low <= figure.value <= figure.high
        assert figure.source, figure
    assert (found.within is None) == (found.ranks_per_node == 1)


def test_the_figures_of_blue_waters_are_those_of_its_facts() -> None:
    found = load("blue-waters-xk7")
    assert (found.nodes, found.ranks_per_node) == (4228, 1)
    assert {dtype: peak.value for dtype, peak in found.peak.items()} == {"fp64": 1.31e12, "fp32": 3.95e12}
    assert found.bandwidth.value == 250e9
    assert found.memory_bytes == 6e9
    assert found.between is not None
    assert 1 / found.between.beta.value == pytest.approx(6e9)
    assert found.between.alpha.value == 1.4e-6


def test_tensor_cores_are_counted_dense() -> None:
    assert load("a100-cluster").peak["bf16"].value == 312e12
    assert load("h100-cluster").peak["bf16"].value == 989e12
    # Measured, a matrix product reaches 770 to 800 TFLOP/s of that.
    assert load("h200-cluster").peak["bf16"].low == 770e12
    assert load("h200-cluster").bandwidth.value == 4.8e12


def test_the_profile_of_this_machine_is_made_by_calibrate(home: Path) -> None:
    with pytest.raises(UsageError, match="run layerbench calibrate") as caught:
        load(HERE)
    assert str(path_here()) in str(caught.value)
    assert path_here() == home / ".config/layerbench/machines/this-machine.toml"
    keep(path_here())
    assert HERE in names()
    found = load(HERE)
    assert found.name == HERE
    assert found.kernels == MACHINE.kernels


@pytest.mark.parametrize(("named", "there"), [("", ".config"), ("relative", ".config"), ("/absolute", "/absolute")])
def test_profiles_are_where_the_system_keeps_configurations(
    home: Path, monkeypatch: pytest.MonkeyPatch, named: str, there: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", named)
    assert path_here() == home / there / "layerbench/machines/this-machine.toml"


def test_a_users_profile_is_found_by_name_and_by_path(home: Path) -> None:
    path = path_here().with_name("lab.toml")
    keep(path)
    assert load("lab").name == load(str(path)).name == "lab"
    assert names()[-1] == "lab"


def test_what_ships_is_found_before_a_users_profile_of_the_same_name() -> None:
    keep(path_here().with_name("h100-cluster.toml"))
    assert names().count("h100-cluster") == 1
    assert load("h100-cluster").peak["bf16"].value == 989e12


def test_an_unknown_machine_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load("h100-clutser")
    for word in ["h100-clutser", "did you mean 'h100-cluster'", *built_in(), HERE, ".toml"]:
        assert word in str(caught.value)
    with pytest.raises(UsageError, match="No such file"):
        load(str(tmp_path / "nowhere.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        load(str(tmp_path / "folder.toml"))
    with pytest.raises(UsageError) as caught:
        load("a\0b\n.toml")
    assert "\n" not in str(caught.value)


def test_a_mistake_in_a_users_profile_names_its_file() -> None:
    path = path_here()
    keep(path)
    path.write_text("launch_seconds = -1\n")
    with pytest.raises(UsageError) as caught:
        load(HERE)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_package_offers_what_its_list_says() -> None:
    assert all(hasattr(machines, name) for name in machines.__all__)
