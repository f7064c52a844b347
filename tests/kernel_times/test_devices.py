from __future__ import annotations

import math
from pathlib import Path

import pytest

from layerbench import reference
from layerbench.errors import UsageError
from layerbench.kernel_times import devices

ONE = "[X]\npeak_flops = 15.7e12\nbytes_per_second = 900e9\n"


def test_every_published_device_has_figures_and_says_where_they_come_from() -> None:
    known = devices.shipped()
    assert set(known) == set(reference.published()["device"])
    assert all(device.source for device in known.values())


def test_a_file_gives_a_device_by_its_table(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_text(ONE + 'source = "data sheet"\n["a b"]\npeak_flops = 1_000_000_000_000\nbytes_per_second = 1e11\n')
    found = devices.read(path)
    assert found["X"] == devices.Device("X", 15.7e12, 900e9, "data sheet")
    assert found["a b"].place == pytest.approx((math.log(1e12), math.log(1e11)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no devices"),
        ("[X", "not TOML"),
        ("X = 3", "[X]: expected a table, not 3"),
        ("[X]\npeak_flops = 1e12\n", "[X]: bytes_per_second is missing"),
        ("[X]\nbytes_per_second = 1e12\n", "[X]: peak_flops is missing"),
        (ONE.replace("15.7e12", "-15.7e12"), "peak_flops must be a finite number of at least 1e+09"),
        (ONE.replace("15.7e12", "0"), "peak_flops must be a finite number"),
        (ONE.replace("15.7e12", "15.7"), "in FLOP/s, such as 15.7e12, not 15.7"),
        (ONE.replace("15.7e12", "inf"), "not inf"),
        (ONE.replace("900e9", "nan"), "not nan"),
        (ONE.replace("900e9", "true"), "not true"),
        (ONE.replace("900e9", '"900e9"'), "not '900e9'"),
        (ONE.replace("900e9", "900"), "bytes a second, such as 900e9, not 900"),
        (ONE + "source = 3\n", "source: expected text, not 3"),
        (ONE + "peak_flop = 3\n", "unknown entry 'peak_flop' (did you mean 'peak_flops'?)"),
        ("[X]\npeak_flops = 1" + "0" * 5000 + "\nbytes_per_second = 1e12\n", "not TOML"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_place(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        devices.read(path)
    message = str(caught.value)
    assert told in message
    assert str(path) in message
    assert message.isprintable()


def test_what_is_no_text_or_not_there_is_told(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_bytes(b"\xff\xfe[X]")
    with pytest.raises(UsageError, match="not TOML"):
        devices.read(path)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        devices.read(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        devices.read(tmp_path)


def test_the_example_that_messages_give_names_a_device_of_any_spelling(tmp_path: Path) -> None:
    path = tmp_path / "devices.toml"
    path.write_text(devices.example("1080 Ti").replace(" with ", "\n").replace(" and ", "\n"))
    assert list(devices.read(path)) == ["1080 Ti"]
