// Reads the stream of what happens, and opens it again when it breaks. EventSource cannot send a header, so it is fetch.

import { headers } from "./token.js";

const SILENCE_MS = 40_000; // the server is heard each 15 s
const LONGEST_PAUSE_MS = 5_000;

export class Stream {
  /** `heard(message, isFirst)`; `state(word)`: "open", "lost", "unknown" (no token, or a wrong one), "full". */
  constructor(heard, state) {
    this.heard = heard;
    this.state = state;
    this.pause_ms = 500;
    this.wake = () => {};
  }

  async run() {
    for (;;) {
      const state = await this.follow();
      this.state(state);
      if (state === "unknown") return;
      await new Promise((go) => { this.wake = go; setTimeout(go, this.pause_ms); });
      this.pause_ms = Math.min(this.pause_ms * 1.6, LONGEST_PAUSE_MS);
    }
  }

  async follow() {
    const stop = new AbortController();
    let quiet = setTimeout(() => stop.abort(), SILENCE_MS);
    try {
      const answer = await fetch("/api/stream", { headers: headers(), signal: stop.signal, cache: "no-store" });
      if (answer.status === 401) return "unknown";
      if (!answer.ok) return answer.status === 503 ? "full" : "lost";
      this.pause_ms = 500;
      let first = true;
      for await (const block of blocks(answer.body)) {
        clearTimeout(quiet);
        quiet = setTimeout(() => stop.abort(), SILENCE_MS);
        const message = parsed(block);
        if (message === null) continue;
        if (first) this.state("open");
        this.heard(message, first);
        first = false;
      }
    } catch (error) {
      if (!(error instanceof TypeError) && error.name !== "AbortError") console.error(error);
    } finally {
      clearTimeout(quiet);
    }
    return "lost";
  }
}

async function* blocks(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    yield* parts;
  }
}

function parsed(block) {
  const line = block.split("\n").find((each) => each.startsWith("data: "));
  return line === undefined ? null : JSON.parse(line.slice(6));
}
