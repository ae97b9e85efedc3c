// A digit to change by hand, under two nets: an ordinary one, and one with certificates.
import { DistanceNet, OrdinaryNet, attack, margin, strongest, tensors_of, within } from "./net.js";
import { button, follow_keys, follow_pointer, furnish, make, number, slider } from "./parts.js";

const SIDE = 28, SCALE = 9; // pixels of an image, and of the screen for each
const BRUSH = 1.3; // radius in pixels of an image
const EPS = { min: 0.02, max: 0.3, step: 0.01, start: 0.1 };

const STYLE = `
.linfkit-digits .images button:has(canvas) { padding: 0; line-height: 0; }
.linfkit-digits .table { display: grid; grid-template-columns: ${SIDE * SCALE + 2}px 1fr 1fr; gap: .5rem 1.2rem; align-items: start; }
.linfkit-digits .paper { width: ${SIDE * SCALE}px; height: ${SIDE * SCALE}px; }
.linfkit-digits .verdict { font-weight: bold; }
.linfkit-digits .bars { display: grid; grid-template-columns: 1.2em 1fr; gap: 2px .4rem; line-height: 1.25; }
.linfkit-digits .bar { background: #999; min-width: 2px; height: .9em; align-self: center; }
.linfkit-digits .bar.label { background: #0072b2; }
.linfkit-digits .bar.wrong { background: #d55e00; }
@media (max-width: 640px) { .linfkit-digits .table { grid-template-columns: 1fr 1fr; } .linfkit-digits .table > :first-child { grid-column: 1 / 3; } }`;

/** Build the playground into an element, from its data: two nets and some images, as safetensors in base64. */
export function play(element, { certified, ordinary, samples }) {
  return new Playground(element, new DistanceNet(tensors_of(certified)), new OrdinaryNet(tensors_of(ordinary)),
    tensors_of(samples));
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
    furnish(element, "linfkit-digits", STYLE);
    this.choices = this.samples.map((sample) => {
      const picture = make("canvas", { width: SIDE, height: SIDE });
      paint(picture, sample.image);
      const choice = button("", () => this.choose(sample), `Take a ${sample.label}`);
      choice.append(picture);
      return choice;
    });
    this.draw_own = button("Draw your own", () => this.choose({ label: null, image: new Float64Array(SIDE * SIDE) }));
    this.only_change = slider("ε, the most that a pixel may change:", EPS, (eps) => `ε = ${eps.toFixed(2)}`, (eps) => {
      this.eps = eps;
      this.image = this.image.map((pixel, i) => within(pixel, this.start[i], eps));
      this.show();
    });
    this.brushes = [["Brighter", true], ["Darker", false]].map(([name, up]) => button(name, () => {
      this.up = up;
      this.show();
    }, `Paint ${name.toLowerCase()}`));
    this.attacks = this.nets.map((each) => button(`Attack ${each.proves ? "the ℓ∞-distance net" : "the ordinary net"} for me`, () => {
      this.image = attack(each.net, this.start, this.label, this.eps);
      this.show();
    }));
    this.attack_row = make("div", { className: "row" }, ...this.attacks);
    this.paper = make("canvas", { className: "paper", width: SIDE, height: SIDE });
    this.listen();
    const brushes = make("div", { className: "row" }, ...this.brushes, button("Start again", () => this.begin()));
    this.changed = make("p");
    element.replaceChildren(
      make("div", { className: "row images" }, ...this.choices, this.draw_own), this.only_change, this.attack_row,
      make("div", { className: "table" }, make("div", {}, this.paper, brushes, this.changed),
        ...this.nets.map((each) => this.panel(each))));
  }

  panel(each) {
    each.verdict = make("p", { className: "verdict" });
    each.verdict.setAttribute("role", "status");
    each.bars = Array.from({ length: 10 }, () => make("div", { className: "bar" }));
    each.note = make("p");
    const bars = make("div", { className: "bars" },
      ...each.bars.flatMap((bar, j) => [make("span", { textContent: j }), bar]));
    bars.setAttribute("aria-hidden", "true"); // the words say it
    const panel = make("section", {}, make("div", { textContent: each.name }), each.verdict, bars, each.note);
    panel.setAttribute("aria-label", each.name);
    return panel;
  }

  /** Paint with mouse, finger or pen; with arrow keys and the space bar as well. */
  listen() {
    follow_pointer(this.paper, (place, event) => {
      this.cursor = place.map((at) => at * SIDE - 0.5);
      this.by_keys = false;
      this.brush(event.shiftKey ? !this.up : this.up);
    });
    follow_keys(this.paper, (step) => {
      this.by_keys = true;
      this.cursor = this.cursor.map((at, axis) => Math.min(Math.max(Math.round(at) + step[axis], 0), SIDE - 1));
      if (step.some(Boolean)) this.show();
      else this.brush(this.up);
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
