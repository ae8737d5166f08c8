// The checks: a row a stage, what it found below it. All bars have one scale; a tick shows how long a stage usually takes.

import * as asking from "./asking.js";
import { Rows, byId, h, say, show, sign } from "./dom.js";
import { isRunning } from "./picture.js";
import { count, duration, number } from "./words.js";

const FEW = 8; // findings that are shown unasked
const WORDS = {
  passed: ["Passed", "check", "good"],
  cached: ["Cached", "half", "good"],
  failed: ["Failed", "cross", "bad"],
  timed_out: ["Timed out", "cross", "bad"],
  cancelled: ["Cancelled", "dash", "idle"],
  skipped: ["Skipped", "dash", "idle"],
  running: ["Running", "ring", "busy"],
  waiting: ["Waiting", "dot", "idle"],
};

export class Stages {
  constructor(picture, select) {
    this.picture = picture;
    this.rows = new Rows(byId("stages"), () => new Row(picture, select));
  }

  update() {
    const stages = this.picture.stages;
    byId("stages").classList.toggle("many", stages.length > 12);
    show(byId("stages-none"), stages.length === 0);
    this.rows.update(stages, (stage) => stage.name);
    this.tick();
  }

  /** As time goes by. */
  tick() {
    const took = (stage) => (isRunning(stage) ? elapsed(stage, this.picture) : stage.took_ms);
    const scale = Math.max(1, ...this.picture.stages.map((stage) => Math.max(took(stage), stage.usual_ms ?? 0)));
    for (const row of this.rows.rows.values()) row.tick(scale);
  }
}

const elapsed = (stage, picture) => Math.max(0, (picture.now() - stage.began) * 1000);

class Row {
  constructor(picture, select) {
    this.picture = picture;
    this.kind = "";
    this.shown = null;
    this.whole = false;
    this.sign = h("span", { class: "mark", "aria-hidden": "true" });
    this.name = h("button", { type: "button", class: "plain name", title: "show its output", on: { click: () => select(`stage:${this.stage.name}`) } });
    this.word = h("span", { class: "word" });
    this.said = h("span", { class: "told" });
    this.fill = h("span", { class: "fill" });
    this.usual = h("span", { class: "usual" });
    this.time = h("span", { class: "time" });
    this.run = h("button", { type: "button", class: "small", on: { click: () => asking.rerun([this.stage.name]) } }, "Run");
    this.findings = h("ul", { class: "findings" });
    this.more = h("button", { type: "button", class: "small more", on: { click: () => this.unfold() } });
    this.element = h("li", { class: "stage" },
      this.sign,
      h("div", { class: "what" }, this.name, " ", this.word, " ", this.said),
      h("div", { class: "bar", "aria-hidden": "true" }, this.fill, this.usual),
      this.time, this.run,
      h("div", { class: "found" }, this.findings, this.more));
  }

  update(stage) {
    this.stage = stage;
    const key = isRunning(stage) ? "running" : stage.status ?? "waiting";
    const [word, mark, kind] = WORDS[key];
    const look = stage.allowed || stage.flaky ? "warn" : kind;
    if (this.kind !== `${key} ${look}`) {
      this.kind = `${key} ${look}`;
      this.element.dataset.kind = look;
      this.element.dataset.status = key;
      this.sign.replaceChildren(sign(mark));
    }
    say(this.name, stage.name);
    say(this.word, word);
    this.element.title = stage.command;
    say(this.said, stage.said.startsWith(`${stage.status}: `) ? stage.said.slice(stage.status.length + 2) : stage.said === stage.status ? "" : stage.said);
    this.run.setAttribute("aria-label", `Run ${stage.name}`);
    this.list();
  }

  tick(scale) {
    const stage = this.stage;
    const running = isRunning(stage);
    const took = running ? elapsed(stage, this.picture) : stage.took_ms;
    this.fill.style.inlineSize = `${Math.min(100, (100 * took) / scale)}%`;
    show(this.usual, stage.usual_ms !== null && (running || took > 0));
    if (stage.usual_ms !== null) this.usual.style.insetInlineStart = `${Math.min(99.5, (100 * stage.usual_ms) / scale)}%`;
    const usual = running && stage.usual_ms !== null ? ` of ~${duration(stage.usual_ms)}` : "";
    say(this.time, running ? duration(Math.floor(took / 100) * 100) + usual : took > 0 ? duration(took) : "");
  }

  unfold() {
    this.whole = !this.whole;
    this.list();
  }

  list() {
    const { findings, found } = this.stage, { editor } = this.picture.head;
    const shown = this.whole ? findings : findings.slice(0, FEW);
    const key = JSON.stringify([shown, editor]);
    if (key !== this.shown) this.findings.replaceChildren(...shown.map((finding) => line(finding, editor)));
    this.shown = key; // what has the focus keeps it
    const rest = found - shown.length;
    show(this.more, findings.length > FEW);
    const beyond = found > findings.length ? ` (of ${number(found)})` : "";
    say(this.more, this.whole ? `Show the first ${FEW}` : `Show ${count(Math.min(rest, findings.length - FEW), "more finding")}${beyond}`);
  }
}

function line(finding, editor) {
  const place = h("code", {}, [finding.path, finding.line, finding.column].filter((part) => part !== null).join(":"));
  const opens = { type: "button", class: "plain where", title: `open in ${editor}`, on: { click: () => asking.open(finding) } };
  return h("li", { class: finding.severity },
    h("span", { class: "severity" }, finding.severity), " ",
    finding.path === null ? null : [editor ? h("button", opens, place) : h("span", { class: "where" }, place), " "],
    h("span", { class: "message" }, finding.message),
    finding.code ? [" ", h("code", { class: "code" }, finding.code)] : null);
}
