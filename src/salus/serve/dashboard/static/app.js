// What the pages do beside being read: charts, updates that can be paused, and a word when the service is away.
"use strict";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const utc = (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");
const plots = new Map();

function line(series) {
  const drawn = { label: series.label, stroke: colour(series.colour), width: 2, points: { size: 5 } };
  if (series.style === "edge") return { ...drawn, stroke: "transparent", width: 0, points: { show: false } };
  if (series.style === "dashed") return { ...drawn, dash: [6, 4], points: { show: false } };
  if (series.style === "bars") {
    return { ...drawn, width: 0, fill: colour(series.colour), paths: uPlot.paths.bars({ size: [0.7, 24] }), points: { show: false } };
  }
  return drawn;
}

function axis(rest) {
  return {
    stroke: colour("muted"), grid: { stroke: colour("rule"), width: 1 }, ticks: { stroke: colour("rule"), width: 1 },
    font: "12px system-ui, sans-serif", ...rest,
  };
}

// Percents have as many decimals as their steps need.
function percents(_, splits) {
  const step = splits.length > 1 ? (splits[1] - splits[0]) * 100 : 1;
  const decimals = Math.max(0, Math.min(2, Math.ceil(-Math.log10(step))));
  return splits.map((share) => `${(share * 100).toFixed(decimals)}%`);
}

function draw(place) {
  const content = JSON.parse(place.dataset.plot);
  const highest = Math.max(0, ...content.series.flatMap((series) => series.values.filter((value) => value !== null)));
  const settings = {
    width: Math.max(200, place.clientWidth), height: 210, tzDate: utc, pxAlign: false,
    cursor: { show: false }, legend: { show: false }, padding: [10, 22, 0, 0],
    scales: { x: { time: true }, y: { range: [0, highest ? highest * 1.12 : content.percent ? 0.02 : 1] } },
    axes: [
      axis({ size: 32, space: 70, values: [
        [86400, "{YYYY}-{MM}-{DD}", null, null, null, null, null, null, 1],
        [60, "{HH}:{mm}", null, null, null, null, null, null, 1],
        [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1],
      ] }),
      axis({ size: 52, space: 36, ...(content.percent ? { values: percents } : {}) }),
    ],
    series: [{}, ...content.series.map(line)],
    bands: content.band ? [{ series: [2, 1], fill: colour("band") }] : [],
  };
  plots.get(place)?.destroy();
  plots.set(place, new uPlot(settings, [content.moments, ...content.series.map((series) => series.values)], place));
}

function drawAll() {
  for (const place of [...plots.keys()]) {
    if (!place.isConnected) {
      plots.get(place).destroy();
      plots.delete(place);
    }
  }
  for (const place of document.querySelectorAll("[data-plot]")) {
    draw(place);
    widths.observe(place);
  }
}

const widths = new ResizeObserver((changes) => {
  for (const { target } of changes) {
    const plot = plots.get(target);
    if (plot && target.clientWidth && plot.width !== target.clientWidth) plot.setSize({ width: target.clientWidth, height: 210 });
  }
});

function updates() {
  const pause = document.getElementById("pause");
  const away = document.getElementById("away");
  const open = new Set();
  let last = new Date();
  if (pause) {
    pause.hidden = false;
    pause.addEventListener("click", () => {
      const paused = pause.getAttribute("aria-pressed") !== "true";
      pause.setAttribute("aria-pressed", String(paused));
      pause.textContent = paused ? "Go on updating" : "Pause updates";
    });
  }
  document.body.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden || pause?.getAttribute("aria-pressed") === "true") event.preventDefault();
  });
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    open.clear();
    for (const details of event.detail.target.querySelectorAll("details[id][open]")) open.add(details.id);
  });
  document.body.addEventListener("htmx:afterSwap", (event) => {
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    if (event.detail.target.querySelector("[data-plot]")) drawAll();
    if (event.detail.target.id === "now") announce();
    if (event.detail.target.querySelector("[data-finished]") && event.detail.target.id === "checked") location.reload();
  });
  document.body.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful) last = new Date();
    away.hidden = Boolean(event.detail.successful);
    if (!event.detail.successful) {
      away.textContent = `The service does not answer; what stands here is of ${last.toISOString().slice(11, 19)} UTC.`;
    }
  });
}

let alarms = null;
function announce() {
  const place = document.querySelector("[data-alarms]");
  if (!place) return;
  const count = Number(place.dataset.alarms);
  const title = document.title.replace(/^\(\d+\) /, "");
  document.title = count ? `(${count}) ${title}` : title;
  if (alarms !== null && alarms !== count) {
    document.getElementById("said").textContent = count ? `${count} alarms` : "No alarms any more";
  }
  alarms = count;
}

function confirmations() {
  for (const form of document.querySelectorAll("form[data-confirm]")) {
    form.addEventListener("submit", (event) => {
      if (!window.confirm(form.dataset.confirm)) event.preventDefault();
    });
  }
}

document.addEventListener("DOMContentLoaded", () => {
  drawAll();
  updates();
  announce();
  confirmations();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
});
