// The servers: what answers, where, and what became of each generation.

import * as asking from "./asking.js";
import { Rows, byId, h, say, show, sign } from "./dom.js";
import { age, count, duration, short } from "./words.js";

const FEW = 4; // generations that are shown unasked

export class Servers {
  constructor(picture, select) {
    this.picture = picture;
    this.cards = new Rows(byId("servers"), () => new Card(picture, select));
  }

  update() {
    const servers = this.picture.servers;
    show(byId("servers-none"), servers.length === 0);
    show(byId("serving"), servers.length > 0 || this.picture.head.role !== "gate");
    this.cards.update(servers, (server) => server.name);
  }

  tick() {
    for (const card of this.cards.rows.values()) card.tick();
  }
}

class Card {
  constructor(picture, select) {
    this.picture = picture;
    this.whole = false;
    this.sign = h("span", { class: "mark", "aria-hidden": "true" });
    this.name = h("button", { type: "button", class: "plain name", title: "show its output", on: { click: () => select(`server:${this.server.name}`) } });
    this.word = h("span", { class: "word" });
    this.restart = h("button", { type: "button", class: "small", on: { click: () => asking.restart([this.server.name]) } }, "Restart");
    this.where = h("p", { class: "where" });
    this.what = h("p", { class: "serves" });
    this.behind = h("p", { class: "behind" });
    this.failure = h("p", { class: "failure" });
    this.list = h("ol", { class: "generations", "aria-label": "Generations, the newest first" });
    this.more = h("button", { type: "button", class: "small more", on: { click: () => { this.whole = !this.whole; this.update(this.server); } } });
    this.rows = new Rows(this.list, () => new Generation(picture));
    this.element = h("article", { class: "card" },
      h("div", { class: "card-head" }, this.sign, h("h3", {}, this.name), this.word, this.restart),
      this.where, this.what, this.behind, this.failure, this.list, this.more);
  }

  update(server) {
    this.server = server;
    const [word, mark, kind] = standing(server);
    if (this.element.dataset.kind !== kind || this.mark !== mark) this.sign.replaceChildren(sign(mark));
    this.mark = mark;
    this.element.dataset.kind = kind;
    say(this.name, server.name);
    say(this.word, word);
    this.restart.setAttribute("aria-label", `Restart ${server.name}`);
    const addresses = JSON.stringify(server.sockets);
    if (addresses !== this.addresses) this.where.replaceChildren(...server.sockets.flatMap(address));
    this.addresses = addresses;
    say(this.what, serves(server));
    say(this.behind, server.behind > 0 ? `${count(server.behind, "save")} behind what is on disk` : "");
    say(this.failure, failure(server));
    this.rows.update(this.whole ? server.generations : server.generations.slice(0, FEW), (one) => one.number);
    show(this.more, server.generations.length > FEW);
    say(this.more, this.whole ? "Show fewer generations" : `Show ${count(server.generations.length - FEW, "earlier generation")}`);
    this.tick();
  }

  tick() {
    for (const row of this.rows.rows.values()) row.tick();
  }
}

function standing(server) {
  const boots = server.generations.some((one) => one.outcome === "booting" && one.stopped === null);
  if (server.generation !== null) return [boots ? "Live, the next one boots" : "Live", boots ? "ring" : "bolt", boots ? "busy" : "good"];
  if (boots) return ["Booting", "ring", "busy"];
  return server.failure ? ["Down", "cross", "bad"] : ["Not started", "dash", "idle"];
}

function serves(server) {
  if (server.generation === null) return "Nobody answers; connections wait.";
  const tree = server.tree ? ` · tree ${short(server.tree)}` : "";
  return `Generation ${server.generation}${tree} · ${server.verified ? "verified" : "not verified"}`;
}

function failure(server) {
  if (!server.failure) return "";
  const retry = server.retry_ms === null ? "" : `; started again after ${duration(server.retry_ms)}`;
  return `The last attempt failed: ${server.failure}${retry}`;
}

function address(socket) {
  const text = socket.url || `${socket.name} ${socket.addr}`;
  const shown = /^https?:\/\//.test(socket.url)
    ? h("a", { href: socket.url, target: "_blank", rel: "noopener noreferrer" }, text)
    : h("code", {}, text);
  return [shown, " "];
}

const ENDS = { failed: "failed", discarded: "discarded" };

class Generation {
  constructor(picture) {
    this.picture = picture;
    this.number = h("span", { class: "number" });
    this.track = h("span", { class: "track" });
    this.why = h("span", { class: "why" });
    this.element = h("li", {}, this.number, this.track, this.why);
    this.parts = new Rows(this.track, () => new Phase());
  }

  update(one) {
    this.one = one;
    say(this.number, String(one.number));
    this.element.title = [one.pid ? `pid ${one.pid}` : "", one.tree ? `tree ${short(one.tree)}` : ""].filter(Boolean).join(", ");
    say(this.why, [one.says, one.why].filter(Boolean).join(" · "));
    this.tick();
  }

  tick() {
    this.parts.update(phases(this.one, this.picture.now()), (phase) => phase.name);
  }
}

/** What it went through, with how long each took; the last one goes on. */
function phases(one, now) {
  const { starting, ready, live, draining, stopped } = one;
  const found = [];
  const phase = (name, from, ...ends) => {
    const end = ends.find((each) => each !== null);
    found.push({ name, ms: ((end ?? now) - from) * 1000, over: end !== undefined });
  };
  if (starting !== null) phase("boot", starting, ready, live, stopped);
  if (ready !== null && live === null) phase("ready", ready, stopped);
  if (live !== null) phase("live", live, draining, stopped);
  if (draining !== null) phase("drain", draining, stopped);
  if (ENDS[one.outcome]) found.push({ name: ENDS[one.outcome], ms: null });
  else if (stopped !== null) found.push({ name: "stopped", ms: null });
  return found;
}

class Phase {
  constructor() {
    this.element = h("span", { class: "phase" });
  }

  update(phase) {
    this.element.dataset.phase = phase.name;
    const ms = phase.ms === null ? null : Math.max(0, phase.ms);
    say(this.element, ms === null ? phase.name : `${phase.name} ${phase.over ? duration(ms) : age(ms)}`);
    const grow = ms === null ? "0" : (1 + Math.log2(1 + ms / 100)).toFixed(1);
    if (this.element.style.flexGrow !== grow) this.element.style.flexGrow = grow;
  }
}
