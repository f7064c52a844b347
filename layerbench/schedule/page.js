/* The table of placements: sorted, searched, paged. */

const ROWS = [50, 200];
const NAMES = [0, 1];

const table = { order: [], sorted: null, descending: false, page: 0, size: ROWS[0], text: "" };
const collator = new Intl.Collator("en", { numeric: true });
const total = records.cells[0].length;

function isKept(row) {
  return !table.text || NAMES.some((column) => records.cells[column][row].toLowerCase().includes(table.text));
}

function compare(column) {
  const [values, cells] = [records.values[column], records.cells[column]];
  return values ? (a, b) => values[a] - values[b] : (a, b) => collator.compare(cells[a], cells[b]);
}

function arrange() {
  table.order = [...Array(total).keys()].filter(isKept);
  if (table.sorted !== null) {
    const [sign, by] = [table.descending ? -1 : 1, compare(table.sorted)];
    table.order.sort((a, b) => sign * by(a, b) || a - b);
  }
  table.page = 0;
  showRows();
}

function rowOf(row) {
  const cells = records.cells.map((column, index) =>
    element("td", { className: records.values[index] ? "number" : "" }, column[row]),
  );
  return element("tr", {}, ...cells);
}

function showRows() {
  const start = table.page * table.size;
  const shown = table.order.slice(start, start + table.size);
  document.querySelector("#records-table tbody").replaceChildren(...shown.map(rowOf));
  for (const [index, head] of document.querySelectorAll("#records-table th").entries()) {
    const direction = table.descending ? "descending" : "ascending";
    head.setAttribute("aria-sort", index === table.sorted ? direction : "none");
  }
  const count = (number) => number.toLocaleString("en");
  const place = shown.length
    ? `Rows ${count(start + 1)} to ${count(start + shown.length)} of ${count(table.order.length)}`
    : "No rows";
  const filtered = table.order.length < total ? `, filtered from ${count(total)}` : "";
  document.getElementById("placements-told").textContent = `${place}${filtered}.`;
  table.previous.disabled = start === 0;
  table.next.disabled = start + table.size >= table.order.length;
}

function sortBy(column) {
  table.descending = table.sorted === column && !table.descending;
  table.sorted = column;
  arrange();
}

function turn(by) {
  table.page += by;
  showRows();
}

function button(text, action) {
  const made = element("button", { type: "button" }, text);
  made.addEventListener("click", action);
  return made;
}

function makeTable() {
  const heads = records.head.map((label, column) => {
    const className = records.values[column] ? "number" : "";
    return element("th", { scope: "col", className }, button(label, () => sortBy(column)));
  });
  document.querySelector("#records-table thead").append(element("tr", {}, ...heads));
  const search = element("input", { type: "search", placeholder: "job, type" });
  search.addEventListener("input", () => {
    table.text = search.value.toLowerCase();
    arrange();
  });
  document.getElementById("placements-filter").append(element("label", {}, "Find ", search));
  table.previous = button("Previous", () => turn(-1));
  table.next = button("Next", () => turn(1));
  const size = select("Rows", ROWS.map((rows) => [rows, String(rows)]), (event) => {
    table.size = Number(event.target.value);
    table.page = 0;
    showRows();
  });
  document.getElementById("placements-pages").append(table.previous, table.next, size.label);
  arrange();
}

listen();
makeTable();
for (const name of Object.keys(charts)) draw(name);
document.documentElement.dataset.ready = "";
