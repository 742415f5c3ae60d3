// A form for a value that a JSON schema describes: one control per member, with its present value and description.
//
// `control(schema, root, path, change)` returns {node, set}. `set(value)` shows a value without a rebuild, so that focus
// and selection stay; `change(path, value)` is called when the user changed a member and resolves to an error text or "".

import { formatBitRate, h } from "./dom.js";

/** A schema without references; `nullable` tells whether null is allowed. */
export function resolve(schema, root) {
  if (schema.$ref) return { ...resolve(root.$defs[schema.$ref.split("/").pop()], root), ...without(schema, "$ref") };
  if (!schema.anyOf) return schema;
  const options = schema.anyOf.flatMap((option) => option.anyOf ?? [option]);
  const others = options.filter((option) => option.type !== "null");
  const nullable = others.length < options.length;
  if (others.some((option) => option.type === "string") && others.some((option) => option.type === "number")) {
    return { ...without(schema, "anyOf"), type: "rate", nullable };
  }
  return { ...resolve(others[0], root), ...without(schema, "anyOf"), nullable };
}

function without(object, name) {
  const { [name]: _, ...rest } = object;
  return rest;
}

/** The value with which a new member or element starts. */
function initial(schema) {
  if (schema.examples?.length) return structuredClone(schema.examples[0]);
  return {};
}

export function control(given, root, path, change) {
  const schema = resolve(given, root);
  if (schema.type === "object" && schema.properties) {
    return schema.nullable ? optional(schema, root, path, change) : members(schema, root, path, change);
  }
  if (schema.type === "object") return weights(schema, path, change);
  if (schema.type === "array" && schema.items.enum) return choices(schema, path, change);
  if (schema.type === "array") return list(schema, root, path, change);
  return leaf(schema, path, change);
}

function members(schema, root, path, change) {
  const parts = Object.entries(schema.properties).map(([name, member]) =>
    [name, control(member, root, [...path, name], change)]);
  const node = h("div.members", {}, parts.map(([, part]) => part.node));
  return { node, set: (value) => parts.forEach(([name, part]) => part.set(value[name])) };
}

/** An object that may be absent: a switch, and its members once it is there. */
function optional(schema, root, path, change) {
  const box = h("input", { type: "checkbox", role: "switch", id: path.join("."), "data-path": path.join(".") });
  const error = h("p.error", { role: "alert" });
  const body = h("div.body");
  const node = h("fieldset.optional", {},
    h("legend", {}, h("label.row", {}, box, h("span.name", {}, path.at(-1)))), about(schema), error, body);
  let inner = null;
  box.addEventListener("change", async () => {
    error.textContent = await change(path, box.checked ? initial(schema) : null);
    if (error.textContent) box.checked = !box.checked;
  });
  const set = (value) => {
    box.checked = value !== null;
    if (value === null) {
      body.replaceChildren();
      inner = null;
      return;
    }
    if (!inner) {
      inner = members(schema, root, path, change);
      body.replaceChildren(inner.node);
    }
    inner.set(value);
  };
  return { node, set };
}

/** A description with its names set as code. */
function about(schema, properties = {}) {
  const [text] = (schema.description ?? "").split("\n\n");
  return h("p.about", properties, text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part)));
}

/** What is special about an element of a list, in one line. */
function briefly(schema, root, value) {
  return Object.entries(schema.properties).map(([name, member]) => {
    const { type, default: usual } = resolve(member, root);
    if (value[name] === usual || value[name] === null || Array.isArray(value[name])) return "";
    return typeof value[name] === "string" ? value[name] : type === "rate" ? `${name} ${formatBitRate(value[name])}` : `${name} ${value[name]}`;
  }).filter(Boolean).join(" · ");
}

/** A list of objects, each of which can be removed. */
function list(schema, root, path, change) {
  const element = resolve(schema.items, root);
  const error = h("p.error", { role: "alert" });
  const body = h("div.elements");
  const name = path.at(-1);
  let value = [];
  let parts = [];
  const replace = async (next) => { error.textContent = await change(path, next); };
  let added = -1; // the element that is shown open
  const add = h("button", { type: "button", "data-path": `${path.join(".")}+`, onclick: () => { added = value.length; replace([...value, initial(element)]); } },
    `Add to ${name}`);
  const node = h("fieldset.list", {}, h("legend.name", {}, name), about(schema), body, error, add);
  const rebuild = () => {
    parts = value.map((_, index) => ({ ...members(element, root, [...path, index], change), brief: h("span.ellipsis") }));
    body.replaceChildren(...parts.map((part, index) =>
      h("details.element", { open: index === added }, h("summary", {}, part.brief), part.node, h("div.row.actions", {},
        h("button.quiet.danger", {
          type: "button", "aria-label": `Remove ${name} ${index + 1}`,
          onclick: () => { added = -1; replace(value.filter((_, at) => at !== index)); },
        }, "Remove")))));
  };
  const set = (next) => {
    value = next;
    if (parts.length !== next.length) rebuild();
    parts.forEach((part, index) => {
      part.set(next[index]);
      part.brief.textContent = `${index + 1}. ${briefly(element, root, next[index])}`;
    });
  };
  return { node, set };
}

