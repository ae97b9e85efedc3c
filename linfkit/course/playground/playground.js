// A digit to change by hand, under two nets: an ordinary one, and one with certificates.
import { DistanceNet, OrdinaryNet, attack, margin, strongest, tensors_of, within } from "./net.js";

const SIDE = 28, SCALE = 9; // pixels of an image, and of the screen for each
const BRUSH = 1.3; // radius in pixels of an image
const EPS = { min: 0.02, max: 0.3, step: 0.01, start: 0.1 };

const STYLE = `
.linfkit-playground { max-width: 760px; margin: .5rem 0; color: inherit; font: 14px/1.5 Helvetica, Arial, sans-serif; }
.linfkit-playground .images, .linfkit-playground .row { display: flex; flex-wrap: wrap; gap: .3rem .5rem; align-items: center; margin: .3rem 0; }
.linfkit-playground button { border: 1px solid currentColor; border-radius: 4px; background: none; color: inherit; font: inherit; padding: .1rem .6rem; cursor: pointer; }
.linfkit-playground .images button:has(canvas) { padding: 0; line-height: 0; }
.linfkit-playground button[aria-pressed=true] { outline: 3px solid #0072b2; outline-offset: -1px; }
.linfkit-playground .table { display: grid; grid-template-columns: ${SIDE * SCALE + 2}px 1fr 1fr; gap: .5rem 1.2rem; align-items: start; }
.linfkit-playground .paper { cursor: crosshair; touch-action: none; width: ${SIDE * SCALE}px; height: ${SIDE * SCALE}px; image-rendering: pixelated; }
.linfkit-playground canvas { border: 1px solid #888; image-rendering: pixelated; }
.linfkit-playground p { margin: .2rem 0; }
.linfkit-playground .verdict { font-weight: bold; }
.linfkit-playground .bars { display: grid; grid-template-columns: 1.2em 1fr; gap: 2px .4rem; line-height: 1.25; }
.linfkit-playground .bar { background: #999; min-width: 2px; height: .9em; align-self: center; }
.linfkit-playground .bar.label { background: #0072b2; }
.linfkit-playground .bar.wrong { background: #d55e00; }
.linfkit-playground input[type=range] { flex: 1 1 8rem; max-width: 16rem; accent-color: #0072b2; }
@media (max-width: 640px) { .linfkit-playground .table { grid-template-columns: 1fr 1fr; } .linfkit-playground .table > :first-child { grid-column: 1 / 3; } }
@media print { .linfkit-playground .row { display: none; } }`;

/** Build the playground into an element, from its data: two nets and some images, as safetensors in base64. */
export function play(element, { certified, ordinary, samples }) {
  return new Playground(element, new DistanceNet(tensors_of(certified)), new OrdinaryNet(tensors_of(ordinary)),
    tensors_of(samples));
}

/** Build every playground of the page that is still data. */
export function play_all() {
  for (const element of document.querySelectorAll(".linfkit-playground")) {
    const data = element.querySelector(":scope > script");
    if (data) play(element, JSON.parse(data.textContent));
  }
}

class Playground {
  constructor(element, certified, ordinary, { images, labels }) {
    this.nets = [
      { net: ordinary, name: "An ordinary net" },
      { net: certified, name: "An ℓ∞-distance net", proves: true },
    ];
    this.samples = [...labels.values].map((label, n) => ({
      label: Number(label),
      image: Float64Array.from(images.values.subarray(n * SIDE * SIDE, (n + 1) * SIDE * SIDE), (level) => level / 255),
    }));
    this.eps = EPS.start;
    this.up = true;
    this.cursor = [SIDE / 2, SIDE / 2];
    this.build(element);
    this.choose(this.samples[2 * 3]); // a 3
  }

