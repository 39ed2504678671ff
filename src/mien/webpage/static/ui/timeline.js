/* Expressions over time, a row a person: areas of the probabilities, which sum to 100 %. */

import { percent } from "./faces.js";

const AWAY_S = 1; // a person who is away for longer leaves a gap
const SPAN_S = 60; // of a camera: what is shown of the past
const FOOT = 16; // pixels for the clock
const STEPS_S = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];

export class Timeline {
  constructor(root, rows, settings) {
    [this.root, this.rows] = [root, rows];
    this.colours = Object.assign({}, ...Object.values(settings.models).map((model) => model.colours));
    new ResizeObserver(() => this.stream && this.draw()).observe(rows);
    this.drawn = new Map(); // track → its figure
  }

  /** stream: what main.js keeps of a video or camera: {labels, tracks, durationS, live}. null: none. */
  show(stream) {
    if (stream !== this.stream) {
      this.rows.replaceChildren();
      this.drawn.clear();
      if (stream) this.rows.append(this.legend(stream.labels));
    }
    this.stream = stream;
    this.root.hidden = !stream || stream.tracks.size === 0;
    if (!this.root.hidden) this.draw();
  }

  legend(labels) {
    const list = document.createElement("ul");
    list.className = "legend";
    for (const label of labels) {
      const [item, colour] = [document.createElement("li"), document.createElement("i")];
      colour.style.background = this.colours[label];
      item.append(colour, label);
      list.append(item);
    }
    return list;
  }

  draw() {
    const { tracks, durationS, live, lastS } = this.stream;
    const end = live || !durationS ? Math.max(lastS, 5) : durationS;
    const start = live ? Math.max(0, end - SPAN_S) : 0;
    for (const [track, points] of tracks) {
      if (points.timeS[points.timeS.length - 1] < start) {
        this.drawn.get(track)?.figure.remove();
        this.drawn.delete(track);
        continue;
      }
      const row = this.drawn.get(track) ?? this.add(track);
      const told = summary(points, this.stream.labels);
      row.text.textContent = told;
      row.canvas.setAttribute("aria-label", `Person ${track}: ${told}`);
      this.row(row.canvas, points, start, end);
    }
  }

  add(track) {
    const make = (tag) => document.createElement(tag);
    const [figure, caption, name, text, canvas] = ["figure", "figcaption", "span", "span", "canvas"].map(make);
    name.className = "strong";
    name.textContent = `Person ${track}`;
    text.className = "soft";
    canvas.setAttribute("role", "img");
    caption.append(name, text);
    figure.append(caption, canvas);
    this.rows.append(figure);
    this.drawn.set(track, { figure, text, canvas });
    return this.drawn.get(track);
  }

  row(canvas, points, start, end) {
    const fine = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) return;
    [canvas.width, canvas.height] = [Math.round(width * fine), Math.round(height * fine)];
    const context = canvas.getContext("2d");
    context.scale(fine, fine);
    const style = getComputedStyle(canvas);
    const high = height - FOOT;
    const at = (timeS) => ((timeS - start) / (end - start)) * width;
    context.fillStyle = style.getPropertyValue("--tint");
    context.fillRect(0, 0, width, high);
    for (const [first, last] of spans(points, start)) this.areas(context, points, first, last, at, high);
    context.fillStyle = style.getPropertyValue("--soft");
    context.font = "11px system-ui, sans-serif";
    const step = STEPS_S.find((one) => (end - start) / one <= Math.max(2, width / 70)) ?? 7200;
    for (let timeS = Math.ceil(start / step) * step; timeS <= end; timeS += step) {
      const text = clock(timeS);
      const x = Math.min(Math.max(at(timeS) - context.measureText(text).width / 2, 0), width - context.measureText(text).width);
      context.fillText(text, x, height - 3);
    }
  }

  /** A time without a gap: one area a label, stacked from below in label order. */
  areas(context, points, first, last, at, high) {
    const { labels } = this.stream;
    const width = last === first ? 2 : 0; // a single frame is a line
    const base = new Float64Array(last - first + 1);
    labels.forEach((label, k) => {
      context.beginPath();
      for (let i = first; i <= last; i++) context.lineTo(at(points.timeS[i]), high * (1 - base[i - first]));
      for (let i = last; i >= first; i--) {
        base[i - first] += points.rows[i][k];
        context.lineTo(at(points.timeS[i]) + width, high * Math.max(0, 1 - base[i - first]));
      }
      context.closePath();
      context.fillStyle = this.colours[label];
      context.fill();
    });
  }
}

/** [first, last] of the points between two gaps, from `start` on. */
function spans({ timeS: times, frames }, start) {
  const found = [];
  let first = times.findIndex((timeS) => timeS >= start);
  if (first < 0) return found;
  for (let i = first + 1; i <= times.length; i++) {
    if (i < times.length && (times[i] - times[i - 1] <= AWAY_S || frames[i] === frames[i - 1] + 1)) continue;
    found.push([first, i - 1]);
    first = i;
  }
  return found;
}

/** "seen for 4.2 s, happy in 81 % of the frames, neutral in 19 %". */
function summary(points, labels) {
  const { timeS, tops } = points;
  const counts = labels.map((label) => [label, tops.filter((top) => top === label).length]).filter(([, n]) => n);
  const told = counts.sort((a, b) => b[1] - a[1]).slice(0, 3).map(([label, n]) => `${label} ${percent(n / tops.length)}`);
  const seen = spans(points, -Infinity).reduce((sum, [a, b]) => sum + timeS[b] - timeS[a], 0);
  return `seen for ${seen.toFixed(1)} s · ${told.join(", ")} of the frames`;
}

function clock(seconds) {
  if (seconds < 60) return `${Number(seconds.toFixed(1))} s`;
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}
