"""The table of a check: how its steps went, which aims are met, and every figure that they rest on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.gpu import aims
from tests.gpu.aims import Aim, Difference
from tests.gpu.process import Outcome

NOTHING = "–"


def markdown(
    outcomes: Sequence[Outcome],
    figures: Mapping[str, Any],
    judged: Sequence[Aim],
    dtypes: Sequence[str],
    peers: Sequence[str],
) -> str:
    """The whole table.

    Parameters
    ----------
    outcomes
        Of every step, in their order.
    figures
        What each step left behind, by its name; None or missing where it left nothing.
    judged
        The aims.
    dtypes, peers
        What was asked for.
    """
    lines = ["# GPU check", "", *_where(figures.get("environment"))]
    lines += ["## Aims", "", *_rows(("aim", "wanted", "found", ""), [_aim(aim) for aim in judged])]
    lines += ["## Steps", "", *_rows(("step", "ended", "s", "last word"), [_step(outcome) for outcome in outcomes])]
    if (tests := figures.get("tests")) is not None:
        lines += ["## Tests", "", *_tests(tests)]
    for dtype in dtypes:
        if (swept := figures.get(f"layers-{dtype}")) is not None:
            lines += _layers(dtype, swept, figures.get(f"peers-{dtype}"), peers)
    for dtype in dtypes:
        if (beside := figures.get(f"peers-{dtype}")) is not None:
            lines += _peers(dtype, beside, peers)
    if (independent := figures.get("independent")) is not None:
        lines += _independent(independent)
    if (alike := figures.get("alike")) is not None:
        lines += _alike(alike)
    if (nodes := figures.get("nodes")) is not None:
        lines += _nodes(nodes)
    return "\n".join(lines).rstrip() + "\n"


def _where(environment: Mapping[str, Any] | None) -> list[str]:
    if environment is None:
        return []
    gpu = environment["gpu"] or "no GPU is told of"
    return [f"{gpu}. {environment['where']}; Python {environment['python']}.", ""]


def _aim(aim: Aim) -> list[str]:
    return [aim.what, aim.wanted, aim.found or NOTHING, aim.verdict]


def _step(outcome: Outcome) -> list[str]:
    status = outcome.status + (f" ({outcome.attempts} attempts)" if outcome.attempts > 1 else "")
    return [outcome.name, status, f"{outcome.seconds:.0f}" if outcome.seconds else NOTHING, outcome.said]


def _tests(tests: Mapping[str, Any]) -> list[str]:
    counts = ", ".join(f"{count} {what}" for what, count in tests["counts"].items())
    lines = [f"{counts or 'none'}.{' ' + tests['reason'] if tests['reason'] else ''}", ""]
    bad, skipped = tests["bad"], tests.get("skipped", [])
    lines += [f"- {_flat(line)}" for line in bad] + [f"- skipped: {_flat(line)}" for line in skipped]
    return [*lines, ""] if bad or skipped else lines


def _layers(dtype: str, swept: Mapping[str, Any], beside: Mapping[str, Any] | None, peers: Sequence[str]) -> list[str]:
    """Each pass in every way that it was timed in."""
    rows, ceiling = swept["rows"], swept["roofline"]
    lines = [f"## Layers, {dtype}, batch {swept['batch']}", ""]
    if ceiling is not None:
        lines += [
            f"Roofline: {_rate(ceiling['flops'])}FLOP/s ({ceiling['flops_source'] or NOTHING}), "
            f"{_rate(ceiling['bandwidth'])}B/s ({ceiling['bandwidth_source'] or NOTHING})"
            + (f"; {_flat(ceiling['reason'])}" if ceiling["reason"] else "."),
            "",
        ]
    ratios = {(row["layer"], row["pass"]): row["ratio"] for row in (beside or {"rows": []})["rows"]}
    ways = [way for way in swept["ways"] if any(row["way"] == way for row in rows)]
    head = ["layer", "pass", *(f"{way}, µs" for way in ways), "FLOP/s", "of roofline"]
    head += [*(f"{peer} / ours" for peer in peers), "J/GMAC", "launch, µs", "algorithm"]
    cells = []
    for layer, pass_ in dict.fromkeys((row["layer"], row["pass"]) for row in rows):
        of_ways = {row["way"]: row for row in rows if (row["layer"], row["pass"]) == (layer, pass_)}
        first = next(iter(of_ways.values()))
        cells.append(
            [
                *(layer, pass_),
                *(_time(of_ways.get(way)) for way in ways),
                _rate(2 * first["macs"] / first["seconds"][0]) if first["seconds"] else NOTHING,
                _percent(aims.fraction_of_roofline(first, ceiling)),
                *(_ratio(ratios.get((layer, pass_), {}).get(peer)) for peer in peers),
                *(_energy(first), _launch(first)),
                f"{first['kernels']}: {first['algorithm']}" if first["algorithm"] else _flat(first["reason"]),
            ]
        )
    lines += _rows(head, cells)
    lines += [f"- {way}: {_flat(told['reason'])}" for way, told in swept["ways"].items() if told["reason"]]
    lines += _failures(rows)
    marked = {word: sum(bool(row[word]) for row in rows) for word in ("noisy", "throttled")}
    retaken = sum({(row["layer"], row["way"]): row["retaken"] for row in rows}.values())
    lines += [f"- {marked['throttled']} records throttled, {retaken} samples retaken, {marked['noisy']} noisy (~)", ""]
    return lines + _ways(aims.differences(rows))


def _failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What has no time and why, each reason once."""
    by_reason: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["status"] != "ok":
            by_reason.setdefault((row["layer"], row["status"], row["reason"]), []).append(row)
    return [
        f"- {layer} {status} ({', '.join(dict.fromkeys(row['way'] for row in failed))}; "
        f"{', '.join(dict.fromkeys(row['pass'] for row in failed))}): {_flat(reason)}"
        for (layer, status, reason), failed in by_reason.items()
    ]


