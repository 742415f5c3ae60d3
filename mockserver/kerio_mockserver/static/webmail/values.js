// Values of the API as people read and write them: times, people, folders.

const LANGUAGE = navigator.language || "en";

/** A time of the API, such as 20260301T093000Z, 20260301T103000+0100 or 20260301; null if it is none. */
export function parseTime(text) {
  const found = /^(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z|[+-]\d{4})?)?$/.exec(text ?? "");
  if (!found) return null;
  const [, year, month, day, hour, minute, second, zone] = found;
  if (hour === undefined) return new Date(Number(year), month - 1, Number(day));
  const at = Date.UTC(year, month - 1, day, hour, minute, second);
  const offset = !zone || zone === "Z" ? 0 : Number(zone.slice(0, 3)) * 60 + Number(zone[0] + zone.slice(3));
  return new Date(at - offset * 60_000);
}

const pad = (number) => String(number).padStart(2, "0");

/** An instant as the API writes it. */
export const utcTime = (date) =>
  `${date.getUTCFullYear()}${pad(date.getUTCMonth() + 1)}${pad(date.getUTCDate())}T${pad(date.getUTCHours())}${pad(date.getUTCMinutes())}${pad(date.getUTCSeconds())}Z`;

const format = (options) => {
  const formatter = new Intl.DateTimeFormat(LANGUAGE, options);
  return (date) => (date ? formatter.format(date) : "");
};
export const longTime = format({ dateStyle: "full", timeStyle: "short" });
export const mediumTime = format({ dateStyle: "medium", timeStyle: "short" });
export const clock = format({ hour: "2-digit", minute: "2-digit" });
export const monthName = format({ month: "long", year: "numeric" });
export const weekday = format({ weekday: "short" });
export const longDay = format({ weekday: "long", day: "numeric", month: "long" });
export const mediumDay = format({ dateStyle: "long" });
const thisYear = format({ day: "numeric", month: "short" });
const otherYear = format({ day: "numeric", month: "short", year: "numeric" });

export const sameDay = (one, other) => one.toDateString() === other.toDateString();

/** A time in a list: today's clock, or the day. */
export function shortTime(date) {
  if (!date) return "";
  const now = new Date();
  if (sameDay(date, now)) return clock(date);
  return date.getFullYear() === now.getFullYear() ? thisYear(date) : otherYear(date);
}

/** The name of a person, or the address. */
export const nameOf = (person) => person?.name || person?.address || "";

export const namesOf = (people) => (people ?? []).map(nameOf).filter(Boolean).join(", ");

/** A person as a mail has it: `Name <address>`. */
export function writePerson({ name, address }) {
  if (!name || name === address) return address;
  return `${/[",<>;@]/.test(name) ? `"${name.replace(/["\\]/g, "")}"` : name} <${address}>`;
}

export const writePeople = (people) => (people ?? []).filter((person) => person.address).map(writePerson).join(", ");

/** The people in a text such as `Ana <ana@example.org>, bob@example.com`; raises an Error that names what is none. */
export function parsePeople(text) {
  const parts = text.match(/(?:"[^"]*"|[^,;"])+/g) ?? [];
  return parts.map((part) => part.trim()).filter(Boolean).map((part) => {
    const found = /^(?:"?([^"<]*)"?\s*<)?([^\s<>@]+@[^\s<>@]+)>?$/.exec(part);
    if (!found) throw new Error(`“${part}” is not an address, such as jane@example.com.`);
    return { name: (found[1] ?? "").trim(), address: found[2] };
  });
}

/** Folders in the order of a tree, each with its depth. */
export function inTreeOrder(folders) {
  const below = Map.groupBy ? Map.groupBy(folders, (folder) => folder.parentId) : grouped(folders);
  const found = [];
  const add = (parent, depth) => {
    for (const folder of below.get(parent) ?? []) {
      found.push({ ...folder, depth, hasChildren: below.has(folder.id) });
      add(folder.id, depth + 1);
    }
  };
  const known = new Set(folders.map((folder) => folder.id));
  for (const parent of below.keys()) if (!known.has(parent)) add(parent, 0);
  return found;
}

function grouped(folders) {
  const found = new Map();
  for (const folder of folders) found.set(folder.parentId, [...(found.get(folder.parentId) ?? []), folder]);
  return found;
}
