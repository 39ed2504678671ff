/* From a detected face to the square that a network sees: mien/faces/align.py and preprocess.py.

Numbers come from Python (settings.json); `geometry` is the detector's entry of geometry.json. */

import { clamp, turnedDetection } from "./geometry.js";
import { affine, crop, grey, newPicture, reduce, turn } from "./pillow.js";

/** One face as a square picture of `size` pixels: level eyes, antialiased, border pixels repeated. */
export function alignCrop(picture, found, size, geometry, settings) {
  if (found.turns) {
    const { turns } = found;
    found = turnedDetection(found, picture.width, picture.height, turns);
    picture = turn(picture, turns);
  }
  const { x, y, side, along, across } = placed(picture, found, geometry, settings);
  const factor = Math.max(1, Math.ceil(side / (settings.oversampling * size)));
  const reach = (side / 2) * (along + Math.abs(across)); // half of the turned square's extent
  const { patch, left, top } = patchOf(picture, [x - reach, y - reach, x + reach, y + reach], factor, settings.margin);
  const multiple = Math.max(1, Math.ceil(side / factor / size - 1e-6));
  const step = side / (size * multiple); // picture pixels a rendered pixel
  const [a, b] = [(step * along) / factor, (-step * across) / factor];
  const c = (x - left - (side / 2) * (along - across)) / factor;
  const f = (y - top - (side / 2) * (across + along)) / factor;
  const rendered = affine(patch, size * multiple, size * multiple, [a, b, c, -b, a, f], { cubic: side < size });
  return multiple > 1 ? reduce(rendered, multiple) : rendered;
}

/** Crops (pictures of one size) as a network's input, float32 N×C×S×S: preprocess.Preprocess. */
export function networkInput(crops, { size, color, mean, std, window }) {
  const side = window ?? size;
  const offset = Math.floor((size - side) / 2);
  const channels = mean.length;
  const input = new Float32Array(crops.length * channels * side * side);
  let to = 0;
  for (const picture of crops) {
    const pixels = color === "grey" ? grey(picture) : picture.data;
    for (let channel = 0; channel < channels; channel++) {
      for (let y = offset; y < offset + side; y++) {
        for (let x = offset; x < offset + side; x++) {
          input[to++] = (pixels[(y * size + x) * channels + channel] / 255 - mean[channel]) / std[channel];
        }
      }
    }
  }
  return { input, dims: [crops.length, channels, side, side] };
}

/** The angle of the eyes' line in radians, clockwise on the screen; 0 where it is not known. */
export function roll({ box, landmarks }, { max_roll, min_eye_distance }) {
  if (!landmarks) return 0;
  const [dx, dy] = [landmarks[1][0] - landmarks[0][0], landmarks[1][1] - landmarks[0][1]];
  if (Math.hypot(dx, dy) < min_eye_distance * box.w) return 0;
  return clamp(Math.atan2(dy, dx), -max_roll, max_roll);
}

/** Where the crop lies: its centre, its side, cosine and sine of its turn. */
function placed({ width, height }, found, geometry, settings) {
  const { box } = found;
  const { tight, loose } = geometry;
  const tightness = tight === null ? 0 : clamp((loose - height / box.h) / (loose - tight), 0, 1);
  let angle = roll(found, settings);
  angle -= tightness * clamp(angle, -settings.small_tilt, settings.small_tilt);
  const [along, across] = [Math.cos(angle), Math.sin(angle)];
  const [right, down] = [geometry.right * box.h, geometry.down * box.h];
  let x = box.x + box.w / 2 + right * along - down * across;
  let y = box.y + box.h / 2 + right * across + down * along;
  let side = geometry.side * box.h;
  if (tight !== null) {
    side = Math.min((geometry.side + (tight - geometry.side) * tightness) * box.h, Math.max(width, height));
  }
  x += tightness * (within(x, side, width) - x);
  y += tightness * (within(y, side, height) - y);
  return { x, y, side, along, across };
}

/** The centre nearest to that one from which `side` lies in 0…length; the middle where it is longer. */
function within(centre, side, length) {
  return side <= length ? Math.min(Math.max(centre, side / 2), length - side / 2) : length / 2;
}

/** A rectangle of the picture, averaged in blocks, its border pixels repeated where it sticks out. */
function patchOf(picture, [left, top, right, bottom], factor, margin) {
  const columns = blocks(left, right, picture.width, factor, margin);
  const rows = blocks(top, bottom, picture.height, factor, margin);
  const inside = crop(picture, columns.low * factor, rows.low * factor,
    Math.min((columns.high + 1) * factor, picture.width), Math.min((rows.high + 1) * factor, picture.height));
  const source = factor > 1 ? reduce(inside, factor) : inside;
  const patch = newPicture(columns.taken.length, rows.taken.length);
  let to = 0;
  for (const row of rows.taken) {
    for (const column of columns.taken) {
      const from = ((row - rows.low) * source.width + column - columns.low) * 3;
      patch.data[to++] = source.data[from];
      patch.data[to++] = source.data[from + 1];
      patch.data[to++] = source.data[from + 2];
    }
  }
  return { patch, left: columns.first * factor, top: rows.first * factor };
}

/** The first block that covers low…high with a margin; for each block on, the one inside the picture to take. */
function blocks(low, high, length, factor, margin) {
  const first = Math.floor(low / factor) - margin;
  const end = Math.ceil(high / factor) + margin;
  const last = Math.ceil(length / factor) - 1;
  const taken = Array.from({ length: end - first }, (_, i) => clamp(first + i, 0, last));
  return { first, taken, low: taken[0], high: taken[taken.length - 1] };
}
