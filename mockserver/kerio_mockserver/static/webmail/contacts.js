// The contacts, to look at: a list by name, more as the user scrolls, and one contact beside it.

import { call } from "./api.js";
import { byId, h } from "./dom.js";
import { mediumDay, parseTime } from "./values.js";

const PAGE = 60;
const words = (name) => name.replace(/^(Type|Email|Address|Url)/, "").replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();

export class Contacts {
  /** `actions` has `folders()`, `write(address)` and `error(text)`. */
  constructor(actions) {
    this.actions = actions;
    this.list = byId("contact-list");
    this.more = byId("contact-more");
    this.contacts = [];
    this.total = null;
    this.request = 0;
    new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) this.#load();
    }, { root: this.list.parentElement, rootMargin: "500px" }).observe(this.more);
    byId("contact-search").addEventListener("submit", (event) => { event.preventDefault(); this.show(); });
    byId("contact-back").addEventListener("click", () => { byId("contacts").dataset.pane = "list"; });
  }

  async show() {
    this.request += 1;
    Object.assign(this, { contacts: [], total: null, loading: false });
    this.list.replaceChildren();
    byId("contacts").dataset.pane = "list";
    this.more.hidden = false;
    await this.#load();
  }

  async #load() {
    const folderIds = this.actions.folders().map((folder) => folder.id);
    if (this.loading || byId("contacts").hidden || !folderIds.length || (this.total !== null && this.contacts.length >= this.total)) return;
    const request = this.request;
    this.loading = true;
    this.more.textContent = "Loading …";
    const text = byId("contact-words").value.trim();
    try {
      const { list, totalItems } = await call("Contacts.get", {
        folderIds, query: {
          fields: [], conditions: text ? [{ fieldName: "QUICKSEARCH", comparator: "Like", value: text }] : [], combining: "And",
          start: this.contacts.length, limit: PAGE, orderBy: [{ columnName: "commonName", direction: "Asc", caseSensitive: false }],
        },
      });
      if (request !== this.request) return;
      this.contacts.push(...list);
      this.total = list.length ? totalItems : this.contacts.length;
      this.list.append(...list.map((contact) => this.#row(contact)));
      this.more.textContent = this.total ? "" : "No contacts found.";
      this.more.hidden = this.total > 0 && this.contacts.length >= this.total;
    } catch (error) {
      this.more.textContent = "";
      this.actions.error(error.message);
    } finally {
      if (request === this.request) this.loading = false;
    }
  }

  #row(contact) {
    const button = h("button.quiet.contact", { type: "button", onclick: () => this.#open(contact, button) },
      h("span.ellipsis", { dir: "auto" }, contact.commonName || contact.emailAddresses[0]?.address || "(no name)"),
      h("span.muted.ellipsis", {}, contact.emailAddresses[0]?.address ?? ""));
    return h("li", {}, button);
  }

  #open(contact, button) {
    for (const other of this.list.querySelectorAll("[aria-current]")) other.removeAttribute("aria-current");
    button.setAttribute("aria-current", "true");
    const date = (text) => (parseTime(text) ? mediumDay(parseTime(text)) : "");
    const lines = [
      ...contact.emailAddresses.filter((one) => one.address).map((one) => [words(one.type) || "email",
        h("button.quiet.address", { type: "button", onclick: () => this.actions.write(contact.commonName, one.address) }, one.address)]),
      ...contact.phoneNumbers.filter((one) => one.number).map((one) => [words(one.type), one.number]),
      ...contact.postalAddresses.map((one) => [words(one.type), [one.street, `${one.zip} ${one.locality}`.trim(), one.state, one.country].filter(Boolean).join("\n")]),
      ...contact.urls.filter((one) => /^https?:/i.test(one.url)).map((one) => ["web", h("a", { href: one.url, target: "_blank", rel: "noopener noreferrer" }, one.url)]),
      ["birthday", date(contact.birthDay)], ["anniversary", date(contact.anniversary)],
      ["company", [contact.companyName, contact.departmentName].filter(Boolean).join(", ")], ["profession", contact.profession],
      ["categories", contact.categories.join(", ")], ["comment", contact.comment],
    ];
    byId("contact-card").replaceChildren(
      contact.photo.url ? h("img", { src: contact.photo.url, alt: "", width: "96" }) : h("div.initial", { "aria-hidden": "true" }, (contact.commonName || "?").trim().slice(0, 1)),
      h("h2", { dir: "auto" }, contact.commonName || "(no name)"),
      h("dl", {}, lines.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd.text", { dir: "auto" }, value)])));
    byId("contacts").dataset.pane = "card";
  }
}
