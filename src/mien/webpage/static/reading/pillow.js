/* Pillow's resampling, to the bit: what the networks see must not depend on where a picture is read.

A picture is {width, height, data}: RGB of eight bits, rows from the top. The arithmetic is that of Pillow's Resample.c,
Reduce.c, Geometry.c and Convert.c: fixed point with 22 bits, two passes with a rounding between them. */

const BITS = 22;

export function newPicture(width, height, fill = null) {
  const data = new Uint8Array(width * height * 3);
  if (fill !== null) data.fill(fill);
  return { width, height, data };
}

/** The pixels of a canvas (RGBA, opaque) as a picture. Hot loops here take nothing apart: that makes garbage. */
export function fromRgba(rgba, width, height) {
  const picture = newPicture(width, height);
  const out = picture.data;
  for (let from = 0, to = 0; to < out.length; from += 4, to += 3) {
    out[to] = rgba[from];
    out[to + 1] = rgba[from + 1];
    out[to + 2] = rgba[from + 2];
  }
  return picture;
}

/** Python's round(): halves go to the even number. */
export function roundHalfEven(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

/** Pillow's filters: how far they reach, and the weight of what lies at `x`. */
export const BILINEAR = { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) };
export const BOX = { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };

/** Image.resize(…, filter, box): antialiased. box: left, top, right, bottom in pixels, fractions too. */
export function resize(picture, width, height, box = [0, 0, picture.width, picture.height], filter = BILINEAR) {
  box = box.map(Math.fround); // Pillow takes them as single precision
  const across = width !== picture.width || box[0] !== 0 || box[2] !== picture.width;
  const down = height !== picture.height || box[1] !== 0 || box[3] !== picture.height;
  const columns = coefficients(picture.width, box[0], box[2], width, filter);
  const rows = coefficients(picture.height, box[1], box[3], height, filter);
  let first = 0;
  if (across) {
    first = rows.starts[0];
    const last = rows.starts[height - 1] + rows.counts[height - 1];
    picture = resizeRows(picture, width, columns, first, last);
  }
  return down || across ? resizeColumns(picture, height, rows, first) : picture;
}

/** For each target pixel: the first source pixel, how many, and their weights in fixed point. */
function coefficients(length, low, high, target, filter) {
  const scale = Math.fround(high - low) / target;
  const filterScale = Math.max(scale, 1);
  const support = filter.support * filterScale;
  const size = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(target);
  const counts = new Int32Array(target);
  const weights = new Int32Array(target * size);
  const exact = new Float64Array(size);
  for (let i = 0; i < target; i++) {
    const centre = low + (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const count = Math.min(length, Math.trunc(centre + support + 0.5)) - start;
    let total = 0;
    for (let k = 0; k < count; k++) {
      exact[k] = filter.weight((k + start - centre + 0.5) * (1 / filterScale));
      total += exact[k];
    }
    for (let k = 0; k < count; k++) {
      weights[i * size + k] = Math.trunc(0.5 + (total === 0 ? exact[k] : exact[k] / total) * (1 << BITS));
    }
    starts[i] = start;
    counts[i] = count;
  }
  return { size, starts, counts, weights };
}

function resizeRows(picture, width, { size, starts, counts, weights }, first, last) {
  const result = newPicture(width, last - first);
  const [source, out] = [picture.data, result.data];
  let to = 0;
  for (let y = first; y < last; y++) {
    const row = y * picture.width * 3;
    for (let x = 0; x < width; x++) {
      let r = 1 << (BITS - 1);
      let g = r;
      let b = r;
      let from = row + starts[x] * 3;
      const end = x * size + counts[x];
      for (let k = x * size; k < end; k++, from += 3) {
        const weight = weights[k];
        r += source[from] * weight;
        g += source[from + 1] * weight;
        b += source[from + 2] * weight;
      }
      out[to++] = Math.min(r >> BITS, 255);
      out[to++] = Math.min(g >> BITS, 255);
      out[to++] = Math.min(b >> BITS, 255);
    }
  }
  return result;
}

function resizeColumns(picture, height, { size, starts, counts, weights }, first) {
  const result = newPicture(picture.width, height);
  const stride = picture.width * 3;
  const sums = new Int32Array(stride);
  for (let y = 0; y < height; y++) {
    sums.fill(1 << (BITS - 1));
    for (let k = 0; k < counts[y]; k++) {
      const weight = weights[y * size + k];
      const from = (starts[y] + k - first) * stride;
      for (let x = 0; x < stride; x++) sums[x] += picture.data[from + x] * weight;
    }
    for (let x = 0, to = y * stride; x < stride; x++, to++) result.data[to] = Math.min(sums[x] >> BITS, 255);
  }
  return result;
}

/** Image.reduce: means of blocks; those at the right and bottom edge may be smaller. box: whole pixels. */
export function reduce(picture, across, down = across, box = [0, 0, picture.width, picture.height]) {
  const [left, top, right, bottom] = box;
  const result = newPicture(Math.ceil((right - left) / across), Math.ceil((bottom - top) / down));
  const data = picture.data;
  const width = picture.width;
  let to = 0;
  for (let y = top; y < bottom; y += down) {
    const yEnd = Math.min(y + down, bottom);
    for (let x = left; x < right; x += across) {
      const xEnd = Math.min(x + across, right);
      const count = (yEnd - y) * (xEnd - x);
      let r = count >> 1;
      let g = r;
      let b = r;
      for (let v = y; v < yEnd; v++) {
        let from = (v * width + x) * 3;
        for (let u = x; u < xEnd; u++, from += 3) {
          r += data[from];
          g += data[from + 1];
          b += data[from + 2];
        }
      }
      const factor = Math.floor(16777216 / count); // the sums' products are below 2³²: exact
      out3(result.data, to, (r * factor) / 16777216, (g * factor) / 16777216, (b * factor) / 16777216);
      to += 3;
    }
  }
  return result;
}

function out3(data, at, r, g, b) {
  data[at] = r;
  data[at + 1] = g;
  data[at + 2] = b;
}

/** Image.transform(AFFINE): target pixel (u, v) shows the source at (a u + b v + c, d u + e v + f), pixel centres at ½.

fill: of what lies outside; null is black. cubic: BICUBIC instead of BILINEAR. */
export function affine(picture, width, height, [a, b, c, d, e, f], { cubic = false, fill = null } = {}) {
  const result = newPicture(width, height, fill);
  const sample = cubic ? cubicAt : linearAt;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const u = a * (x + 0.5) + b * (y + 0.5) + c;
      const v = d * (x + 0.5) + e * (y + 0.5) + f;
      if (u < 0 || u >= picture.width || v < 0 || v >= picture.height) continue;
      sample(picture, u - 0.5, v - 0.5, result.data, (y * width + x) * 3);
    }
  }
  return result;
}

