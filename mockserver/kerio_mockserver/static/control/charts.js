// Charts of time series on a canvas: lines or stacked areas over the last minutes, with a legend and a cursor.

const PAD = { top: 8, right: 10, bottom: 20, left: 58 };
const HEIGHT = 150;
const MAX_SERIES = 8;
const GAP = 3; // seconds without a sample, after which a line is interrupted

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The least of 1, 2, 2.5 and 5 times a power of ten that is not below `value`. */
export function niceCeiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.9999);
}

/** Values by name, those of names that are not shown added up as "other". */
function merged(values, shown) {
  const kept = { other: 0 };
  for (const [name, value] of Object.entries(values)) {
    if (shown.includes(name)) kept[name] = value;
    else kept.other += value;
  }
  return kept;
}

/** One chart. `read(sample)` returns the value of each series by name, null where there is none. */
export class Chart {
  constructor(parent, { title, about, read, format, stacked = false, fixed = [], dashed = [], id }) {
    Object.assign(this, { title, read, format, stacked, dashed, fixed });
    this.drawn = Array(MAX_SERIES).fill(null); // the place of a name is that of its colour
    this.points = [];
    this.seconds = 300;
    this.cursor = null;
    this.node = document.createElement("figure");
    this.node.className = "chart panel";
    this.node.id = id;
    const caption = document.createElement("figcaption");
    const heading = document.createElement("h3");
    heading.textContent = title;
    this.when = document.createElement("span");
    this.when.className = "muted";
    caption.append(heading, this.when);
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.legend = document.createElement("ul");
    this.legend.className = "legend";
    this.node.append(caption, this.canvas, this.legend);
    this.node.title = about;
    parent.append(this.node);
    this.canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.canvas.addEventListener("pointerleave", () => { this.cursor = null; this.draw(); });
    new ResizeObserver(() => this.draw()).observe(this.node);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Show samples over `seconds`. Of many series the largest are shown; each keeps its colour while it is shown. */
  update(samples, seconds) {
    this.seconds = seconds;
    this.points = samples.map((sample) => ({ time: sample.time, values: this.read(sample) }));
    const totals = new Map(this.fixed.map((name) => [name, Infinity]));
    for (const { values } of this.points) {
      for (const [name, value] of Object.entries(values)) totals.set(name, (totals.get(name) ?? 0) + value);
    }
    const names = [...totals.keys()].sort((one, other) => totals.get(other) - totals.get(one));
    const shown = names.length > MAX_SERIES ? names.slice(0, MAX_SERIES - 1) : names;
    const others = shown.length < names.length;
    if (others) for (const point of this.points) point.values = merged(point.values, shown);
    this.drawn = this.drawn.map((name, index) => (others && index === MAX_SERIES - 1 ? "other" : shown.includes(name) ? name : null));
    for (const name of shown.filter((name) => !this.drawn.includes(name))) this.drawn[this.drawn.indexOf(null)] = name;
    this.draw();
  }

  #point(event) {
    const { left, width } = this.canvas.getBoundingClientRect();
    const share = (event.clientX - left - PAD.left) / (width - PAD.left - PAD.right);
    const time = this.end() - (1 - share) * this.seconds;
    const near = this.points.reduce((best, point) =>
      best && Math.abs(best.time - time) <= Math.abs(point.time - time) ? best : point, null);
    this.cursor = near && Math.abs(near.time - time) < Math.max(GAP, this.seconds / 50) ? near : null;
    this.draw();
  }

  end() {
    return this.points.length ? this.points.at(-1).time : Date.now() / 1000;
  }

