"""Node counts to launches to journal, and how a sweep is resumed.

A launch that fails costs its own layers: they are recorded as failed with the reason, and the sweep goes on.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from layerbench import environment, layouts, store
from layerbench import network as networks
from layerbench import plan as planning
from layerbench.assignment import Assignment, Event, Findings, Progressed, findings_path
from layerbench.errors import JournalError, LaunchError, LayerbenchError, MeasurementError, StoreError
from layerbench.launch import World, command_line, rank_environment
from layerbench.layers import AnyLayer
from layerbench.listener import Listener
from layerbench.plan import Count
from layerbench.records import PARTS, Launch, Manifest, Network, Options, Purpose, Record, used_machines
from layerbench.supervise import GRACE, GRACE_ELSEWHERE, Ending, supervise
from layerbench.task import Task, without_result

ROOFLINE_TIMEOUT = 30.0
"""Seconds without progress after which the roofline is given up, if that is less than the timeout asked for."""


@dataclass(frozen=True)
class Sweep:
    """A run folder and what is to be measured into it."""

    path: Path
    manifest: Manifest
    cores: int

    @property
    def options(self) -> Options:
        return self.manifest.options


def now() -> str:
    """This moment, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def start(path: Path, manifest: Manifest, cores: int) -> Sweep:
    """Make the run folder of a new sweep.

    Raises
    ------
    StoreError
        If it cannot be made, or holds a run already.
    UnavailableError
        If emulated counts need a network model and none can be had here.
    """
    planned = planning.counts(manifest.options, cores)
    if _needs_network(manifest, planned) and manifest.options.network == networks.HERE:
        planning.calibration_world(manifest.options, cores)
    store.create(path, manifest)
    return Sweep(path, manifest, cores)


def _needs_network(manifest: Manifest, planned: Sequence[Count]) -> bool:
    """Whether the run needs a network model: to compute communication, or to choose layouts by."""
    return planning.needs_network(planned) or layouts.needs_network(manifest, planned)


def resume(path: Path, manifest: Manifest, cores: int) -> tuple[Sweep, list[str]]:
    """Take up the sweep in a run folder, if it is the same sweep on the same machine, or on hosts like its own.

    Parameters
    ----------
    path
        The run folder.
    manifest
        What would be measured if it were new.
    cores
        Of each machine that ranks run on.

    Returns
    -------
    Sweep and list of str
        The sweep, and what the user should know of how it was found.

    Raises
    ------
    StoreError
        If suite, options or machine differ; every difference is named.
    """
    stored = store.load(path)
    differences = _differences(stored.manifest, manifest)
    if differences:
        raise StoreError(f"{path} cannot be resumed, it differs: {'; '.join(differences)}; name another --output")
    notes = [note for note in [store.set_aside_torn_tail(path)] if note]
    # Hosts and the allocation are those of now.
    kept = msgspec.structs.replace(stored.manifest, options=manifest.options, outcome="running", end="")
    return Sweep(path, kept, cores), notes


_MAY_DIFFER = ("timeout", "hosts", "allocated")
"""Options that a resumed run may have otherwise: a batch system chooses among equal nodes."""


def _differences(old: Manifest, new: Manifest) -> list[str]:
    found = []
    if old.layers != new.layers:
        were, are = ({layer.name: layer for layer in m.layers} for m in (old, new))
        changed = [name for name in dict.fromkeys([*were, *are]) if were.get(name) != are.get(name)]
        found.append(f"layers {', '.join(changed) or 'in another order'} (suite {old.suite}, now {new.suite})")
    for name in Options.__struct_fields__:
        was, now_ = getattr(old.options, name), getattr(new.options, name)
        if was != now_ and name not in _MAY_DIFFER:
            found.append(f"--{name.replace('_', '-')} was {was}, now {now_}")
    before, after = used_machines(old.options), used_machines(new.options)
    if before != after:
        found.append(f"ranks had {before or 'no'} other machines, now {after or 'none'}")
    # What ranks run on elsewhere they look at themselves.
    for name in environment.SAME_SOFTWARE if new.options.machines else environment.SAME_ON_RESUME:
        was, now_ = old.environment.get(name), new.environment.get(name)
        if was != now_:
            found.append(f"{name.replace('_', ' ')} was {was}, now {now_}")
    return found


