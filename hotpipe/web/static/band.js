// The band on top: one word for the state, its sign, the page's title and icon.

import { byId, say, show, sign } from "./dom.js";
import { count, duration, listed, short } from "./words.js";

const STATES = {
  connecting: ["Connecting…", "dash", "off"],
  lost: ["Connection lost", "dash", "off"],
  full: ["Too many pages are open", "dash", "off"],
  unknown: ["Not connected", "dash", "off"],
  starting: ["Starting", "ring", "busy"],
  waiting: ["Waiting for a server", "ring", "busy"],
  checking: ["Checking", "ring", "busy"],
  changed: ["Changed", "dot", "busy"],
  green: ["Green", "check", "green"],
  red: ["Red", "cross", "red"],
  paused: ["Paused", "bars", "paused"],
  serving: ["Serving", "bolt", "green"],
  ending: ["Stopping", "dash", "off"],
};

export class Band {
  constructor() {
    this.state = "";
  }

  /** No picture, and why. */
  without(state) {
    this.set(state);
    say(byId("word"), STATES[state][0]);
    say(byId("detail"), state === "lost" ? "hotpipe does not answer; trying again" : "");
    document.title = `${STATES[state][0]} · hotpipe`;
    for (const id of ["rerun", "restart", "pause"]) byId(id).disabled = true;
  }

  update(picture) {
    const head = picture.head;
    this.set(head.state);
    const word = head.state === "red" && head.blame ? `Red: ${head.blame}` : STATES[head.state][0];
    say(byId("word"), word);
    say(byId("detail"), detail(head, picture));
    document.title = `${word} · ${name(head.root)}`;
    this.buttons(head);
  }

  set(state) {
    if (state === this.state) return;
    this.state = state;
    byId("band").dataset.state = state;
    byId("sign").replaceChildren(sign(STATES[state][1]));
    byId("icon").href = `/icon-${STATES[state][2]}.svg`;
  }

  buttons(head) {
    for (const id of ["rerun", "restart", "pause"]) byId(id).disabled = head.state === "ending";
    show(byId("rerun"), head.stages.length > 0);
    show(byId("pause"), head.stages.length > 0);
    show(byId("restart"), head.servers.length > 0 && head.role !== "gate");
    say(byId("restart-what"), head.servers.length === 1 ? head.servers[0] : "servers");
    say(byId("pause-word"), head.paused ? "Resume" : "Pause");
  }
}

export const name = (root) => root.split("/").filter(Boolean).pop() ?? "hotpipe";

function detail(head, picture) {
  const parts = [name(head.root)];
  if (head.run !== null) parts.push(`run ${head.run}`);
  if (head.state === "checking") {
    const over = picture.stages.filter((stage) => stage.status !== null).length;
    parts.push(`${over} of ${count(head.stages.length, "stage")}`);
    if (head.changed.length) parts.push(about(head));
  } else if (head.run !== null) {
    if (head.status === "green" || head.status === "red") parts.push(duration(head.took_ms));
    parts.push(`tree ${short(head.tree)}`);
  }
  if (head.paused) parts.push(head.verdict ? `the last verdict was ${head.verdict}` : "saves start no runs");
  return parts.join(" · ");
}

function about(head) {
  const rest = head.changes - head.changed.length;
  return listed(head.changed, 2) + (rest > 0 ? ` and ${rest} more` : "");
}