/** A list of names out of a few: a box for each. */
function choices(schema, path, change) {
  const error = h("p.error", { role: "alert" });
  let value = [];
  const boxes = schema.items.enum.map((name) => {
    const box = h("input", { type: "checkbox", "data-path": `${path.join(".")}.${name}` });
    box.addEventListener("change", async () => {
      error.textContent = await change(path, schema.items.enum.filter((other) => (other === name ? box.checked : value.includes(other))));
    });
    return [name, box];
  });
  const node = h("fieldset.choices", {}, h("legend.name", {}, path.at(-1)), about(schema),
    h("div.row", {}, boxes.map(([name, box]) => h("label.row", {}, box, name))), error);
  return { node, set: (next) => { value = next; boxes.forEach(([name, box]) => { box.checked = next.includes(name); }); } };
}

/** A number for each of a few names. */
function weights(schema, path, change) {
  const parts = schema.propertyNames.enum.map((name) =>
    [name, leaf({ ...schema.additionalProperties, label: name, default: 0 }, [...path, name], change)]);
  const node = h("details.weights", {}, h("summary", {}, h("span.name", {}, path.at(-1)), " ", about(schema)),
    h("div.grid", {}, parts.map(([, part]) => part.node)));
  return { node, set: (value) => parts.forEach(([name, part]) => part.set(value[name] ?? 0)) };
}

/** One text, number, choice or switch. */
function leaf(schema, path, change) {
  const key = path.join(".");
  const error = h("p.error", { role: "alert", id: `${key}-error` });
  const input = inputOf(schema, key);
  let shown = null;
  input.addEventListener("change", async () => {
    const [value, wrong] = valueOf(schema, input);
    error.textContent = wrong || await change(path, value);
    input.setAttribute("aria-invalid", error.textContent ? "true" : "false");
  });
  const node = h(input.type === "checkbox" ? "div.leaf.switch" : "div.leaf", {},
    h("label.name", { for: key }, schema.label ?? path.at(-1)), input,
    schema.description ? about(schema, { id: `${key}-about` }) : null, error);
  const set = (value) => {
    const text = textOf(schema, value);
    if (text === shown) return; // what the user is typing stays
    shown = text;
    if (input.type === "checkbox") input.checked = value;
    else input.value = text;
    error.textContent = "";
    input.setAttribute("aria-invalid", "false");
  };
  return { node, set };
}

function inputOf(schema, key) {
  const common = { id: key, "data-path": key, "aria-describedby": `${key}-about ${key}-error` };
  if (schema.enum) return h("select", common, schema.enum.map((value) => h("option", { value: String(value) }, String(value))));
  if (schema.type === "boolean") return h("input", { ...common, type: "checkbox", role: "switch" });
  const number = schema.type === "number" || schema.type === "integer";
  return h("input", {
    ...common, type: "text", autocomplete: "off", spellcheck: "false", inputmode: number ? "decimal" : undefined,
    placeholder: schema.nullable ? "none" : schema.default === undefined ? "" : String(schema.default),
  });
}

/** The value that an input stands for, and what is wrong with it. */
function valueOf(schema, input) {
  if (input.type === "checkbox") return [input.checked, ""];
  const text = input.value.trim();
  if (schema.enum) return [schema.enum.find((value) => String(value) === text), ""];
  if (!text && schema.nullable) return [null, ""];
  if (schema.type === "string") return [text, ""];
  if (!text && schema.default !== undefined) return [schema.default, ""];
  const number = Number(text);
  if (schema.type === "rate") return [Number.isFinite(number) && text ? number : text, ""];
  return text && Number.isFinite(number) ? [number, ""] : [null, "Enter a number."];
}

function textOf(schema, value) {
  if (value === null || value === undefined) return "";
  return schema.type === "rate" ? formatBitRate(value) : String(value);
}
