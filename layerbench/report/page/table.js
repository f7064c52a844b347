/* What tables of a page have in common: an order of rows, of which one page is shown. `arrange` and `rowOf` are a
   table's own. */

const table = { order: [], sorted: null, descending: false, page: 0, size: 50, text: "", total: 0, told: "", note: "" };
const collator = new Intl.Collator("en", { numeric: true });

function showRows() {
  const start = table.page * table.size;
  const shown = table.order.slice(start, start + table.size);
  document.querySelector("#records-table tbody").replaceChildren(...shown.map(rowOf));
  for (const head of document.querySelectorAll("#records-table th")) {
    const sorted = head.dataset.name === String(table.sorted);
    head.setAttribute("aria-sort", sorted ? (table.descending ? "descending" : "ascending") : "none");
  }
  const count = (number) => number.toLocaleString("en");
  const place = shown.length
    ? `Rows ${count(start + 1)} to ${count(start + shown.length)} of ${count(table.order.length)}`
    : "No rows";
  const filtered = table.order.length < table.total ? `, filtered from ${count(table.total)}` : "";
  document.getElementById(table.told).textContent = `${place}${filtered}${table.note}.`;
  table.previous.disabled = start === 0;
  table.next.disabled = start + table.size >= table.order.length;
}

function showFirst(rows) {
  table.order = rows;
  table.page = 0;
  showRows();
}

function button(text, action) {
  const made = element("button", { type: "button" }, text);
  made.addEventListener("click", action);
  return made;
}

/* The head, whose cells sort: of each column a name, a label, and whether it is of numbers. */
function makeHead(columns) {
  const sortBy = (name) => {
    table.descending = table.sorted === name && !table.descending;
    table.sorted = name;
    arrange();
  };
  const heads = columns.map(({ name, label, number }) => {
    const head = element("th", { scope: "col", className: number ? "number" : "" }, button(label, () => sortBy(name)));
    head.dataset.name = name;
    return head;
  });
  document.querySelector("#records-table thead").append(element("tr", {}, ...heads));
}

function makeSearch(placeholder) {
  const search = element("input", { type: "search", placeholder });
  search.addEventListener("input", () => {
    table.text = search.value.toLowerCase();
    arrange();
  });
  return element("label", {}, "Find ", search);
}

/* What turns pages, and how many rows one has. */
function makePages() {
  const turn = (by) => {
    table.page += by;
    showRows();
  };
  table.previous = button("Previous", () => turn(-1));
  table.next = button("Next", () => turn(1));
  const size = select("Rows", [["50", "50"], ["200", "200"]], (event) => {
    table.size = Number(event.target.value);
    table.page = 0;
    showRows();
  });
  size.made.dataset.size = "";
  return [table.previous, table.next, size.label];
}
