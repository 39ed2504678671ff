/* Which way up a face is, and faces of pictures that lie on their side: mien/faces/orientation.py and upright.py. */

import { alignCrop, networkInput } from "./align.js";
import { largestFirst, overlap, squareBox, turnedDetection } from "./geometry.js";
import { toProbabilities } from "./probabilities.js";
import { turn } from "./pillow.js";

export class UprightDetector {
  /** inner: a detector; session: the orientation network. */
  constructor(inner, session, Tensor, settings) {
    this.inner = inner;
    this.session = session;
    this.Tensor = Tensor;
    this.settings = settings.orientation;
    this.align = settings.align;
    this.geometry = settings.geometry;
    this.upright = settings.orientation.labels.indexOf("upright");
    this.noFace = settings.orientation.labels.indexOf("no_face");
  }

  /** The faces of a picture turned in any way, largest first; what is probably no face is left out. */
  async detect(picture) {
    const { sure_score, sure, least_score } = this.settings;
    const found = await this.inner.detect(picture);
    const rows = await this.probabilities(picture, found);
    let kept = []; // [detection, probability to be upright]
    const turned = []; // [detection, turns that make it upright, probability]
    found.forEach((face, i) => {
      const kind = this.kind(face, rows[i]);
      if (kind === this.upright) kept.push([face, rows[i][kind]]);
      else if (kind !== this.noFace) turned.push([face, (4 - kind) % 4, rows[i][kind]]);
    });
    if (turned.length) {
      // one that the second search does not confirm stays as it is, unless the network is certain
      for (const [face, turns, p] of turned) kept.push(p >= sure ? [turnedBy(face, turns), p / 10] : [face, 0]);
      for (const turns of [...new Set(turned.map((one) => one[1]))].sort()) {
        kept.push(...(await this.search(picture, turns)));
      }
    } else if (kept.some(([face, p]) => face.score >= sure_score || p >= sure)) {
      return kept.map(([face]) => face);
    } else {
      for (const turns of [1, 2, 3]) {
        const there = await this.search(picture, turns);
        if (there.some(([face, p]) => face.score >= least_score && p >= sure)) kept.push(...there);
      }
    }
    return largestFirst(this.oneWayUp(this.distinct(kept)));
  }

  /** The faces that are upright in the picture turned by `turns`: a single search, for a video. */
  async detectTurned(picture, turns) {
    return largestFirst(this.distinct(await this.search(picture, turns)).map(([face]) => face));
  }

  async search(picture, turns) {
    const frame = turn(picture, turns);
    const found = await this.inner.detect(frame);
    const rows = await this.probabilities(frame, found);
    const kept = [];
    found.forEach((face, i) => {
      const kind = this.kind(face, rows[i]);
      if (kind === this.upright || (kind !== this.noFace && rows[i][kind] < this.settings.sure)) {
        const p = kind === this.upright ? rows[i][this.upright] : 0;
        kept.push([turnedDetection(face, frame.width, frame.height, -turns), p]);
      }
    });
    return kept;
  }

  /** For each face the probability of each orientation. The square is around the box and is never turned. */
  async probabilities(picture, found) {
    if (!found.length) return [];
    const { preprocess, calibration, labels } = this.settings;
    const crops = found.map(({ box }) => {
      const square = { box: squareBox(box), score: 1, landmarks: null, turns: 0 };
      return alignCrop(picture, square, preprocess.size, this.geometry, this.align);
    });
    const { input, dims } = networkInput(crops, preprocess);
    const { logits } = await this.session.run({ crops: new this.Tensor("float32", input, dims) });
    return toProbabilities(logits.data, labels.length, calibration);
  }

  /** Index of an orientation; turned only where that is likelier than all else that a face can be. */
  kind(face, row) {
    if (row[this.noFace] > face.score) return this.noFace;
    const rest = row.slice(0, this.noFace);
    const best = rest.indexOf(Math.max(...rest));
    return rest[best] > rest.reduce((sum, p) => sum + p, 0) / 2 ? best : this.upright;
  }

  /** One detection a face: of those that overlap, the one that is most probably upright, or the first. */
  distinct(found) {
    const kept = [];
    for (const [face, p] of [...found].sort((a, b) => b[1] - a[1])) {
      if (kept.every(([other]) => overlap(face.box, other.box) <= this.settings.max_overlap)) kept.push([face, p]);
    }
    return kept;
  }

  /** Without uncertain detections that have another way up than most of the picture. */
  oneWayUp(found) {
    const { sure_score, sure } = this.settings;
    const weight = [0, 0, 0, 0];
    for (const [face, p] of found) weight[face.turns] += face.score * p;
    const main = weight.indexOf(Math.max(...weight));
    return found
      .filter(([face, p]) => face.turns === main || (face.score >= sure_score && p >= sure))
      .map(([face]) => face);
  }
}

/** A detection of unknown extent: a square, since its box is that of a face on its side. */
const turnedBy = (face, turns) => ({ box: squareBox(face.box), score: face.score, landmarks: null, turns });
