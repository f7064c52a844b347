"""A comparison as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from layerbench.compare import wording
from layerbench.compare.comparison import Comparison

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --ground: #fff; --rule: #d0d7de; --quiet: #59636e;
  --slower: #a40e26; --faster: #116329; --unclear: #7d4e00; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --ground: #0d1117; --rule: #30363d; --quiet: #9198a1;
    --slower: #ff9492; --faster: #6fdd8b; --unclear: #e3b341; }
}
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: var(--text); background: var(--ground);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; }
h2 { font-size: 1.1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--rule); text-align: left; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.slower { color: var(--slower); font-weight: 600; }
.faster { color: var(--faster); font-weight: 600; }
.unclear { color: var(--unclear); }
.same { color: var(--quiet); }
"""


def html(comparison: Comparison) -> str:
    """Every record with a verdict, most different first, and how they were compared."""
    heading = escape(wording.heading(comparison))
    rows = wording.most_different_first(comparison.rows)
    body = [
        f"<h1>{heading}</h1>",
        *_list("", wording.sides(comparison)),
        *_table(
            _verdict_second(wording.HEAD),
            [_verdict_second(wording.in_cells(row)) for row in rows],
            [number + 1 for number in wording.NUMBERS],
            [row.verdict for row in rows],
        ),
    ]
    means = [[part, f"{mean:.3f}", str(count)] for part, (mean, count) in comparison.geometric_means().items()]
    if means:
        body += ["<h2>By part</h2>", *_table(wording.MEANS_HEAD, means, (1, 2))]
    body += _list("How it was compared", wording.rules(comparison))
    body += _list("Algorithms and runs", [*wording.other_algorithms(rows), *wording.incomplete(comparison)])
    body += _list("Without a verdict", wording.untested(comparison))
    body += _list("What else differs", [line for lines in wording.differences(comparison) for line in lines])
    head = (
        '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>layerbench: {heading}</title>\n<style>{_STYLE}</style>"
    )
    text = "\n".join(body)
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{text}\n</body>\n</html>\n'


def _verdict_second(cells: Sequence[str]) -> list[str]:
    """The verdict beside the layer, where a narrow window shows it without scrolling."""
    layer, *rest, verdict = cells
    return [layer, verdict, *rest]


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Iterable[int], verdicts: Sequence[str] = ()
) -> list[str]:
    right = set(numbers)

    def line(tag: str, texts: Sequence[str], verdict: str = "") -> str:
        marked = []
        for number, text in enumerate(texts):
            name = "number" if number in right else verdict if number == 1 else ""
            scope = ' scope="col"' if tag == "th" else ""
            marked.append(f"<{tag}{scope}{f' class={name!r}' if name else ''}>{escape(text)}</{tag}>")
        return f"<tr>{''.join(marked)}</tr>"

    told = [line("td", row, verdict) for row, verdict in zip(rows, verdicts or [""] * len(rows), strict=True)]
    return [
        f'<div class="wide"><table>\n<thead>{line("th", head)}</thead>\n<tbody>',
        *told,
        "</tbody>\n</table></div>",
    ]


def _list(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    items = [f"<li>{escape(line)}</li>" for line in lines]
    return [*([f"<h2>{title}</h2>"] if title else []), "<ul>", *items, "</ul>"]
