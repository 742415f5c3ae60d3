// Writing a mail: new, as a reply or a forward, or a draft; with attachments.

import { change, upload } from "./api.js";
import { byId, confirm, formatBytes, h } from "./dom.js";
import { plainText } from "./reader.js";
import { longTime, namesOf, parsePeople, parseTime, writePeople, writePerson } from "./values.js";

const field = (name) => byId(`compose-${name}`);
const messageId = (mail) => mail.headers.find((header) => header.type === "mhMessageID")?.value ?? "";
const prefixed = (prefix, subject) => (subject.toLowerCase().startsWith(prefix.toLowerCase()) ? subject : `${prefix} ${subject}`);

export class Compose {
  /** `actions` has `user()` (a person), `done(text, change)` and `error(text)`. */
  constructor(node, actions) {
    Object.assign(this, { node, actions, draftId: "", attachments: [], headers: [], origin: null, saved: "" });
    field("form").addEventListener("submit", (event) => { event.preventDefault(); this.#attempt(() => this.#send()); });
    field("save").addEventListener("click", () => this.#attempt(() => this.#save()));
    field("close").addEventListener("click", () => this.close());
    field("attach").addEventListener("click", () => field("files").click());
    field("files").addEventListener("change", () => this.#attempt(() => this.#add([...field("files").files])));
    node.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) field("form").requestSubmit();
    });
    node.addEventListener("dragover", (event) => event.preventDefault());
    node.addEventListener("drop", (event) => { event.preventDefault(); this.#attempt(() => this.#add([...event.dataTransfer.files])); });
    window.addEventListener("beforeunload", (event) => { if (this.unsaved) event.preventDefault(); });
  }

  get unsaved() {
    return !this.node.hidden && this.saved !== this.#content();
  }

  #content() {
    const texts = ["to", "cc", "bcc", "subject", "text"].map((name) => field(name).value);
    return JSON.stringify([texts, this.attachments.map(({ id }) => id)]);
  }

  /** Open the form; ask first if a mail in it would be lost. */
  async open({ to = "", cc = "", bcc = "", subject = "", text = "", attachments = [], headers = [], draftId = "", origin = null } = {}) {
    if (!await this.close()) return;
    Object.assign(this, { draftId, attachments: [...attachments], headers, origin });
    for (const [name, value] of Object.entries({ to, cc, bcc, subject, text })) field(name).value = value;
    field("more").open = Boolean(cc || bcc);
    field("error").textContent = "";
    this.node.hidden = false;
    this.#drawAttachments();
    this.saved = this.#content();
    const start = to ? field("text") : field("to");
    start.focus();
    if (to) field("text").setSelectionRange(0, 0);
    field("text").scrollTop = 0;
  }

  /** Close the form; resolve to whether it is closed. */
  async close() {
    if (this.unsaved && !await confirm("Discard what you wrote?", "Discard")) return false;
    this.node.hidden = true;
    return true;
  }

  reply(mail, toAll) {
    const own = this.actions.user().address.toLowerCase();
    const others = [...mail.to, ...mail.cc].filter((person) => person.address.toLowerCase() !== own);
    const sender = mail.replyTo.length ? mail.replyTo : [mail.from];
    const quoted = plainText(mail).split("\n").map((line) => (line.startsWith(">") ? `>${line}` : `> ${line}`)).join("\n");
    return this.open({
      to: writePeople(sender), cc: toAll ? writePeople(others) : "", subject: prefixed("Re:", mail.subject),
      text: `\n\nOn ${longTime(parseTime(mail.sendDate))}, ${namesOf([mail.from])} wrote:\n${quoted}\n`,
      headers: messageId(mail) ? [{ type: "mhInReplayTo", value: messageId(mail) }] : [], origin: { id: mail.id, mark: "isAnswered" },
    });
  }

  forward(mail) {
    const lines = [
      `From: ${writePerson(mail.from)}`, `Date: ${longTime(parseTime(mail.sendDate))}`, `To: ${writePeople(mail.to)}`, `Subject: ${mail.subject}`,
    ];
    return this.open({
      subject: prefixed("Fwd:", mail.subject), attachments: mail.attachments, origin: { id: mail.id, mark: "isForwarded" },
      text: `\n\n---------- Forwarded message ----------\n${lines.join("\n")}\n\n${plainText(mail)}\n`,
    });
  }

  edit(mail) {
    return this.open({
      to: writePeople(mail.to), cc: writePeople(mail.cc), bcc: writePeople(mail.bcc), subject: mail.subject, text: plainText(mail),
      attachments: mail.attachments, draftId: mail.id, headers: mail.headers.filter((header) => header.value),
    });
  }

  #struct(strict) {
    const people = (name) => {
      try {
        return parsePeople(field(name).value);
      } catch (error) {
        if (strict || name !== "to") field(name).focus();
        throw error;
      }
    };
    return {
      ...(this.draftId ? { id: this.draftId } : {}),
      from: this.actions.user(), to: people("to"), cc: people("cc"), bcc: people("bcc"), subject: field("subject").value,
      displayableParts: [{ contentType: "ctTextPlain", content: field("text").value }],
      attachments: this.attachments.map(({ id, name, contentType, contentId }) => ({ id, name, contentType, contentId })),
      ...(this.headers.length ? { headers: this.headers } : {}),
    };
  }

  async #save() {
    const { result } = await change(this.draftId ? "Mails.set" : "Mails.create", { mails: [{ ...this.#struct(false), send: false }] });
    this.draftId = result[0].id;
    this.saved = this.#content();
    this.actions.done("The draft is saved.");
  }

  async #send() {
    const mail = this.#struct(true);
    if (!mail.to.length && !mail.cc.length && !mail.bcc.length) {
      field("to").focus();
      throw new Error("Name somebody to send the mail to.");
    }
    await change(this.draftId ? "Mails.set" : "Mails.create", { mails: [{ ...mail, send: true }] });
    this.saved = this.#content();
    this.node.hidden = true;
    this.actions.done("The mail is sent.");
    if (this.origin) await change("Mails.set", { mails: [{ id: this.origin.id, [this.origin.mark]: true }] });
  }

  async #add(files) {
    field("files").value = "";
    for (const file of files) {
      field("state").textContent = `Uploading ${file.name}, ${formatBytes(file.size)} …`;
      try {
        this.attachments.push({ id: await upload(file), name: file.name, size: file.size, contentType: file.type, contentId: "" });
      } finally {
        field("state").textContent = "";
      }
      this.#drawAttachments();
    }
  }

  #drawAttachments() {
    field("attachments").replaceChildren(...this.attachments.map((attachment) => h("li.file", {},
      h("span.ellipsis", { dir: "auto" }, attachment.name), h("span.muted", {}, formatBytes(attachment.size)),
      h("button.quiet", {
        type: "button", "aria-label": `Remove ${attachment.name}`,
        onclick: () => { this.attachments = this.attachments.filter((other) => other !== attachment); this.#drawAttachments(); },
      }, "✕"))));
  }

  /** Run an action with the buttons disabled; show why it failed, and keep what was written. */
  async #attempt(action) {
    const buttons = this.node.querySelectorAll("button");
    buttons.forEach((button) => { button.disabled = true; });
    field("error").textContent = "";
    try {
      await action();
    } catch (error) {
      field("error").textContent = error.message;
    } finally {
      buttons.forEach((button) => { button.disabled = false; });
    }
  }
}
