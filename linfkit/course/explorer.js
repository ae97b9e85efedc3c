// Figures under sliders, drawn in the browser from what was computed: one module for every place.
// JupyterLab takes it through labextension/, other notebooks through anywidget, web pages as it is.

import { follow_theme, is_dark, make, on_move } from "./parts.js";

const SLOW = 300; // ms after which the reader is told that something is being drawn
const BEAT = 700; // ms between two steps of a slider that plays

const STYLE = `
.linfkit-figure { max-width: 760px; margin: .5rem 0; color: inherit; font: 14px/1.5 Helvetica, Arial, sans-serif; }
.linfkit-figure .controls { display: grid; grid-template-columns: auto minmax(8rem, 22rem) auto minmax(6rem, 1fr);
  gap: .2rem .7rem; align-items: center; }
.linfkit-figure .control { display: contents; }
.linfkit-figure input { width: 100%; accent-color: #0072b2; }
.linfkit-figure button { border: 1px solid currentColor; border-radius: 4px; background: none; color: inherit;
  min-width: 2rem; min-height: 1.7rem; cursor: pointer; }
.linfkit-figure .canvas { width: 100%; min-height: 200px; }
.linfkit-figure [role=status]:empty { display: none; }
@media (max-width: 500px) {
  .linfkit-figure .controls { grid-template-columns: auto minmax(5rem, 1fr) auto; }
  .linfkit-figure output { grid-column: 2 / 4; margin-top: -.3rem; }
}
@media print { .linfkit-figure .controls { display: none; } }`;

// What the copies of this module on one page share: views and widget models by their key, and plotly.
export const page = (globalThis.linfkitPage ??= { views: new Map(), models: new Map() });

/** Draw a figure into an element, under a slider for each of its own.
 *
 * figure: data, layout, and frames for every position of the sliders, as an Explorer leaves them.
 * plotly: a promise of plotly's own module.
 * key: the widget's, if there is one; its model hears of moves, and moves the figure.
 */
export function mount(element, figure, plotly, key = null) {
  const view = new View(element, figure, plotly, key);
  if (key) {
    if (!page.views.has(key)) page.views.set(key, new Set());
    page.views.get(key).add(view);
    connect(key);
  }
  return view;
}

class View {
  constructor(element, figure, plotly, key) {
    Object.assign(this, { element, plotly, key });
    const { data, layout = {}, frames = [] } = figure;
    this.sliders = (layout.sliders ?? []).map((slider) => (
      { name: slider.name ?? "", labels: slider.steps.map((step) => step.label) }));
    this.start = { data, layout: without_sliders(layout) };
    this.frames = new Map(frames.map((frame) => [frame.name, frame]));
    this.position = (layout.sliders ?? []).map(({ active = 0 }) => active);
    this.build();
    this.stop_following = follow_theme(() => this.draw());
    // a figure is drawn once it has a place, and follows when the room changes
    this.room = new ResizeObserver(() => {
      if (this.canvas.clientWidth && this.canvas.clientWidth !== this.width) this.draw();
    });
    this.room.observe(this.canvas);
  }

  build() {
    if (!document.getElementById("linfkit-style")) {
      document.head.append(make("style", { id: "linfkit-style", textContent: STYLE }));
    }
    this.element.classList.add("linfkit-figure");
    const controls = make("div", { className: "controls" });
    this.inputs = this.sliders.map(({ name, labels }, which) => {
      const ticks = make("datalist", { id: `linfkit-${Math.random().toString(36).slice(2)}` });
      ticks.append(...labels.map((_, place) => make("option", { value: place })));
      const input = make("input", { type: "range", min: 0, max: labels.length - 1, step: 1, value: 0 });
      input.setAttribute("list", ticks.id);
      input.setAttribute("aria-label", name);
      on_move(input, (place) => this.move(which, place));
      const shown = make("output"), play = make("button", { type: "button", textContent: "▶" });
      play.setAttribute("aria-label", `Play ${name}`);
      play.addEventListener("click", () => this.play(which, play));
      const title = make("span", { textContent: name });
      title.setAttribute("aria-hidden", "true");
      const control = make("div", { className: "control" });
      control.append(title, input, play, shown, ticks);
      controls.append(control);
      return { input, shown };
    });
    this.canvas = make("div", { className: "canvas" });
    this.canvas.setAttribute("role", "figure");
    this.status = make("p");
    this.status.setAttribute("role", "status");
    this.element.replaceChildren(...(this.sliders.length ? [controls] : []), this.status, this.canvas);
    this.label();
  }

