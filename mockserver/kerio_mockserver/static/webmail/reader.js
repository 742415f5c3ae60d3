// One mail: its head, its text or sandboxed HTML, its attachments.

import { call, download } from "./api.js";
import { formatBytes, h } from "./dom.js";
import { SANDBOX, contentIds, mailDocument } from "./mail_html.js";
import { longTime, parseTime, writePeople, writePerson } from "./values.js";

const MAX_INLINE_BYTES = 5_000_000;
const ADDRESS = /\bhttps?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]]/g;

/** Text with its addresses as links. */
export function linked(text) {
  const parts = [];
  let at = 0;
  for (const found of text.matchAll(ADDRESS)) {
    parts.push(text.slice(at, found.index), h("a", { href: found[0], target: "_blank", rel: "noopener noreferrer" }, found[0]));
    at = found.index + found[0].length;
  }
  return [...parts, text.slice(at)];
}

const toDataAddress = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

/** Save a downloaded file under its name. */
function save(blob, name) {
  const address = URL.createObjectURL(blob);
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

export class Reader {
  /** `actions` has `error(text)`. */
  constructor(node, actions) {
    this.node = node;
    this.actions = actions;
    this.mail = null;
    this.request = 0;
  }

  clear(text = "Choose a mail to read it.") {
    this.request += 1;
    this.mail = null;
    this.node.replaceChildren(h("p.hint.muted", {}, text));
  }

  /** Load a mail and show it; return it, or null if another was chosen meanwhile. */
  async show(id) {
    const request = ++this.request;
    this.mail = null;
    this.node.replaceChildren(h("p.hint.muted", {}, "Loading …"));
    const { result, errors } = await call("Mails.getById", { ids: [id] });
    if (request !== this.request) return null;
    if (!result.length) {
      this.clear(errors.length ? "This mail is no longer here." : "The server did not send this mail.");
      return null;
    }
    [this.mail] = result;
    this.#draw(this.mail, request);
    return this.mail;
  }

  #draw(mail, request) {
    const inline = new Set();
    const body = this.#body(mail, inline, request);
    const files = mail.attachments.filter((attachment) => !inline.has(attachment.id));
    const people = [["From", mail.from.address ? writePerson(mail.from) : ""], ["To", writePeople(mail.to)], ["Cc", writePeople(mail.cc)], ["Bcc", writePeople(mail.bcc)]];
    this.node.replaceChildren(
      h("div.head", {},
        h("h2", { tabindex: "-1", dir: "auto" }, mail.subject || "(no subject)"),
        h("dl", {}, people.filter(([, text]) => text).map(([name, text]) => [h("dt", {}, name), h("dd", { dir: "auto" }, text)]),
          h("dt", {}, "Date"), h("dd", {}, longTime(parseTime(mail.sendDate) ?? parseTime(mail.receiveDate)))),
        files.length ? this.#attachments(files) : null),
      body);
  }

  #body(mail, inline, request) {
    const html = mail.displayableParts.find((part) => part.contentType === "ctTextHtml");
    if (!html) {
      const text = mail.displayableParts.map((part) => part.content).join("\n\n");
      return h("div.text", { dir: "auto" }, text.trim() ? linked(text) : h("span.muted", {}, "This mail has no text."));
    }
    const notice = h("p.notice.muted", { hidden: true });
    const holder = h("div.html", {}, notice);
    const show = (images) => {
      const { text, blocked } = mailDocument(html.content, images);
      const frame = h("iframe", { sandbox: SANDBOX, title: `Text of ${mail.subject || "the mail"}`, referrerpolicy: "no-referrer" });
      frame.srcdoc = text; // a frame of its own each time: a second document can be lost while the first one loads
      notice.hidden = !blocked;
      notice.textContent = blocked === 1 ? "An image from elsewhere is not shown." : `${blocked} images from elsewhere are not shown.`;
      holder.replaceChildren(notice, frame);
    };
    show(new Map());
    const wanted = new Set(contentIds(html.content));
    const images = mail.attachments.filter((attachment) => wanted.has(attachment.contentId) && attachment.size <= MAX_INLINE_BYTES);
    for (const image of images) inline.add(image.id);
    if (images.length) this.#loadImages(images, request).then(show);
    return holder;
  }

  async #loadImages(attachments, request) {
    const found = new Map();
    for (const attachment of attachments) {
      if (request !== this.request) break;
      try {
        const blob = await download(attachment.url);
        if (blob.type.startsWith("image/")) found.set(attachment.contentId, await toDataAddress(blob));
      } catch (error) {
        this.actions.error(`${attachment.name}: ${error.message}`);
      }
    }
    return found;
  }

  #attachments(files) {
    const buttons = files.map((file) => {
      const size = h("span.muted", {}, formatBytes(file.size));
      const button = h("button.file", {
        type: "button", title: `${file.name}, ${file.contentType}`,
        onclick: () => this.#fetch(file.url, file.name, file.size, size, button),
      }, h("span.ellipsis", { dir: "auto" }, file.name || "attachment"), size);
      return button;
    });
    if (files.length > 1) {
      const state = h("span.muted");
      const button = h("button.file", {
        type: "button", onclick: async () => {
          try {
            const { fileDownload } = await call("Mails.exportAttachments", { attachmentIds: files.map((file) => file.id) });
            await this.#fetch(fileDownload.url, fileDownload.name, fileDownload.length, state, button);
          } catch (error) {
            this.actions.error(error.message);
          }
        },
      }, "All as a ZIP file", state);
      buttons.push(button);
    }
    return h("div.files", { role: "group", "aria-label": "Attachments" }, buttons);
  }

  async #fetch(url, name, size, state, button) {
    const before = state.textContent;
    button.disabled = true;
    try {
      save(await download(url, (bytes) => { state.textContent = `${formatBytes(bytes)} of ${formatBytes(size)}`; }), name);
    } catch (error) {
      this.actions.error(`${name}: ${error.message}`);
    } finally {
      state.textContent = before;
      button.disabled = false;
    }
  }
}

/** The text of a mail for a reply: its plain part, or the text of its HTML. */
export function plainText(mail) {
  const part = (type) => mail.displayableParts.filter((one) => one.contentType === type).map((one) => one.content).join("\n\n");
  const text = part("ctTextPlain");
  if (text.trim()) return text.replace(/\r\n?/g, "\n");
  return new DOMParser().parseFromString(part("ctTextHtml"), "text/html").body.textContent.replace(/\n\s*\n\s*\n+/g, "\n\n").trim();
}