const clip = (value, length) => (value < 0 ? 0 : value < length ? value : length - 1);

function linearAt({ width, height, data }, u, v, out, to) {
  const x = Math.floor(u);
  const y = Math.floor(v);
  const dx = u - x;
  const dy = v - y;
  const left = clip(x, width) * 3;
  const right = clip(x + 1, width) * 3;
  const top = clip(y, height) * width * 3;
  const bottom = y + 1 >= 0 && y + 1 < height ? (y + 1) * width * 3 : top;
  for (let channel = 0; channel < 3; channel++) {
    const p = data[top + left + channel];
    const q = data[bottom + left + channel];
    const upper = p + (data[top + right + channel] - p) * dx;
    const lower = q + (data[bottom + right + channel] - q) * dx;
    out[to + channel] = upper + (lower - upper) * dy;
  }
}

function cubicAt({ width, height, data }, u, v, out, to) {
  const x = Math.floor(u);
  const y = Math.floor(v);
  const [dx, dy] = [u - x, v - y];
  const columns = [-1, 0, 1, 2].map((k) => clip(x + k, width) * 3);
  for (let channel = 0; channel < 3; channel++) {
    const values = [];
    for (let k = -1; k <= 2; k++) {
      const row = y + k;
      if (k > -1 && (row < 0 || row >= height)) {
        values.push(values[values.length - 1]); // as Pillow: the row before is repeated
        continue;
      }
      const at = clip(row, height) * width * 3 + channel;
      values.push(cubic(...columns.map((column) => data[at + column]), dx));
    }
    const value = cubic(...values, dy);
    out[to + channel] = value <= 0 ? 0 : value >= 255 ? 255 : value;
  }
}

function cubic(v1, v2, v3, v4, d) {
  const p2 = -v1 + v3;
  const p3 = 2 * (v1 - v2) + v3 - v4;
  const p4 = -v1 + v2 - v3 + v4;
  return v2 + d * (p2 + d * (p3 + d * p4));
}

/** Image.rotate(angle, BILINEAR, fillcolor), degrees counter-clockwise, around the centre, of the same size. */
export function rotate(picture, angle, fill) {
  const { width, height } = picture;
  const turn = -(((((angle % 360) + 360) % 360) * Math.PI) / 180);
  const [along, across] = [Number(Math.cos(turn).toFixed(15)), Number(Math.sin(turn).toFixed(15))];
  const [x, y] = [-width / 2, -height / 2];
  const matrix = [along, across, along * x + across * y - x, -across, along, -across * x + along * y - y];
  return affine(picture, width, height, matrix, { fill });
}

/** A rectangle of a picture, in whole pixels within it. */
export function crop(picture, left, top, right, bottom) {
  const result = newPicture(right - left, bottom - top);
  for (let y = top; y < bottom; y++) {
    const from = (y * picture.width + left) * 3;
    result.data.set(picture.data.subarray(from, from + result.width * 3), (y - top) * result.width * 3);
  }
  return result;
}

/** picture is laid on ground at that place; what reaches beyond is cut off. */
export function paste(ground, picture, left, top) {
  const width = Math.min(picture.width, ground.width - left);
  for (let y = 0; y < Math.min(picture.height, ground.height - top); y++) {
    const from = y * picture.width * 3;
    ground.data.set(picture.data.subarray(from, from + width * 3), ((top + y) * ground.width + left) * 3);
  }
}

/** numpy.rot90(picture, turns): counter-clockwise by 90° each. */
export function turn(picture, turns) {
  turns &= 3;
  if (turns === 0) return picture;
  const { width, height, data } = picture;
  const result = turns === 2 ? newPicture(width, height) : newPicture(height, width);
  let to = 0;
  for (let y = 0; y < result.height; y++) {
    for (let x = 0; x < result.width; x++, to += 3) {
      const u = turns === 1 ? width - 1 - y : turns === 2 ? width - 1 - x : y;
      const v = turns === 1 ? x : turns === 2 ? height - 1 - y : height - 1 - x;
      const from = (v * width + u) * 3;
      out3(result.data, to, data[from], data[from + 1], data[from + 2]);
    }
  }
  return result;
}

/** Image.convert("L"): ITU-R 601 luma, one byte a pixel. */
export function grey({ data }) {
  const result = new Uint8Array(data.length / 3);
  for (let i = 0, from = 0; i < result.length; i++, from += 3) {
    result[i] = (data[from] * 19595 + data[from + 1] * 38470 + data[from + 2] * 7471 + 0x8000) >> 16;
  }
  return result;
}
