/* The face detector: mien/faces/yunet.py on ONNX Runtime Web, with its views.

Numbers come from Python (settings.json: `detector`, `confirm` and `close_look`). Places are rounded to single precision where NumPy
computes with it: the crops follow them, and the networks the crops. */

import { withLandmarks } from "./close_look.js";
import { confirmed } from "./confirm.js";
import { clamp, largestFirst, suppressOverlaps } from "./geometry.js";
import { BILINEAR, BOX, newPicture, paste, reduce, resize, roundHalfEven } from "./pillow.js";

const single = Math.fround;

export class YuNet {
  /** session: of ONNX Runtime Web. Tensor: its class of tensors. */
  constructor(session, Tensor, settings) {
    this.session = session;
    this.Tensor = Tensor;
    this.settings = settings.detector;
    this.close = settings.close_look;
    this.confirm = settings.confirm;
    this.grey = settings.detector.grey;
    this.inputs = new Map(); // size → the network's input of the last picture of that size
  }

  /** The faces of a picture, largest first. */
  async detect(picture) {
    // of the coarsest stride alone: the others draw every face upright
    const look = (views) => this.look(views, this.settings.strides.slice(-1));
    return withLandmarks(picture, await this.faces(picture), this.close, this.grey, look);
  }

  async faces(picture) {
    const { whole_side, second_side, detail_sides } = this.settings;
    const longer = Math.max(picture.width, picture.height);
    if (longer <= second_side) {
      const found = await this.search(picture, [whole_side]);
      return found.length ? found : this.search(picture, [second_side]);
    }
    return this.search(picture, [clamp(longer, ...detail_sides), whole_side]);
  }

  /** One picture in several views, from the largest down; what they find is merged. */
  async search(picture, sides) {
    const { largest, grey, multiple, max_overlap, max_inside, min_score, strides, gap, whole_gap } = this.settings;
    const least = Math.min(this.confirm.weak, min_score);
    const longer = Math.max(picture.width, picture.height);
    const views = [...new Set(sides)].sort((a, b) => b - a);
    let smaller = picture;
    const found = [];
    for (const side of views) {
      const detail = side > views[views.length - 1]; // by means of whole pixels
      const source = side < Math.max(smaller.width, smaller.height) ? smaller : picture;
      const shown = detail ? reducedTo(source, side, BOX, gap) : reducedTo(source, side, BILINEAR, whole_gap);
      if (side < longer) smaller = shown;
      const canvas = newPicture(...[shown.width, shown.height].map((n) => Math.ceil(n / multiple) * multiple), grey);
      paste(canvas, shown, 0, 0);
      const limit = detail ? largest : Infinity;
      const [heads] = await this.run([canvas]);
      const unit = [picture.width / shown.width, picture.height / shown.height].map(single);
      for (const { corners, score, landmarks } of decode(heads, canvas.width, least, strides, this.settings)) {
        if (Math.max(corners[2] - corners[0], corners[3] - corners[1]) > limit) continue;
        const [left, top, right, bottom] = corners.map((value, k) => single(value * unit[k % 2]));
        found.push({
          box: { x: left, y: top, w: right - left, h: bottom - top },
          score,
          landmarks: landmarks.map(([x, y]) => [single(x * unit[0]), single(y * unit[1])]),
          turns: 0,
        });
      }
    }
    const distinct = (finds) =>
      largestFirst(suppressOverlaps(finds.sort((a, b) => b.score - a.score), max_overlap, max_inside));
    const look = (shown) => this.look(shown, strides);
    return distinct(await confirmed(picture, distinct(found), this.confirm, min_score, grey, look));
  }

  /** For each view the best find in its middle, in pixels of the view, or null. */
  async look(views, strides) {
    const heads = await this.run(views);
    return heads.map((one) => {
      const middle = views[0].width / 2;
      let best = null;
      for (const found of decode(one, views[0].width, this.settings.least_close, strides, this.settings)) {
        const near = [0, 1].every((k) => Math.abs(found.corners[k] + found.corners[k + 2] - 2 * middle) < middle / 2);
        if (near && (best === null || found.score > best.score)) best = found;
      }
      return best;
    });
  }

  /** Pictures of one size, sides multiples of 32 → the network's outputs of each, by name. */
  async run(views) {
    const { width, height } = views[0];
    const each = 3 * width * height;
    const size = views.length * each;
    if (!this.inputs.has(size)) this.inputs = new Map([...this.inputs].slice(-3)).set(size, new Float32Array(size));
    const input = this.inputs.get(size); // kept from frame to frame, since the runtime copies it
    views.forEach(({ data }, number) => input.set(data, number * each)); // RGB, pixel by pixel, as the network takes it
    const tensor = new this.Tensor("float32", input, [views.length, 1, height, 3 * width]);
    const outputs = await this.session.run({ [this.settings.input]: tensor });
    return views.map((_, number) => {
      const heads = {};
      for (const [name, { data }] of Object.entries(outputs)) {
        const length = data.length / views.length;
        heads[name] = data.subarray(number * length, (number + 1) * length);
      }
      return heads;
    });
  }
}

/** What the network says of one picture; width: of its input. corners: left, top, right, bottom. */
function decode(heads, width, minScore, strides, { max_candidates, channels }) {
  const least = Math.log(minScore ** 2 / Math.max(1 - minScore ** 2, 1e-9)) - 1e-3; // as in Python: few cells are left
  const found = [];
  for (const stride of strides) {
    const maps = heads[`heads_${stride}`]; // planes: class, objectness, four of the box, ten of the landmarks
    const plane = maps.length / channels;
    const columns = Math.floor(width / stride);
    for (let cell = 0; cell < plane; cell++) {
      if (!(Math.min(maps[cell], maps[plane + cell]) >= least)) continue;
      const score = single(Math.sqrt(single(sigmoid(maps[cell]) * sigmoid(maps[plane + cell]))));
      if (!(score >= minScore)) continue;
      const at = (channel) => maps[channel * plane + cell];
      const place = [cell % columns, Math.floor(cell / columns)];
      const centre = place.map((n, k) => single(single(n + at(2 + k)) * stride));
      const half = [4, 5].map((k) => single((single(Math.exp(clamp(at(k), -10, 10))) * stride) / 2));
      const corners = [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]].map(single);
      const landmarks = [0, 1, 2, 3, 4].map((point) =>
        place.map((n, k) => single(single(at(6 + 2 * point + k) + n) * stride)),
      );
      found.push({ corners, score, landmarks });
    }
  }
  return found.sort((a, b) => b.score - a.score).slice(0, max_candidates);
}

function sigmoid(x) {
  return single(1 / single(1 + single(Math.exp(-x))));
}

/** A picture with its longer side brought to `side`: views.resized. */
function reducedTo(picture, side, filter, gap) {
  const { width, height } = picture;
  const scale = side / Math.max(width, height);
  const target = [width, height].map((n) => Math.max(1, roundHalfEven(n * scale)));
  if (target[0] === width && target[1] === height) return picture;
  const factor = Math.max(1, Math.trunc(1 / scale / gap)); // whole pixels first; the filter does the rest
  const exact = [0, 0, width / factor, height / factor];
  return resize(factor > 1 ? reduce(picture, factor) : picture, ...target, exact, scale < 1 ? filter : BILINEAR);
}
