"use strict";

const read = (name) => JSON.parse(document.getElementById(`${name}-data`).textContent);

const charts = read("charts");
const records = read("records");
const darkened = read("colours");
const hidden = { kinds: new Set(), runs: new Set() };

/* Functions that draw what is beside the charts; later scripts add theirs. */
const drawers = [];

const darkGround = matchMedia("(prefers-color-scheme: dark)");
const finePointer = matchMedia("(pointer: fine)");
const NARROW = 480;

/* Nothing may be asked of a server: no fonts, no maps, no typesetting. */
const CONFIG = {
  displayModeBar: false,
  displaylogo: false,
  doubleClick: "reset",
  plotlyServerURL: "",
  responsive: true,
  scrollZoom: false,
  topojsonURL: "",
  typesetMath: false,
};

/* Pixels on paper, where the width of the window says nothing. */
const PRINTED = { full: 680, half: 332 };
let printing = false;

function painted(value, key = "") {
  if (Array.isArray(value)) {
    return typeof value[0] === "number" ? value : value.map((one) => painted(one, key));
  }
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, painted(inner, name)]));
  }
  const dark = darkGround.matches && !printing;
  return dark && typeof value === "string" && /color$/i.test(key) ? (darkened[value] ?? value) : value;
}

function chosenIn(section) {
  const chosen = {};
  for (const control of section.querySelectorAll("[data-choice]")) {
    if (control.type !== "radio" || control.checked) chosen[control.dataset.choice] = control.value;
  }
  return chosen;
}

const listed = (value) => (value === undefined ? [] : [value].flat());

function isShown(meta, chosen) {
  if (!meta) return true;
  const runs = listed(meta.run);
  if (runs.length && runs.every((run) => hidden.runs.has(run))) return false;
  if (hidden.kinds.has(meta.kind)) return false;
  return Object.entries(chosen).every(
    ([name, value]) => value === "all" || meta[name] === undefined || listed(meta[name]).includes(value),
  );
}

/* Whether labels at these pixels leave room between each other, on each of their lines. */
function haveRoom(places, texts) {
  const split = texts.map((text) => text.split("<br>"));
  const lines = Math.max(...split.map((text) => text.length));
  return [...Array(lines).keys()].every((line) => {
    const there = places.map((at, index) => [at, 8 * (split[index][line] ?? "").length]).filter(([, width]) => width);
    return there.every(([at, width], index) => !index || at - there[index - 1][0] > (width + there[index - 1][1]) / 2);
  });
}

/* An axis across with fewer of its own labels where they would touch; the last one always stays. */
function thinned(axis, width) {
  if (!axis.ticktext?.length || !axis.range) return axis;
  const scaled = (value) => (axis.type === "log" ? Math.log10(value) : value);
  const pixels = (value) => ((scaled(value) - axis.range[0]) / (axis.range[1] - axis.range[0])) * width;
  const last = axis.ticktext.length - 1;
  for (let step = 1; ; step += 1) {
    const kept = (values) => values.filter((_, place) => (last - place) % step === 0);
    const [tickvals, ticktext] = [kept(axis.tickvals), kept(axis.ticktext)];
    if (step > last || haveRoom(tickvals.map(pixels), ticktext)) return { ...axis, tickvals, ticktext };
  }
}

function laidOut(plot, layout, zoom) {
  const changed = { ...layout, dragmode: zoom && finePointer.matches ? "zoom" : false };
  if (plot.clientWidth < NARROW) {
    changed.font = { ...layout.font, size: 12 };
    changed.margin = { ...layout.margin, l: 40 };
  }
  changed.xaxis = thinned(layout.xaxis, plot.clientWidth - layout.margin.r - layout.margin.l);
  if (printing) changed.width = plot.closest(".full") ? PRINTED.full : PRINTED.half;
  return changed;
}

function plotInto(plot, data, layout, zoom) {
  return Plotly.react(plot, painted(data), painted(laidOut(plot, layout, zoom)), CONFIG);
}

function draw(name) {
  const plot = document.getElementById(name);
  const chosen = chosenIn(plot.closest("section"));
  const chart = charts[name];
  return plotInto(
    plot,
    chart.data.filter((trace) => isShown(trace.meta, chosen)),
    chart.layout,
    chart.zoom,
  );
}

function drawAll() {
  for (const name of Object.keys(charts)) draw(name);
  for (const drawRest of drawers) drawRest();
}

function hide(control) {
  const value = control.dataset.hide === "runs" ? Number(control.value) : control.value;
  if (control.checked) hidden[control.dataset.hide].delete(value);
  else hidden[control.dataset.hide].add(value);
  drawAll();
}

function save(name) {
  const plot = document.getElementById(name);
  Plotly.downloadImage(plot, {
    format: "svg",
    filename: name,
    width: plot.clientWidth,
    height: plot.clientHeight,
  });
}

function element(tag, attributes = {}, ...inner) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...inner);
  return made;
}

/* A select with its label; options are pairs of value and words. */
function select(label, options, onChange) {
  const made = element("select", {}, ...options.map(([value, words]) => element("option", { value }, words)));
  made.addEventListener("change", onChange);
  return { made, label: element("label", {}, `${label} `, made) };
}

function listen() {
  for (const control of document.querySelectorAll("[data-choice]")) {
    control.addEventListener("change", () => {
      for (const plot of control.closest("section").querySelectorAll(".plot")) draw(plot.id);
    });
  }
  for (const control of document.querySelectorAll("[data-hide]")) {
    control.addEventListener("change", () => hide(control));
  }
  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", () => save(button.dataset.save));
  }
  darkGround.addEventListener("change", drawAll);
  const onPaper = (now) => () => {
    printing = now;
    drawAll();
  };
  addEventListener("beforeprint", onPaper(true));
  addEventListener("afterprint", onPaper(false));
}
