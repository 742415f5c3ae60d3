// The control page: polls the server's history once a second, draws it, and changes the conditions.

import { Chart } from "./charts.js";
import { byId, confirm, formatByteRate, formatBytes, formatNumber, formatSeconds, h } from "./dom.js";
import { control } from "./forms.js";

const POLL_MS = 1000;
const KEPT_SAMPLES = 900;
const TABS = ["link", "load", "faults", "churn", "quirks"];
const CODES = {
  "-32001": "session expired", "-32601": "no such method", "-32602": "invalid parameters", "-32603": "internal error",
  1000: "failed", 1002: "no such item", 1003: "not permitted", 4100: "reindexing", 4101: "locked", 4102: "quota", 4104: "no such folder",
};

const state = { number: 0, samples: [], revision: null, watermark: null, paused: false, seconds: 300, conditions: null, presets: {}, form: {}, changes: Promise.resolve() };

async function ask(path, method = "GET", body = undefined, headers = {}) {
  const options = { method, headers: { ...headers } };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const reply = await fetch(path, options);
  const value = await reply.json();
  if (!reply.ok) throw Object.assign(new Error(value.error), { status: reply.status });
  return { value, revision: reply.headers.get("ETag") };
}

// charts

const perSecond = (counts, sample, name = (key) => key) =>
  Object.fromEntries(Object.entries(counts).map(([key, count]) => [name(key), count / sample.seconds]));
const errorName = (code) => (CODES[code] ? `${code} ${CODES[code]}` : code);
const withRate = (number) => `${formatNumber(number)}/s`;
const WITHOUT = "p95 without the client";

const charts = [
  new Chart(byId("charts"), {
    id: "chart-requests", title: "Requests by method", about: "Answered requests per second", stacked: true, format: withRate,
    read: (sample) => perSecond(sample.requests, sample),
  }),
  new Chart(byId("charts"), {
    id: "chart-bytes", title: "Traffic", about: "Bytes per second to and from the clients", format: formatByteRate, fixed: ["down", "up"],
    read: (sample) => ({ down: sample.down_bytes / sample.seconds, up: sample.up_bytes / sample.seconds }),
  }),
  new Chart(byId("charts"), {
    id: "chart-waits", title: "Users' waits for a worker", format: formatSeconds, fixed: ["p50", "p95", "p95 since reset", WITHOUT],
    dashed: ["p95 since reset", WITHOUT],
    about: "Solid: of the last 10 seconds. Dashed: since the last reset, with the client and without it.",
    read: (sample) => (sample.users.count || sample.users_p95_without_client
      ? { p50: sample.users.p50, p95: sample.users.p95, "p95 since reset": sample.users_p95, [WITHOUT]: sample.users_p95_without_client }
      : { p50: null, p95: null, "p95 since reset": null, [WITHOUT]: null }),
  }),
  new Chart(byId("charts"), {
    id: "chart-server", title: "In flight, workers, queue", about: "At the end of each second", format: formatNumber,
    fixed: ["in flight", "workers busy", "queue"],
    read: (sample) => ({ "in flight": sample.in_flight, "workers busy": sample.busy, queue: sample.queue }),
  }),
  new Chart(byId("charts"), {
    id: "chart-errors", title: "Errors and faults by kind", about: "Error replies, and replies hit by a fault, per second",
    stacked: true, format: withRate,
    read: (sample) => ({ ...perSecond(sample.errors, sample, errorName), ...perSecond(sample.faults, sample, (kind) => `fault: ${kind}`) }),
  }),
  new Chart(byId("charts"), {
    id: "chart-refusals", title: "Refusals: 503 and 429", about: "Replies with these statuses per second", stacked: true,
    format: withRate, fixed: ["503", "429"],
    read: (sample) => ({ 503: (sample.statuses[503] ?? 0) / sample.seconds, 429: (sample.statuses[429] ?? 0) / sample.seconds }),
  }),
];

function draw() {
  const seconds = Math.max(60, Math.min(state.seconds, state.samples.length)); // a young server's time fills the width
  const samples = state.samples.slice(-seconds);
  for (const chart of charts) chart.update(samples, seconds);
}

