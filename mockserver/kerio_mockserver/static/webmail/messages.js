// What the page says to its user at the bottom, and actions of the user that may fail.

import { EXPIRED } from "./api.js";
import { byId, h } from "./dom.js";

const TOAST_MS = 8000;

let toastTimer = 0;

/** Say something at the bottom, with a button if there is something to do about it. */
export function say(text, { bad = false, action = "", run = null } = {}) {
  byId("toast").replaceChildren(h("span", {}, text), action ? h("button", { type: "button", onclick: () => { hideToast(); attempt(run); } }, action) : "",
    h("button.quiet", { type: "button", "aria-label": "Close", onclick: hideToast }, "✕"));
  byId("toast").className = bad ? "bad" : "";
  byId("toast").hidden = !text;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(hideToast, TOAST_MS);
}

function hideToast() {
  byId("toast").hidden = true;
}

export const complain = (text) => say(text, { bad: true });

/** Run an action of the user; say why it failed. */
export async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    if (error.code !== EXPIRED) complain(error.message);
    return undefined;
  }
}