  build(element) {
    if (!document.getElementById("linfkit-playground-style")) {
      document.head.append(make("style", { id: "linfkit-playground-style", textContent: STYLE }));
    }
    element.classList.add("linfkit-playground");
    this.choices = this.samples.map((sample) => {
      const picture = make("canvas", { width: SIDE, height: SIDE });
      paint(picture, sample.image);
      const choice = button("", () => this.choose(sample), `Take a ${sample.label}`);
      choice.append(picture);
      return choice;
    });
    this.draw_own = button("Draw your own", () => this.choose({ label: null, image: new Float64Array(SIDE * SIDE) }));
    const label = make("label", { textContent: "ε, the most that a pixel may change" });
    const slider = make("input", { type: "range", ...EPS, value: EPS.start });
    const shown = make("output");
    label.append(" ", shown);
    label.htmlFor = slider.id = `linfkit-eps-${Math.random().toString(36).slice(2)}`;
    const set_eps = () => {
      this.eps = Number(slider.value);
      shown.value = `ε = ${this.eps.toFixed(2)}`;
      slider.setAttribute("aria-valuetext", shown.value);
      this.image = this.image?.map((pixel, i) => within(pixel, this.start[i], this.eps));
      if (this.image) this.show();
    };
    slider.addEventListener("input", set_eps);
    set_eps();
    this.brushes = [["Brighter", true], ["Darker", false]].map(([name, up]) => button(name, () => {
      this.up = up;
      this.show();
    }, `Paint ${name.toLowerCase()}`));
    this.attacks = this.nets.map((each) => button(`Attack ${each.proves ? "the ℓ∞-distance net" : "the ordinary net"} for me`, () => {
      this.image = attack(each.net, this.start, this.label, this.eps);
      this.show();
    }));
    this.only_change = make("div", { className: "row" });
    this.only_change.append(label, slider);
    this.attack_row = make("div", { className: "row" });
    this.attack_row.append(...this.attacks);
    this.paper = make("canvas", { className: "paper", width: SIDE, height: SIDE, tabIndex: 0 });
    this.paper.setAttribute("role", "application");
    this.listen();
    const brushes = make("div", { className: "row" });
    brushes.append(...this.brushes, button("Start again", () => this.begin()));
    const left = make("div");
    this.changed = make("p");
    left.append(this.paper, brushes, this.changed);
    const panels = this.nets.map((each) => this.panel(each));
    const rows = [make("div", { className: "images" }), make("div", { className: "table" })];
    rows[0].append(...this.choices, this.draw_own);
    rows[1].append(left, ...panels);
    element.replaceChildren(rows[0], this.only_change, this.attack_row, rows[1]);
  }

  panel(each) {
    const panel = make("section", { className: "net" });
    panel.setAttribute("aria-label", each.name);
    each.verdict = make("p", { className: "verdict" });
    each.verdict.setAttribute("role", "status");
    each.bars = Array.from({ length: 10 }, () => make("div", { className: "bar" }));
    each.note = make("p");
    const bars = make("div", { className: "bars" });
    bars.setAttribute("aria-hidden", "true"); // the words say it
    bars.append(...each.bars.flatMap((bar, j) => [make("span", { textContent: j }), bar]));
    panel.append(make("div", { textContent: each.name }), each.verdict, bars, each.note);
    return panel;
  }