  /** What the reader did: moves the figure, and tells Python. */
  move(which, place) {
    const position = this.position.with(which, place);
    this.show(position);
    for (const other of page.views.get(this.key) ?? []) if (other !== this) other.show(position);
    const model = page.models.get(this.key);
    if (model) {
      model.set("position", position);
      model.save_changes();
    }
  }

  show(position) {
    this.position = position;
    this.label();
    this.draw();
  }

  label() {
    this.inputs.forEach(({ input, shown }, which) => {
      const { name, labels } = this.sliders[which], place = this.position[which];
      input.value = place;
      input.setAttribute("aria-valuetext", `${name} = ${labels[place]}`);
      shown.value = `${name} = ${labels[place]}`;
    });
  }

  /** Step to the end, from the start if that is where the slider is; a second press stops. */
  play(which, button) {
    const { labels } = this.sliders[which];
    if (this.playing) {
      clearInterval(this.playing);
      this.playing = null;
      button.textContent = "▶";
      return;
    }
    const step = (place) => {
      this.move(which, place);
      if (place === labels.length - 1) this.play(which, button);
    };
    button.textContent = "⏸";
    this.playing = setInterval(() => {
      if (!this.element.isConnected) return this.play(which, button);
      step(this.position[which] + 1);
    }, BEAT);
    if (this.position[which] === labels.length - 1) this.move(which, 0);
  }

  /** The figure at the present position; null while only Python could draw it. */
  present() {
    if (!this.frames.size) return this.start;
    const frame = this.frames.get(this.position.join(","));
    if (!frame || frame.whole) return frame?.whole ?? null;
    const data = [...this.start.data];
    frame.traces?.forEach((trace, place) => { data[trace] = changed(data[trace], frame.data[place]); });
    return { data, layout: without_sliders(changed(this.start.layout, frame.layout ?? {})) };
  }

  async draw() {
    const figure = this.present();
    if (!figure) return this.await_python();
    this.tell("");
    const Plotly = await this.plotly.catch((error) => this.tell(String(error)));
    this.width = this.canvas.clientWidth || this.width; // as before while it is hidden
    if (!Plotly || !this.width) return;
    if (this.above?.width !== this.width) this.above = { width: this.width, room: 0 };
    const { data, layout } = fitted(themed(structuredClone(figure)), this.above); // plotly writes into what it draws
    this.canvas.setAttribute("aria-label", layout.meta?.description ?? layout.title?.text ?? "a figure");
    await Plotly.react(this.canvas, data, layout, { displaylogo: false });
    const covered = under_title(this.canvas);
    if (covered <= 0 || this.above.room > 200) return;
    this.above.room += covered;
    await this.draw();
  }

  await_python() {
    const missing = this.position.join(",");
    const text = page.models.has(this.key) ? "⏳ drawing …" : "This position takes a running kernel.";
    setTimeout(() => { if (this.position.join(",") === missing && !this.present()) this.tell(text); }, SLOW);
  }

  /** What Python answers: a figure for a position, or why there is none. */
  receive({ at, figure, error }) {
    if (figure) this.frames.set(at, { whole: { data: figure.data, layout: without_sliders(figure.layout) } });
    if (at !== this.position.join(",")) return;
    if (error) this.tell(error);
    else this.draw();
  }

