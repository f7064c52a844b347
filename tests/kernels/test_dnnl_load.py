"""Finding oneDNN, and the reasons for not finding it."""

from __future__ import annotations

import importlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

loader = importlib.import_module("layerbench.kernels._dnnl_load")
onednn = importlib.import_module("layerbench.kernels.onednn")


@pytest.fixture
def fresh() -> None:
    loader.load.cache_clear()
    yield
    loader.load.cache_clear()


def compiled(folder: Path, source: str) -> str:
    """A shared library built from C."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build a stand-in library")
    code, library = folder / "stand_in.c", folder / "libdnnl.so.3"
    code.write_text(source)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, code], check=True)
    return str(library)


def test_the_variable_wins_over_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loader.VARIABLE, "/somewhere/libdnnl.so")
    assert loader.candidates() == ["/somewhere/libdnnl.so"]


def test_the_wheel_is_found_through_its_own_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    site = tmp_path / "lib" / "python3.11" / "site-packages"
    metadata = site / "onednn_cpu_gomp-2023.2.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: onednn-cpu-gomp\nVersion: 2023.2.0\n")
    (metadata / "RECORD").write_text("../../libdnnl.so.3,,\n../../libdnnl.so,,\n")
    library = tmp_path / "lib" / "libdnnl.so.3"
    library.touch()
    monkeypatch.delenv(loader.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "path", [str(site)])
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(loader.ctypes.util, "find_library", lambda _: None)
    assert [Path(path).resolve() for path in loader.candidates()] == [library.resolve()]


def test_nothing_found_says_where_it_looked_and_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh: None
) -> None:
    monkeypatch.setattr(loader, "candidates", list)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    availability = onednn.KERNEL.availability()
    assert not availability.ok
    assert str(tmp_path / "lib") in availability.reason
    assert availability.remedy == "pip install onednn-cpu-gomp"


def test_another_processor_is_told_so(monkeypatch: pytest.MonkeyPatch, fresh: None) -> None:
    monkeypatch.setattr(loader, "candidates", list)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    availability = onednn.KERNEL.availability()
    assert "x86-64" in availability.reason
    assert "aarch64" in availability.reason
    assert loader.VARIABLE in availability.remedy


def test_another_major_version_is_refused_by_number(tmp_path: Path) -> None:
    source = (
        "struct v { int major, minor, patch; const char *hash; unsigned cpu, gpu; };"
        "static struct v two = {2, 7, 5, 0, 0, 0}; const struct v *dnnl_version(void) { return &two; }"
    )
    library = compiled(tmp_path, source)
    with pytest.raises(loader.LibraryUnavailableError, match=r"is oneDNN 2\.7\.5, and version 3 is needed") as caught:
        loader.open_library([library])
    assert caught.value.remedy == loader.INSTALL


def test_a_library_that_is_not_onednn_is_refused(tmp_path: Path) -> None:
    library = compiled(tmp_path, "int other(void) { return 0; }")
    with pytest.raises(loader.LibraryUnavailableError, match="cannot be loaded") as caught:
        loader.open_library([library])
    assert "dnnl_version" in caught.value.reason


@pytest.mark.parametrize(
    ("problem", "remedy"),
    [
        ("libgomp.so.1: cannot open shared object file", "apt-get install libgomp1"),
        ("libstdc++.so.6: version `GLIBCXX_3.4.30' not found", "apt-get install libstdc++6"),
        ("file too short", "pip install --force-reinstall onednn-cpu-gomp"),
    ],
)
def test_a_library_that_does_not_load_names_what_would_mend_it(
    monkeypatch: pytest.MonkeyPatch, problem: str, remedy: str
) -> None:
    def refuse(_: str) -> None:
        raise OSError(problem)

    monkeypatch.setattr(loader.ctypes, "CDLL", refuse)
    with pytest.raises(loader.LibraryUnavailableError) as caught:
        loader.open_library(["/opt/libdnnl.so.3"])
    assert problem in caught.value.reason
    assert caught.value.remedy == remedy
    assert "\n" not in str(caught.value)


def test_a_broken_library_is_passed_over_for_one_that_works(tmp_path: Path) -> None:
    availability = onednn.KERNEL.availability()
    if not availability.ok:
        pytest.skip(f"oneDNN: {availability.reason}")
    broken = tmp_path / "libdnnl.so.3"
    broken.write_bytes(b"not a library")
    library = loader.open_library([str(broken), *loader.candidates()])
    assert loader.version(library)[0] == 3
