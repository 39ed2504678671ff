/* Head pose from five landmarks, in degrees: mien/faces/pose.py, which says how well. */

import { clamp } from "./geometry.js";

const radians = (degrees) => (degrees * Math.PI) / 180;
const coarse = new Map(); // settings → the first grid with what is computed of it

/** {roll, yaw, pitch}, or null where the landmarks show no face. */
export function headPose(landmarks, settings) {
  const numbers = landmarks.flat();
  if (landmarks.length !== 5 || !numbers.every(Number.isFinite)) return null;
  const [dx, dy] = [landmarks[1][0] - landmarks[0][0], landmarks[1][1] - landmarks[0][1]];
  const mean = [0, 1].map((k) => landmarks.reduce((sum, point) => sum + point[k] / 5, 0));
  const spread = Math.max(...landmarks.map(([x, y]) => Math.max(Math.abs(x - mean[0]), Math.abs(y - mean[1]))));
  if (Math.hypot(dx, dy) <= 1e-6 * Math.max(spread, 1e-9)) return null;
  const { weights, steps, wide, max_yaw, max_pitch } = settings;
  const centre = [0, 1].map((k) => landmarks.reduce((sum, point, i) => sum + weights[i] * point[k], 0));
  const flat = landmarks.map(([x, y]) => [x - centre[0], y - centre[1]]);
  if (!coarse.has(settings)) coarse.set(settings, grid(range(-max_yaw, max_yaw, steps[0]), range(-max_pitch, max_pitch, steps[0]), settings));
  let best = nearest(flat, coarse.get(settings));
  for (const step of steps.slice(1)) {
    const around = Array.from({ length: 2 * wide + 1 }, (_, i) => step * (i - wide));
    const yaws = around.map((by) => clamp(best.yaw + by, -max_yaw, max_yaw));
    const pitches = around.map((by) => clamp(best.pitch + by, -max_pitch, max_pitch));
    best = nearest(flat, grid(yaws, pitches, settings));
  }
  return { roll: (Math.atan2(dy, dx) * 180) / Math.PI, yaw: best.yaw, pitch: best.pitch };
}

function range(low, high, step) {
  return Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) => low + i * step);
}

/** For each turn the weighted conjugate of the model's points in the plane, of unit length. */
function grid(yaws, pitches, { model, weights }) {
  const centre = [0, 1, 2].map((k) => model.reduce((sum, point, i) => sum + weights[i] * point[k], 0));
  const points = model.map((point) => point.map((value, k) => value - centre[k]));
  return yaws.flatMap((yaw) =>
    pitches.map((pitch) => {
      const [cy, sy, cp, sp] = [Math.cos(radians(yaw)), Math.sin(radians(yaw)), Math.cos(radians(pitch)), Math.sin(radians(pitch))];
      const flat = points.map(([x, y, z]) => [cy * x - sy * (cp * z - sp * y), cp * y + sp * z]);
      const length = Math.sqrt(flat.reduce((sum, [u, v], i) => sum + weights[i] * (u * u + v * v), 0));
      return { yaw, pitch, row: flat.map(([u, v], i) => [(u * weights[i]) / length, (-v * weights[i]) / length]) };
    }),
  );
}

/** The turn whose points, scaled and turned in the plane in the best way, lie nearest to those of the picture. */
function nearest(flat, turns) {
  let [best, most] = [turns[0], -1];
  for (const turn of turns) {
    let [re, im] = [0, 0];
    for (let i = 0; i < flat.length; i++) {
      const [[u, v], [x, y]] = [turn.row[i], flat[i]];
      re += u * x - v * y;
      im += u * y + v * x;
    }
    const fit = re * re + im * im;
    if (fit > most) [best, most] = [turn, fit];
  }
  return best;
}
