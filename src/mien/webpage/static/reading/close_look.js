/* A second look at each found face, close up, for landmarks that follow its tilt: mien/faces/close_look.py. */

import { closeView, placed } from "./close_view.js";
import { clamp } from "./geometry.js";

/** The faces with the landmarks of the second look; those that it does not find keep theirs. */
export async function withLandmarks(picture, faces, settings, grey, look) {
  const { again, seen, max_tilt } = settings;
  const upright = await looked(picture, faces, faces.map(() => 0), settings, grey, look);
  const result = faces.map((face, i) => (upright[i] ? { ...face, landmarks: upright[i] } : face));
  const tilted = faces.map((_, i) => i).filter((i) => upright[i] && Math.abs(tilt(upright[i])) > again);
  const angles = tilted.map((i) => clamp(tilt(result[i].landmarks) / seen, -max_tilt, max_tilt));
  const second = await looked(picture, tilted.map((i) => faces[i]), angles, settings, grey, look);
  tilted.forEach((i, k) => {
    if (second[k]) result[i] = { ...result[i], landmarks: second[k] };
  });
  return result;
}

async function looked(picture, faces, angles, settings, grey, look) {
  const found = [];
  for (let start = 0; start < faces.length; start += settings.batch) {
    const part = faces.slice(start, start + settings.batch);
    found.push(...(await look(part.map((one, k) => closeView(picture, one.box, angles[start + k], settings, grey)))));
  }
  return found.map((seen, i) => seen && placed(seen.landmarks, faces[i].box, angles[i], settings));
}

/** Of the eyes' line; radians, clockwise on the screen. */
const tilt = ([a, b]) => Math.atan2(Math.fround(b[1] - a[1]), Math.fround(b[0] - a[0]));
