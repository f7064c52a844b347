/* The table of placements: sorted, searched, paged. */

const NAMES = [0, 1];

function isKept(row) {
  return !table.text || NAMES.some((column) => records.cells[column][row].toLowerCase().includes(table.text));
}

function compare(column) {
  const [values, cells] = [records.values[column], records.cells[column]];
  return values ? (a, b) => values[a] - values[b] : (a, b) => collator.compare(cells[a], cells[b]);
}

function arrange() {
  const rows = [...Array(table.total).keys()].filter(isKept);
  if (table.sorted !== null) {
    const [sign, by] = [table.descending ? -1 : 1, compare(table.sorted)];
    rows.sort((a, b) => sign * by(a, b) || a - b);
  }
  showFirst(rows);
}

function rowOf(row) {
  const cells = records.cells.map((column, index) =>
    element("td", { className: records.values[index] ? "number" : "" }, column[row]),
  );
  return element("tr", {}, ...cells);
}

listen();
Object.assign(table, { total: records.cells[0].length, told: "placements-told" });
makeHead(records.head.map((label, name) => ({ name, label, number: Boolean(records.values[name]) })));
document.getElementById("placements-filter").append(makeSearch("job, type"));
document.getElementById("placements-pages").append(...makePages());
arrange();
for (const name of Object.keys(charts)) draw(name);
document.documentElement.dataset.ready = "";
