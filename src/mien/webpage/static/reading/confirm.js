/* Whether doubtful finds are faces: each is shown to the network once more, close up: mien/faces/confirm.py. */

import { closeView, placed } from "./close_view.js";
import { overlap } from "./geometry.js";

/** The faces among the finds, best score first; those below `minScore` with score, box and landmarks of the look. */
export async function confirmed(picture, found, settings, minScore, grey, look) {
  const { sure, needed, doubted, doubted_above, surrounded, max_weak, least_overlap, batch } = settings;
  const best = [...found].sort((a, b) => b.score - a.score);
  const above = best.filter((one) => one.score >= minScore).length;
  const small = surrounded * Math.max(picture.width, picture.height);
  const least = Math.min(doubted, minScore + doubted_above);
  const doubtful = [];
  const faces = [];
  for (const one of best.slice(0, above + max_weak)) {
    (one.score < (one.box.h < small ? sure : minScore) ? doubtful : faces).push(one);
  }
  for (let start = 0; start < doubtful.length; start += batch) {
    const part = doubtful.slice(start, start + batch);
    const looks = await look(part.map((one) => closeView(picture, one.box, 0, settings, grey)));
    part.forEach((one, k) => {
      const again = looks[k] && seenAgain(looks[k], one, settings);
      const score = again && overlap(again.box, one.box) >= least_overlap ? again.score : 0;
      if (one.score >= minScore) {
        if (score >= least) faces.push(one);
      } else if (again && score >= Math.max(needed, minScore)) faces.push(again);
    });
  }
  return faces.sort((a, b) => b.score - a.score);
}

/** In pixels of the picture. */
function seenAgain({ corners, score, landmarks }, { box }, settings) {
  const ends = [corners.slice(0, 2), corners.slice(2)];
  const [[left, top], [right, bottom]] = placed(ends, box, 0, settings);
  return {
    box: { x: left, y: top, w: right - left, h: bottom - top },
    score,
    landmarks: placed(landmarks, box, 0, settings),
    turns: 0,
  };
}
