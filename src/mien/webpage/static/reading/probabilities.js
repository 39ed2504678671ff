/* Logits to calibrated probabilities: reading/probabilities.py. */

/** logits: N×count numbers in a row → N arrays of probabilities that sum to 1. calibration: {temperature, floor, bend}. */
export function toProbabilities(logits, count, { temperature, floor, bend }) {
  const rows = [];
  for (let start = 0; start < logits.length; start += count) {
    const row = Array.from(logits.subarray(start, start + count));
    if (!floor) {
      rows.push(softmax(row.map((value) => value / temperature)));
      continue;
    }
    const above = softmax(row).map((p) => p - floor);
    rows.push(softmax(above.map((v) => Math.log((v + Math.hypot(v, floor * bend)) / 2) / temperature)));
  }
  return rows;
}

function softmax(row) {
  const most = Math.max(...row);
  const powers = row.map((value) => Math.exp(value - most));
  const total = powers.reduce((sum, value) => sum + value, 0);
  return powers.map((value) => value / total);
}
