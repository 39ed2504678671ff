/* Which face of a frame is which person of the frames before: mien/video/tracking.py, with its costs and numbers. */

import { area, overlap } from "./geometry.js";

const NEVER = 1e6;
const centre = ({ x, y, w, h }) => [x + w / 2, y + h / 2];
const sizeOf = (box) => Math.sqrt(area(box));

class Track {
  constructor(number, box, timeS, settings) {
    Object.assign(this, { number, box, lastS: timeS, size: sizeOf(box), vx: 0, vy: 0, sights: 1, settings });
  }

  expected(timeS) {
    const { drift_s } = this.settings;
    const ahead = drift_s * (1 - Math.exp(-Math.max(0, timeS - this.lastS) / drift_s));
    return { ...this.box, x: this.box.x + this.vx * ahead, y: this.box.y + this.vy * ahead };
  }

  see(box, timeS) {
    const dt = timeS - this.lastS;
    if (dt > 0) {
      const [[x0, y0], [x1, y1]] = [centre(this.box), centre(box)];
      let keep = this.sights > 1 ? Math.exp(-dt / this.settings.settle_s) : 0;
      this.vx = keep * this.vx + ((1 - keep) * (x1 - x0)) / dt;
      this.vy = keep * this.vy + ((1 - keep) * (y1 - y0)) / dt;
      keep = Math.exp(-dt / this.settings.size_s);
      this.size = keep * this.size + (1 - keep) * sizeOf(box);
    }
    Object.assign(this, { box, lastS: timeS, sights: this.sights + 1 });
  }
}

export class Tracker {
  /** settings: the constants of mien/video/tracking.py. */
  constructor(settings) {
    this.settings = settings;
    this.tracks = [];
    this.count = 0;
    this.lastS = null;
  }

  /** The numbers of the faces of the next frame, which is width × height pixels. */
  update(timeS, boxes, width, height) {
    const { memory_s } = this.settings;
    const oldest = this.lastS === null ? timeS - memory_s : Math.min(timeS - memory_s, this.lastS);
    this.tracks = this.tracks.filter((track) => track.lastS >= oldest);
    const present = this.tracks.filter((track) => track.lastS === this.lastS);
    const hidden = this.tracks.filter((track) => track.lastS !== this.lastS);
    const numbers = boxes.map(() => null);
    for (const group of [present, hidden]) {
      const left = boxes.map((_, i) => i).filter((i) => numbers[i] === null);
      for (const [track, k] of this.pairs(group, left.map((i) => boxes[i]), timeS)) {
        numbers[left[k]] = track.number;
        track.see(boxes[left[k]], timeS);
      }
    }
    this.jumps(present, boxes, numbers, timeS);
    boxes.forEach((box, i) => {
      if (numbers[i] !== null) return;
      numbers[i] = ++this.count;
      this.tracks.push(new Track(numbers[i], box, timeS, this.settings));
    });
    this.tracks = this.tracks.filter((track) => {
      const [x, y] = centre(track.expected(timeS));
      return x >= 0 && x <= width && y >= 0 && y <= height;
    });
    this.lastS = timeS;
    return numbers;
  }

  /** A face that is suddenly elsewhere keeps its number where nobody else can be meant. */
  jumps(present, boxes, numbers, timeS) {
    const { alone, jump, max_scale } = this.settings;
    boxes.forEach((box, i) => {
      if (numbers[i] !== null) return;
      const near = this.tracks.filter((track) => !numbers.includes(track.number) && apart(track, box, timeS)[0] < alone);
      if (near.length !== 1 || !present.includes(near[0])) return;
      const [distance, scale] = apart(near[0], box, timeS);
      if (distance < jump && scale < Math.log(max_scale)) {
        numbers[i] = near[0].number;
        near[0].see(box, timeS);
      }
    });
  }

  pairs(tracks, boxes, timeS) {
    if (!tracks.length || !boxes.length) return [];
    const costs = tracks.map((track) => boxes.map((box) => this.cost(track, box, timeS)));
    return assignment(costs)
      .filter(([i, j]) => costs[i][j] < NEVER)
      .map(([i, j]) => [tracks[i], j]);
  }

  /** 0 for a face exactly where and as large as it is expected; NEVER for what cannot be the same. */
  cost(track, box, timeS) {
    const { max_scale, reach, reach_growth } = this.settings;
    const [distance, scale] = apart(track, box, timeS);
    const within = reach + reach_growth * Math.min(timeS - track.lastS, 1);
    if (scale > Math.log(max_scale) || distance > within) return NEVER;
    return 1 - overlap(track.expected(timeS), box) + distance + scale;
  }
}

/** How far a face is from the expected place, in face sizes; and the logarithm of how much larger or smaller. */
function apart(track, box, timeS) {
  const [[x0, y0], [x1, y1]] = [centre(track.expected(timeS)), centre(box)];
  const other = sizeOf(box);
  return [Math.hypot(x1 - x0, y1 - y0) / Math.max(track.size, other), Math.abs(Math.log(other / track.size))];
}

/** Pairs [row, column] of least total cost, as many as the shorter side has: the Hungarian method with potentials
(Kuhn 1955, Munkres 1957), row by row along shortest augmenting paths. */
export function assignment(costs) {
  if (costs.length > costs[0].length) {
    return assignment(costs[0].map((_, j) => costs.map((row) => row[j])))
      .map(([j, i]) => [i, j])
      .sort((a, b) => a[0] - b[0]);
  }
  const [rows, columns] = [costs.length, costs[0].length];
  const u = new Float64Array(rows + 1);
  const v = new Float64Array(columns + 1);
  const rowOf = new Int32Array(columns + 1); // 1-based; 0 is none
  const way = new Int32Array(columns + 1);
  for (let i = 1; i <= rows; i++) {
    rowOf[0] = i;
    let j0 = 0;
    const least = new Float64Array(columns + 1).fill(Infinity);
    const used = new Uint8Array(columns + 1);
    do {
      used[j0] = 1;
      const i0 = rowOf[j0];
      let [delta, j1] = [Infinity, 0];
      for (let j = 1; j <= columns; j++) {
        if (used[j]) continue;
        const reduced = costs[i0 - 1][j - 1] - u[i0] - v[j];
        if (reduced < least[j]) [least[j], way[j]] = [reduced, j0];
        if (least[j] < delta) [delta, j1] = [least[j], j];
      }
      for (let j = 0; j <= columns; j++) {
        if (used[j]) {
          u[rowOf[j]] += delta;
          v[j] -= delta;
        } else least[j] -= delta;
      }
      j0 = j1;
    } while (rowOf[j0] !== 0);
    do {
      rowOf[j0] = rowOf[way[j0]];
      j0 = way[j0];
    } while (j0);
  }
  const pairs = [];
  for (let j = 1; j <= columns; j++) if (rowOf[j]) pairs.push([rowOf[j] - 1, j - 1]);
  return pairs.sort((a, b) => a[0] - b[0]);
}
