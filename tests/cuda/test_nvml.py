"""What NVML tells is read right, what it does not tell is None, and nothing is ever set."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from layerbench.conditions import Conditions
from layerbench.cuda import nvml, survey
from layerbench.cuda.nvml import Reading, parsed, throttle_reasons
from tests.cuda.simulated_nvml import BUS, GPU, MIG, SimulatedNVML

UNKNOWN = Conditions(core_clock=None, memory_clock=None, temperature=None, power=None, usual_core_clock=None)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[SimulatedNVML], SimulatedNVML]]:
    """Puts a stand-in in the place of ``pynvml``."""

    def forget() -> None:
        nvml.loaded.cache_clear()
        nvml._looked_for.cache_clear()

    def put(library: SimulatedNVML) -> SimulatedNVML:
        monkeypatch.setitem(sys.modules, "pynvml", library)
        forget()
        return library

    yield put
    forget()


def test_a_reading_of_a_gpu_under_load() -> None:
    told = parsed(Reading(1755, 2619, 63, 689_412, 0x4, 1980))
    assert told == Conditions(
        core_clock=1.755e9,
        memory_clock=2.619e9,
        temperature=63.0,
        power=689.412,
        throttle_reasons=["sw_power_cap"],
        usual_core_clock=1.98e9,
    )


def test_what_is_not_told_is_none() -> None:
    assert parsed(Reading(None, None, None, None, None, None)) == UNKNOWN


def test_a_gpu_at_0_degrees_has_a_temperature() -> None:
    assert parsed(Reading(345, 2619, 0, 0, 0x1, 1980)).temperature == 0.0
    assert parsed(Reading(345, 2619, 0, 0, 0x1, 1980)).power == 0.0


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        (0x0, []),
        (0x1, []),
        (None, []),
        (0x2, ["applications_clocks_setting"]),
        (0x4, ["sw_power_cap"]),
        (0x8, ["hw_slowdown"]),
        (0x10, ["sync_boost"]),
        (0x20, ["sw_thermal_slowdown"]),
        (0x48, ["hw_slowdown", "hw_thermal_slowdown"]),
        (0x80, ["hw_power_brake"]),
        (0x101, ["display_clock_setting"]),
        (0x8004, ["sw_power_cap", "reason_0x8000"]),
    ],
)
def test_throttle_reasons(mask: int | None, names: list[str]) -> None:
    assert throttle_reasons(mask) == names


def test_a_gpu_tells_everything(simulated) -> None:
    simulated(SimulatedNVML())
    monitor = nvml.monitor(GPU)
    assert monitor.conditions() == Conditions(
        core_clock=1.755e9,
        memory_clock=2.619e9,
        temperature=42.0,
        power=312.456,
        throttle_reasons=["sw_power_cap", "sw_thermal_slowdown"],
        usual_core_clock=1.695e9,
    )
    assert monitor.energy() == pytest.approx(9_876_543.210)
    assert monitor.default_core_clock() == 1.695e9
    assert nvml.why(GPU) == ""
    assert nvml.monitor(GPU) is monitor


def test_a_gpu_is_found_by_its_bus_too(simulated) -> None:
    simulated(SimulatedNVML())
    assert nvml.monitor(BUS).energy() == pytest.approx(9_876_543.210)


FIGURES = {
    "nvmlDeviceGetClockInfo(1)": {"core_clock": None},
    "nvmlDeviceGetClockInfo(2)": {"memory_clock": None},
    "nvmlDeviceGetPowerUsage": {"power": None},
    # Older drivers and newer ones have names of their own for these.
    "nvmlDeviceGetTemperatureV": {"temperature": 41.0},
    "nvmlDeviceGetCurrentClocksEventReasons": {"throttle_reasons": ["hw_slowdown"]},
}


@pytest.mark.parametrize(
    ("how", "function"),
    [
        *(("refused", function) for function in FIGURES),
        # Bindings lack a function as a whole, not for one clock of two.
        *(("absent", function) for function in FIGURES if "(" not in function),
    ],
)
def test_a_figure_that_is_not_supported_costs_that_figure_only(simulated, how: str, function: str) -> None:
    simulated(SimulatedNVML())
    whole = nvml.monitor(GPU).conditions()
    simulated(SimulatedNVML(**{how: {function}}))
    left = nvml.monitor(GPU).conditions()
    changed = {name for name in Conditions.__struct_fields__ if getattr(left, name) != getattr(whole, name)}
    assert {name: getattr(left, name) for name in changed} == FIGURES[function]


def test_a_gpu_that_tells_nothing(simulated) -> None:
    library = simulated(SimulatedNVML())
    library.refused = {name for name in library._answers if not name.startswith(("nvmlInit", "nvmlDeviceGetHandle"))}
    monitor = nvml.monitor(GPU)
    assert monitor.conditions() == UNKNOWN
    assert monitor.energy() is None
    assert monitor.default_core_clock() is None


def test_a_gpu_that_is_lost_in_mid_run(simulated) -> None:
    library = simulated(SimulatedNVML())
    monitor = nvml.monitor(GPU)
    assert monitor.conditions() != UNKNOWN
    library.lost = True
    assert monitor.conditions() == Conditions(
        core_clock=None, memory_clock=None, temperature=None, power=None, usual_core_clock=1.695e9
    )
    assert monitor.energy() is None


@pytest.mark.parametrize(
    ("refused", "hertz"),
    [
        ({"nvmlDeviceGetDefaultApplicationsClock(1)"}, 1.695e9),
        ({"nvmlDeviceGetDefaultApplicationsClock"}, 1.98e9),
        ({"nvmlDeviceGetDefaultApplicationsClock", "nvmlDeviceGetMaxClockInfo"}, None),
    ],
)
def test_the_default_clock_is_the_highest_where_there_is_no_default(simulated, refused, hertz) -> None:
    simulated(SimulatedNVML(refused=refused))
    assert nvml.monitor(GPU).default_core_clock() == hertz


@pytest.mark.parametrize("minus_one", [2**32 - 1, 2**64 - 1])
def test_figures_that_nvml_marks_as_not_available_are_none(simulated, minus_one: int) -> None:
    library = simulated(SimulatedNVML())
    library.answer("nvmlDeviceGetPowerUsage", minus_one)
    library.answer("nvmlDeviceGetTotalEnergyConsumption", minus_one)
    assert nvml.monitor(GPU).conditions().power is None
    assert nvml.monitor(GPU).energy() is None


def test_a_clock_of_0_is_none(simulated) -> None:
    library = simulated(SimulatedNVML())
    library.answer("nvmlDeviceGetDefaultApplicationsClock", 0)
    library.answer("nvmlDeviceGetClockInfo", 0)
    assert nvml.monitor(GPU).conditions().core_clock is None
    assert nvml.monitor(GPU).default_core_clock() == 1.98e9


# CUDA gives the UUID without saying of what it is.
@pytest.mark.parametrize("name", [MIG, MIG.replace("MIG-", "GPU-")])
def test_a_mig_device_has_the_clocks_of_its_gpu_and_no_energy_of_its_own(simulated, name: str) -> None:
    simulated(SimulatedNVML(partitioned=True))
    monitor = nvml.monitor(name)
    assert monitor.partitioned
    assert monitor.conditions().core_clock == 1.755e9
    assert monitor.energy() is None


def test_a_gpu_that_is_divided_counts_the_energy_of_all_its_parts(simulated) -> None:
    simulated(SimulatedNVML(partitioned=True))
    assert nvml.monitor(GPU).energy() is None


def test_a_gpu_too_old_for_mig_counts_its_energy(simulated) -> None:
    simulated(SimulatedNVML(refused={"nvmlDeviceGetMigMode"}))
    assert nvml.monitor(GPU).energy() is not None


def test_a_gpu_that_nvml_does_not_know(simulated) -> None:
    simulated(SimulatedNVML())
    assert nvml.monitor("GPU-0") is None
    assert nvml.why("GPU-0") == "NVML knows no GPU GPU-0: Not Found"
    assert nvml.monitor("0000:00:00.0") is None


def test_without_a_driver(simulated) -> None:
    simulated(SimulatedNVML(refused={"nvmlInit"}))
    assert nvml.monitor(GPU) is None
    assert nvml.why(GPU) == "NVML cannot be used: Not Supported; it comes with NVIDIA's driver"


def test_without_the_bindings(simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated(SimulatedNVML())
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml.monitor(GPU) is None
    assert "nvidia-ml-py is not installed" in nvml.why(GPU)
    assert "pip install nvidia-ml-py" in nvml.why(GPU)


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    code = "import sys, layerbench.cuda.nvml; sys.exit('pynvml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


ASKING = re.compile(r"nvmlInit|nvml(Device|System)Get\w+")


def test_settings_are_never_changed(simulated) -> None:
    named = {
        function
        for path in Path(nvml.__file__).parents[1].rglob("*.py")
        for function in re.findall(r"\bnvml[A-Z]\w+", path.read_text().replace("nvmlClocksEventReason...", ""))
    }
    assert len(named) > 10
    assert [function for function in named if not ASKING.fullmatch(function)] == []
    library = simulated(SimulatedNVML())
    monitor = nvml.monitor(GPU)
    monitor.conditions()
    monitor.energy()
    survey._by_nvml(library)
    assert set(library.calls) <= named


@pytest.mark.cuda_libraries
def test_the_real_bindings_have_what_is_used() -> None:
    pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    simulation = SimulatedNVML()
    assert [function for function in simulation._answers if not callable(getattr(pynvml, function, None))] == []
    for constant in ("NVML_CLOCK_GRAPHICS", "NVML_CLOCK_SM", "NVML_CLOCK_MEM", "NVML_TEMPERATURE_GPU"):
        assert getattr(pynvml, constant) == getattr(simulation, constant)
    bits = {
        0x002: "ApplicationsClocksSetting",
        0x004: "SwPowerCap",
        0x008: "HwSlowdown",
        0x010: "SyncBoost",
        0x020: "SwThermalSlowdown",
        0x040: "HwThermalSlowdown",
        0x080: "HwPowerBrakeSlowdown",
        0x100: "DisplayClockSetting",
        0x200: "BoardLimit",
        0x400: "Reliability",
    }
    assert bits.keys() == nvml.REASONS.keys()
    assert {bit: getattr(pynvml, f"nvmlClocksThrottleReason{name}") for bit, name in bits.items()} == {
        bit: bit for bit in bits
    }
    assert pynvml.nvmlClocksEventReasonGpuIdle == nvml.GPU_IDLE
    assert {
        pynvml.NVML_VALUE_NOT_AVAILABLE_uint.value,
        pynvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value,
    } == nvml.NOT_TOLD


@pytest.mark.gpu
def test_a_real_gpu_tells_its_conditions() -> None:
    library = pytest.importorskip("layerbench.cuda.library")
    if not library.availability().ok:
        pytest.skip(library.availability().reason)
    for device in library.visible():
        monitor = nvml.monitor(device)
        assert monitor is not None, nvml.why(device)
        told = monitor.conditions()
        assert 1e8 < told.core_clock < 1e10
        assert 1e8 < told.memory_clock < 3e10
        assert 0 < told.temperature < 120
        assert 0 < told.power < 2000
        assert 1e8 < told.usual_core_clock < 1e10
        assert monitor.default_core_clock() == told.usual_core_clock
        before = monitor.energy()
        assert before is None or monitor.energy() >= before > 0
