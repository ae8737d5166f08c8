// Makes elements. Text gets into the page through text nodes only, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, heard] of Object.entries(value)) element.addEventListener(event, heard);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const h = (tag, given = {}, ...children) => fill(document.createElement(tag), given, children);
export const svg = (tag, given = {}, ...children) => fill(document.createElementNS(SVG, tag), given, children);
export const byId = (id) => document.getElementById(id);

/** Writes only what differs: a screen reader would speak it again, a selection would be lost. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** One row an item, kept while its key is there, so that focus and scroll stay. */
export class Rows {
  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
    this.rows = new Map();
  }

  update(items, key) {
    const gone = new Set(this.rows.keys());
    let place = this.parent.firstElementChild;
    for (const item of items) {
      const name = key(item);
      gone.delete(name);
      if (!this.rows.has(name)) this.rows.set(name, this.make(item));
      const row = this.rows.get(name);
      row.update(item);
      if (row.element === place) place = place.nextElementSibling;
      else this.parent.insertBefore(row.element, place);
    }
    for (const name of gone) {
      this.rows.get(name).element.remove();
      this.rows.delete(name);
    }
  }
}

const SIGNS = {
  check: [["path", { d: "M9.5 16.5l4.5 4.5 8.5-9.5" }]],
  cross: [["path", { d: "M11 11l10 10M21 11L11 21" }]],
  ring: [["path", { d: "M16 7.5a8.5 8.5 0 1 1-8.5 8.5", class: "turns" }]],
  bars: [["path", { d: "M12.5 10.5v11M19.5 10.5v11" }]],
  dash: [["path", { d: "M10 16h12" }]],
  dot: [["circle", { cx: 16, cy: 16, r: 3.2, class: "full" }]],
  bolt: [["path", { d: "M17.5 8l-6 9h5l-2 7 6.5-9.5h-5z", class: "full" }]],
  half: [["path", { d: "M11 16.5l3.5 3.5 6.5-7.5" }]],
};

/** A sign that is told apart by its shape; its words stand beside it. */
export function sign(name) {
  const parts = SIGNS[name].map(([tag, given]) => svg(tag, given));
  return svg("svg", { viewBox: "0 0 32 32", class: `sign-${name}`, "aria-hidden": "true", focusable: "false" },
    svg("circle", { cx: 16, cy: 16, r: 14.5, class: "disc" }), parts);
}
