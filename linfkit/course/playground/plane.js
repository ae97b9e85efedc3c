// A point to drag through the regions of a net in the plane: its square, its cones, at any p.
import { DistanceNet, strongest, tensors_of } from "./net.js";
import { follow_keys, follow_pointer, follow_theme, furnish, make, number, slider } from "./parts.js";

const SIZE = 360, GRID = 72; // pixels of the screen, and points of the net's map, each way
const EXPONENTS = [8, 11, 16, 32, 64, 128, Infinity];
const REACH = 0.25; // how far the cones are drawn
const INKS = ["#0072b2", "#d55e00", "#009e73"];
const PAPERS = [[0, 114, 178, 60], [213, 94, 0, 60], [0, 158, 115, 60]]; // the same, seen through

const STYLE = `
.linfkit-plane .table { display: flex; flex-wrap: wrap; gap: .5rem 1.2rem; }
.linfkit-plane .table > div { flex: 1 1 ${SIZE}px; max-width: ${SIZE}px; }
.linfkit-plane canvas { max-width: 100%; height: auto; image-rendering: auto; }`;

/** Build the playground into an element, from its data: a net and its points, as safetensors in base64. */
export function play(element, { net, points }) {
  return new Plane(element, new DistanceNet(tensors_of(net)), tensors_of(points));
}

class Plane {
  constructor(element, trained, { train, test, labels }) {
    const rows = ({ values }) => Array.from({ length: values.length / 2 }, (_, n) => [...values.slice(2 * n, 2 * n + 2)]);
    this.train = rows(train);
    this.test = rows(test).map((at, n) => ({ at, label: Number(labels.values[n]) }));
    this.nets = new Map();
    this.trained = trained;
    this.point = this.test[0].at;
    this.angle = 0;
    this.build(element);
    this.choose(EXPONENTS[0]);
    follow_theme(() => this.draw());
  }

  build(element) {
    furnish(element, "linfkit-plane", STYLE);
    this.map = make("canvas", { className: "paper", width: SIZE, height: SIZE });
    this.map.setAttribute("aria-label", "The plane: arrow keys move the point");
    follow_pointer(this.map, ([right, down]) => this.move([right, 1 - down]));
    follow_keys(this.map, ([right, down]) => this.move([this.point[0] + 0.01 * right, this.point[1] - 0.01 * down]));
    this.cones = make("canvas", { width: SIZE, height: SIZE });
    this.cones.setAttribute("role", "img");
    this.words = make("p");
    this.words.setAttribute("role", "status");
    element.replaceChildren(
      slider("Exponent:", { min: 0, max: EXPONENTS.length - 1, step: 1, start: 0 },
        (place) => `p = ${name(EXPONENTS[place])}`, (place) => this.choose(EXPONENTS[place])),
      slider("Direction:", { min: 0, max: 345, step: 15, start: 0 }, (angle) => `${angle}°`, (angle) => {
        this.angle = angle;
        this.draw();
      }),
      make("div", { className: "table" }, make("div", {}, this.map), make("div", {}, this.cones)), this.words);
  }

  choose(p) {
    if (!this.nets.has(p)) {
      const net = this.trained.centred(p, this.train);
      const classes = Array.from({ length: GRID * GRID }, (_, i) => (
        strongest(net.logits([(i % GRID + 0.5) / GRID, 1 - (Math.floor(i / GRID) + 0.5) / GRID], p))));
      this.nets.set(p, { net, classes });
    }
    this.p = p;
    Object.assign(this, this.nets.get(p));
    this.draw();
  }

  move(to) {
    this.point = to.map((x) => Math.min(Math.max(x, 0), 1));
    this.draw();
  }

  draw() {
    const { net, p, point } = this, logits = net.logits(point, p), label = strongest(logits);
    this.ink = getComputedStyle(this.map).color; // of the page's words, light or dark
    const half = (logits[label] - logits[strongest(logits, label)]) / 2, proved = net.radius(point, label, p);
    this.draw_map(half, proved, label);
    const changes_at = this.draw_cones(logits, label, half);
    const where = p === Infinity ? `Half the margin, ${number(half)}, is the certified radius: the square stays in its region.`
      : `Half the margin is ${number(half)}, but L ≤ ${net.lipschitz(p).toFixed(2)}: proved is only ${number(proved)} (dashed).`;
    const crossed = this.crosses(half, label) ? " The square reaches into another class." : "";
    const way = changes_at === null ? "no change of class" : `another class after ${number(changes_at)}`;
    this.words.textContent = `p = ${name(p)}. ${where}${crossed} Along ${this.angle}°: ${way}.`;
    this.cones.setAttribute("aria-label", this.words.textContent);
  }

