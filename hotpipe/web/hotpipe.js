// The badge: what hotpipe knows, in the page that its server has made; and the page anew when that is.
//
// data-server       whose page it is, where its address does not say so
// data-generation   which version made it (the middleware says so)
// data-position     bottom-right, bottom-left, top-right or top-left
// data-reload       "ask": a button instead of a reload; "never"
// data-quiet        nothing is shown but what is wrong
// data-frames       a badge in frames, too
//
// It leaves the page alone: a closed shadow root; no globals, no styles.
(() => {
  "use strict";
  const script = document.currentScript || document.querySelector('script[src*="/hotpipe.js"]');
  const address = script && (script.src || (script.href && script.href.baseVal));
  const once = Symbol.for("hotpipe");
  if (!address || window[once]) return;
  Object.defineProperty(window, once, { value: true });
  const said = (name) => script.getAttribute("data-" + name);
  if (window !== window.top && said("frames") === null) return;

  const base = new URL(".", new URL(address, document.baseURI)).href;
  const MARKS = { good: "✓", busy: "●", bad: "✗", calm: "‖", gone: "○" };
  const CORNERS = ["bottom-right", "bottom-left", "top-right", "top-left"];
  const FIRST_WAIT = 500, LONGEST_WAIT = 8000, REST = 5000, PATIENCE = 5000, MOST = 5;

  // What is kept for this tab, where the page may keep anything.
  const memory = {
    read(key) {
      try { return sessionStorage.getItem("hotpipe." + key); } catch { return null; }
    },
    write(key, value) {
      try { sessionStorage.setItem("hotpipe." + key, value); return true; } catch { return false; }
    },
  };

  // --- Who is told: one stream of events, again and again.

  let stream = null, timer = 0, wait = FIRST_WAIT;
  let hello = null, told = null, link = "connecting";
  let epoch = "", mine = null, place = 0; // what this page shows
  let awaited = null; // what it could show instead, if somebody wants to
  let wanted = ""; // what it was made anew for, or should be
  let isHeld = false; // an earlier one has answered, and would again
  let doubts = []; // those that may have, where the page does not say
  let isOld = false; // one of them has answered, and is gone: this page may be its

  function connect() {
    clearTimeout(timer);
    if (stream) return;
    const query = new URLSearchParams();
    const named = mine ?? said("generation");
    if (said("server")) query.set("server", said("server"));
    if (named !== null && named !== "") query.set("generation", named);
    if (epoch) {
      query.set("epoch", epoch);
      query.set("place", place);
    }
    const current = (stream = new EventSource(base + "badge/events?" + query));
    const heed = (kind, listener) =>
      current.addEventListener(kind, (event) => stream === current && listener(JSON.parse(event.data)));
    heed("hello", greet);
    heed("state", learn);
    heed("rest", rest);
    heed("end", lose);
    current.onerror = () => stream === current && lose();
  }

  function close() {
    clearTimeout(timer);
    if (stream) stream.close();
    stream = null;
  }

  // Too many tabs: this one asks again when somebody looks at it.
  function rest() {
    close();
    if (!document.hidden) timer = setTimeout(connect, REST);
  }

  function lose() {
    close();
    timer = setTimeout(connect, wait);
    wait = Math.min(wait * 2, LONGEST_WAIT);
    if (link !== "blocked") probe();
  }

  // A refusal cannot be told from silence, but for that the script still comes.
  function probe() {
    fetch(base + "hotpipe.js", { mode: "no-cors", cache: "no-store", signal: AbortSignal.timeout(PATIENCE) }).then(
      () => !stream && wait > 2 * FIRST_WAIT && become("refused"),
      () => become("gone"),
    );
  }

  function become(state) {
    if (link === "blocked" || (link === state && state !== "open")) return;
    link = state;
    draw();
  }

  function greet(message) {
    const known = epoch;
    hello = message;
    wait = FIRST_WAIT;
    link = "open";
    if (!known) {
      mine = message.yours;
      epoch = message.epoch;
      if (said("generation") === null) suspect(message, age());
    }
  }

  const asked = () => performance.getEntriesByType("navigation")[0];

  // Who does not say which version made it may be older than what has been live for so long; or was asked for when an
  // earlier one answered still.
  function suspect({ for_ms, gone_ms }, old) {
    if (for_ms !== null && for_ms < old) mine = 0;
    else isOld = gone_ms !== null && gone_ms < old;
  }

  // How long ago this page was asked for, in ms; a cache does not say.
  function age() {
    const { transferSize, requestStart = 0 } = asked() || {};
    return transferSize === 0 ? Infinity : performance.now() - requestStart;
  }

  function learn(state) {
    const first = told === null || isHeld, server = state.server, live = server ? server.generation : null;
    if (server) doubt(server);
    told = state;
    place = state.fresh;
    if (live !== null) {
      if (hello.epoch === epoch && mine === live) {
        if (isOld) remake(hello.epoch + "/" + server.revisited);
        touch(state.changed || [], hello.epoch + "." + place);
      }
      else if (!wanted && !isHeld && mine !== null && live > mine && swapped(state.changed)) mine = live;
      else renew(hello.epoch + "/" + live, first);
    }
    draw();
  }

  function doubt(server) {
    if (told === null && said("generation") === null) doubts = server.others;
    isOld = isOld || doubts.includes(server.revisited);
    doubts = doubts.filter((number) => server.others.includes(number));
  }

  // --- The page anew.

  // Not for ever: a cache may give the same old page, at another address each time.
  function renew(target, first) {
    if (wanted === target) return;
    const made = isMade("made", target), wasHeld = isHeld;
    // An earlier one answers on the connections that it has. When it is gone, that is over. (Where the page does not say
    // who made it, it may be a slow machine as well: then there are `doubts`.)
    isHeld = first && made && said("generation") !== null && told.server.others.length > 0;
    if (isHeld) return;
    if (first && made && !wasHeld) {
      mine = told.server.generation; // made anew, and still it says another one: a cache, perhaps
      return;
    }
    want("made", target, first);
  }

  // It may have come from the generation that is gone. Once: in a cache it would be as old for ever.
  function remake(target) {
    if (wanted === target) return;
    if (isMade("remade", target)) isOld = false;
    else want("remade", target, true);
  }

  // The addresses at which it was made anew for that already.
  function tries(key, target) {
    const [madeFor, ...all] = (memory.read(key) || "").split(" ");
    return madeFor === target ? all : [];
  }

  const isMade = (key, target) => tries(key, target).includes(location.href);

  function want(key, target, first) {
    const tried = tries(key, target);
    wanted = target;
    if (said("reload") === "never") return;
    const kept = memory.write(key, [target, ...tried, location.href].join(" "));
    if (said("reload") === "ask" || (first && (!kept || forgets() || tried.length >= MOST))) awaited = target;
    else reload(target);
  }

  // Whether the page removes what is kept.
  const forgets = () => asked()?.type === "reload" && memory.read("left") === null;

  function reload(target) {
    setTimeout(() => { awaited = target; draw(); }, PATIENCE); // somebody wanted to stay
    location.reload();
  }

  // No restart came of these: they are served as they are.
  function touch(changed, target) {
    const left = changed.filter((path) => !(isStyle(path) && swap(path)));
    if (left.some(isUsed)) renew(target, false);
  }

  // Whether the changes are stylesheets, all of which this page links to; then they are new, and it is not.
  function swapped(changed) {
    if (!changed || !changed.length || !changed.every((path) => isStyle(path) && links(path).length)) return false;
    changed.forEach(swap);
    return true;
  }

  const isStyle = (path) => /\.css$/i.test(path);
  const leaf = (path) => path.slice(path.lastIndexOf("/") + 1);

  function isAt(url, path) {
    try {
      const { origin, pathname } = new URL(url, document.baseURI);
      return origin === location.origin && (leaf(decodeURIComponent(pathname)) || "index.html") === leaf(path);
    } catch {
      return false;
    }
  }

  const isUsed = (path) =>
    isAt(location.href, path) || performance.getEntriesByType("resource").some((entry) => isAt(entry.name, path));

  const leaving = new WeakSet();

  const links = (path) =>
    [...document.querySelectorAll('link[rel~="stylesheet" i][href]')].filter(
      (old) => !leaving.has(old) && !old.disabled && isAt(old.href, path),
    );

  function swap(path) {
    const found = links(path);
    for (const old of found) {
      const url = new URL(old.href), fresh = old.cloneNode();
      url.searchParams.set("hotpipe", place + "." + Date.now());
      fresh.href = url.href;
      fresh.removeAttribute("integrity");
      leaving.add(old);
      fresh.addEventListener("load", () => old.remove(), { once: true });
      fresh.addEventListener("error", () => { fresh.remove(); leaving.delete(old); }, { once: true });
      old.after(fresh);
    }
    return found.length > 0;
  }

  // --- What there is to say: a mood, a few words, and more when asked.

  const count = (number, noun) => number + " " + noun + (number === 1 ? "" : "s");

  function where(finding) {
    return [finding.path, finding.line, finding.column].filter((part) => part !== null).join(":");
  }

  const isUnsure = () => isOld || doubts.length > 0;
  const isShown = (server) => hello.epoch === epoch && mine === server.generation && !isUnsure();

  function summary() {
    if (link === "blocked") return ["gone", "hotpipe: the page's CSP forbids connect-src " + base];
    if (link === "refused") return ["gone", "hotpipe does not know " + location.origin];
    if (link !== "open" || !told) return ["gone", link === "connecting" ? "hotpipe…" : "hotpipe is not running"];
    const { server, failures, errors } = told;
    if (told.ending) return ["gone", "hotpipe is ending"];
    if (errors.length) return ["bad", errors[0]];
    if (told.checks === "running") return ["busy", "checking " + told.done + "/" + told.stages];
    if (told.checks === "red" && failures.length) {
      const [failure] = failures, [finding] = failure.findings;
      return ["bad", failure.stage + ": " + (finding ? leaf(where(finding)) + " " + finding.text : failure.how)];
    }
    if (told.checks === "red") return ["bad", "checks are red"];
    if (server && server.booting !== null) return ["busy", "starting gen " + server.booting];
    if (server && server.failed !== null) return ["bad", "gen " + server.failed + ": " + server.failure];
    if (server && isHeld) return ["busy", "an earlier generation answers still"];
    if (server && server.generation === null) return ["bad", "no generation is live"];
    if (told.paused) return ["calm", "paused" + (server ? ", gen " + server.generation : "")];
    if (server && told.checks !== "none" && !server.verified) return ["busy", "gen " + server.generation + ", unverified"];
    if (server && !isShown(server)) return ["busy", "gen " + server.generation + " is live"];
    return [told.checks === "changed" ? "busy" : "good", server ? "gen " + server.generation : told.checks];
  }

  const WORDS = {
    none: "nothing has been checked", running: "checks are running", green: "checks are green", red: "checks are red",
    changed: "what is on disk has not been checked yet",
  };

  function standing() {
    const { server } = told;
    if (!server) return "hotpipe: " + WORDS[told.checks];
    const shown = mine ? "You see generation " + mine : "You see an earlier generation";
    const perhaps = mine && isUnsure() ? shown + " or an earlier one" : shown;
    const parts = [server.generation === null ? perhaps + ", and nothing is live" : perhaps];
    if ((awaited || isHeld) && mine !== server.generation) parts.push("generation " + server.generation + " is live");
    if (server.behind) parts.push(count(server.behind, "save") + " behind");
    if (server.failed !== null) parts.push("generation " + server.failed + " failed (" + server.failure + ")");
    return parts.join("; ") + ": " + WORDS[told.checks];
  }

  // --- How it looks.

  let host = null, pill, panel, live, hidden = false, open = false, note = "", last = "";
  let corner = memory.read("corner") || said("position");
  if (!CORNERS.includes(corner)) corner = CORNERS[0];

  const STYLE = `
    :host { all: initial !important; position: fixed !important; z-index: 2147483647 !important; color-scheme: light dark !important; }
    :host([data-at^="bottom"]) { bottom: 12px !important; } :host([data-at^="top"]) { top: 12px !important; }
    :host([data-at$="right"]) { right: 12px !important; } :host([data-at$="left"]) { left: 12px !important; }
    :host([hidden]) { display: none !important; }
    @media print { :host { display: none !important; } }
    * { box-sizing: border-box; font: 13px/1.4 system-ui, sans-serif; }
    .box { display: flex; flex-direction: column; gap: 6px; max-width: min(440px, calc(100vw - 24px)); align-items: flex-end; }
    :host([data-at^="top"]) .box { flex-direction: column-reverse; }
    :host([data-at$="left"]) .box { align-items: flex-start; }
    button { cursor: pointer; color: inherit; background: none; border: 0; padding: 0; text-align: left; }
    :focus-visible { outline: 2px solid Highlight; outline-offset: 2px; border-radius: 4px; }
    .pill, .panel { background: light-dark(#fff, #1e1f22); color: light-dark(#1b1b1b, #eee); border: 1px solid light-dark(#0003, #fff3); box-shadow: 0 1px 6px #0004; }
    .pill { border-radius: 14px; padding: 3px 10px; max-width: 100%; overflow: hidden; white-space: nowrap; text-overflow: ellipsis; touch-action: none; user-select: none; }
    .mark { margin-right: 5px; }
    .good .mark { color: light-dark(#137a2f, #5bd377); } .busy .mark { color: light-dark(#9a6700, #e3b341); }
    .bad .mark { color: light-dark(#c1121f, #ff7b72); } .pill.bad { border-color: light-dark(#c1121f, #ff7b72); } .gone { opacity: .75; }
    @media not (prefers-reduced-motion) { .busy .mark { animation: breathe 1.2s infinite alternate; } }
    @keyframes breathe { to { opacity: .3; } }
    .panel { border-radius: 8px; padding: 10px 12px; width: 100%; max-height: min(60vh, 420px); overflow: auto; overflow-wrap: anywhere; }
    p, ul { margin: 0 0 6px; padding: 0; } li { list-style: none; margin: 2px 0; }
    b { font-weight: 600; } .place { text-decoration: underline; } code { font-family: ui-monospace, monospace; user-select: all; }
    .foot { display: flex; gap: 14px; flex-wrap: wrap; } .foot * { color: light-dark(#0550ae, #79b8ff); }
    .said { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }`;

  const XHTML = "http://www.w3.org/1999/xhtml";

  function make(tag, properties, ...children) {
    const element = document.createElementNS(XHTML, tag);
    Object.assign(element, properties);
    element.append(...children);
    return element;
  }

  function build() {
    host = make("div");
    host.setAttribute("data-hotpipe", "");
    const root = host.attachShadow({ mode: "closed" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    pill = make("button", { type: "button", className: "pill" });
    panel = make("div", { className: "panel", hidden: true });
    panel.setAttribute("role", "group");
    panel.setAttribute("aria-label", "hotpipe");
    live = make("div", { className: "said" });
    live.setAttribute("role", "status");
    live.setAttribute("aria-live", "polite");
    pill.addEventListener("click", () => {
      if (awaited) location.reload();
      open = !open;
      draw();
    });
    root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !open) return;
      event.stopPropagation();
      open = false;
      draw();
      pill.focus();
    });
    pill.addEventListener("pointerdown", drag);
    root.append(make("div", { className: "box" }, panel, pill), live);
  }

  // Where it is dropped, the nearest corner is its own.
  function drag(down) {
    const ends = ["pointerup", "pointercancel"];
    let moved = false;
    pill.setPointerCapture(down.pointerId); // it is not as quick as the hand
    const move = (event) => {
      moved = moved || Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) > 8;
      if (!moved) return;
      const x = event.clientX < innerWidth / 2 ? "left" : "right";
      corner = (event.clientY < innerHeight / 2 ? "top-" : "bottom-") + x;
      draw();
    };
    const end = (event) => {
      for (const kind of ends) pill.removeEventListener(kind, end);
      pill.removeEventListener("pointermove", move);
      if (!moved) return;
      memory.write("corner", corner);
      if (event.type === "pointerup")
        pill.addEventListener("click", (click) => click.stopImmediatePropagation(), { once: true, capture: true });
    };
    pill.addEventListener("pointermove", move);
    for (const kind of ends) pill.addEventListener(kind, end);
  }

  function draw() {
    const parent = document.documentElement;
    if (document.readyState === "loading" || !parent || parent.namespaceURI !== XHTML) return;
    if (!host) build();
    if (!host.isConnected) parent.append(host);
    const [mood, text] = awaited ? ["busy", "new version: reload"] : summary();
    if (mood === "bad" && last !== text) hidden = false;
    host.hidden = hidden || (said("quiet") !== null && mood !== "bad" && !awaited && !open);
    host.setAttribute("data-at", corner);
    pill.className = "pill " + mood;
    pill.title = text;
    pill.setAttribute("aria-expanded", open);
    pill.replaceChildren(make("span", { className: "mark", ariaHidden: "true" }, MARKS[mood]), text);
    if (mood !== "busy" && last !== text) live.textContent = "hotpipe: " + text;
    if (mood !== "busy") last = text;
    panel.hidden = !open;
    if (open) fill(text);
  }

  // What has the focus keeps it, for the panel is filled anew with each message.
  function fill(text) {
    const root = panel.getRootNode();
    const at = [...panel.querySelectorAll("button, a")].indexOf(root.activeElement);
    panel.replaceChildren(...(told && link === "open" ? details() : [make("p", {}, text)]), foot());
    const again = at >= 0 && panel.querySelectorAll("button, a")[at];
    if (again) again.focus();
  }

  function details() {
    const parts = [make("p", {}, standing())];
    for (const error of told.errors) parts.push(make("p", {}, error));
    for (const failure of told.failures) {
      const rest = failure.found - failure.findings.length;
      const how = failure.found ? count(failure.found, "finding") : failure.how;
      parts.push(make("p", {}, make("b", {}, failure.stage + " failed"), how ? ": " + how : ""));
      const items = failure.findings.map((finding) => make("li", {}, ...shown(finding)));
      if (rest > 0) items.push(make("li", {}, "and " + rest + " more"));
      parts.push(make("ul", {}, ...items));
    }
    if (note) parts.push(make("p", {}, note));
    return parts;
  }

  function shown(finding) {
    if (!finding.path) return [finding.text];
    if (!hello.editor) return [make("code", {}, where(finding)), " " + finding.text];
    const place = make("span", { className: "place" }, where(finding));
    const button = make("button", { type: "button", title: "open in " + hello.editor }, place, " " + finding.text);
    button.addEventListener("click", () => edit(finding));
    return [button];
  }

  function foot() {
    const hide = make("button", { type: "button" }, "hide until it is red");
    hide.addEventListener("click", () => { hidden = true; open = false; last = summary()[1]; draw(); });
    const again = make("button", { type: "button" }, "reload");
    again.addEventListener("click", () => location.reload());
    const all = make("a", { href: base, target: "_blank", rel: "noreferrer" }, "dashboard");
    return make("div", { className: "foot" }, again, all, hide);
  }

  const REFUSALS = {
    404: "it is no file of this project", 409: "hotpipe knows no editor with a window: set HOTPIPE_EDITOR",
    429: "too many at once", 500: "the editor could not be started",
  };

  async function edit(finding) {
    const { path, line, column } = finding;
    const headers = { "Content-Type": "application/json", "X-Hotpipe-Open": hello.token };
    const body = JSON.stringify({ path, line, column });
    const status = await fetch(base + "badge/open", { method: "POST", headers, body }).then(
      (answer) => answer.status, () => 0,
    );
    note = status === 204 ? "" : where(finding) + ": " + (REFUSALS[status] || "hotpipe did not open it");
    draw();
  }

  // --- When.

  document.addEventListener("securitypolicyviolation", (event) => {
    if (event.effectiveDirective !== "connect-src" || !event.blockedURI.startsWith(base.slice(0, -1))) return;
    link = "blocked";
    close();
    draw();
  });
  document.addEventListener("DOMContentLoaded", draw);
  const look = () => document.hidden || stream || link === "blocked" || connect();
  document.addEventListener("visibilitychange", look);
  window.addEventListener("focus", look);
  // A page that is put aside must not hold a connection; when it comes back, it may be an old one.
  window.addEventListener("pagehide", () => { memory.write("left", "1"); close(); });
  window.addEventListener("pageshow", (event) => event.persisted && connect());
  connect();
  if (document.readyState !== "loading") setTimeout(draw);
})();
