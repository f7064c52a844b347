/* The table of records: sorted, filtered, paged, saved as CSV. */

const COLUMNS = [
  ...(records.letters.length > 1 ? [{ name: "run", label: "run", text: (row) => records.letters[columns.run[row]] }] : []),
  { name: "layer", label: "layer" },
  { name: "kind", label: "type" },
  { name: "part", label: "part", text: (row) => word("part", row).replaceAll("_", " ") },
  { name: "nodes", label: "nodes", number: true },
  { name: "median", label: "time", number: true, text: (row) => columns.time_text[row] },
  { name: "ci_low", label: "95 % interval", number: true, text: intervalText },
  { name: "marks", label: "marks", text: (row) => marksOf(row).join(", ") },
  { name: "gflops", label: "GFLOP/s", number: true },
  { name: "percent_of_roofline", label: "% of roofline", number: true },
  { name: "macs_per_byte", label: "MACs per byte", number: true },
  { name: "local_batch", label: "batch of a rank", number: true },
  { name: "algorithm", label: "algorithm" },
].filter(({ name }) => name !== "percent_of_roofline" || columns[name].some((value) => value !== null));
const FILTERS = { run: "Run", kind: "Type", part: "Part", nodes: "Nodes", status: "Status" };
const MARKS = ["emulated", "noisy", "throttled", "oversubscribed", "not in the step", "computed"];
const SEARCHED = ["layer", "algorithm", "reason"];
const SAVED = [
  ...["run", "layer", "kind", "part", "nodes", "ranks", "local_batch", "dtype", "placement", "median", "ci_low"],
  ...["ci_high", "ci_method", "sample_count", "gflops", "macs_per_byte", "percent_of_roofline", "algorithm", "status"],
  "reason",
];

const chosen = { filters: {}, mark: "" };

function marksOf(row) {
  const status = word("status", row);
  if (status !== "ok") return [`${status}: ${word("reason", row) || "no reason was recorded"}`];
  const flags = [
    ["oversubscribed", columns.oversubscribed[row]],
    ["noisy", columns.noisy[row]],
    ["throttled", columns.throttled[row]],
    ["computed", !columns.sample_count[row]],
    ["not in the step", !columns.in_step[row]],
  ];
  return [word("placement", row), ...flags.filter(([, applies]) => applies).map(([name]) => name)];
}

function intervalText(row) {
  const range = word("ci_method", row) === "range" && columns.interval_text[row];
  return `${range ? "range " : ""}${columns.interval_text[row]}`;
}

function cellText(column, row) {
  if (column.text) return column.text(row);
  const value = columns[column.name][row];
  if (column.name in wordsOf) return wordsOf[column.name][value];
  return value === null ? "" : value.toLocaleString("en", { maximumSignificantDigits: 15 });
}

/* For each row a number by which it is sorted; what is not known comes last either way. */
function ranks(column) {
  if (column.number) return columns[column.name];
  const texts = columns.run.map((_, row) => cellText(column, row));
  const place = new Map([...new Set(texts)].sort(collator.compare).map((text, index) => [text, index]));
  return texts.map((text) => place.get(text));
}

function isKept(row) {
  for (const [name, value] of Object.entries(chosen.filters)) {
    if (value !== "" && String(columns[name][row]) !== value) return false;
  }
  if (chosen.mark && !(word("status", row) === "ok" && marksOf(row).includes(chosen.mark))) return false;
  return !table.text || SEARCHED.some((name) => word(name, row).toLowerCase().includes(table.text));
}

function arrange() {
  const rows = [...columns.run.keys()].filter(isKept);
  const column = COLUMNS.find(({ name }) => name === table.sorted);
  if (column) {
    const rank = ranks(column);
    const sign = table.descending ? -1 : 1;
    rows.sort((a, b) => {
      if (rank[a] === null || rank[b] === null) return (rank[a] === null) - (rank[b] === null) || a - b;
      return sign * (rank[a] - rank[b]) || a - b;
    });
  }
  showFirst(rows);
}

function rowOf(row) {
  const cells = COLUMNS.map((column) => {
    const text = cellText(column, row);
    const inner = column.name === "layer" ? element("button", { type: "button", className: "link" }, text) : text;
    return element("td", { className: column.number ? "number" : column.name }, inner);
  });
  const made = element("tr", {}, ...cells);
  made.addEventListener("click", () => showSamples(row, true));
  return made;
}

function csvCell(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv() {
  const value = (name, row) => (name in wordsOf ? word(name, row) : columns[name][row]);
  const lines = table.order.map((row) => SAVED.map((name) => csvCell(value(name, row))).join(","));
  return [SAVED.join(","), ...lines, ""].join("\n");
}

function saveCsv() {
  const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  element("a", { href: address, download: "records.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

function makeFilters() {
  const box = document.getElementById("records-filter");
  box.append(makeSearch("layer, algorithm, reason"));
  const rows = [...columns.run.keys()];
  for (const [name, label] of Object.entries(FILTERS)) {
    const options = [["", "all"], ...optionsOf(name, rows)];
    const made = select(label, options, (event) => {
      chosen.filters[name] = event.target.value;
      arrange();
    });
    made.made.dataset.filter = name;
    if (options.length > 2) box.append(made.label);
  }
  const present = new Set(rows.flatMap((row) => marksOf(row)));
  const marks = MARKS.filter((mark) => present.has(mark));
  if (!marks.length) return;
  const made = select("Marks", [["", "any"], ...marks.map((mark) => [mark, mark])], (event) => {
    chosen.mark = event.target.value;
    arrange();
  });
  made.made.dataset.filter = "marks";
  box.append(made.label);
}

function leftOut() {
  const count = (number) => number.toLocaleString("en");
  return records.rows < records.total
    ? `. This page holds ${count(records.rows)} of ${count(records.total)} records: what failed, was skipped, throttled or noisy first; records.csv has all`
    : "";
}

listen();
Object.assign(table, { total: records.rows, told: "records-told", note: leftOut() });
makeHead(COLUMNS);
makeFilters();
const saved = button("Save these rows as CSV", saveCsv);
saved.id = "records-csv";
document.getElementById("records-pages").append(...makePages(), saved);
arrange();
makeStrip();
for (const name of Object.keys(charts)) draw(name);
document.documentElement.dataset.ready = "";