def _ways(found: Sequence[Difference]) -> list[str]:
    if not found:
        return []
    cells = [
        [
            *(each.layer, each.pass_, f"{each.ways[0]} / {each.ways[1]}"),
            *(f"{seconds * 1e6:.1f}" for seconds in each.seconds),
            f"{each.difference:+.1%}",
            ("yes" if each.agree else "no") + (f" ({each.not_judged})" if each.not_judged else ""),
        ]
        for each in found
    ]
    return _rows(("layer", "pass", "ways", "first, µs", "second, µs", "difference", "intervals overlap"), cells)


def _peers(dtype: str, beside: Mapping[str, Any], peers: Sequence[str]) -> list[str]:
    lines = [f"## Beside peers, {dtype}, batch {beside['batch']}", ""]
    head = ["layer", "pass", "ours, µs", *(title for peer in peers for title in (f"{peer}, µs", f"{peer} / ours"))]
    cells = []
    for row in beside["rows"]:
        of_peers = []
        for peer in peers:
            seconds = row["seconds"].get(peer)
            mark = " *" if peer in row["not_counted"] else ""
            of_peers += [f"{seconds[0] * 1e6:.1f}" if seconds else NOTHING, _ratio(row["ratio"].get(peer)) + mark]
        cells.append([row["layer"], row["pass"], f"{row['seconds']['ours'][0] * 1e6:.1f}", *of_peers])
    lines += _rows(head, cells)
    if any(row["not_counted"] for row in beside["rows"]):
        lines += ["\\* not counted: the peer computes both gradients whichever is asked for; see the row of both.", ""]
    left_out = [f"- left out: {_flat(line)}" for line in beside["left_out"]]
    return [*lines, *left_out, ""] if left_out else lines


def _independent(found: Mapping[str, Any]) -> list[str]:
    lines = [f"## By another harness, {found['dtype']}", "", f"{found['harness'] or 'None could be used'}.", ""]
    cells = [
        [
            *(row["layer"], row["pass"], row["cache"]),
            *(f"{row[side] * 1e6:.1f}" for side in ("ours", "theirs")),
            f"{row['theirs'] / row['ours'] - 1:+.1%}",
        ]
        for row in found["rows"]
    ]
    lines += _rows(("layer", "pass", "cache", "ours, µs", "theirs, µs", "difference"), cells)
    reasons = [f"- {_flat(reason)}" for reason in found["reasons"]]
    return [*lines, *reasons, ""] if reasons else lines


def _alike(found: Mapping[str, Any]) -> list[str]:
    other = [row for row in found["rows"] if row["verdict"] != "same"]
    lines = [f"## Two equal runs, {found['dtype']}", "", f"{' and '.join(found['runs'])}.", ""]
    cells = [[row["layer"], row["part"], f"{row['ratio']:.3f}", row["verdict"]] for row in other]
    return lines + (_rows(("layer", "part", "ratio", "verdict"), cells) if cells else [])


def _nodes(found: Mapping[str, Any]) -> list[str]:
    lines = [f"## Nodes, {found['dtype']}", "", f"{found['run']}.{' ' + _flat(found['reason'])}".rstrip(), ""]
    cells = [
        [
            *(str(row["nodes"]), row["placement"] or NOTHING, f"{row['layers']}", f"{row['failed']}"),
            f"{row['seconds'] * 1e3:.3f}" if row["seconds"] is not None else NOTHING,
            _flat(row["reason"]),
        ]
        for row in found["rows"]
    ]
    return lines + _rows(("nodes", "placement", "layers", "not timed", "all steps, ms", "reason"), cells)


def _rows(head: Sequence[str], cells: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(_flat(cell) for cell in row)} |" for row in cells]
    return [*lines, ""]


def _flat(text: str) -> str:
    """Text that neither ends a line nor a cell."""
    return " ".join(text.replace("|", "\\|").split())


def _time(row: Mapping[str, Any] | None) -> str:
    if row is None or row["seconds"] is None:
        return NOTHING
    return f"{row['seconds'][0] * 1e6:.1f}" + (" ~" if row["noisy"] else "") + (" ▽" if row["throttled"] else "")


def _ratio(ratio: Sequence[float] | None) -> str:
    return NOTHING if ratio is None else f"{ratio[0]:.2f}"


def _percent(fraction: float | None) -> str:
    return NOTHING if fraction is None else f"{fraction:.0%}"


def _energy(row: Mapping[str, Any]) -> str:
    joules = row["energy_joules"]
    return NOTHING if joules is None or not row["macs"] else f"{joules / row['macs'] * 1e9:.3g}"


def _launch(row: Mapping[str, Any]) -> str:
    """What it takes to queue a call so short that this matters."""
    if row["launch_seconds"] is None or not row["seconds"] or row["seconds"][0] >= aims.SHORT:
        return NOTHING
    return f"{row['launch_seconds'] * 1e6:.1f}"


def _rate(value: float) -> str:
    for scale, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= scale:
            return f"{value / scale:.3g} {prefix}"
    return f"{value:.3g} "
