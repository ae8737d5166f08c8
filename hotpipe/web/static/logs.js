// The output. However fast it comes: the last lines only, put into the page once a frame, the oldest taken out again.

import { byId, h, say } from "./dom.js";
import { plain, spans } from "./ansi.js";
import { count, number } from "./words.js";

const MOST = 2_000; // lines of each source that are kept, and lines in the page
const ALL = "";

export class Logs {
  constructor() {
    this.box = byId("log");
    this.source = byId("log-source");
    this.filter = byId("log-filter");
    this.hold = byId("log-hold");
    this.kept = new Map([[ALL, []]]);
    this.waiting = [];
    this.frame = 0;
    this.held = false;
    this.missed = 0;
    this.chosen = ALL;
    this.source.addEventListener("change", () => this.select(this.source.value));
    this.filter.addEventListener("input", () => this.redraw());
    this.filter.addEventListener("keydown", (event) => this.leaves(event));
    this.hold.addEventListener("click", () => this.toggle());
    this.box.addEventListener("scroll", () => this.count(), { passive: true });
  }

  clear() {
    this.kept = new Map([[ALL, []]]);
    this.redraw();
  }

  /** Which sources there are. */
  update(picture) {
    const servers = picture.servers.map((server) => [`server:${server.name}`, server.name]);
    const stages = picture.stages.map((stage) => [`stage:${stage.name}`, stage.name]);
    const known = JSON.stringify([servers, stages]);
    if (known === this.known) return;
    this.known = known;
    const option = ([value, text]) => h("option", { value }, text);
    const groups = [["Servers", servers], ["Checks", stages]].filter(([, list]) => list.length);
    this.source.replaceChildren(h("option", { value: ALL }, "everything"),
      ...groups.map(([label, list]) => h("optgroup", { label }, list.map(option))));
    this.source.value = this.chosen;
    if (this.source.selectedIndex < 0) this.select(ALL);
  }

  select(source) {
    this.chosen = source;
    this.source.value = source;
    this.redraw();
  }

  /** As a row's name was clicked. */
  reveal(source) {
    this.select(source);
    this.box.scrollIntoView({ block: "nearest" });
    this.box.focus({ preventScroll: true });
  }

  add(chunk) {
    const lines = chunk.lines.map(([text, generation]) => ({ of: chunk.of, text, generation, skipped: 0 }));
    if (chunk.skipped > 0) lines.unshift({ of: chunk.of, text: "", generation: null, skipped: chunk.skipped });
    if (chunk.fresh) this.kept.set(chunk.of, []);
    if (chunk.fresh && this.chosen === chunk.of) this.redraw();
    keep(this.kept, chunk.of, lines);
    keep(this.kept, ALL, lines);
    this.show(this.chosen === ALL || this.chosen === chunk.of ? lines : []);
  }

  show(lines) {
    const wanted = lines.filter((line) => this.wants(line));
    if (this.held) {
      this.missed += wanted.length;
      say(this.hold, this.missed ? `Go on (${number(this.missed)} new)` : "Go on");
      return;
    }
    for (const line of wanted) this.waiting.push(line);
    if (this.waiting.length > MOST) this.waiting.splice(0, this.waiting.length - MOST);
    if (!this.frame && wanted.length) this.frame = requestAnimationFrame(() => this.draw());
  }

  wants(line) {
    const sought = this.filter.value.toLowerCase();
    return !sought || plain(line.text).toLowerCase().includes(sought);
  }

  draw() {
    this.frame = 0;
    const follows = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 40;
    const added = document.createDocumentFragment();
    for (const line of this.waiting) added.append(this.line(line));
    this.waiting = [];
    this.box.append(added);
    const excess = this.box.childElementCount - MOST;
    if (excess > 0) {
      const range = document.createRange();
      range.setStartBefore(this.box.children[0]);
      range.setEndAfter(this.box.children[excess - 1]);
      range.deleteContents();
    }
    if (follows) this.box.scrollTop = this.box.scrollHeight;
    this.count();
  }

  redraw() {
    this.waiting = [];
    this.box.replaceChildren();
    const held = this.held;
    this.held = false;
    this.missed = 0;
    this.show(this.kept.get(this.chosen) ?? []);
    this.held = held;
    if (!this.frame) this.count();
    say(this.hold, held ? "Go on" : "Hold");
  }

  line(line) {
    const [kind, name] = [line.of.slice(0, line.of.indexOf(":")), line.of.slice(line.of.indexOf(":") + 1)];
    const source = h("span", { class: `source of-${kind}` }, line.generation === null ? name : `${name}·${line.generation}`);
    if (line.skipped) {
      return h("div", { class: "line gap" }, source, `${count(line.skipped, "line")} not shown: hotpipe logs ${name}`);
    }
    return h("div", { class: "line" }, source, h("span", { class: "text" }, spans(line.text)));
  }

  toggle() {
    this.held = !this.held;
    this.hold.setAttribute("aria-pressed", String(this.held));
    this.redraw();
  }

  count() {
    const shown = this.box.childElementCount;
    const sought = this.filter.value ? " that match" : "";
    say(byId("log-count"), shown ? `${count(shown, "line")}${sought}${shown >= MOST ? ", the last ones" : ""}` : this.filter.value ? "No line matches." : "Nothing written yet.");
  }

  leaves(event) {
    if (event.key !== "Escape") return;
    if (this.filter.value) {
      this.filter.value = "";
      this.redraw();
    } else this.box.focus();
    event.preventDefault();
  }
}

function keep(kept, source, lines) {
  const list = kept.get(source) ?? [];
  list.push(...lines);
  if (list.length > MOST) list.splice(0, list.length - MOST);
  kept.set(source, list);
}
