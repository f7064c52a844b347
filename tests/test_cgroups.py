from pathlib import Path

import pytest

from layerbench import cgroups


class Machine:
    """Control groups made of plain files, and what ``/proc/self`` says of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.proc = root / "proc"
        self.proc.mkdir()
        self.memberships: list[str] = []
        self.mounts: list[str] = ["21 1 0:20 / /proc rw - proc proc rw"]

    def mount(self, where: str, root: str, kind: str, options: str) -> None:
        (self.root / where).mkdir(parents=True, exist_ok=True)
        self.mounts.append(f"30 24 0:26 {root} {self.root / where} rw,nosuid shared:9 - {kind} cgroup rw,{options}")

    def write(self, where: str, **files: str) -> None:
        folder = self.root / where
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text + "\n")

    def start(self) -> None:
        (self.proc / "cgroup").write_text("\n".join(self.memberships) + "\n")
        (self.proc / "mountinfo").write_text("\n".join(self.mounts) + "\n")


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Machine:
    found = Machine(tmp_path)
    monkeypatch.setattr(cgroups, "PROC", found.proc)
    return found


def test_version_2_takes_the_least_of_all_levels(machine):
    machine.memberships = ["0::/job/step"]
    machine.mount("cg", "/", "cgroup2", "nsdelegate")
    machine.write("cg/job/step", cpu__max="max 100000", memory__max="8000", memory__current="1000")
    machine.write("cg/job", cpu__max="250000 100000", memory__max="5000", memory__current="2000")
    machine.write("cg/job", memory__stat="anon 100\ninactive_file 300\nactive_file 7")
    machine.start()
    assert cgroups.cpu_quota() == 2.5
    assert cgroups.memory_left() == 5000 - 2000 + 300


def test_version_1_has_a_hierarchy_for_each_controller(machine):
    machine.memberships = ["5:cpu,cpuacct:/box", "4:memory:/box", "1:name=systemd:/box", "0::/"]
    machine.mount("cpu", "/", "cgroup", "cpu,cpuacct")
    machine.mount("memory", "/", "cgroup", "memory")
    machine.write("cpu/box", cpu__cfs_quota_us="150000", cpu__cfs_period_us="100000")
    machine.write("memory/box", memory__limit_in_bytes="4096", memory__usage_in_bytes="4000")
    machine.write("memory/box", memory__stat="total_inactive_file 50")
    machine.start()
    assert cgroups.cpu_quota() == 1.5
    assert cgroups.memory_left() == 4096 - 4000 + 50


def test_no_limit_is_none(machine):
    machine.memberships = ["4:memory:/", "2:cpu:/", "0::/"]
    machine.mount("cpu", "/", "cgroup", "cpu")
    machine.mount("memory", "/", "cgroup", "memory")
    machine.mount("unified", "/", "cgroup2", "")
    machine.write("cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    machine.write("memory", memory__limit_in_bytes=str(2**63 - 4096), memory__usage_in_bytes="4000")
    machine.write("unified", cpu__max="max 100000", memory__max="max", memory__current="5")
    machine.start()
    assert cgroups.cpu_quota() is None
    assert cgroups.memory_left() is None


def test_a_container_sees_its_own_group_as_the_root(machine):
    machine.memberships = ["4:memory:/docker/abc"]
    machine.mount("memory", "/docker/abc", "cgroup", "memory")
    machine.write("memory", memory__limit_in_bytes="900", memory__usage_in_bytes="400")
    machine.start()
    assert cgroups.memory_left() == 500


@pytest.mark.parametrize("membership", ["4:memory:/elsewhere", "4:memory:/../sibling"])
def test_a_group_outside_what_is_mounted_falls_back_to_the_mount(machine, membership):
    machine.memberships = [membership]
    root = "/docker/abc" if "elsewhere" in membership else "/"
    machine.mount("memory", root, "cgroup", "memory")
    machine.write("memory", memory__limit_in_bytes="900", memory__usage_in_bytes="1000")
    machine.start()
    assert cgroups.memory_left() == 0


def test_files_that_make_no_sense_are_no_limit(machine):
    machine.memberships = ["0::/"]
    machine.mounts += ["", "one two", "1 2 3 4 5 - cgroup2"]
    machine.mount("cg", "/", "cgroup2", "")
    machine.write("cg", cpu__max="a b", memory__max="lots", memory__current="x")
    machine.start()
    assert cgroups.cpu_quota() is None
    assert cgroups.memory_left() is None


def test_a_system_without_control_groups(machine):
    assert cgroups.levels("cpu") == []
    assert cgroups.cpu_quota() is None
    assert cgroups.memory_left() is None


def test_this_machine_is_read_without_an_error():
    quota, left = cgroups.cpu_quota(), cgroups.memory_left()
    assert quota is None or quota > 0
    assert left is None or left >= 0
