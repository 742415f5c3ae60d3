// The JSON-RPC API as any client uses it: calls, uploads, downloads, and a record of how long each took.
//
// Refusals (503, 429, and codes 4100 and 4101) are tried again after the time that the server names. A broken
// connection or a reply that is not the API's is tried again for calls that only read.

const API = "/webmail/api/jsonrpc/";
const UPLOAD = "/webmail/api/jsonrpc/attachment-upload/";
const BUSY_CODES = new Set([4100, 4101]);
export const EXPIRED = -32001;
const MAX_TRIES = 8;
const MAX_PAUSE_S = 30;
const KEPT_CALLS = 200;

export class ApiError extends Error {
  constructor(message, code = 0) {
    super(message);
    this.code = code;
  }
}

/** All calls: those under way, and the last ones that ended. Listeners hear `change`. */
class Waits extends EventTarget {
  running = new Map();
  ended = [];
  #number = 0;

  begin(name) {
    const number = ++this.#number;
    this.running.set(number, { name, began: performance.now(), note: "" });
    this.dispatchEvent(new Event("change"));
    return number;
  }

  note(number, text) {
    const call = this.running.get(number);
    if (!call) return;
    call.note = text;
    this.dispatchEvent(new Event("change"));
  }

  end(number, outcome, tries) {
    const call = this.running.get(number);
    if (!call) return;
    this.running.delete(number);
    this.ended.unshift({ name: call.name, seconds: (performance.now() - call.began) / 1000, outcome, tries, at: new Date() });
    this.ended.length = Math.min(this.ended.length, KEPT_CALLS);
    this.dispatchEvent(new Event("change"));
  }

  /** The time that a share of the last calls did not exceed, in seconds. */
  percentile(share) {
    const times = this.ended.map((call) => call.seconds).sort((one, other) => one - other);
    return times.length ? times[Math.max(0, Math.ceil(share * times.length) - 1)] : 0;
  }
}

export const waits = new Waits();
export const session = { token: "", expired: () => {} };

const pause = (seconds) => new Promise((resolve) => { setTimeout(resolve, seconds * 1000); });

function filled(error) {
  const values = error.data?.messageParameters?.positionalParameters ?? error.messageParameters?.positionalParameters ?? [];
  return error.message.replace(/%(\d)/g, (mark, number) => values[number - 1] ?? mark);
}

/** Raise the first error of a reply about several items. */
export function raiseItemErrors(result) {
  if (result.errors?.length) throw new ApiError(filled(result.errors[0]), result.errors[0].code);
  return result;
}

/** Fetch until the server takes the request; `repeatable` also after a broken connection or a foreign reply. A call
 * without a name, such as a long poll, is not recorded. */
async function fetchPatiently(name, url, options, read, repeatable) {
  const number = name ? waits.begin(name) : 0;
  let outcome = "failed";
  let tries = 0;
  try {
    for (;;) {
      tries += 1;
      const { value, again, wait = 0, why } = await attempt(url, options, read, repeatable);
      if (!again) {
        outcome = "done";
        return value;
      }
      if (tries >= MAX_TRIES) throw new ApiError(`${why} It did not change in ${tries} tries.`);
      waits.note(number, `${why} Trying again in ${Math.round(wait)} s.`);
      await pause(wait);
      waits.note(number, "");
    }
  } catch (error) {
    outcome = error.message;
    throw error;
  } finally {
    waits.end(number, outcome, tries);
  }
}

async function attempt(url, options, read, repeatable) {
  let reply;
  try {
    reply = await fetch(url, options);
    if (reply.status === 503 || reply.status === 429) {
      const wait = Math.min(Number(reply.headers.get("Retry-After") ?? 2) || 1, MAX_PAUSE_S);
      return { again: true, wait, why: `The server is busy (${reply.status}).` };
    }
    return { value: await read(reply) };
  } catch (error) {
    if (error instanceof ApiError && BUSY_CODES.has(error.code)) return { again: true, wait: 1, why: error.message };
    if (error instanceof ApiError && error.code) throw error;
    if (error.name === "AbortError") throw error;
    const why = reply ? "The server's reply cannot be read." : "The connection to the server broke.";
    if (repeatable) return { again: true, wait: 1, why };
    throw new ApiError(`${why} It is not known whether the server did what was asked; look before you repeat it.`);
  }
}

async function readResult(reply) {
  const body = await reply.json();
  if (body.error) {
    if (body.error.code === EXPIRED && session.token) session.expired();
    throw new ApiError(filled(body.error), body.error.code);
  }
  if (!body.result) throw new ApiError("The reply has no result.");
  return body.result;
}

/** Call a method of the API; raise ApiError. */
export function call(method, params = {}, { recorded = true } = {}) {
  const headers = { "Content-Type": "application/json; charset=UTF-8", ...(session.token ? { "X-Token": session.token } : {}) };
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const repeatable = /\.(get|who|login)/.test(method);
  return fetchPatiently(recorded ? method : "", API, { method: "POST", headers, body }, readResult, repeatable);
}

/** Call a method that changes items by a list of values; raise the error of the first that failed. */
export const change = async (method, params) => raiseItemErrors(await call(method, params));

/** Upload a file; return its id for the attachments of a mail. */
export async function upload(file) {
  const headers = {
    "Content-Type": file.type || "application/octet-stream", "X-Filename": encodeURIComponent(file.name), "X-Token": session.token,
  };
  const result = await fetchPatiently("POST upload", UPLOAD, { method: "POST", headers, body: file }, readResult, false);
  return result.fileUpload.id;
}

/** Download a file; `progress` hears the bytes so far. */
export function download(url, progress = () => {}) {
  const read = async (reply) => {
    if (reply.status === 401) await readResult(reply);
    if (!reply.ok) throw new ApiError(`The server answers ${reply.status} instead of the file.`, reply.status);
    const pieces = [];
    let size = 0;
    const reader = reply.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      size += value.length;
      progress(size);
    }
    return new Blob(pieces, { type: reply.headers.get("Content-Type") ?? "" });
  };
  return fetchPatiently("GET attachment", url, { headers: { "X-Token": session.token } }, read, true);
}
