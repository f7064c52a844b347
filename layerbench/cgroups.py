"""What Linux control groups leave to this process; containers and batch systems set their limits there.

A limit may be set at any level of the hierarchy and binds all levels below it, so every level is read and the
least counts. Versions 1 and 2 are read, in the formats of the kernel's ``admin-guide/cgroup-v1`` and
``admin-guide/cgroup-v2``.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")

_UNLIMITED = 2**60  # version 1 writes "no limit" as the largest multiple of the page size below 2**63


def levels(controller: str, proc: Path | None = None) -> list[Path]:
    """Directories of this process's control group and its ancestors, as far as they are mounted.

    Parameters
    ----------
    controller
        ``cpu`` or ``memory``.
    proc
        Where ``cgroup`` and ``mountinfo`` are read; this process's folder in ``/proc`` if not given.

    Returns
    -------
    list of Path
        Of both versions, innermost first; which of them has the controller shows in its files. Empty
        where there are no control groups.
    """
    proc = proc or PROC
    try:
        memberships = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return []
    group: dict[str, str] = {}
    for line in memberships:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            group["cgroup2"] = path
        elif controller in controllers.split(","):
            group["cgroup"] = path
    found: list[Path] = []
    for line in mounts:
        before, _, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if len(fields) < 5 or len(tail) < 3 or tail[0] not in group:
            continue
        if tail[0] == "cgroup" and controller not in tail[2].split(","):
            continue
        found += _upwards(Path(fields[4]), fields[3], group[tail[0]])
    return list(dict.fromkeys(found))


def _upwards(mount: Path, root: str, group: str) -> list[Path]:
    """From a group up to its mount point; a container often sees its own group mounted as the root."""
    try:
        inside = PurePosixPath(group).relative_to(root)
    except ValueError:
        inside = PurePosixPath()
    if ".." in inside.parts:  # the group lies outside this namespace's view
        inside = PurePosixPath()
    innermost = mount / inside
    upwards = (innermost, *innermost.parents)
    return [level for level in upwards if level.is_relative_to(mount) and level.is_dir()]


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    match _words(path):
        case [word] if word.lstrip("-").isdigit():
            return int(word)
    return None


def cpu_quota() -> float | None:
    """Processor time this process may use, in cores; None where it is not limited."""
    quotas = []
    for level in levels("cpu"):
        match _words(level / "cpu.max"):
            case [quota, period] if quota.isdigit() and period.isdigit() and int(period):
                quotas.append(int(quota) / int(period))
        quota_us, period_us = _number(level / "cpu.cfs_quota_us"), _number(level / "cpu.cfs_period_us")
        if quota_us is not None and period_us and quota_us > 0:
            quotas.append(quota_us / period_us)
    return min(quotas, default=None)


def memory_left() -> int | None:
    """Bytes this process's groups may still allocate; None where they are not limited.

    File pages that the kernel would drop under pressure count as free.
    """
    left = []
    for level in levels("memory"):
        for limit_file, usage_file, reclaimable in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, usage = _number(level / limit_file), _number(level / usage_file)
            if limit is None or usage is None or limit >= _UNLIMITED:
                continue
            words = _words(level / "memory.stat")
            stat = dict(zip(words[::2], words[1::2], strict=False))
            left.append(max(0, limit - usage + int(stat.get(reclaimable, "0"))))
    return min(left, default=None)
