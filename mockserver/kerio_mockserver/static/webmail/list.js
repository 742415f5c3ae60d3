// The list of mails: newest first, more as the user scrolls, with boxes to select several.

import { call } from "./api.js";
import { h } from "./dom.js";
import { namesOf, nameOf, parseTime, mediumTime, shortTime } from "./values.js";

const PAGE = 50;
const MAX_REFRESHED = 500;
const FIELDS = [
  "id", "folderId", "subject", "from", "to", "receiveDate", "sendDate", "isSeen", "isFlagged", "isAnswered", "isForwarded", "hasAttachment", "size",
];

function paperClip() {
  const space = "http://www.w3.org/2000/svg";
  const image = document.createElementNS(space, "svg");
  const line = document.createElementNS(space, "path");
  image.setAttribute("viewBox", "0 0 16 18");
  image.setAttribute("role", "img");
  image.setAttribute("aria-label", "Has attachments");
  line.setAttribute("d", "M13 8 8 13.500a3.200 3.200 0 0 1-4.600-4.500L9 3.300a2.200 2.200 0 0 1 3.200 3L7 11.500a1 1 0 0 1-1.500-1.400L10 5.500");
  line.setAttribute("fill", "none");
  line.setAttribute("stroke", "currentColor");
  line.setAttribute("stroke-width", "1.4");
  image.append(line);
  return image;
}

export class MailList {
  /** `actions` has `open(mail)`, `flag(mail)`, `selected()`, `error(text)`, `folderName(id)`. */
  constructor(node, more, empty, actions) {
    Object.assign(this, { node, more, empty, actions });
    this.mails = [];
    this.rows = new Map();
    this.selected = new Set();
    this.total = 0;
    this.request = 0;
    this.observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.loadMore();
    }, { root: node.parentElement, rootMargin: "600px" });
    this.observer.observe(more);
    node.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Show folders, only the mails that have `words` if there are any. */
  async show(folderIds, { words = "", outgoing = false, showFolder = false } = {}) {
    Object.assign(this, { folderIds, words, outgoing, showFolder, mails: [], total: 0, loading: false });
    this.request += 1;
    this.rows.clear();
    this.select([]);
    this.node.replaceChildren();
    this.node.parentElement.scrollTop = 0;
    this.more.hidden = false;
    this.empty.hidden = true;
    await this.loadMore();
  }

  async loadMore() {
    if (this.loading || !this.folderIds || (this.mails.length >= this.total && this.mails.length)) return;
    await this.#load(this.mails.length, PAGE, (mails) => [...this.mails, ...mails]);
  }

  /** Load again what is shown. */
  async refresh() {
    if (this.loading || !this.folderIds) return;
    const size = Math.min(Math.max(this.mails.length, PAGE), MAX_REFRESHED);
    await this.#load(0, size, (mails) => mails);
  }

  async #load(start, limit, merge) {
    const request = this.request;
    this.loading = true;
    this.more.textContent = "Loading …";
    const conditions = this.words ? [{ fieldName: "QUICKSEARCH", comparator: "Like", value: this.words }] : [];
    const query = {
      fields: FIELDS, conditions, combining: "And", start, limit,
      orderBy: [{ columnName: "receiveDate", direction: "Desc", caseSensitive: false }],
    };
    try {
      const { list, totalItems } = await call("Mails.get", { folderIds: this.folderIds, query });
      if (request !== this.request) return; // another folder is shown by now
      this.total = totalItems;
      this.mails = [...new Map(merge(list).map((mail) => [mail.id, mail])).values()];
      if (!list.length) this.total = this.mails.length;
      this.draw();
    } catch (error) {
      if (request === this.request) this.more.textContent = "";
      this.actions.error(error.message);
    } finally {
      if (request === this.request) this.loading = false;
    }
  }

  draw() {
    const focused = document.activeElement?.closest?.("[data-id]")?.dataset.id;
    const rows = this.mails.map((mail) => {
      const known = this.rows.get(mail.id);
      return known && known.text === JSON.stringify(mail) ? known : this.#row(mail);
    });
    this.rows = new Map(rows.map((row) => [row.id, row]));
    this.node.replaceChildren(...rows.map((row) => row.node));
    for (const id of [...this.selected]) if (!this.rows.has(id)) this.selected.delete(id);
    this.#mark();
    if (focused && this.rows.has(focused)) this.rows.get(focused).link.focus({ preventScroll: true });
    this.more.textContent = this.mails.length < this.total ? "Loading …" : "";
    this.more.hidden = this.mails.length >= this.total;
    this.empty.hidden = this.mails.length > 0;
    this.empty.textContent = this.words ? "No mail has these words." : "This folder is empty.";
    this.actions.selected();
  }

  #row(mail) {
    const when = parseTime(mail.receiveDate) ?? parseTime(mail.sendDate);
    const who = this.outgoing ? namesOf(mail.to) || "(nobody)" : nameOf(mail.from) || "(unknown)";
    const box = h("input", { type: "checkbox", "aria-label": `Select: ${mail.subject}` });
    box.addEventListener("change", () => {
      if (box.checked) this.selected.add(mail.id);
      else this.selected.delete(mail.id);
      this.#mark();
      this.actions.selected();
    });
    const star = h("button.quiet.star", {
      type: "button", "aria-pressed": String(mail.isFlagged), "aria-label": `Flag: ${mail.subject}`, onclick: () => this.actions.flag([mail]),
    }, mail.isFlagged ? "★" : "☆");
    const marks = [mail.isAnswered && "↩", mail.isForwarded && "↪"].filter(Boolean).join(" ");
    const link = h("a.mail", { href: this.actions.address(mail) },
      h("span.who.ellipsis", { dir: "auto" }, mail.isSeen ? null : h("span.dot", { role: "img", "aria-label": "Unread" }), who),
      h("time", { title: mediumTime(when) }, shortTime(when)),
      h("span.subject.ellipsis", { dir: "auto" }, mail.subject || "(no subject)"),
      h("span.marks", {}, this.showFolder ? h("span.where.ellipsis", {}, this.actions.folderName(mail.folderId)) : null, marks, mail.hasAttachment ? paperClip() : null));
    const node = h(mail.isSeen ? "li" : "li.new", { "data-id": mail.id }, box, link, star);
    return { id: mail.id, text: JSON.stringify(mail), node, link, box };
  }

  select(ids) {
    this.selected = new Set(ids);
    this.#mark();
  }

  /** Mark the mail that is open. */
  open(id) {
    this.opened = id;
    this.#mark();
  }

  #mark() {
    for (const [id, row] of this.rows) {
      row.box.checked = this.selected.has(id);
      row.node.classList.toggle("selected", this.selected.has(id));
      if (id === this.opened) row.link.setAttribute("aria-current", "true");
      else row.link.removeAttribute("aria-current");
    }
  }

  /** The id of the mail after a removed one, to be opened next. */
  neighbour(ids) {
    const at = this.mails.findIndex((mail) => ids.includes(mail.id));
    const others = [...this.mails.slice(at), ...this.mails.slice(0, at).reverse()];
    return others.find((mail) => !ids.includes(mail.id));
  }

  #key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const row = event.target.closest("[data-id]");
    if (!step || !row) return;
    event.preventDefault();
    const next = step > 0 ? row.nextElementSibling : row.previousElementSibling;
    next?.querySelector("a.mail").focus();
  }
}
