/* Boxes, detections and pictures turned by quarters, as mien/faces/base.py and heads.py have them.

A box is {x, y, w, h}: left, top, width, height in pixels. A detection is {box, score, landmarks, turns}: landmarks are
five [x, y] or null; the face is upright in the picture turned by `turns` quarters counter-clockwise. */

export const area = (box) => box.w * box.h;

/** Intersection over union, 0-1. */
export function overlap(a, b) {
  const wide = Math.min(a.x + a.w, b.x + b.w) - Math.max(a.x, b.x);
  const high = Math.min(a.y + a.h, b.y + b.h) - Math.max(a.y, b.y);
  const shared = Math.max(0, wide) * Math.max(0, high);
  return shared / (area(a) + area(b) - shared);
}

/** The square around a box's centre, as wide as its longer side. */
export function squareBox({ x, y, w, h }) {
  const side = Math.max(w, h);
  return { x: x + (w - side) / 2, y: y + (h - side) / 2, w: side, h: side };
}

/** A point of a picture width × height pixels, in the picture turned by `turns` quarters. */
export function turnedPoint([x, y], width, height, turns) {
  return [[x, y], [y, width - x], [width - x, height - y], [height - y, x]][turns];
}

/** The same face in the picture turned by `turns` quarters; width, height: of the picture before. */
export function turnedDetection(found, width, height, turns) {
  const by = ((turns % 4) + 4) % 4;
  const { x, y, w, h } = found.box;
  const [a, b] = [[x, y], [x + w, y + h]].map((point) => turnedPoint(point, width, height, by));
  const [left, top] = [Math.min(a[0], b[0]), Math.min(a[1], b[1])];
  return {
    ...found,
    box: { x: left, y: top, w: Math.abs(a[0] - b[0]), h: Math.abs(a[1] - b[1]) },
    landmarks: found.landmarks && found.landmarks.map((point) => turnedPoint(point, width, height, by)),
    turns: (((found.turns - turns) % 4) + 4) % 4,
  };
}

/** Largest box first; sorting is stable, as Python's. */
export const largestFirst = (found) => found.sort((a, b) => area(b.box) - area(a.box));

/** Greedy non-maximum suppression of detections, best first: heads.suppress_overlaps. */
export function suppressOverlaps(found, maxOverlap, maxInside) {
  const kept = [];
  let rest = found;
  while (rest.length) {
    const first = rest[0];
    kept.push(first);
    rest = rest.slice(1).filter(({ box }) => {
      const wide = Math.min(first.box.x + first.box.w, box.x + box.w) - Math.max(first.box.x, box.x);
      const high = Math.min(first.box.y + first.box.h, box.y + box.h) - Math.max(first.box.y, box.y);
      const shared = Math.max(0, wide) * Math.max(0, high);
      const apart = shared <= maxOverlap * (area(first.box) + area(box) - shared);
      return apart && shared <= maxInside * area(box);
    });
  }
  return kept;
}

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
