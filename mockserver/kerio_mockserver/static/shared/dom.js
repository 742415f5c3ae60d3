// Building of elements without HTML in strings, and figures as text.

/** Make an element: `h("a.link", {href}, "text", child)`. Properties named on… are listeners. */
export function h(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && !key.includes("-") && typeof value !== "string") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Ask a question in a dialog; resolve to whether it was confirmed. */
export function confirm(text, action) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-label": text },
      h("p", {}, text),
      h("form.row.actions", { method: "dialog" },
        h("button", { value: "no" }, "Cancel"),
        h("button.primary", { value: "yes" }, action)));
    dialog.addEventListener("close", () => { dialog.remove(); resolve(dialog.returnValue === "yes"); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

const trimmed = (number, digits) => {
  const text = number.toFixed(digits);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
};

export function formatNumber(number) {
  if (number >= 100 || Number.isInteger(number)) return Math.round(number).toLocaleString("en");
  return trimmed(number, number >= 10 ? 1 : 2);
}

export function formatBytes(bytes) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (bytes >= size) return `${trimmed(bytes / size, bytes >= 100 * size ? 0 : bytes >= 10 * size ? 1 : 2)} ${unit}`;
  }
  return `${Math.round(bytes)} B`;
}

export const formatByteRate = (bytes) => `${formatBytes(bytes)}/s`;

export function formatSeconds(seconds) {
  if (seconds === 0) return "0 ms";
  if (seconds < 0.01) return `${trimmed(seconds * 1000, 1)} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return `${trimmed(seconds, seconds < 10 ? 2 : 1)} s`;
}

/** A rate of a link, in bytes per second, as it is sold. */
export function formatBitRate(bytes) {
  for (const [unit, size] of [["Gbit/s", 1e9], ["Mbit/s", 1e6], ["kbit/s", 1e3]]) {
    if (bytes * 8 >= size) return `${trimmed((bytes * 8) / size, 3)} ${unit}`;
  }
  return `${bytes * 8} bit/s`;
}