// tiles

function tile(id, text, about = "", value = undefined) {
  const node = byId(id);
  node.querySelector("output").textContent = text;
  node.querySelector("small").textContent = about;
  if (value !== undefined) node.dataset.value = value;
}

const counted = (number, noun) => `${formatNumber(number)} ${noun}${number === 1 ? "" : "s"}`;
const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);

function showTiles({ totals }, sample) {
  const { users } = totals;
  const alone = users.p95_without_client;
  const factor = alone ? `, ${(users.p95 / alone).toFixed(1)} times` : "";
  tile("tile-p95", users.count ? formatSeconds(users.p95) : "–",
    users.count ? `without the client ${formatSeconds(alone)}${factor}` : "no webmail users in the load", users.p95);
  tile("tile-p50", users.count ? formatSeconds(users.p50) : "–", counted(users.count, "user"), users.p50);
  tile("tile-requests", withRate(sum(sample.requests) / sample.seconds), `${formatNumber(totals.requests)} in all`, totals.requests);
  tile("tile-down", formatByteRate(sample.down_bytes / sample.seconds), `${formatBytes(totals.down_bytes)} in all`);
  tile("tile-up", formatByteRate(sample.up_bytes / sample.seconds), `${formatBytes(totals.up_bytes)} in all`);
  tile("tile-flight", formatNumber(sample.in_flight), counted(totals.sessions, "session"), sample.in_flight);
  tile("tile-workers", sample.workers ? `${sample.busy} of ${sample.workers}` : "–",
    sample.workers ? `${formatNumber(sample.queue)} in the queue` : "no load", sample.busy);
  tile("tile-503", formatNumber(totals.statuses[503] ?? 0),
    `${counted(users.turned_away, "user")} turned away`, totals.statuses[503] ?? 0);
  tile("tile-errors", formatNumber(sum(totals.errors)), counted(sum(totals.faults), "fault"), sum(totals.errors));
}

// conditions

const same = (left, right) => JSON.stringify(left) === JSON.stringify(right);

function showConditions(conditions, revision) {
  Object.assign(state, { conditions, revision });
  for (const name of TABS) {
    state.form[name].set(conditions[name]);
    const value = conditions[name];
    const count = Array.isArray(value) ? value.length : name === "quirks" ? !same(value, state.presets.none.conditions.quirks) : value !== null;
    byId(`tab-${name}`).querySelector(".badge").textContent = count === true ? "on" : count || "";
  }
  const preset = Object.keys(state.presets).find((name) => same(state.presets[name].conditions, conditions));
  byId("preset").value = preset ?? "";
  byId("preset-about").textContent = preset ? state.presets[preset].about : "Conditions of your own.";
  byId("json").textContent = JSON.stringify(conditions, null, 2);
}

async function put(conditions) {
  try {
    const { value, revision } = await ask("/conditions", "PUT", conditions, { "If-Match": state.revision });
    showConditions(value, revision);
    announce("The conditions are in effect.");
    return "";
  } catch (error) {
    if (error.status === 412) await loadConditions();
    return error.message;
  }
}

/** Replace one member, at a path such as ["load", "users", "per_second"], once earlier changes are in effect. */
function change(path, value) {
  state.changes = state.changes.then(() => {
    const next = structuredClone(state.conditions);
    path.slice(0, -1).reduce((part, name) => part[name], next)[path.at(-1)] = value;
    return put(next);
  });
  return state.changes;
}

async function loadConditions() {
  const { value, revision } = await ask("/conditions");
  showConditions(value, revision);
}

function selectTab(name, focus = false) {
  for (const other of TABS) {
    const tab = byId(`tab-${other}`);
    tab.setAttribute("aria-selected", String(other === name));
    tab.tabIndex = other === name ? 0 : -1;
    byId(`panel-${other}`).hidden = other !== name;
    if (other === name && focus) tab.focus();
  }
}

