// The webmail: login, the panes and their addresses, and what a user does to mails.

import { MailActions } from "./actions.js";
import { EXPIRED, call, session } from "./api.js";
import { Calendar } from "./calendar.js";
import { Compose } from "./compose.js";
import { Contacts } from "./contacts.js";
import { byId } from "./dom.js";
import { Folders } from "./folders.js";
import { MailList } from "./list.js";
import { attempt, complain, say } from "./messages.js";
import { Reader } from "./reader.js";
import { writePerson } from "./values.js";
import { showWaits } from "./waits_view.js";

const POLL_SECONDS = 60;
const POLL_PAUSE_MS = 1500; // between two polls, so that a lively mailbox does not keep the page loading
const NARROW = 900; // pixels, as in the style sheet: the list and a mail are not beside each other
const APPLICATION = { name: "Mock webmail", vendor: "kerio-resync", version: "1" };
const OUTGOING = new Set(["FSubSentItems", "FSubDrafts"]);

const state = { user: null, folderId: "", words: "", everywhere: false, view: "", polling: 0, loggedIn: false };

// the parts

const folders = new Folders(byId("folder-list"));
const reader = new Reader(byId("mail"), { error: complain });
const list = new MailList(byId("mails"), byId("mails-more"), byId("mails-empty"), {
  error: complain, selected: showSelection, flag: (mails) => attempt(() => actions.set(mails, { isFlagged: !mails[0].isFlagged })),
  address: (mail) => address(state.folderId, mail.id), folderName: (id) => folders.find(id)?.name ?? "",
});
const compose = new Compose(byId("compose"), {
  user: () => state.user, error: complain, done: (text) => { say(text); refreshSoon(); },
});
const actions = new MailActions({
  list, reader, folders, changed: showMailTools, refresh: refreshSoon,
  goTo: (mail) => location.replace(mail && innerWidth > NARROW ? address(state.folderId, mail.id) : address(state.folderId)),
});
const calendar = new Calendar({ folders: () => folders.ofType("FCalendar"), error: complain });
const contacts = new Contacts({
  folders: () => folders.ofType("FContact"), error: complain, write: (name, mail) => compose.open({ to: writePerson({ name, address: mail }) }),
});

// addresses of what is shown: #folder=ID&mail=ID, #calendar, #contacts

const address = (folderId, mailId = "") => `#folder=${encodeURIComponent(folderId)}${mailId ? `&mail=${encodeURIComponent(mailId)}` : ""}`;

async function route() {
  if (!state.loggedIn) return;
  const hash = location.hash.slice(1);
  document.body.classList.remove("folders-open");
  if (hash === "calendar" || hash === "contacts") {
    showView(hash);
    await (hash === "calendar" ? calendar : contacts).show();
    return;
  }
  showView("mails-view");
  const wanted = new URLSearchParams(hash);
  const folder = folders.find(wanted.get("folder")) ?? folders.special("FSubInbox") ?? folders.mail[0];
  if (!folder) return;
  if (state.folderId !== folder.id) {
    byId("words").value = "";
    await showFolder(folder);
  }
  const mailId = wanted.get("mail") ?? "";
  if (mailId) await openMail(mailId);
  else closeMail();
}

