// What buttons and keys ask of hotpipe. What comes of it is seen in the stream; here only a refusal is told.

import { byId, say } from "./dom.js";
import { headers } from "./token.js";
import { listed } from "./words.js";

let fades = 0;

export function tell(text, kind = "done") {
  const said = byId("said");
  said.dataset.kind = kind;
  say(said, text);
  clearTimeout(fades);
  fades = setTimeout(() => say(said, ""), kind === "done" ? 4_000 : 12_000);
}

async function ask(what, body) {
  try {
    const answer = await fetch(`/api/${what}`, {
      method: "POST",
      headers: { ...headers(), "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const told = await answer.json();
    if (answer.ok) return told;
    tell([told.error, told.hint].filter(Boolean).join(" – "), "refused");
  } catch {
    tell("hotpipe does not answer", "refused");
  }
  return null;
}

export async function rerun(stages = []) {
  const told = await ask("rerun", { stages });
  if (told) tell(`Running ${listed(told.stages)}`);
}

export async function restart(servers = []) {
  const told = await ask("restart", { servers });
  if (told) tell(`Restarting ${listed(told.servers)}`);
}

export async function open({ path, line, column }) {
  if (await ask("open", { path, line, column })) tell(`Opening ${path}`);
}

export async function pause() {
  if (await ask("pause", {})) tell("Paused: saves start no runs");
}

export async function resume() {
  if (await ask("resume", {})) tell("Resumed");
}
