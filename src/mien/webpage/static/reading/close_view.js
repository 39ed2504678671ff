/* A square view of one found face, enlarged or reduced to a given height, and the way back: mien/faces/close_view.py. */

import { clamp } from "./geometry.js";
import { crop, newPicture, paste, reduce, resize, rotate, roundHalfEven } from "./pillow.js";

const single = Math.fround;

/** The face close up, upright if it is tilted by `angle` (radians, clockwise on the screen). side: of the view. face: the
 * height of the box in it. */
export function closeView(picture, box, angle, { side, face }, grey) {
  const [x, y] = [box.x + box.w / 2, box.y + box.h / 2];
  const wide = angle === 0 ? side : Math.ceil(side * 1.42); // what a turned square covers
  const half = ((wide / 2) * box.h) / face;
  const factor = Math.max(1, Math.floor((2 * half) / wide)); // whole pixels are averaged first
  const [left, top, right, bottom] = [x - half, y - half, x + half, y + half].map((v) => Math.floor(v / factor));
  const patch = newPicture(right - left + 1, bottom - top + 1, grey);
  const [across, down] = [picture.width, picture.height].map((n) => Math.ceil(n / factor));
  const blocks = [clamp(left, 0, across), clamp(top, 0, down), clamp(right + 1, 0, across), clamp(bottom + 1, 0, down)];
  if (blocks[0] < blocks[2] && blocks[1] < blocks[3]) {
    const sides = [picture.width, picture.height];
    const inside = blocks.map((at, k) => Math.min(at * factor, sides[k % 2]));
    const part = factor === 1 ? crop(picture, ...inside) : reduce(picture, factor, factor, inside);
    paste(patch, part, blocks[0] - left, blocks[1] - top);
  }
  const exact = [x - half, y - half, x + half, y + half].map((v, k) => v / factor - (k % 2 ? top : left));
  const view = resize(patch, wide, wide, exact);
  if (!angle) return view;
  const edge = roundHalfEven((wide - side) / 2);
  return crop(rotate(view, (angle * 180) / Math.PI, grey), edge, edge, edge + side, edge + side);
}

/** Points from pixels of the view to pixels of the picture, in single precision as in NumPy. */
export function placed(points, box, angle, { side, face }) {
  const [along, across, unit] = [Math.cos(angle), Math.sin(angle), box.h / face].map(single);
  const [x, y] = [box.x + box.w / 2, box.y + box.h / 2].map(single);
  return points.map((point) => {
    const [u, v] = point.map((value) => single(single(value - side / 2) * unit));
    return [
      single(single(x + single(u * along)) - single(v * across)),
      single(single(y + single(u * across)) + single(v * along)),
    ];
  });
}
