/* Probabilities smoothed over time, looking back only: video/smoothing.py, class Causal. */

export class Causal {
  /** seconds: twice the time constant. floor: of a probability, before its logarithm. */
  constructor({ seconds, floor }) {
    this.lagS = seconds / 2;
    this.floor = floor;
    this.state = new Map(); // track → time, weighted sum of logarithms, weight
  }

  /** The faces of the next frame with smoothed probabilities; their own ones stay in `raw`. */
  push(timeS, faces, labels) {
    const result = faces.map((face) => this.face(timeS, face, labels));
    for (const [track, { last }] of this.state) {
      if (timeS - last > 20 * this.lagS + 10) this.state.delete(track);
    }
    return result;
  }

  face(timeS, face, labels) {
    const before = this.state.get(face.track) ?? { last: timeS, total: labels.map(() => 0), weight: 0 };
    const keep = Math.exp(-(timeS - before.last) / this.lagS);
    const total = before.total.map((sum, i) => keep * sum + Math.log(Math.max(face.probabilities[i], this.floor)));
    const weight = keep * before.weight + 1;
    this.state.set(face.track, { last: timeS, total, weight });
    const most = Math.max(...total);
    const powers = total.map((sum) => Math.exp((sum - most) / weight));
    const all = powers.reduce((sum, value) => sum + value, 0);
    const probabilities = powers.map((value) => value / all);
    const best = probabilities.indexOf(Math.max(...probabilities));
    return { ...face, probabilities, expression: labels[best], confidence: probabilities[best], raw: face.probabilities };
  }
}
