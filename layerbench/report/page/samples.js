/* The strip plot: all samples of one record. */

const { columns, words: wordsOf } = records;
const SCALE = { s: 1, ms: 1e-3, "µs": 1e-6, ns: 1e-9 };
const GOLDEN = 0.618034;

const word = (name, row) => wordsOf[name][columns[name][row]];
const strip = { row: 0, selects: {} };

function samplesOf(row) {
  const held = records.samples[row];
  return held ? held.slice(1).map((value) => value * 10 ** held[0]) : [];
}

function told(row) {
  const run = records.letters[columns.run[row]] ?? "";
  const name = [
    word("layer", row),
    word("part", row).replaceAll("_", " "),
    `${columns.nodes[row].toLocaleString("en")} ${columns.nodes[row] === 1 ? "node" : "nodes"}`,
    ...(run ? [`run ${run}`] : []),
  ].join(", ");
  const range = word("ci_method", row) === "range" ? "range" : "95 %";
  const interval = columns.interval_text[row] ? `, ${range} ${columns.interval_text[row]}` : "";
  const time = columns.time_text[row] ? `median ${columns.time_text[row]}${interval}` : "no time";
  const shown = samplesOf(row).length;
  const all = columns.sample_count[row];
  const count = shown === all ? `${all.toLocaleString("en")} samples` : `${shown} of ${all.toLocaleString("en")} samples`;
  return `${name}: ${count}; ${[time, ...marksOf(row)].join(", ")}.`;
}

function why(row) {
  if (columns.sample_count[row] > 0) return "Its samples are left out to keep this file small; records.jsonl has them.";
  if (word("status", row) !== "ok") return "It has no samples.";
  return "Its time was computed by the network model, so there are no samples.";
}