function showView(name) {
  state.view = name;
  for (const view of ["mails-view", "calendar", "contacts"]) byId(view).hidden = view !== name;
  for (const link of document.querySelectorAll("#views a")) {
    if (link.hash === (name === "mails-view" ? "#" : `#${name}`) || (name === "mails-view" && link.id === "to-mails")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  byId("folders-toggle").hidden = name !== "mails-view";
  if (name !== "mails-view") document.title = `${name === "calendar" ? "Calendar" : "Contacts"} – Webmail`;
}

async function showFolder(folder) {
  Object.assign(state, { folderId: folder.id, words: "" });
  folders.select(folder.id);
  byId("list-title").textContent = folder.name;
  document.title = `${folder.name} – Webmail`;
  await list.show([folder.id], { outgoing: OUTGOING.has(folder.subType) });
}

async function search() {
  const words = byId("words").value.trim();
  const folder = folders.find(state.folderId);
  if (!words) { await showFolder(folder); return; }
  const everywhere = byId("everywhere").checked;
  state.words = words;
  byId("list-title").textContent = everywhere ? "Found in all folders" : `Found in ${folder.name}`;
  if (location.hash.includes("mail=")) history.pushState(null, "", address(folder.id));
  closeMail();
  await list.show(everywhere ? folders.mail.map((one) => one.id) : [folder.id], { words, showFolder: everywhere });
}

// reading

async function openMail(id) {
  byId("mails-view").dataset.pane = "mail";
  list.open(id);
  byId("mail-tools").hidden = true;
  const mail = await attempt(() => reader.show(id));
  if (!mail) return;
  byId("mail-tools").hidden = false;
  showMailTools(mail);
  reader.node.querySelector("h2").focus({ preventScroll: true });
  if (!mail.isSeen) await attempt(() => actions.set([mail], { isSeen: true }));
}

function closeMail() {
  byId("mails-view").dataset.pane = "list";
  byId("mail-tools").hidden = true;
  list.open("");
  reader.clear();
}

function showMailTools(mail) {
  const draft = mail.isDraft || folders.find(mail.folderId)?.subType === "FSubDrafts";
  byId("edit").hidden = !draft;
  for (const id of ["reply", "reply-all", "forward"]) byId(id).hidden = draft;
  byId("flag").textContent = mail.isFlagged ? "★ Flagged" : "☆ Flag";
  byId("flag").setAttribute("aria-pressed", String(mail.isFlagged));
}

function showSelection() {
  const count = list.selected.size;
  byId("list-head").hidden = count > 0;
  byId("selection").hidden = count === 0;
  byId("selection-count").textContent = `${count} selected`;
}

const selectedMails = () => list.mails.filter((mail) => list.selected.has(mail.id));

// what others change meanwhile

let refreshing = 0;

function refreshSoon() {
  clearTimeout(refreshing);
  refreshing = setTimeout(() => attempt(loadFolders), 400);
}

async function loadFolders() {
  folders.set((await call("Folders.get")).list);
}

async function poll(number) {
  let key = null;
  while (state.loggedIn && number === state.polling) {
    try {
      key ??= (await call("Changes.getSyncKey")).syncKey;
      const { list: changes, syncKey } = await call("Changes.get", { lastSyncKey: key, timeout: POLL_SECONDS }, { recorded: false });
      key = syncKey;
      if (changes.length && number === state.polling) {
        await loadFolders();
        const touched = new Set(changes.flatMap((entry) => [entry.parentId, entry.origParentId]));
        if (state.words ? byId("everywhere").checked : touched.has(state.folderId)) await list.refresh();
      }
    } catch (error) {
      if (error.code === EXPIRED) return;
      key = null;
      await new Promise((resolve) => { setTimeout(resolve, 5000); });
    }
    await new Promise((resolve) => { setTimeout(resolve, POLL_PAUSE_MS); });
  }
}

// login and logout

function showLogin(text = "") {
  state.loggedIn = false;
  state.polling += 1;
  session.token = "";
  byId("login-error").textContent = text;
  byId("login").hidden = false;
  byId("app").inert = true;
  (byId("login-user").value ? byId("login-password") : byId("login-user")).focus();
}

session.expired = () => showLogin("The session has ended. Log in again; what you wrote is still here.");

async function enter() {
  const { userDetails } = await call("Session.whoAmI");
  state.user = { name: userDetails.fullName, address: userDetails.preferredAddress || userDetails.emails[0] || userDetails.loginName };
  byId("user").textContent = state.user.address;
  await loadFolders();
  state.loggedIn = true;
  byId("login").hidden = true;
  byId("app").hidden = false;
  byId("app").inert = false;
  poll(++state.polling);
  await route();
}

async function logIn() {
  const button = byId("login-form").querySelector("button");
  button.disabled = true;
  byId("login-error").textContent = "";
  try {
    const params = { userName: byId("login-user").value, password: byId("login-password").value, application: APPLICATION };
    session.token = (await call("Session.login", params)).token;
    byId("login-password").value = "";
    await enter();
  } catch (error) {
    session.token = "";
    byId("login-error").textContent = error.message;
    byId("login-password").select();
  } finally {
    button.disabled = false;
  }
}

async function logOut() {
  if (!await compose.close()) return;
  await attempt(() => call("Session.logout"));
  Object.assign(state, { folderId: "", words: "" });
  history.replaceState(null, "", location.pathname);
  byId("app").hidden = true;
  closeMail();
  showLogin();
}

const on = (id, action) => byId(id).addEventListener("click", () => attempt(action));
const withMail = (action) => () => (reader.mail ? action(reader.mail) : undefined);

byId("login-form").addEventListener("submit", (event) => { event.preventDefault(); logIn(); });
byId("search").addEventListener("submit", (event) => { event.preventDefault(); attempt(search); });
byId("everywhere").addEventListener("change", () => { if (byId("words").value.trim()) attempt(search); });
byId("words").addEventListener("search", () => { if (!byId("words").value && state.words) attempt(search); });
on("logout", logOut);
on("write", () => compose.open());
on("folders-toggle", () => document.body.classList.toggle("folders-open"));
on("reply", withMail((mail) => compose.reply(mail, false)));
on("reply-all", withMail((mail) => compose.reply(mail, true)));
on("forward", withMail((mail) => compose.forward(mail)));
on("edit", withMail((mail) => compose.edit(mail)));
on("flag", withMail((mail) => actions.set([mail], { isFlagged: !mail.isFlagged })));
on("unread", withMail(async (mail) => { await actions.set([mail], { isSeen: false }); location.hash = address(state.folderId); }));
on("move", withMail((mail) => actions.moveAfterQuestion([mail])));
on("delete", withMail((mail) => actions.remove([mail])));
on("back", () => { location.hash = address(state.folderId); });
on("refresh", async () => { await Promise.all([loadFolders(), list.refresh()]); });
on("selection-seen", () => actions.set(selectedMails(), { isSeen: selectedMails().some((mail) => !mail.isSeen) }));
on("selection-flag", () => actions.set(selectedMails(), { isFlagged: selectedMails().some((mail) => !mail.isFlagged) }));
on("selection-move", () => actions.moveAfterQuestion(selectedMails()));
on("selection-delete", () => actions.remove(selectedMails()));
on("selection-none", () => { list.select([]); showSelection(); });
document.addEventListener("click", (event) => {
  if (!event.target.closest("#folders, #folders-toggle")) document.body.classList.remove("folders-open");
});
addEventListener("hashchange", () => attempt(route));
addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.body.classList.remove("folders-open");
  if (event.target.closest("input, textarea, select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Delete" && reader.mail && byId("selection").hidden) attempt(() => actions.remove([reader.mail]));
  else if (event.key === "Delete" && !byId("selection").hidden) attempt(() => actions.remove(selectedMails()));
  else if (event.key === "/" && state.view === "mails-view") { event.preventDefault(); byId("words").focus(); }
});

showWaits();
session.token = /(?:^|; )TOKEN_CONNECT_WEBMAIL=([^;]+)/.exec(document.cookie)?.[1] ?? "";
if (session.token) {
  session.expired = () => showLogin();
  await attempt(enter);
  session.expired = () => showLogin("The session has ended. Log in again; what you wrote is still here.");
  if (!state.loggedIn) showLogin(byId("toast").hidden ? "" : byId("toast").textContent);
} else {
  showLogin();
}
