// Plots, made of SVG. A mark's shape says how it ended, whatever its colour; its <title> says the rest.

import { h, svg } from "./dom.js";
import { clock, duration } from "./words.js";

const WIDTH = 320;
const HEIGHT = 120;
const LEFT = 46;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 20;

/** A round number that is not less. */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((round) => round >= value * 0.999);
}

export function median(values) {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** `points`: { at, ms (null: none was taken), kind: "good" | "bad" | "idle", text }, the oldest first. */
export function durations(points, label) {
  const top = ceiling(Math.max(0, ...points.map((point) => point.ms ?? 0)));
  const taken = points.filter((point) => point.kind === "good").map((point) => point.ms);
  const x = (place) => LEFT + ((WIDTH - LEFT - RIGHT) * (place + 0.5)) / points.length;
  const y = (ms) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - ms / top);
  const middle = taken.length ? median(taken) : null;
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label, class: "plot" },
    [0, top / 2, top].map((ms) => grid(ms, y(ms))),
    middle === null ? null : svg("line", { class: "median", x1: LEFT, x2: WIDTH - RIGHT, y1: y(middle), y2: y(middle) }),
    path(points, x, y),
    points.map((point, place) => mark(point, x(place), point.ms === null ? TOP + 4 : y(point.ms))),
    ends(points));
}

function grid(ms, y) {
  return [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }),
    svg("text", { class: "axis", x: LEFT - 6, y: y + 3.5, "text-anchor": "end" }, ms === 0 ? "0" : axis(ms)),
  ];
}

const axis = (ms) => (ms < 1000 ? `${Number(ms.toPrecision(3))} ms` : ms < 120_000 ? `${Number((ms / 1000).toPrecision(3))} s` : `${Number((ms / 60_000).toPrecision(3))} min`);

function path(points, x, y) {
  const good = points.map((point, place) => [point, place]).filter(([point]) => point.kind === "good" && point.ms !== null);
  const d = good.map(([point, place], step) => `${step ? "L" : "M"}${x(place).toFixed(1)} ${y(point.ms).toFixed(1)}`).join("");
  return d ? svg("path", { class: "trace", d }) : null;
}

function mark(point, x, y) {
  const title = svg("title", {}, point.text);
  if (point.kind === "bad") return svg("path", { class: "mark bad", d: `M${x - 3} ${y - 3}l6 6m0 -6l-6 6` }, title);
  return svg("circle", { class: `mark ${point.kind}`, cx: x, cy: y, r: point.kind === "good" ? 2.2 : 2.6 }, title);
}

function ends(points) {
  const text = (place, at, anchor) => svg("text", { class: "axis", x: place, y: HEIGHT - 5, "text-anchor": anchor }, clock(at));
  const first = text(LEFT, points[0].at, "start");
  return points.length > 1 ? [first, text(WIDTH - RIGHT, points[points.length - 1].at, "end")] : [first];
}

const STRIP = 72;

/** Green runs stand above the line, red ones hang below it; a run that gave way is a dot on it. */
export function strip(runs, label) {
  const width = Math.max(runs.length, 24) * 8;
  const top = Math.max(1, ...runs.map((run) => run.took_ms));
  const height = (ms) => 5 + (STRIP / 2 - 9) * Math.sqrt(ms / top);
  const bars = runs.map((run, place) => {
    const title = svg("title", {}, `run ${run.run}: ${run.status}, ${duration(run.took_ms)}, ${clock(run.at)}`);
    const x = place * 8 + 1.5;
    if (run.status === "superseded") return svg("circle", { class: "mark idle", cx: x + 2.5, cy: STRIP / 2, r: 1.8 }, title);
    const tall = height(run.took_ms);
    const y = run.status === "green" ? STRIP / 2 - tall - 1 : STRIP / 2 + 1;
    return svg("rect", { class: `run ${run.status}`, x, y, width: 5, height: tall, rx: 1.5 }, title);
  });
  return svg("svg", { viewBox: `0 0 ${width} ${STRIP}`, role: "img", "aria-label": label, class: "strip", preserveAspectRatio: "xMinYMid meet" },
    svg("line", { class: "grid", x1: 0, x2: width, y1: STRIP / 2, y2: STRIP / 2 }), bars);
}

export function figure(title, note, plot) {
  return h("figure", { class: "figure" },
    h("figcaption", {}, h("span", { class: "figure-title" }, title), " ", h("span", { class: "fine" }, note)), plot);
}
