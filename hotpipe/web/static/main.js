// Puts the page together: the stream feeds the picture, the picture is drawn once a frame.

import * as asking from "./asking.js";
import { Band } from "./band.js";
import { byId, h, say, show } from "./dom.js";
import { listen } from "./keys.js";
import { Logs } from "./logs.js";
import { Past } from "./past.js";
import { Picture, isRunning } from "./picture.js";
import { Servers } from "./servers.js";
import { Stages } from "./stages.js";
import { Stream } from "./stream.js";
import { found } from "./token.js";

const TICK_MS = 250;
const picture = new Picture();
const band = new Band();
const logs = new Logs();
const past = new Past();
const reveal = (source) => logs.reveal(source);
const stages = new Stages(picture, reveal);
const servers = new Servers(picture, reveal);
let frame = 0;
let isOpen = false;

function draw() {
  frame = 0;
  if (!isOpen || !picture.head) return;
  band.update(picture);
  stages.update();
  servers.update();
  logs.update(picture);
  past.update(picture);
  troubles(picture.head);
  say(byId("about"), `hotpipe ${picture.head.version} · ${picture.head.root}`);
}

function heard(message, isFirst) {
  if (isFirst) {
    picture.clear();
    logs.clear();
    past.soon();
  }
  picture.apply(message);
  for (const chunk of message.lines) logs.add(chunk);
  if (!frame) frame = requestAnimationFrame(draw);
}

function state(word) {
  isOpen = word === "open";
  document.body.classList.toggle("is-lost", word === "lost");
  if (!isOpen) band.without(word);
  const closed = { unknown: UNKNOWN, full: FULL }[word];
  show(byId("notice"), Boolean(closed));
  if (word !== "lost") show(byId("content"), isOpen);
  if (closed) {
    say(byId("notice-title"), closed[0]);
    say(byId("notice-text"), closed[1]);
  }
}

const UNKNOWN = ["Open the link that hotpipe printed", "This page shows nothing without the token in that link: logs may hold secrets, and buttons act. In hotpipe's terminal, the key o opens it."];
const FULL = ["Too many dashboards are open", "Close one of the other tabs; this one goes on by itself."];

function troubles(head) {
  const known = JSON.stringify([head.errors, head.warnings]);
  if (known === troubles.known) return;
  troubles.known = known;
  const warning = ([, message, hint]) => h("li", {}, message, hint ? [" ", h("span", { class: "fine" }, hint)] : null);
  byId("troubles").replaceChildren(...[
    head.errors.length ? h("div", { class: "trouble bad" }, h("h2", {}, "The configuration is not valid"), h("p", {}, "What was in force stays in force."), h("ul", {}, head.errors.map((error) => h("li", {}, error)))) : null,
    head.warnings.length ? h("details", { class: "trouble warn", open: head.warnings.length <= 3 }, h("summary", {}, head.warnings.length === 1 ? "A warning" : `The last ${head.warnings.length} warnings`), h("ul", {}, [...head.warnings].reverse().map(warning))) : null,
  ].filter(Boolean));
  show(byId("troubles"), head.errors.length + head.warnings.length > 0);
}

const pauseOrResume = () => (picture.head?.paused ? asking.resume() : asking.pause());
const visible = (id, action) => () => { if (isOpen && !byId(id).hidden) action(); };
byId("rerun").addEventListener("click", () => asking.rerun());
byId("restart").addEventListener("click", () => asking.restart());
byId("pause").addEventListener("click", pauseOrResume);
listen({
  r: visible("rerun", asking.rerun.bind(null, [])),
  R: visible("restart", asking.restart.bind(null, [])),
  p: visible("pause", pauseOrResume),
  l: () => byId("log-source").focus(),
  "/": () => byId("log-filter").focus(),
});

setInterval(() => {
  if (document.hidden || !isOpen || !picture.head) return;
  if (picture.stages.some(isRunning)) stages.tick();
  servers.tick();
}, TICK_MS);

function open() {
  if (found()) new Stream(heard, state).run();
  else state("unknown");
}
addEventListener("hashchange", () => { if (!isOpen) open(); else found(); });
state("connecting");
open();