function buildForm(schema) {
  for (const name of TABS) {
    state.form[name] = control(schema.properties[name], schema, [name], change);
    byId(`panel-${name}`).append(state.form[name].node);
    const tab = byId(`tab-${name}`);
    tab.addEventListener("click", () => {
      selectTab(name);
      tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) selectTab(TABS[(TABS.indexOf(name) + step + TABS.length) % TABS.length], true);
    });
  }
  const actions = schema.$defs.Step.properties.action.enum;
  byId("churn-action").append(...actions.map((action) => h("option", {}, action)));
}

function announce(text, bad = false) {
  byId("message").textContent = text;
  byId("message").classList.toggle("bad", bad);
}

/** Do something that may be refused, and say so. */
async function attempt(action, done) {
  try {
    await action();
    announce(done);
  } catch (error) {
    announce(error.message, true);
  }
}

// journal

const shortId = (id) => id.split("/").slice(-2).join("/");

async function loadJournal() {
  const { value } = await ask("/journal?last=25");
  byId("journal").replaceChildren(...value.reverse().map((entry) => h("tr", {},
    h("td", {}, entry.watermark), h("td", {}, entry.type.replace(/^cht/, "")),
    h("td", {}, entry.isFolder ? "folder" : entry.itemType.replace(/^it/, "").toLowerCase()),
    h("td.mono.ellipsis", { title: entry.itemId }, shortId(entry.itemId)))));
  byId("journal-empty").hidden = value.length > 0;
}

// the loop

function status(text, kind) {
  byId("status").textContent = text;
  byId("status").className = `status ${kind}`;
}

async function poll() {
  if (state.paused || document.hidden) return;
  const { value } = await ask(`/history?after=${state.number}`);
  if (value.number < state.number) state.samples = []; // another server listens there now
  state.number = value.number;
  state.samples = [...state.samples, ...value.samples].slice(-KEPT_SAMPLES);
  if (state.samples.length) showTiles(value, state.samples.at(-1));
  draw();
  if (`"${value.revision}"` !== state.revision) await loadConditions();
  if (value.totals.watermark !== state.watermark) {
    state.watermark = value.totals.watermark;
    await loadJournal();
  }
  byId("webmail").href = `${value.url}/webmail/`;
  document.body.dataset.number = value.number;
  status("live", "good");
}

async function loop() {
  try {
    await poll();
  } catch {
    status("no answer; trying again", "bad");
  }
  setTimeout(loop, POLL_MS);
}

byId("preset").addEventListener("change", async (event) => {
  const chosen = state.presets[event.target.value];
  const error = chosen && await put(chosen.conditions);
  if (error) announce(error, true);
});
byId("window").addEventListener("change", (event) => { state.seconds = Number(event.target.value); draw(); });
byId("pause").addEventListener("click", () => {
  state.paused = !state.paused;
  byId("pause").textContent = state.paused ? "Continue" : "Pause";
  byId("pause").setAttribute("aria-pressed", String(state.paused));
  if (state.paused) status("paused", "muted");
});
byId("reset").addEventListener("click", () => attempt(() => ask("/reset", "POST", {}), "The statistics start again."));
byId("reset-mailbox").addEventListener("click", async () => {
  if (await confirm("Make the mailbox as it was at the start? All sessions end, and all changes since are lost.", "Reset the mailbox")) {
    await attempt(() => ask("/reset", "POST", { mailbox: true }), "The mailbox is as it was at the start.");
  }
});
byId("churn").addEventListener("submit", (event) => {
  event.preventDefault();
  const step = { action: byId("churn-action").value, times: Number(byId("churn-times").value) };
  attempt(async () => {
    const { value } = await ask("/churn", "POST", { steps: [step] });
    const made = value.filter((entry) => entry.id).length;
    byId("churn-result").textContent = `${step.action}: ${made} of ${value.length} made a change.`;
    await poll();
  }, "");
});
byId("copy").addEventListener("click", () =>
  attempt(() => navigator.clipboard.writeText(byId("json").textContent), "Copied."));

const [schema, presets] = await Promise.all([ask("/conditions/schema"), ask("/presets")]);
state.presets = presets.value;
byId("preset").append(...Object.keys(state.presets).map((name) => h("option", { value: name }, name)));
buildForm(schema.value);
selectTab("load");
await loadConditions();
await loop();
