import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import time

import psutil
import pytest

from layerbench import __version__, cgroups, environment
from layerbench.environment import FACTS, capture, machine_fingerprint


@pytest.fixture(scope="module")
def here() -> dict:
    return capture()


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Empty ``/sys`` and ``/proc`` to be filled; returns a function that writes a file."""
    monkeypatch.setattr(environment, "SYS", tmp_path / "sys")
    monkeypatch.setattr(environment, "PROC", tmp_path / "proc")
    environment.last_level_cache_bytes.cache_clear()

    def write(path: str, text: str) -> None:
        where = tmp_path / path.replace("CPU", f"sys/devices/system/cpu/cpu{min(os.sched_getaffinity(0))}")
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(text + "\n")

    yield write
    environment.last_level_cache_bytes.cache_clear()


def add_cache(write, index: int, level: int, kind: str, size: str) -> None:
    for name, text in (("level", str(level)), ("type", kind), ("size", size)):
        write(f"CPU/cache/index{index}/{name}", text)


def test_every_fact_is_there_and_json_can_hold_it(here):
    assert list(here) == [fact.name for fact in FACTS]
    assert len(set(here)) == len(FACTS)
    assert json.loads(json.dumps(here)) == here


def test_facts_agree_with_what_the_system_says(here):
    assert here["hostname"] == platform.node()
    assert here["kernel_release"] == platform.release()
    assert here["logical_cores"] == os.cpu_count()
    assert here["memory_total"] == psutil.virtual_memory().total
    assert here["python"].endswith(platform.python_version())
    assert here["libraries"]["numpy"] == importlib.metadata.version("numpy")
    assert here["libraries"]["mpi4py"] == importlib.metadata.version("mpi4py")
    assert here["tools"]["matplotlib"] == importlib.metadata.version("matplotlib")
    assert here["layerbench"] == __version__
    assert here["blas"]["internal_api"]


def test_no_library_is_imported_for_its_version():
    code = (
        "import sys; from layerbench import environment as e; e.versions(e.LIBRARIES + e.TOOLS); "
        "sys.exit(bool({'numpy', 'mpi4py', 'torch', 'pandas', 'matplotlib'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_machine_that_tells_nothing_gives_nulls_and_no_error(fake):
    found = capture()
    assert list(found) == [fact.name for fact in FACTS]
    for name in ("cpu_model", "sockets", "frequency_governor", "frequency", "transparent_hugepages"):
        assert found[name] is None, name
    assert found["caches"] == {}
    assert found["gpus"] == []
    assert found["nvidia_driver"] is None
    assert machine_fingerprint(found)["cpu_model"] is None


def test_a_bare_metal_server_is_read(fake):
    fake("proc/cpuinfo", "processor\t: 0\nmodel name\t: Quick CPU @ 3 GHz\nflags\t\t: fpu avx2\n\nprocessor\t: 1")
    fake("CPU/cpufreq/scaling_governor", "performance")
    fake("CPU/cpufreq/scaling_cur_freq", "2900000")
    fake("CPU/cpufreq/cpuinfo_max_freq", "3500000")
    fake("sys/devices/system/cpu/intel_pstate/no_turbo", "1")
    fake("sys/devices/system/cpu/smt/active", "1")
    for core, package in ((0, 0), (1, 0), (2, 1)):
        fake(f"sys/devices/system/cpu/cpu{core}/topology/physical_package_id", str(package))
    found = capture()
    assert found["cpu_model"] == "Quick CPU @ 3 GHz"
    assert found["sockets"] == 2
    assert found["frequency_governor"] == "performance"
    assert found["frequency"] == 2.9e9
    assert found["frequency_max"] == 3.5e9
    assert found["turbo"] is False
    assert found["simultaneous_multithreading"] is True
    assert found["virtual_machine"] is False


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        ("processor : 0\ncpu : POWER9, altivec supported", "POWER9, altivec supported"),
        ("processor : 0\nCPU implementer : 0x41\nCPU part : 0xd40", "implementer 0x41 part 0xd40"),
    ],
)
def test_processors_other_than_x86_have_a_name(fake, cpuinfo, model):
    fake("proc/cpuinfo", cpuinfo)
    assert capture()["cpu_model"].endswith(model)


def test_a_gpu_is_seen_through_its_driver(fake):
    fake(
        "proc/driver/nvidia/version",
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue Sep 23 2025\nGCC version: 12",
    )
    fake("proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ: 7")
    assert environment.nvidia_driver() == "580.95.05"
    assert environment.gpus() == ["NVIDIA H100 80GB HBM3"]


def test_the_open_kernel_module_names_its_version_too(fake):
    fake("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  575.57.08  Release")
    assert environment.nvidia_driver() == "575.57.08"


def test_caches_are_named_and_in_bytes(fake):
    add_cache(fake, 0, 1, "Data", "48K")
    add_cache(fake, 1, 1, "Instruction", "32K")
    add_cache(fake, 2, 2, "Unified", "2M")
    add_cache(fake, 3, 3, "Unified", "36608K")
    fake("CPU/cache/index4/level", "4")
    assert environment.caches() == {"L1d": 48 * 1024, "L1i": 32 * 1024, "L2": 2**21, "L3": 36608 * 1024}
    assert environment.last_level_cache_bytes() == 36608 * 1024


def test_the_last_level_is_taken_for_the_default_where_nothing_is_told(fake):
    assert environment.last_level_cache_bytes() == 32 * 2**20


@pytest.mark.parametrize(("flags", "size"), [("fpu hypervisor", 32 * 2**20), ("fpu", 2**20)])
def test_a_virtual_machine_without_a_third_level_is_not_believed(fake, flags, size):
    fake("proc/cpuinfo", f"flags : {flags}")
    add_cache(fake, 0, 1, "Data", "32K")
    add_cache(fake, 1, 2, "Unified", "1024K")
    assert environment.last_level_cache_bytes() == size


def test_the_cache_size_is_quick_and_real_here():
    environment.last_level_cache_bytes.cache_clear()
    start = time.perf_counter()
    size = environment.last_level_cache_bytes()
    assert time.perf_counter() - start < 0.5
    assert 2**18 <= size < 2**34


def test_usable_cores_follow_the_affinity():
    cores = sorted(os.sched_getaffinity(0))
    code = "from layerbench.environment import usable_cores; print(usable_cores())"
    told = subprocess.run(
        [sys.executable, "-c", f"import os; os.sched_setaffinity(0, [{cores[-1]}]); {code}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert json.loads(told) == [cores[-1]]


@pytest.mark.parametrize(("quota", "count"), [(None, 6), (2.5, 2), (0.5, 1), (64.0, 6)])
def test_usable_cores_are_no_more_than_the_quota_can_keep_busy(monkeypatch, quota, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {9, 3, 5, 7, 11, 13})
    monkeypatch.setattr(cgroups, "cpu_quota", lambda: quota)
    assert environment.usable_cores() == [3, 5, 7, 9, 11, 13][:count]


def test_available_memory_is_the_least_of_its_limits(monkeypatch):
    whole = environment.available_memory_bytes()
    assert 0 < whole <= psutil.virtual_memory().total
    monkeypatch.setattr(cgroups, "memory_left", lambda: 12345)
    assert environment.available_memory_bytes() == 12345


def test_an_address_space_limit_counts():
    code = (
        "import resource; from layerbench.environment import available_memory_bytes as left; "
        "resource.setrlimit(resource.RLIMIT_AS, (2**31, resource.getrlimit(resource.RLIMIT_AS)[1])); print(left())"
    )
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        pytest.skip("this process has an address-space limit of its own")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 0 < int(told) < 2**31


def test_the_commit_is_known_in_a_checkout_and_null_elsewhere(tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    (checkout / "layerbench").mkdir(parents=True)
    module = checkout / "layerbench/environment.py"
    module.write_text("")
    monkeypatch.setattr(environment, "__file__", str(module))
    elsewhere = capture()
    assert elsewhere["git_commit"] is None
    assert elsewhere["git_dirty"] is None

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", "-C", str(checkout), *identity, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    clean = capture()
    assert clean["git_commit"] == git("rev-parse", "HEAD")
    assert clean["git_dirty"] is False
    module.write_text("changed")
    assert capture()["git_dirty"] is True


def test_variables_of_libraries_are_kept_and_thread_counts_are_not(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("KMP_DUPLICATE_LIB_OK", "True")
    monkeypatch.setenv("HOME_OMP_X", "1")
    kept = capture()["library_variables"]
    assert kept["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert not kept.keys() & {"OMP_NUM_THREADS", "KMP_DUPLICATE_LIB_OK", "HOME_OMP_X"}


def test_the_fingerprint_is_the_same_twice_and_after_a_trip_through_json(here):
    assert machine_fingerprint(json.loads(json.dumps(here))) == machine_fingerprint(capture())


@pytest.mark.parametrize(
    "name", ["cpu_model", "caches", "usable_core_count", "frequency_governor", "libraries", "gpus"]
)
def test_the_fingerprint_changes_with_what_figures_depend_on(here, name):
    assert machine_fingerprint(here | {name: "other"}) != machine_fingerprint(here)


@pytest.mark.parametrize("name", ["hostname", "memory_available", "load_average", "frequency", "usable_cores", "tools"])
def test_the_fingerprint_ignores_what_changes_from_start_to_start(here, name):
    assert machine_fingerprint(here | {name: "other"}) == machine_fingerprint(here)


def test_an_older_environment_without_a_fact_has_a_fingerprint():
    assert set(machine_fingerprint({}).values()) == {None}
