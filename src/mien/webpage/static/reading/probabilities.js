/* Logits to calibrated probabilities: reading/classifier.py. */

/** logits: N×count numbers in a row → N arrays of probabilities that sum to 1. */
export function softmax(logits, count, temperature) {
  const rows = [];
  for (let start = 0; start < logits.length; start += count) {
    const scaled = Array.from(logits.subarray(start, start + count), (value) => value / temperature);
    const most = Math.max(...scaled);
    const powers = scaled.map((value) => Math.exp(value - most));
    const total = powers.reduce((sum, value) => sum + value, 0);
    rows.push(powers.map((value) => value / total));
  }
  return rows;
}
