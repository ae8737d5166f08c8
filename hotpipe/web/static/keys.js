// The keys of the terminal's face. They can be switched off, for whoever speaks to the browser (WCAG 2.1.4).

import { byId } from "./dom.js";

const NAME = "hotpipe.keys";

export function listen(actions) {
  const box = byId("keys");
  box.checked = localStorage.getItem(NAME) !== "off";
  box.addEventListener("change", () => localStorage.setItem(NAME, box.checked ? "on" : "off"));
  document.addEventListener("keydown", (event) => {
    if (!box.checked || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat) return;
    if (event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]")) return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
