// What the page waits for: a line at the bottom, and a table of the last calls.

import { waits } from "./api.js";
import { byId, formatSeconds, h } from "./dom.js";

const SLOW_SECONDS = 0.3; // a shorter wait is not worth a changing line
const TICK_MS = 200;

let timer = 0;

function drawLine() {
  const running = [...waits.running.values()];
  const [oldest] = running;
  const waited = oldest ? (performance.now() - oldest.began) / 1000 : 0;
  document.body.classList.toggle("busy", waited > SLOW_SECONDS);
  const [last] = waits.ended;
  byId("waits-now").textContent = oldest && (waited > SLOW_SECONDS || oldest.note)
    ? `Waiting ${formatSeconds(waited)} for ${oldest.name}${running.length > 1 ? ` and ${running.length - 1} more` : ""}. ${oldest.note}`
    : last ? `${last.name}: ${formatSeconds(last.seconds)}` : "";
  byId("waits-sum").textContent = waits.ended.length
    ? `p50 ${formatSeconds(waits.percentile(0.5))}, p95 ${formatSeconds(waits.percentile(0.95))} of ${waits.ended.length} ${waits.ended.length === 1 ? "call" : "calls"}`
    : "";
  clearTimeout(timer);
  if (running.length) timer = setTimeout(drawLine, TICK_MS);
}

function drawTable() {
  if (!byId("waits-table").open) return;
  byId("waits-rows").replaceChildren(...waits.ended.slice(0, 60).map((call) => h("tr", {},
    h("td", {}, call.at.toTimeString().slice(0, 8)), h("td.mono.ellipsis", {}, call.name), h("td", {}, formatSeconds(call.seconds)),
    h("td", {}, call.tries > 1 ? `${call.tries} tries` : ""), h("td.ellipsis", { title: call.outcome }, call.outcome))));
}

/** Keep the line and the table up to date. */
export function showWaits() {
  waits.addEventListener("change", () => { drawLine(); drawTable(); });
  byId("waits").addEventListener("click", () => { byId("waits-table").showModal(); drawTable(); });
}