  /** True if a point of the map inside the square has another class. */
  crosses(half, label) {
    return this.classes.some((found, i) => found !== label
      && Math.abs((i % GRID + 0.5) / GRID - this.point[0]) < half
      && Math.abs(1 - (Math.floor(i / GRID) + 0.5) / GRID - this.point[1]) < half);
  }

  draw_map(half, proved, label) {
    const context = this.map.getContext("2d"), small = make("canvas", { width: GRID, height: GRID });
    const pixels = small.getContext("2d").createImageData(GRID, GRID);
    this.classes.forEach((found, i) => pixels.data.set(PAPERS[found % 3], 4 * i));
    small.getContext("2d").putImageData(pixels, 0, 0);
    context.imageSmoothingEnabled = false;
    context.clearRect(0, 0, SIZE, SIZE);
    context.drawImage(small, 0, 0, SIZE, SIZE);
    const [x, y] = on_screen(this.point);
    for (const { at, label: its } of this.test) dot(context, on_screen(at), 3, INKS[its % 3]);
    context.lineWidth = 2;
    context.strokeStyle = this.ink;
    square(context, x, y, half);
    if (proved < half - 1e-4) {
      context.setLineDash([4, 4]);
      square(context, x, y, proved);
      context.setLineDash([]);
    }
    const [right, up] = heading(this.angle);
    line(context, [[x, y], on_screen([this.point[0] + REACH * right, this.point[1] + REACH * up])], this.ink, 1);
    dot(context, [x, y], 6, INKS[label % 3], this.ink);
  }

  /** Both logits along the direction, inside cones of slope ±1; gives where the class changes, or null. */
  draw_cones(logits, label, half) {
    const context = this.cones.getContext("2d"), rival = strongest(logits, label), steps = 100;
    const [right, up] = heading(this.angle);
    const along = Array.from({ length: steps + 1 }, (_, k) => {
      const t = REACH * k / steps;
      return { t, values: this.net.logits([this.point[0] + t * right, this.point[1] + t * up], this.p) };
    });
    const others = (values) => values[strongest(values, label)];
    const high = logits[label] + REACH, low = logits[rival] - REACH;
    const place = (t, value) => [40 + (SIZE - 50) * t / REACH, 10 + (SIZE - 50) * (high - value) / (high - low)];
    context.clearRect(0, 0, SIZE, SIZE);
    for (const [j, sign] of [[label, -1], [rival, 1]]) {
      context.fillStyle = `${INKS[j % 3]}33`;
      context.beginPath();
      context.moveTo(...place(0, logits[j]));
      context.lineTo(...place(REACH, logits[j] + sign * REACH));
      context.lineTo(...place(REACH, logits[j] - sign * REACH));
      context.fill();
    }
    line(context, [place(half, low), place(half, high)], this.ink, 1);
    line(context, along.map(({ t, values }) => place(t, values[label])), INKS[label % 3], 2);
    line(context, along.map(({ t, values }) => place(t, others(values))), INKS[rival % 3], 2);
    context.fillStyle = this.ink;
    context.font = "13px Helvetica, Arial, sans-serif";
    context.fillText("half the margin", Math.min(place(half, low)[0] + 4, SIZE - 100), 24);
    context.fillText("way t, in pixels", SIZE - 110, SIZE - 10);
    context.fillText("logits", 4, 24);
    for (const t of [0, 0.1, 0.2]) context.fillText(t.toFixed(1), place(t, low)[0] - 8, SIZE - 26);
    return along.find(({ values }) => others(values) > values[label])?.t ?? null;
  }
}

function name(p) {
  return p === Infinity ? "∞" : `${p}`;
}

/** A step of ℓ∞ length 1 in a direction. */
function heading(degrees) {
  const [right, up] = [Math.cos, Math.sin].map((of) => of(degrees * Math.PI / 180));
  const longest = Math.max(Math.abs(right), Math.abs(up));
  return [right / longest, up / longest];
}

function on_screen([x, y]) {
  return [x * SIZE, (1 - y) * SIZE];
}

function square(context, x, y, half) {
  context.strokeRect(x - half * SIZE, y - half * SIZE, 2 * half * SIZE, 2 * half * SIZE);
}

function dot(context, [x, y], radius, ink, edge = ink) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  [context.fillStyle, context.strokeStyle] = [ink, edge];
  context.fill();
  context.stroke();
}

function line(context, points, ink, width) {
  [context.strokeStyle, context.lineWidth] = [ink, width];
  context.beginPath();
  points.forEach((point, k) => (k ? context.lineTo(...point) : context.moveTo(...point)));
  context.stroke();
}
