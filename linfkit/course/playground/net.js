// Small nets in plain JavaScript: their logits, and the gradient of a margin, at any p.

/** What rounding may take from half a margin, in pixels: more than `lk.certify` counts for nets of this size. */
const ROUNDING = 1e-5;

/** Tensors of a safetensors file, given in base64: name to { shape, values }. */
export function tensors_of(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true)), start = 8 + length;
  const { __metadata__, ...parts } = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  const kinds = { F32: Float32Array, U8: Uint8Array, I64: BigInt64Array };
  return Object.fromEntries(Object.entries(parts).map(([name, { dtype, shape, data_offsets: [from, to] }]) => (
    [name, { shape, values: new kinds[dtype](bytes.slice(start + from, start + to).buffer) }])));
}

/** Distances with shifts between them: u = ‖x − w‖_p + b, and logits −scale · u. */
export class DistanceNet {
  constructor({ mean, scale, ...tensors } = {}) {
    if (!mean) return;
    [this.mean, [this.scale]] = [mean.values[0], scale.values];
    this.layers = layers_of(tensors, "layers.").map((layer) => ({
      ...layer,
      bias: tensors[`layers.${layer.place}.bias`]?.values,
      shift: tensors[`layers.${layer.place + 1}.running_mean`]?.values,
    }));
  }

  logits(x, p = Infinity) {
    return this.run(x, p).at(-1).map((u) => -this.scale * u);
  }

  /** The values before and after each layer. */
  run(x, p) {
    const values = [Float64Array.from(x, (pixel) => (pixel - this.mean) / this.scale)];
    for (const { weight, inputs, outputs, bias, shift } of this.layers) {
      const before = values.at(-1), after = new Float64Array(outputs);
      for (let o = 0; o < outputs; o++) {
        after[o] = distance(before, weight, o * inputs, p) + (bias?.[o] ?? 0) - (shift?.[o] ?? 0);
      }
      values.push(after);
    }
    return values;
  }

  /** The same net at another p, its shifts taken anew from images: means of one p centre nothing at another. */
  centred(p, images) {
    const moved = Object.assign(new DistanceNet(), this, { p, layers: [] });
    for (const layer of this.layers) {
      moved.layers.push({ ...layer, shift: undefined });
      if (!layer.shift) continue;
      const outputs = images.map((image) => moved.run(image, p).at(-1));
      moved.layers.at(-1).shift = layer.shift.map((_, o) => outputs.reduce((sum, u) => sum + u[o], 0) / outputs.length);
    }
    return moved;
  }

  /** Gradient of f_up − f_down in the pixels; at p=∞ it is that of one coordinate a neuron. */
  gradient(x, up, down, p = Infinity) {
    const values = this.run(x, p);
    let slopes = new Float64Array(values.at(-1).length);
    [slopes[up], slopes[down]] = [-1, 1]; // scale out and 1 / scale in
    for (let place = this.layers.length - 1; place >= 0; place--) {
      const { weight, inputs, outputs } = this.layers[place], before = values[place];
      const next = new Float64Array(inputs);
      for (let o = 0; o < outputs; o++) {
        if (!slopes[o]) continue;
        const start = o * inputs, whole = distance(before, weight, start, p);
        for (let i = 0; i < inputs && whole; i++) {
          const d = before[i] - weight[start + i], size = Math.abs(d) / whole;
          if (p === Infinity ? size === 1 : size > 0) {
            next[i] += slopes[o] * Math.sign(d) * (p === Infinity ? 1 : size ** (p - 1));
            if (p === Infinity) break;
          }
        }
      }
      slopes = next;
    }
    return slopes;
  }

  /** By how much a logit can change for each unit that a pixel does: at p=∞ by one. */
  lipschitz(p) {
    return this.layers.reduce((bound, { inputs }) => bound * inputs ** (1 / p), 1);
  }

  /** Certified radius, in pixels: below it no change alters that label; negative where it is wrong. */
  radius(x, label, p = Infinity) {
    const half = margin(this.logits(x, p), label) / 2;
    return half > 0 ? Math.max(half / this.lipschitz(p) - ROUNDING, 0) : half;
  }
}

/** Linear layers with ReLU between them. */
export class OrdinaryNet {
  constructor(tensors) {
    this.layers = layers_of(tensors, "").map((layer) => (
      { ...layer, bias: tensors[`${layer.place}.bias`].values }));
  }

  logits(x) {
    return this.run(x).at(-1);
  }

  run(x) {
    const values = [Float64Array.from(x)];
    this.layers.forEach(({ weight, inputs, outputs, bias }, place) => {
      const before = values.at(-1), after = Float64Array.from(bias);
      for (let o = 0; o < outputs; o++) {
        for (let i = 0; i < inputs; i++) after[o] += weight[o * inputs + i] * before[i];
      }
      values.push(place + 1 < this.layers.length ? after.map((u) => Math.max(u, 0)) : after);
    });
    return values;
  }

  gradient(x, up, down) {
    const values = this.run(x);
    let slopes = new Float64Array(values.at(-1).length);
    [slopes[up], slopes[down]] = [1, -1];
    for (let place = this.layers.length - 1; place >= 0; place--) {
      const { weight, inputs, outputs } = this.layers[place], next = new Float64Array(inputs);
      for (let o = 0; o < outputs; o++) {
        for (let i = 0; i < inputs; i++) next[i] += slopes[o] * weight[o * inputs + i];
      }
      slopes = place ? next.map((slope, i) => (values[place][i] > 0 ? slope : 0)) : next;
    }
    return slopes;
  }
}

/** How far a label's logit is ahead of all others. */
export function margin(logits, label) {
  return logits[label] - logits[strongest(logits, label)];
}

/** The class with the largest logit, but for one that is left out. */
export function strongest(logits, but = -1) {
  let best = -1;
  logits.forEach((logit, j) => { if (j !== but && (best < 0 || logit > logits[best])) best = j; });
  return best;
}

/** Projected gradient descent within eps of an image: the last point, or the first that is misclassified.
 *
 * At p=∞ a distance net's gradient has a few pixels only, so it is followed at a smaller p.
 */
export function attack(net, image, label, eps, { steps = 40, p = 8 } = {}) {
  let x = Float64Array.from(image);
  for (let step = 0; step < steps; step++) {
    const logits = net.logits(x), rival = strongest(logits, label);
    if (logits[rival] > logits[label]) return x;
    const gradient = net.gradient(x, label, rival, p), length = 2.5 * eps / Math.min(steps, 10);
    x = x.map((pixel, i) => within(pixel - length * Math.sign(gradient[i]), image[i], eps));
  }
  return x;
}

/** A pixel brought within eps of what it was, and into [0, 1]. */
export function within(pixel, was, eps) {
  return Math.min(Math.max(pixel, was - eps, 0), was + eps, 1);
}

/** Weights of each layer, in order, and its number among the net's parts. */
function layers_of(tensors, prefix) {
  const places = Object.keys(tensors).filter((name) => name.endsWith(".weight")).map((name) => parseInt(name.slice(prefix.length)));
  return places.sort((a, b) => a - b).map((place) => {
    const { shape: [outputs, inputs], values: weight } = tensors[`${prefix}${place}.weight`];
    return { place, weight, inputs, outputs };
  });
}

function distance(x, weights, start, p) {
  let largest = 0;
  for (let i = 0; i < x.length; i++) largest = Math.max(largest, Math.abs(x[i] - weights[start + i]));
  if (p === Infinity || !largest) return largest;
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (Math.abs(x[i] - weights[start + i]) / largest) ** p;
  return largest * sum ** (1 / p);
}
