// The tree of folders on the left.

import { h } from "./dom.js";
import { inTreeOrder } from "./values.js";

const ORDER = ["FSubInbox", "FSubDrafts", "FSubSentItems", "FSubDeletedItems", "FSubJunkEmail"];
const rank = (folder) => (ORDER.indexOf(folder.subType) + 1) || ORDER.length + 1;

export class Folders {
  constructor(node) {
    this.node = node;
    this.all = [];
    this.closed = new Set();
    this.current = "";
  }

  set(folders) {
    this.all = folders;
    this.draw();
  }

  get mail() {
    const mails = this.all.filter((folder) => folder.type === "FMail");
    return inTreeOrder([...mails].sort((one, other) => rank(one) - rank(other)));
  }

  ofType(type) {
    return this.all.filter((folder) => folder.type === type);
  }

  special(subType) {
    return this.all.find((folder) => folder.type === "FMail" && folder.subType === subType);
  }

  find(id) {
    return this.all.find((folder) => folder.id === id);
  }

  select(id) {
    this.current = id;
    this.draw();
  }

  draw() {
    const focused = document.activeElement?.dataset.key;
    const open = (folder) => !this.closed.has(folder.id);
    const shown = [];
    let hiddenBelow = Infinity;
    for (const folder of this.mail) {
      if (folder.depth > hiddenBelow) continue;
      hiddenBelow = open(folder) ? Infinity : folder.depth;
      shown.push(folder);
    }
    this.node.replaceChildren(...shown.map((folder) => this.#row(folder, open(folder))));
    if (focused) this.node.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  #row(folder, open) {
    const toggle = folder.hasChildren
      ? h("button.quiet.fold", {
        type: "button", "aria-expanded": String(open), "aria-label": `Subfolders of ${folder.name}`, "data-key": `fold ${folder.id}`,
        onclick: () => { if (open) this.closed.add(folder.id); else this.closed.delete(folder.id); this.draw(); },
      }, open ? "▾" : "▸")
      : h("span.fold");
    const row = h("li", {}, toggle,
      h("a.ellipsis", {
        href: `#folder=${encodeURIComponent(folder.id)}`, title: folder.name, dir: "auto", "data-key": folder.id,
        "aria-current": folder.id === this.current ? "page" : undefined,
      }, folder.name || "(no name)"),
      folder.messageUnread ? h("span.unread", { "aria-label": `${folder.messageUnread} unread` }, folder.messageUnread) : null);
    row.style.setProperty("--depth", folder.depth);
    return row;
  }
}