/* The outline of a histogram: pairs of count over the largest, and value. */
function outline(values) {
  const low = Math.min(...values);
  const width = (Math.max(...values) - low) / Math.min(60, Math.max(8, Math.ceil(2 * Math.sqrt(values.length))));
  if (!(width > 0)) return { x: [], y: [] };
  const counts = [];
  for (const value of values) {
    const bin = Math.floor((value - low) / width);
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  const most = Math.max(...counts.filter((count) => count));
  const x = [0];
  const y = [low];
  for (let bin = 0; bin < counts.length; bin += 1) {
    const share = (counts[bin] ?? 0) / most;
    x.push(share, share);
    y.push(low + bin * width, low + (bin + 1) * width);
  }
  return { x: [...x, 0], y: [...y, low + counts.length * width] };
}

function stripMarker(row) {
  const sign = records.looks[word("kind", row)];
  const hollow = word("placement", row) === "emulated";
  return {
    symbol: sign.symbol,
    size: 7,
    color: hollow ? records.paper : sign.color,
    line: { color: sign.color, width: hollow ? 1.5 : 0 },
    opacity: samplesOf(row).length > 300 ? 0.5 : 0.8,
  };
}

function stripTraces(row, scale, unit) {
  const values = samplesOf(row).map((value) => value / scale);
  const marker = stripMarker(row);
  const shared = { type: "scatter", mode: "markers", y: values, marker, hoverinfo: "text" };
  const thin = values.length ? columns.sample_count[row] / values.length : 1;
  const order = values.map((_, index) => Math.floor(index * thin) + 1);
  const hovertext = values.map((value, index) => `sample ${order[index]}<br>${value.toPrecision(4)} ${unit}`);
  return [
    { ...shared, name: "samples", x: order, hovertext },
    { ...shared, name: "jittered", x: values.map((_, index) => 0.08 + 0.84 * ((index * GOLDEN) % 1)), xaxis: "x2", hovertext },
    {
      type: "scatter",
      mode: "lines",
      name: "distribution",
      ...outline(values),
      xaxis: "x2",
      line: { color: records.ink, width: 1.5 },
      hoverinfo: "skip",
    },
  ];
}

function stripLayout(row, scale, unit) {
  const base = records.strip;
  const median = columns.median[row] / scale;
  const whole = { type: "line", xref: "paper", x0: 0, x1: 1, y0: median, y1: median, layer: "above" };
  const shapes = [{ ...whole, line: { color: records.ink, width: 1.5 } }];
  if (columns.ci_low[row] !== null) {
    const [y0, y1] = [columns.ci_low[row] / scale, columns.ci_high[row] / scale];
    shapes.unshift({ ...whole, type: "rect", y0, y1, layer: "below", fillcolor: records.band, line: { width: 0 } });
  }
  return { ...base, yaxis: { ...base.yaxis, title: { ...base.yaxis.title, text: unit } }, shapes };
}

function drawSamples() {
  const plot = document.getElementById("samples-chart");
  const { row } = strip;
  if (row >= records.rows) return;
  const line = told(row);
  const has = samplesOf(row).length > 0;
  document.getElementById("samples-told").textContent = has ? line : `${line} ${why(row)}`;
  plot.setAttribute("aria-label", line);
  plot.closest("figure").hidden = !has;
  if (!has) return;
  const unit = columns.time_text[row].split(" ").pop() || "s";
  plotInto(plot, stripTraces(row, SCALE[unit], unit), stripLayout(row, SCALE[unit], unit), true);
}

drawers.push(drawSamples);

const STRIP_KEY = ["run", "layer", "part", "nodes"];
const keyed = new Map();

function keyOf(row) {
  return STRIP_KEY.map((name) => columns[name][row]).join(" ");
}

/* Options of a select: of those values that the rows have, in order. */
function optionsOf(name, rows) {
  const values = [...new Set(rows.map((row) => columns[name][row]))];
  if (name === "nodes") return values.sort((a, b) => a - b).map((count) => [count, count.toLocaleString("en")]);
  return values.map((code) => [code, name === "run" ? runLabel(code) : wordsOf[name][code].replaceAll("_", " ")]);
}

const runLabel = (code) => (records.letters[code] ? `${records.letters[code]}: ${wordsOf.run[code]}` : wordsOf.run[code]);

/* The record that has what is chosen; where there is none, the one that has most of it besides what was changed. */
function choose(changed) {
  const wanted = STRIP_KEY.map((name) => Number(strip.selects[name].value));
  const exact = keyed.get(wanted.join(" "));
  if (exact !== undefined) return showSamples(exact, false);
  const agreeing = (row) => STRIP_KEY.filter((name, place) => columns[name][row] === wanted[place]).length;
  const value = wanted[STRIP_KEY.indexOf(changed)];
  const fitting = [...columns.run.keys()].filter((row) => columns[changed][row] === value);
  return showSamples(fitting.reduce((best, row) => (agreeing(row) > agreeing(best) ? row : best)), false);
}

function showSamples(row, scroll) {
  strip.row = row;
  for (const name of STRIP_KEY) strip.selects[name].value = String(columns[name][row]);
  drawSamples();
  if (scroll) document.getElementById("samples").scrollIntoView();
}

function makeStrip() {
  const rows = [...columns.run.keys()];
  rows.forEach((row) => keyed.set(keyOf(row), row));
  const labels = { run: "Run", layer: "Layer", part: "Part", nodes: "Nodes" };
  const box = document.getElementById("samples-choice");
  for (const name of STRIP_KEY) {
    const { made, label } = select(labels[name], optionsOf(name, rows), () => choose(name));
    strip.selects[name] = made;
    if (name !== "run" || records.letters.length > 1) box.append(label);
  }
  if (!rows.length) return;
  const step = wordsOf.part.indexOf("step");
  const timed = rows.filter((row) => samplesOf(row).length > 0);
  const steps = timed.filter((row) => columns.part[row] === step);
  showSamples([...steps.filter((row) => columns.noisy[row]), ...steps, ...timed, 0][0], false);
}
