/* Pictures in, faces with expressions out: mien/reading/reader.py, for one network. */

import { alignCrop, networkInput } from "./align.js";
import { area } from "./geometry.js";
import { headPose } from "./pose.js";
import { toProbabilities } from "./probabilities.js";

const MOST_AT_ONCE = 16; // crops of one run of the network

export class Reader {
  /** session: of the model in ONNX Runtime Web. model: its entry in settings.json. */
  constructor(session, Tensor, detector, model, settings) {
    this.session = session;
    this.Tensor = Tensor;
    this.detector = detector;
    this.model = model;
    this.settings = settings;
  }

  /** The faces of a picture, largest first. */
  async read(picture) {
    const faces = await this.readFaces(picture, await this.detector.detect(picture));
    return faces.sort((a, b) => area(b.box) - area(a.box));
  }

  /** Detections → faces in the same order; boxes end at the picture's border. */
  async readFaces(picture, found) {
    const { preprocess, calibration, labels } = this.model;
    const kept = found.map((one) => [one, inside(one.box, picture)]).filter(([, box]) => box);
    const rows = [];
    for (let start = 0; start < kept.length; start += MOST_AT_ONCE) {
      const crops = kept
        .slice(start, start + MOST_AT_ONCE)
        .map(([one]) => alignCrop(picture, one, preprocess.size, this.settings.geometry, this.settings.align));
      const { input, dims } = networkInput(crops, preprocess);
      const { logits } = await this.session.run({ crops: new this.Tensor("float32", input, dims) });
      if (!logits.data.every(Number.isFinite)) {
        throw Object.assign(new Error("expected finite numbers from the network, got others; reload the page"), { kind: "model" });
      }
      rows.push(...toProbabilities(logits.data, labels.length, calibration));
    }
    return kept.map(([one, box], i) => this.face(one, box, rows[i]));
  }

  face({ score, landmarks, turns }, box, row) {
    const pose = landmarks && headPose(landmarks, this.settings.pose);
    const best = row.indexOf(Math.max(...row));
    return {
      box,
      score: Math.min(Math.max(score, 0), 1),
      expression: this.model.labels[best],
      confidence: row[best],
      probabilities: row,
      track: null,
      landmarks,
      roll: pose ? pose.roll : null,
      yaw: pose ? pose.yaw : null,
      pitch: pose ? pose.pitch : null,
      raw: null,
      turns,
    };
  }
}

/** The part of a box that lies in the picture; null where less than a pixel is left. */
function inside({ x, y, w, h }, { width, height }) {
  const [left, top] = [Math.max(0, x), Math.max(0, y)];
  const [right, bottom] = [Math.min(width, x + w), Math.min(height, y + h)];
  return right - left >= 1 && bottom - top >= 1 ? { x: left, y: top, w: right - left, h: bottom - top } : null;
}
