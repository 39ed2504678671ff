/* Readings in the formats of `mien read`: mien/results.py and reading/outputs.py. Columns come from Python. */

import { roundHalfEven } from "./pillow.js";

/** Python's round(value, digits): of two nearest, the even one. */
function rounded(value, digits) {
  const scaled = value * 10 ** digits;
  if (Math.abs(scaled % 1) === 0.5) return roundHalfEven(scaled) / 10 ** digits + 0;
  return Number(value.toFixed(digits)) + 0; // never -0
}

/** A picture or frame with its faces, as a line of `mien read` has it, for JSON. */
export function readingOf(source, { width, height }, faces, labels, timeS = null) {
  const named = (row) => Object.fromEntries(labels.map((label, i) => [label, rounded(row[i], 4)]));
  return {
    source,
    width,
    height,
    time_s: timeS === null ? null : rounded(timeS, 6),
    faces: faces.map((face) => ({
      box: [face.box.x, face.box.y, face.box.w, face.box.h].map((value) => rounded(value, 2)),
      score: rounded(face.score, 4),
      expression: face.expression,
      confidence: rounded(face.confidence, 4),
      probabilities: named(face.probabilities),
      track: face.track,
      landmarks: face.landmarks && face.landmarks.map((point) => point.map((value) => rounded(value, 2))),
      roll: face.roll === null ? null : rounded(face.roll, 1),
      yaw: face.yaw === null ? null : rounded(face.yaw, 1),
      pitch: face.pitch === null ? null : rounded(face.pitch, 1),
      ...(face.raw ? { raw_probabilities: named(face.raw) } : {}),
    })),
  };
}

/** What could not be read. type: a word of mien's error records. */
export const failureOf = (source, type, message) => ({ source, error: { type, message } });

/** JSON Lines: one object a picture or frame. */
export const toJsonLines = (readings) => readings.map((reading) => `${JSON.stringify(reading)}\n`).join("");

/** CSV with the columns of `mien read`, one row a face. columns: of the model, in order. */
export function toCsv(readings, columns) {
  const lines = [columns.join(",")];
  for (const reading of readings) {
    for (const row of rowsOf(reading, columns)) lines.push(columns.map((name) => cell(row[name], name)).join(","));
  }
  return `${lines.join("\n")}\n`;
}

function rowsOf(reading, columns) {
  const head = { source: reading.source, time_s: reading.time_s };
  if (reading.error) return [{ ...head, error: `${reading.error.type}: ${reading.error.message}` }];
  if (!reading.faces.length) return [head];
  const points = columns.filter((name) => /_(eye|nose|mouth)_[xy]$|^nose_[xy]$/.test(name));
  return reading.faces.map((face, number) => {
    const row = { ...head, face: number, ...face.probabilities };
    [row.x, row.y, row.w, row.h] = face.box;
    for (const name of ["score", "expression", "confidence", "track", "roll", "yaw", "pitch"]) row[name] = face[name];
    (face.landmarks ?? []).flat().forEach((value, i) => (row[points[i]] = value));
    for (const [name, p] of Object.entries(face.raw_probabilities ?? {})) row[`raw_${name}`] = p;
    return row;
  });
}

const WHOLE = new Set(["face", "track"]); // columns of whole numbers; the others are written as Python writes floats

function cell(value, name) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return Number.isInteger(value) && !WHOLE.has(name) ? value.toFixed(1) : String(value);
  return /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}
