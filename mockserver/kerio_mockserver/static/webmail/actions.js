// What a user does to mails: set members, move, delete.

import { change } from "./api.js";
import { confirm, h } from "./dom.js";
import { say } from "./messages.js";

const counted = (mails, verb) => (mails.length === 1 ? `The mail is ${verb}` : `${mails.length} mails are ${verb}`);

export class MailActions {
  /** `parts` has `list`, `reader`, `folders`, `changed(mail)`, `refresh()`, and `goTo(mail)` with null for none. */
  constructor(parts) {
    Object.assign(this, parts);
  }

  /** Set members of mails, and show them at once. */
  async set(mails, members) {
    const ids = mails.map((mail) => mail.id);
    await change("Mails.set", { mails: ids.map((id) => ({ id, ...members })) });
    const { mail: open } = this.reader;
    for (const mail of [...mails, ...this.list.mails]) if (ids.includes(mail.id)) Object.assign(mail, members);
    if (open && ids.includes(open.id)) this.changed(Object.assign(open, members));
    this.list.draw();
    this.refresh();
  }

  /** Move mails to a folder; offer to undo it. */
  async move(mails, folder) {
    const ids = mails.map((mail) => mail.id);
    const { result } = await change("Mails.move", { ids, folder: folder.id });
    this.#leave(ids);
    const groups = new Map();
    for (const { inputIndex, id } of result) {
      const source = mails[inputIndex].folderId;
      groups.set(source, [...(groups.get(source) ?? []), id]);
    }
    say(`${counted(mails, "moved")} to ${folder.name}.`, {
      action: "Undo", run: async () => {
        for (const [source, moved] of groups) await change("Mails.move", { ids: moved, folder: source });
        await this.list.refresh();
        this.refresh();
      },
    });
  }

  /** Ask for a folder, and move mails there. */
  async moveAfterQuestion(mails) {
    const folder = await this.#chooseFolder(mails.length === 1 ? "Move the mail to" : `Move ${mails.length} mails to`);
    if (folder) await this.move(mails, folder);
  }

  /** Delete mails: to Deleted Items, or for good if they are there. */
  async remove(mails) {
    const bin = this.folders.special("FSubDeletedItems");
    if (bin && mails.some((mail) => mail.folderId !== bin.id)) {
      await this.move(mails, bin);
      return;
    }
    const what = mails.length === 1 ? "this mail" : `these ${mails.length} mails`;
    if (!await confirm(`Delete ${what} for good?`, "Delete")) return;
    const ids = mails.map((mail) => mail.id);
    await change("Mails.remove", { ids });
    this.#leave(ids);
    say(`${counted(mails, "deleted")}.`);
  }

  /** Take mails out of the list; an open one is followed by its neighbour. */
  #leave(ids) {
    const open = this.reader.mail && ids.includes(this.reader.mail.id);
    const next = open ? this.list.neighbour(ids) : null;
    this.list.mails = this.list.mails.filter((mail) => !ids.includes(mail.id));
    this.list.total = Math.max(0, this.list.total - ids.length);
    this.list.select([]);
    this.list.draw();
    if (open) this.goTo(next ?? null);
    this.refresh();
  }

  /** Resolve to the folder that the user chooses, or to null. */
  #chooseFolder(title) {
    return new Promise((resolve) => {
      const select = h("select", { size: 12, "aria-label": "Folder", required: true }, this.folders.mail.map((folder) =>
        h("option", { value: folder.id }, `${"\u00a0".repeat(3 * folder.depth)}${folder.name}`)));
      const dialog = h("dialog.choose", { "aria-label": title }, h("h2", {}, title),
        h("form", { method: "dialog" }, select, h("div.row.actions", {},
          h("button", { value: "", formnovalidate: true }, "Cancel"), h("button.primary", { value: "move" }, "Move"))));
      select.addEventListener("dblclick", () => dialog.close("move"));
      dialog.addEventListener("close", () => {
        dialog.remove();
        resolve(dialog.returnValue === "move" ? this.folders.find(select.value) ?? null : null);
      });
      document.body.append(dialog);
      dialog.showModal();
      select.focus();
    });
  }
}
