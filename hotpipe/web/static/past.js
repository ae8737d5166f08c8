// The history: fetched when the page opens, and again when a run or a restart is over.

import { byId, h, show } from "./dom.js";
import { durations, figure, median, strip } from "./plots.js";
import { headers } from "./token.js";
import { clock, count, duration } from "./words.js";

const PAUSE_MS = 1_500;
const LAST = 10; // rows of a table
const FEW = 12; // plots that are shown unasked

export class Past {
  constructor() {
    this.timer = 0;
    this.seen = "";
  }

  /** Something may be over: whatever tells of that is compared. */
  update(picture) {
    const head = picture.head;
    const ended = head.status === null ? "" : `${head.run} ${head.status}`;
    const seen = JSON.stringify([ended, picture.servers.map((server) => [server.generation, server.failure])]);
    if (seen === this.seen) return;
    this.seen = seen;
    this.soon();
  }

  soon() {
    if (!this.timer) this.timer = setTimeout(() => this.fetch(), PAUSE_MS);
  }

  async fetch() {
    this.timer = 0;
    try {
      const answer = await fetch("/api/past", { headers: headers(), cache: "no-store" });
      if (answer.ok) this.draw(await answer.json());
    } catch {
      // the stream says that hotpipe is gone
    }
  }

  draw(past) {
    const isEmpty = !past.runs.length && !past.restarts.length;
    show(byId("history-none"), isEmpty);
    const open = [...document.querySelectorAll("#history details[open]")].map((each) => each.firstChild.textContent);
    byId("history").replaceChildren(...(isEmpty ? [] : [
      past.runs.length ? runs(past.runs) : null,
      past.stages.length ? stages(past.stages) : null,
      past.restarts.length ? restarts(past.restarts) : null,
      past.flaky.length ? flaky(past.flaky) : null,
    ].filter(Boolean)));
    for (const each of document.querySelectorAll("#history details")) each.open = open.includes(each.firstChild.textContent);
    for (const each of document.querySelectorAll(".strip-box")) each.scrollLeft = each.scrollWidth;
  }
}

const part = (title, ...inside) => h("section", { class: "part", "aria-label": title }, h("h3", {}, title), inside);

function table(caption, heads, rows) {
  const cells = (row) => row.map((cell, place) => h(place ? "td" : "th", place ? {} : { scope: "row" }, cell));
  return h("div", { class: "scrolls", tabindex: "0", role: "group", "aria-label": caption },
    h("table", {}, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, cells(row))))));
}

const folded = (summary, inside) => h("details", {}, h("summary", {}, summary), inside);

function runs(list) {
  const of = (status) => list.filter((run) => run.status === status).length;
  const told = `${count(of("green"), "green run")}, ${of("red")} red, ${of("superseded")} superseded`;
  const rows = list.slice(-LAST).reverse().map((run) => [String(run.run), run.status, duration(run.took_ms), clock(run.at)]);
  return part("Runs",
    h("p", { class: "fine" }, `${told}; green above the line, red below it, the newest on the right.`),
    h("div", { class: "scrolls strip-box", tabindex: "0", role: "group", "aria-label": "Runs over time" }, strip(list, told)),
    folded("The last runs as a table", table("The last runs", ["Run", "Verdict", "Took", "When"], rows)));
}

function stages(list) {
  const passes = (stage) => stage.points.filter(([, , status]) => status === "passed").map(([, ms]) => ms);
  const usual = (stage) => median(passes(stage).length ? passes(stage) : [0]);
  const figures = [...list].sort((one, other) => usual(other) - usual(one)).map(({ stage, points }) => {
    const taken = passes({ points });
    const note = taken.length ? `median ${duration(median(taken))} of ${taken.length} ${taken.length === 1 ? "pass" : "passes"}` : "never passed";
    const shown = points.map(([at, ms, status]) => ({ at, ms, kind: status === "passed" ? "good" : "bad", text: `${status.replace("_", " ")}, ${duration(ms)}, ${clock(at)}` }));
    return figure(stage, note, durations(shown.slice(-60), `Durations of ${stage}: ${note}`));
  });
  const rows = list.map((stage) => {
    const taken = passes(stage);
    const last = stage.points[stage.points.length - 1];
    return [stage.stage, taken.length ? duration(median(taken)) : "–", taken.length ? duration(Math.max(...taken)) : "–", `${duration(last[1])}, ${last[2].replace("_", " ")}`, String(stage.points.length)];
  });
  return part("Stages",
    h("p", { class: "fine" }, "How long each took, the slowest first, the newest on the right; a cross is a failure, the dashed line the median."),
    h("div", { class: "figures" }, figures.slice(0, FEW)),
    figures.length > FEW ? folded(`${count(figures.length - FEW, "quicker stage")}`, h("div", { class: "figures" }, figures.slice(FEW))) : null,
    folded("Stages as a table", table("How long stages take", ["Stage", "Median", "Longest", "Last", "Times run"], rows)));
}

const OUTCOMES = { live: "good", failed: "bad", discarded: "idle" };

function restarts(list) {
  const servers = [...new Set(list.map((one) => one.server))];
  const figures = servers.map((server) => {
    const own = list.filter((one) => one.server === server);
    const taken = own.filter((one) => one.took_ms !== null).map((one) => one.took_ms);
    const failed = own.filter((one) => one.outcome === "failed").length;
    const note = [taken.length ? `median ${duration(median(taken))}` : "", failed ? `${failed} failed` : ""].filter(Boolean).join(", ");
    const shown = own.slice(-60).map((one) => ({
      at: one.at, ms: one.took_ms, kind: OUTCOMES[one.outcome],
      text: `generation ${one.generation}: ${one.outcome}${one.took_ms === null ? "" : ` after ${duration(one.took_ms)}`}, ${clock(one.at)}`,
    }));
    return figure(server, note, durations(shown, `Restarts of ${server}: ${note}`));
  });
  const rows = list.slice(-LAST).reverse().map((one) => [`${one.server} ${one.generation}`, one.outcome, one.took_ms === null ? "–" : duration(one.took_ms), clock(one.at)]);
  return part("Restarts",
    h("p", { class: "fine" }, "From the request until the new generation answered; a cross is one that failed, a ring one that was given up."),
    h("div", { class: "figures" }, figures),
    folded("The last restarts as a table", table("The last restarts", ["Generation", "Outcome", "Took", "When"], rows)));
}

function flaky(list) {
  const rows = list.map((one) => [one.stage, `${one.flaky} of ${one.passes}`, `${((100 * one.flaky) / one.passes).toFixed(1)} %`]);
  return part("Flaky stages", table("Stages that passed only after a retry", ["Stage", "Passes with a retry", "Share"], rows));
}
