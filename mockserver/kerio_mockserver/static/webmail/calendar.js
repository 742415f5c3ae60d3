// The calendar, to look at: a month as a grid, on a narrow screen as a list of its days.

import { call } from "./api.js";
import { byId, h } from "./dom.js";
import { clock, longDay, longTime, mediumDay, monthName, parseTime, sameDay, utcTime, weekday } from "./values.js";

const MAX_EVENTS = 2000;
const FREQUENCY = { Daily: "every day", Weekly: "every week", Monthly: "every month", Yearly: "every year" };
const midnight = (date, days = 0) => new Date(date.getFullYear(), date.getMonth(), date.getDate() + days);

export class Calendar {
  /** `actions` has `folders()` and `error(text)`. */
  constructor(actions) {
    this.actions = actions;
    this.month = midnight(new Date());
    this.request = 0;
    byId("month-before").addEventListener("click", () => this.#go(-1));
    byId("month-after").addEventListener("click", () => this.#go(1));
    byId("month-today").addEventListener("click", () => { this.month = midnight(new Date()); this.show(); });
    byId("month-name").addEventListener("change", (event) => {
      const [year, month] = event.target.value.split("-").map(Number);
      if (year && month) { this.month = new Date(year, month - 1, 1); this.show(); }
    });
  }

  #go(months) {
    this.month = new Date(this.month.getFullYear(), this.month.getMonth() + months, 1);
    this.show();
  }

  async show() {
    const request = ++this.request;
    const first = new Date(this.month.getFullYear(), this.month.getMonth(), 1);
    const start = midnight(first, -((first.getDay() + 6) % 7)); // weeks begin on Monday
    const last = new Date(first.getFullYear(), first.getMonth() + 1, 0);
    const end = midnight(last, 7 - ((last.getDay() + 6) % 7));
    byId("month-name").value = `${first.getFullYear()}-${String(first.getMonth() + 1).padStart(2, "0")}`;
    byId("calendar-hint").textContent = "Loading …";
    try {
      const events = await this.#events(start, end);
      if (request !== this.request) return;
      this.#draw(start, end, events);
      const count = events.filter((event) => event.end > first && event.start <= midnight(last, 1)).length;
      byId("calendar-hint").textContent = count ? "" : `There are no events in ${monthName(first)}.`;
      if (!count) await this.#offerLatest(request);
    } catch (error) {
      if (request === this.request) byId("calendar-hint").textContent = "";
      this.actions.error(error.message);
    }
  }

  async #events(start, end) {
    const folderIds = this.actions.folders().map((folder) => folder.id);
    if (!folderIds.length) return [];
    const conditions = [["GreaterEq", start], ["LessThan", end]].map(([comparator, time]) =>
      ({ fieldName: "searchTime", comparator, value: utcTime(time) }));
    const { list } = await call("Occurrences.get", {
      folderIds, query: {
        fields: [], conditions, combining: "And", start: 0, limit: MAX_EVENTS, orderBy: [{ columnName: "start", direction: "Asc", caseSensitive: false }],
      },
    });
    return list.map((event) => {
      const begins = parseTime(event.start);
      const ends = parseTime(event.end) ?? begins;
      return { ...event, struct: event, start: begins, end: event.isAllDay ? midnight(ends, 1) : ends };
    }).filter((event) => event.start).sort((one, other) => one.start - other.start);
  }

  /** Name the month of the latest event, for a mailbox that ends in another month. */
  async #offerLatest(request) {
    const folderIds = this.actions.folders().map((folder) => folder.id);
    if (!folderIds.length) return;
    const { list } = await call("Events.get", {
      folderIds, query: { fields: ["start"], conditions: [], combining: "And", start: 0, limit: 1, orderBy: [{ columnName: "start", direction: "Desc", caseSensitive: false }] },
    });
    const latest = list.length ? parseTime(list[0].start) : null;
    if (!latest || request !== this.request) return;
    byId("calendar-hint").append(" ", h("button", {
      type: "button", id: "month-latest", onclick: () => { this.month = latest; this.show(); },
    }, `Go to ${monthName(latest)}`));
  }

  #draw(start, end, events) {
    const days = [];
    for (let day = start; day < end; day = midnight(day, 1)) days.push(day);
    const cells = days.map((day) => {
      const next = midnight(day, 1);
      const found = events.filter((event) => event.start < next && (event.end > day || sameDay(event.start, day)));
      const outside = day.getMonth() !== this.month.getMonth();
      const classes = [outside && "outside", sameDay(day, new Date()) && "today", !found.length && "free"].filter(Boolean);
      return h(["div.day", ...classes].join("."), {},
        h("h3", {}, h("span.long", {}, longDay(day)), h("span.short", {}, day.getDate())),
        found.map((event) => this.#entry(event, day)));
    });
    byId("month").replaceChildren(...days.slice(0, 7).map((day) => h("div.weekday", { "aria-hidden": "true" }, weekday(day))), ...cells);
  }

  #entry(event, day) {
    const time = event.isAllDay || !sameDay(event.start, day) ? "" : clock(event.start);
    const label = event.struct.label && event.struct.label !== "None" ? event.struct.label : "";
    return h(event.isAllDay ? "button.event.all-day" : "button.event", {
      type: "button", "data-label": label, title: event.summary, onclick: () => this.#details(event),
    }, time ? h("time", {}, time) : null, h("span.ellipsis", { dir: "auto" }, event.summary || "(no title)"));
  }

  #details(event) {
    const { struct } = event;
    const time = event.isAllDay
      ? [event.start, midnight(event.end, -1)].filter((day, index, both) => !index || !sameDay(day, both[0])).map(mediumDay).join(" – ")
      : `${longTime(event.start)} – ${sameDay(event.start, event.end) ? clock(event.end) : longTime(event.end)}`;
    const people = struct.attendees.map((one) => `${one.displayName || one.emailAddress}${one.partStatus === "PartAccepted" ? " ✓" : one.partStatus === "PartDeclined" ? " ✗" : ""}`);
    const lines = [
      ["When", time], ["Where", struct.location], ["Repeats", struct.isRecurrent ? FREQUENCY[struct.rule?.frequency] ?? "yes" : ""],
      ["People", people.join(", ")], ["Label", struct.label === "None" ? "" : struct.label], ["Categories", struct.categories.join(", ")],
    ];
    const dialog = h("dialog.details", { "aria-label": struct.summary || "Event" },
      h("h2", { dir: "auto" }, struct.summary || "(no title)"),
      h("dl", {}, lines.filter(([, text]) => text).map(([name, text]) => [h("dt", {}, name), h("dd", { dir: "auto" }, text)])),
      struct.description ? h("p.text", { dir: "auto" }, struct.description) : null,
      h("form.row.actions", { method: "dialog" }, h("button.primary", {}, "Close")));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }
}