  /** The values of a point in the order in which they are drawn; stacked ones as upper edges. */
  #levels(point) {
    let sum = 0;
    return this.drawn.map((name) => {
      const value = point.values[name] ?? (this.stacked ? 0 : null);
      return this.stacked ? (sum += value) : value;
    });
  }

  draw() {
    const width = this.node.clientWidth - 16;
    if (width < 50) return;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = width * ratio;
    this.canvas.height = HEIGHT * ratio;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${HEIGHT}px`;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
    const start = this.end() - this.seconds;
    const points = this.points.filter((point) => point.time >= start).map((point) =>
      ({ time: point.time, levels: this.#levels(point) }));
    const top = niceCeiling(Math.max(0, ...points.flatMap((point) => point.levels)));
    const x = (time) => PAD.left + ((time - start) / this.seconds) * (width - PAD.left - PAD.right);
    const y = (value) => HEIGHT - PAD.bottom - (value / top) * (HEIGHT - PAD.top - PAD.bottom);
    this.#axes(context, width, top, start, x, y);
    for (let index = MAX_SERIES - 1; index >= 0; index--) this.#series(context, points, index, x, y);
    if (this.cursor && this.cursor.time >= start) {
      context.strokeStyle = colour("--muted");
      context.strokeRect(x(this.cursor.time), PAD.top, 0, HEIGHT - PAD.top - PAD.bottom);
    }
    this.#legend();
  }

  #axes(context, width, top, start, x, y) {
    context.fillStyle = colour("--muted");
    context.strokeStyle = colour("--line");
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const share of [0, 0.5, 1]) {
      const at = Math.round(y(top * share)) + 0.5;
      context.strokeRect(PAD.left, at, width - PAD.left - PAD.right, 0);
      context.fillText(this.format(top * share), PAD.left - 6, at);
    }
    const step = [15, 30, 60, 300].find((length) => this.seconds / length <= width / 90) ?? 600;
    context.textAlign = "center";
    for (let time = Math.ceil(start / step) * step; time <= start + this.seconds; time += step) {
      const text = new Date(time * 1000).toTimeString().slice(0, step < 60 ? 8 : 5);
      if (x(time) > PAD.left + 14 && x(time) < width - 24) context.fillText(text, x(time), HEIGHT - 8);
    }
  }

  #series(context, points, index, x, y) {
    const ink = colour(`--series-${(index % MAX_SERIES) + 1}`);
    context.strokeStyle = context.fillStyle = ink;
    context.lineWidth = 1.6;
    context.lineJoin = "round";
    context.setLineDash(this.dashed.includes(this.drawn[index]) ? [4, 3] : []);
    for (const run of this.#runs(points, index)) {
      context.beginPath();
      for (const { time, levels } of run) context.lineTo(x(time), y(levels[index]));
      if (run.length === 1) context.lineTo(x(run[0].time) + 1, y(run[0].levels[index]));
      if (this.stacked) {
        for (const { time, levels } of [...run].reverse()) context.lineTo(x(time), y(index ? levels[index - 1] : 0));
        context.globalAlpha = 0.75;
        context.fill();
        context.globalAlpha = 1;
      } else {
        context.stroke();
      }
    }
    context.setLineDash([]);
  }

  /** The parts of a series without a gap. */
  #runs(points, index) {
    const runs = [];
    let last = null;
    for (const point of points) {
      if (point.levels[index] === null) { last = null; continue; }
      if (last === null || point.time - last > GAP) runs.push([]);
      runs.at(-1).push(point);
      last = point.time;
    }
    return runs;
  }

  #legend() {
    const shown = this.cursor ?? this.points.at(-1);
    this.when.textContent = this.cursor ? new Date(this.cursor.time * 1000).toTimeString().slice(0, 8) : "";
    const texts = this.drawn.map((name, index) => {
      const value = shown?.values[name] ?? (this.stacked ? 0 : null);
      return [name, value === null ? "–" : this.format(value), index];
    }).filter(([name]) => name !== null);
    this.canvas.setAttribute("aria-label", `${this.title}: ${texts.map(([name, text]) => `${name} ${text}`).join(", ") || "no data"}`);
    this.legend.replaceChildren(...texts.map(([name, text, index]) => {
      const item = document.createElement("li");
      const key = document.createElement("i");
      key.style.background = `var(--series-${(index % MAX_SERIES) + 1})`;
      const value = document.createElement("b");
      value.textContent = text;
      item.append(key, name, value);
      return item;
    }));
  }
}