  /** Paint with mouse, finger or pen; with arrow keys and the space bar as well. */
  listen() {
    const { paper } = this;
    const stroke = (event) => {
      const box = paper.getBoundingClientRect();
      this.cursor = [event.clientX - box.left, event.clientY - box.top].map((at) => at * SIDE / box.width - 0.5);
      this.by_keys = false;
      this.brush(event.shiftKey ? !this.up : this.up);
    };
    paper.addEventListener("pointerdown", (event) => {
      paper.setPointerCapture(event.pointerId);
      stroke(event);
    });
    paper.addEventListener("pointermove", (event) => { if (event.buttons) stroke(event); });
    paper.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      this.by_keys = true;
      if (step) this.cursor = this.cursor.map((at, axis) => Math.min(Math.max(Math.round(at) + step[axis], 0), SIDE - 1));
      else this.brush(this.up);
      this.show();
    });
  }

  brush(up) {
    const [column, row] = this.cursor, reach = this.label === null ? BRUSH : BRUSH / 1.5;
    this.image = this.image.map((pixel, i) => {
      const far = Math.hypot(i % SIDE - column, Math.floor(i / SIDE) - row);
      if (far > reach) return pixel;
      if (this.label === null) return up ? Math.max(pixel, Math.min(1, 1.6 - far)) : 0; // soft ink
      return within(up ? 1 : 0, this.start[i], this.eps);
    });
    this.show();
  }

  choose({ label, image }) {
    Object.assign(this, { label, start: image });
    this.choices.forEach((choice, n) => choice.setAttribute("aria-pressed", image === this.samples[n].image));
    this.draw_own.setAttribute("aria-pressed", label === null);
    for (const row of [this.only_change, this.attack_row]) row.style.display = label === null ? "none" : "";
    this.begin();
  }

  begin() {
    this.image = this.start;
    this.show();
  }

  show() {
    const own = this.label === null, seen = own ? centred(this.image) : this.image;
    paint(this.paper, this.image, this.by_keys ? this.cursor : null);
    this.paper.setAttribute("aria-label", own ? "Paper to draw a digit on: arrow keys move, the space bar paints"
      : `A ${this.label} to change: arrow keys move, the space bar paints`);
    this.brushes.forEach((brush, n) => brush.setAttribute("aria-pressed", this.up === (n === 0)));
    const moved = this.image.reduce((count, pixel, i) => count + (pixel !== this.start[i]), 0);
    this.changed.textContent = own ? "Draw with the mouse or a finger. The nets see it moved to the middle."
      : `${moved} of ${SIDE * SIDE} pixels changed, none by more than ${this.eps.toFixed(2)}.`;
    const empty = own && !moved;
    for (const each of this.nets) {
      const logits = each.net.logits(seen), says = strongest(logits), label = own ? says : this.label;
      const lowest = Math.min(...logits), span = Math.max(...logits) - lowest || 1;
      const fooled = says !== label;
      each.verdict.textContent = empty ? "Draw a digit." : own ? `says ${says}` : fooled ? `says ${says}: fooled` : `says ${says}: right`;
      each.bars.forEach((bar, j) => {
        bar.style.width = `${empty ? 0 : 8 + 92 * (logits[j] - lowest) / span}%`;
        bar.className = j === label ? "bar label" : j === says ? "bar wrong" : "bar";
      });
      each.note.textContent = empty ? "" : this.note(each, seen, margin(logits, label), label);
    }
  }

  /** The sentence below a net: its margin, and what is proved. */
  note({ net, proves }, seen, ahead, label) {
    const gap = `Margin ${number(ahead)}.`;
    if (!proves) return `${gap} Nothing is proved.`;
    const here = net.radius(seen, label);
    if (this.label === null) return `${gap} Certified radius r = ${number(here)}: no change of all pixels by less alters this.`;
    const radius = net.radius(this.start, label);
    return this.eps < radius
      ? `${gap} The digit's certified radius r = ${number(radius)} is above ε: nothing that you can do here alters the answer.`
      : `${gap} The digit's certified radius r = ${number(radius)} is not above ε: no promise here.`;
  }
}

/** The drawing with its centre of mass in the middle, as MNIST's digits have theirs. */
function centred(image) {
  let mass = 0, column = 0, row = 0;
  image.forEach((pixel, i) => {
    mass += pixel;
    column += pixel * (i % SIDE);
    row += pixel * Math.floor(i / SIDE);
  });
  if (!mass) return image;
  const [right, down] = [column, row].map((sum) => Math.round((SIDE - 1) / 2 - sum / mass));
  return image.map((_, i) => {
    const from = [i % SIDE - right, Math.floor(i / SIDE) - down];
    return from.every((at) => at >= 0 && at < SIDE) ? image[from[1] * SIDE + from[0]] : 0;
  });
}

function paint(canvas, image, cursor = null) {
  const context = canvas.getContext("2d"), grey = context.createImageData(SIDE, SIDE);
  image.forEach((pixel, i) => grey.data.set([255 * pixel, 255 * pixel, 255 * pixel, 255], 4 * i));
  context.putImageData(grey, 0, 0);
  if (cursor) {
    context.fillStyle = "#d55e00";
    context.fillRect(Math.round(cursor[0]), Math.round(cursor[1]), 1, 1);
  }
}

function number(value) {
  return value.toFixed(3).replace("-", "−");
}

function button(text, press, name = text) {
  const made = make("button", { type: "button", textContent: text });
  made.setAttribute("aria-label", name);
  made.addEventListener("click", press);
  return made;
}

function make(tag, properties = {}) {
  return Object.assign(document.createElement(tag), properties);
}