def execute(sweep: Sweep, listener: Listener) -> list[Record]:
    """Measure all that is missing; returns all records there are then.

    Raises
    ------
    JournalError
        If records cannot be written any more; what was written before is safe.
    UnavailableError
        If the network of emulated counts can be neither measured nor looked up.
    """
    planned = planning.counts(sweep.options, sweep.cores)
    kept = _kept(store.load(sweep.path).records)
    missing = [
        (count, layers)
        for count in planned
        if (layers := [layer for layer in sweep.manifest.layers if (layer.name, count.nodes) not in kept])
    ]
    listener.sweep_started(sweep.path, [count for count, _ in missing], sweep.manifest.layers)
    if not missing:
        listener.note("nothing was missing: every layer has its records at every count")
    runner = _Runner(sweep, listener)
    outcome = "interrupted"
    try:
        if _needs_network(sweep.manifest, [count for count, _ in missing]):
            runner.look_up_network()
        if missing:
            runner.look_up_roofline()
        runner.choose_layouts([count for count, _ in missing])
        for count, layers in missing:
            runner.launch(count, layers)
        outcome = "complete"
    except LayerbenchError as error:
        outcome = f"ended: {error}"
        raise
    finally:
        # A disk that is full has its own error on the way to the user; the manifest's must not hide it.
        with contextlib.suppress(StoreError):
            runner.keep(end=now(), outcome=outcome)
        runner.close()
    return store.load(sweep.path).records


def _kept(records: Sequence[Record]) -> set[tuple[str, int]]:
    """(layer, nodes) all of whose parts have a record that need not be measured again."""
    found = Counter((record.layer, record.nodes) for record in records if record.status != "failed")
    return {key for key, parts in found.items() if parts == len(PARTS)}