  tell(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  dispose() {
    this.room.disconnect();
    this.stop_following();
    page.views.get(this.key)?.delete(this);
  }
}

// --- the widget's model, where a kernel runs

function connect(key) {
  const position = page.models.get(key)?.get("position");
  if (position?.length) for (const view of page.views.get(key) ?? []) view.show(position);
}

/** Let a model and the figures of its key follow each other. */
function register(model) {
  const key = model.get("key");
  if (!key || page.models.get(key) === model) return;
  page.models.set(key, model);
  model.on("change:position", () => connect(key));
  model.on("msg:custom", (message) => {
    if (message.at !== undefined) for (const view of page.views.get(key) ?? []) view.receive(message);
  });
  connect(key);
}

/** Ask the kernel for something once; its answer is a message with that name. */
function ask(model, what) {
  return new Promise((resolve) => {
    const listen = (message, buffers) => {
      if (message.answer !== what) return;
      model.off("msg:custom", listen);
      resolve([message.value, buffers]);
    };
    model.on("msg:custom", listen);
    model.send({ ask: what });
  });
}

async function plotly_of_kernel(model) {
  const [, [code]] = await ask(model, "plotly");
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const { define } = globalThis; // where RequireJS is, plotly's file would give itself to that
  globalThis.define = undefined;
  await new Promise((onload, onerror) => document.head.append(make("script", { src: url, onload, onerror })));
  globalThis.define = define;
  return globalThis.Plotly;
}

export default {
  initialize({ model }) {
    register(model);
    model.on("change:key", () => register(model));
  },
  async render({ model, el }) {
    register(model);
    page.plotly ??= globalThis.Plotly ? Promise.resolve(globalThis.Plotly) : plotly_of_kernel(model);
    const [still] = await ask(model, "still");
    const view = mount(el, still, page.plotly, model.get("key"));
    return () => view.dispose();
  },
};

// --- figures as data

/** The tree with changes laid over it: a null takes away, a list replaces. */
function changed(tree, changes) {
  const result = { ...tree };
  for (const [key, value] of Object.entries(changes)) {
    const nested = value && typeof value === "object" && !Array.isArray(value) && !("bdata" in value);
    if (value === null) delete result[key];
    else result[key] = nested ? changed(result[key] ?? {}, value) : value;
  }
  return result;
}

/** A layout without plotly's own sliders, and without the room that was made for them. */
function without_sliders({ sliders, ...layout }) {
  const room = layout.meta?.room;
  if (!sliders?.[0]?.steps || !room) return layout;
  const { b, ...margin } = layout.margin;
  return { ...layout, height: layout.height - room, margin: { ...margin, b: b - room } };
}

/** As wide as there is room, as high as elsewhere and the room that words need above the plot. */
function fitted({ data, layout }, { width, room }) {
  const template = layout.template?.layout, top = layout.margin?.t ?? template?.margin?.t ?? 100;
  layout.height = (layout.height ?? template?.height ?? 450) + room;
  layout.width = width;
  layout.margin = { ...layout.margin, t: top + room };
  if (width < 500) {
    layout.font = { ...layout.font, size: 11 };
    layout.title = { ...layout.title, text: in_lines(layout.title?.text, width / 7.8), font: { ...layout.title?.font, size: 13 } };
    layout.margin.r = 12;
    for (const [key, axis] of Object.entries(layout).filter(([name]) => name.startsWith("xaxis"))) {
      const [from, to] = axis.domain ?? [0, 1], letters = (to - from) * (width - 90) / 6.2;
      const ticktext = axis.ticktext?.map((text, _, { length }) => in_lines(text, letters / length));
      layout[key] = { ...axis, automargin: true, title: { ...axis.title, text: in_lines(axis.title?.text, letters) }, ticktext };
    }
  }
  return { data, layout };
}

/** A text in lines of so many letters at most. */
function in_lines(text = "", letters) {
  let used = 0;
  return text.replaceAll("<br>", "<br> ").split(" ").map((word) => {
    const { length } = word.replace(/<[^>]*>/g, ""), turn = used && used + 1 + length > letters;
    used = word.endsWith("<br>") ? 0 : turn ? length : used + 1 + length;
    return turn ? `<br>${word}` : ` ${word}`;
  }).join("").trimStart();
}

/** By how many pixels a plot's other words reach over the end of its title. */
function under_title(canvas) {
  const title = canvas.querySelector(".gtitle")?.getBoundingClientRect();
  const words = [...canvas.querySelectorAll("svg text:not(.gtitle)")].filter((text) => text.textContent.trim());
  const tops = words.map((text) => text.getBoundingClientRect())
    .filter(({ left, bottom }) => title && left < title.right && bottom > title.top).map(({ top }) => top);
  return Math.ceil(title?.bottom - Math.min(...tops)) || 0;
}

// --- light and dark

const DARK = { "#222": "#ddd", "#000000": "#ddd", black: "#ddd", "#444": "#aaa", "#e6e6e6": "#3a3a3a", white: "#1b1b1b",
  "#0072B2": "#4aa8e0", "#009E73": "#2fc79c" };

/** On a dark page, a figure of linfkit's has its inks and papers exchanged. */
function themed(figure) {
  if (!is_dark() || !figure.layout.meta?.description) return figure;
  const turned = (value) => {
    if (typeof value === "string") return DARK[value] ?? value;
    if (Array.isArray(value)) return value.map(turned);
    if (value && typeof value === "object" && !("bdata" in value) && !ArrayBuffer.isView(value)) {
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, key === "text" ? each : turned(each)]));
    }
    return value;
  };
  return { data: turned(figure.data), layout: turned(figure.layout) };
}
