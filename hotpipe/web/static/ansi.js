// A line that a program wrote, as text with colours. Of its escapes only colours and weights are heeded (ECMA-48, SGR);
// all others, links and titles among them, are dropped. What is returned are spans that hold text nodes.

import { h } from "./dom.js";

// CSI … final, OSC/DCS/… until BEL or ST, two-character escapes; and control characters but tab.
const ESCAPE = /\x1b\[([0-9;:]*)m|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x1b\x9b]\[?[0-?]*[ -/]*[@-~]|[\x00-\x08\x0a-\x1f\x7f-\x9f]/g;

export const plain = (text) => (/[\x00-\x1f\x7f-\x9f]/.test(text) ? last(text).replace(ESCAPE, "") : text);

/** What a progress bar has left of its line. */
const last = (text) => text.slice(text.replace(/\r+$/, "").lastIndexOf("\r") + 1);

export function spans(text) {
  if (!/[\x00-\x1f\x7f-\x9f]/.test(text)) return [text];
  const made = [];
  let style = {};
  let from = 0;
  const shown = last(text);
  for (const found of shown.matchAll(ESCAPE)) {
    add(made, shown.slice(from, found.index), style);
    if (found[1] !== undefined) style = applied(style, found[1]);
    from = found.index + found[0].length;
  }
  add(made, shown.slice(from), style);
  return made;
}

function add(made, text, style) {
  if (!text) return;
  const names = [style.bold && "b", style.dim && "dim", style.italic && "i", style.under && "u", style.strike && "s"].filter(Boolean);
  if (typeof style.fg === "number") names.push(`fg${style.fg}`);
  if (typeof style.bg === "number") names.push(`bg${style.bg}`);
  if (!names.length && !style.fg && !style.bg) {
    made.push(text);
    return;
  }
  const span = h("span", { class: names.join(" ") || null }, text);
  if (typeof style.fg === "string") span.style.color = style.fg;
  if (typeof style.bg === "string") span.style.backgroundColor = style.bg;
  made.push(span);
}

function applied(before, codes) {
  const style = { ...before };
  const numbers = codes.split(/[;:]/).map((code) => Number(code || 0));
  for (let place = 0; place < numbers.length; place += 1) {
    const code = numbers[place];
    if (code === 0) for (const key of Object.keys(style)) delete style[key];
    else if (code === 1) style.bold = true;
    else if (code === 2) style.dim = true;
    else if (code === 3) style.italic = true;
    else if (code === 4) style.under = true;
    else if (code === 9) style.strike = true;
    else if (code === 22) style.bold = style.dim = false;
    else if (code === 23) style.italic = false;
    else if (code === 24) style.under = false;
    else if (code === 29) style.strike = false;
    else if (code >= 30 && code <= 37) style.fg = code - 30;
    else if (code >= 90 && code <= 97) style.fg = code - 82;
    else if (code === 39) style.fg = undefined;
    else if (code >= 40 && code <= 47) style.bg = code - 40;
    else if (code >= 100 && code <= 107) style.bg = code - 92;
    else if (code === 49) style.bg = undefined;
    else if (code === 38 || code === 48) {
      const isTrue = numbers[place + 1] === 2;
      const colour = isTrue ? rgb(numbers.slice(place + 2, place + 5)) : palette(numbers[place + 2]);
      style[code === 38 ? "fg" : "bg"] = colour;
      place += isTrue ? 4 : 2;
    }
  }
  return style;
}

const byte = (value) => Math.max(0, Math.min(255, value || 0));
const rgb = (parts) => `rgb(${byte(parts[0])} ${byte(parts[1])} ${byte(parts[2])})`;

/** The 256 colours of xterm. */
function palette(index) {
  if (!(index >= 0 && index <= 255)) return undefined;
  if (index < 16) return index;
  if (index >= 232) return rgb(Array(3).fill(8 + (index - 232) * 10));
  const level = (value) => (value ? 55 + value * 40 : 0);
  const cube = index - 16;
  return rgb([level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)]);
}