class _Runner:
    """Launches one after another and keeps the manifest up to date."""

    def __init__(self, sweep: Sweep, listener: Listener) -> None:
        self._sweep = sweep
        self._options = sweep.options
        self._listener = listener
        self._manifest = sweep.manifest
        self._journal = store.Journal(sweep.path)
        self._journal.lock()
        self._no_network = ""

    def keep(self, **changes: Any) -> None:
        """Change the manifest, on disk too."""
        self._manifest = msgspec.structs.replace(self._manifest, **changes)
        store.write_manifest(self._sweep.path, self._manifest)

    def close(self) -> None:
        self._journal.close()

    def look_up_network(self) -> None:
        """Make sure that a network model can be had, before anything that takes time."""
        if self._manifest.network is not None:
            return
        if self._options.network == networks.HERE:
            planning.calibration_world(self._options, self._sweep.cores)
        else:
            self.keep(network=networks.load(self._options.network))

    def look_up_roofline(self) -> None:
        """Measure the ceilings of one rank, if they are not known; no failure of that costs anything else."""
        if self._manifest.roofline is not None:
            return
        self._listener.roofline_started()
        world = World(1, 1, tuple(self._options.hosts[:1]))
        try:
            assignment = self._assignment("roofline", Count(1, 1, "measured", world), self._manifest.layers, None)
            ending = self._run(assignment, world, self._listener.event, ROOFLINE_TIMEOUT)
            found = self._found(assignment)
            if ending.ok and found is not None and found.roofline is not None:
                with contextlib.suppress(StoreError):  # written again with the next launch
                    self.keep(roofline=found.roofline)
                self._listener.roofline_known(found.roofline)
                return
            reason = f"{ending.reason or 'the rank ended without a word on it'} (see {assignment.with_suffix('.log')})"
        except LayerbenchError as error:
            reason = str(error)
        self._listener.note(f"the roofline could not be measured: {' '.join(reason.split())}")

    def choose_layouts(self, planned: Sequence[Count]) -> None:
        """Let the cost model say how layers are split where that was left to it; what it said before stands."""
        counts = layouts.not_chosen(self._manifest, planned)
        if not counts:
            return
        if layouts.needs_network(self._manifest, counts):
            _, reason = self._network()
            if reason:
                raise MeasurementError(f"--layout best: {reason}")
        for count in counts:
            chosen = layouts.choose(self._manifest, count)
            self.keep(layouts=[*self._manifest.layouts, *chosen])
            for choice in chosen:
                if choice.needs_telling:
                    self._listener.note(layouts.told(choice))

    def launch(self, count: Count, layers: Sequence[AnyLayer]) -> None:
        """Measure layers at one node count; whatever of them has no record in the end is recorded as failed."""
        network = None
        reason = ""
        if count.placement == "emulated":
            network, reason = self._network()
        chosen = layouts.by_layer(self._manifest, count.nodes)
        task = Task(self._options, count.nodes, count.ranks, count.placement, network, count.oversubscribed, chosen)
        start = self._journal.size
        if not reason:
            self._listener.launch_started(count, layers)
            assignment = self._assignment("measure", count, layers, network)
            current = ""

            def listen(event: Event) -> None:
                nonlocal current
                if isinstance(event, Progressed):
                    current = event.what
                self._listener.event(event)

            ending = self._run(assignment, count.world, listen)
            if not ending.ok:
                reason = _told(ending, current)
        # What has a record is read from the journal: an event may be lost on its way through a launcher.
        recorded = {record.key for record in self._journal.since(start)}
        lost = [
            record
            for layer in layers
            for record in without_result(task, layer, "failed", reason or "the ranks ended without a word on it")
            if record.key not in recorded
        ]
        if lost:
            self._listener.launch_failed(count.nodes, lost[0].reason)
            self._journal.append(lost)

    def _network(self) -> tuple[Network | None, str]:
        """The network model, measured now if it has not been; or why there is none."""
        if self._manifest.network is None and not self._no_network:
            self._listener.network_started()
            world = planning.calibration_world(self._options, self._sweep.cores)
            count = Count(2, world.ranks, "measured", world)
            assignment = self._assignment("network", count, [], None)
            ending = self._run(assignment, world, self._listener.event)
            found = self._found(assignment)
            if not ending.ok or found is None or found.network is None:
                self._no_network = f"the network could not be measured: {_told(ending, '')}"
            else:
                self.keep(network=found.network)
                self._listener.network_known(found.network)
        return self._manifest.network, self._no_network

    def _assignment(self, purpose: Purpose, count: Count, layers: Sequence[AnyLayer], network: Network | None) -> Path:
        name = f"nodes-{count.nodes}" if purpose == "measure" else purpose
        folder = self._sweep.path / store.LAUNCHES
        path, attempt = folder / f"{name}.json", 1
        while path.exists():
            attempt += 1
            path = folder / f"{name}-attempt-{attempt}.json"
        assignment = Assignment(
            purpose=purpose,
            run_folder=str(self._sweep.path.resolve()),
            options=self._options,
            nodes=count.nodes,
            ranks=count.ranks,
            world=count.world.ranks,
            placement=count.placement,
            oversubscribed=count.oversubscribed,
            layers=list(layers),
            layouts=layouts.by_layer(self._manifest, count.nodes),
            network=network,
            alike=self._alike(),
        )
        try:
            path.write_bytes(msgspec.json.format(msgspec.json.encode(assignment), indent=2))
        except OSError as error:
            raise JournalError(f"{path} cannot be written: {error.strerror}") from error
        return path.resolve()

    def _alike(self) -> dict[str, Any]:
        """What ranks must find where they run, if that need not be this machine; nothing before the first told."""
        facts = self._manifest.environment
        if not self._options.machines or environment.STARTED_FROM not in facts:
            return {}
        return {name: facts.get(name) for name in environment.SAME_HOST}

    def _run(
        self, assignment: Path, world: World, listen: Callable[[Event], None], longest: float = math.inf
    ) -> Ending:
        options = self._options
        command = command_line(options.launcher, world, options.threads_per_rank, options.launcher_args, assignment)
        begin = now()
        outcome = "interrupted"
        try:
            ending = supervise(
                command,
                rank_environment(options.threads_per_rank, world.hosts, os.environ),
                assignment.with_suffix(".log"),
                min(options.timeout, longest),
                listen,
                grace=GRACE_ELSEWHERE if options.allocated else GRACE,
            )
            outcome = ending.reason or ending.journal_failed or "ok"
        except LaunchError as error:
            outcome = str(error)
            ending = Ending(-1, outcome, "")
        finally:
            self._keep_launch(assignment, command, begin, outcome)
        if ending.journal_failed:
            raise JournalError(ending.journal_failed)
        return ending

    def _keep_launch(self, assignment: Path, command: list[str], begin: str, outcome: str) -> None:
        told = msgspec.json.decode(assignment.read_bytes(), type=Assignment)
        found = self._found(assignment)
        launch = Launch(
            purpose=told.purpose,
            nodes=told.nodes,
            ranks=told.ranks,
            placement=told.placement,
            command=command,
            start=begin,
            end=now(),
            outcome=outcome,
            mpi=found.mpi if found else "",
            hosts=found.hosts if found else [],
            pinned_cores=found.pinned_cores if found else [],
            devices=found.devices if found else [],
            libraries=found.libraries if found else {},
        )
        facts = self._manifest.environment
        if found and found.host and environment.STARTED_FROM not in facts:
            facts = {**facts, **found.host, environment.STARTED_FROM: facts.get("hostname")}
        # The manifest is written again at the end of the sweep: a disk that is full has a better message by then.
        with contextlib.suppress(StoreError):
            self.keep(launches=[*self._manifest.launches, launch], environment=facts)

    def _found(self, assignment: Path) -> Findings | None:
        """What the ranks of a launch said of themselves; None if they did not come so far."""
        try:
            return msgspec.json.decode(findings_path(assignment).read_bytes(), type=Findings)
        except (OSError, msgspec.DecodeError):
            return None


def _told(ending: Ending, current: str) -> str:
    """Why a launch failed, in words: what it was doing, how it ended, and the end of its log."""
    while_doing = f"while at {current}: " if current else ""
    tail = f"; the end of its log:\n{ending.tail}" if ending.tail else ""
    return f"{while_doing}{ending.reason}{tail}"
