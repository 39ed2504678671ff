/* The page: what was chosen, dropped, pasted or filmed goes to the worker; what comes back is shown and kept for the
download. An item is a photo, a video or a camera's session with its readings. */

import { failureOf } from "../reading/results.js";
import { download } from "./download.js";
import { Engine } from "./engine.js";
import { FaceList, nameOf, percent, spoken } from "./faces.js";
import { closeVideo, openCamera, openVideo, readFrames, showCamera } from "./live.js";
import { Stage } from "./stage.js";
import { Strip } from "./strip.js";
import { Timeline } from "./timeline.js";

const MOST_READINGS = 100_000; // kept for the download; a camera gives them for two hours
const SPEAK_EVERY_MS = 5000; // of a camera or video
const DRAW_EVERY_MS = 250; // the timeline
const VIDEO = /\.(mp4|m4v|mov|webm|mkv|avi|ogv|mpg|mpeg|3gp|wmv|mts)$/i;

const $ = (id) => document.getElementById(id);
let settings, engine, stage, faces, timeline, strip;
const early = []; // files that came before the reader had started
let items = [];
let shown = null; // the item on the stage
let running = null; // {item, abort} of a video or camera
let work = Promise.resolve(); // what was chosen is read in turn
let round = 0; // what was chosen before Stop or Clear, and has not begun, is not read

// ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────

function complain(message) {
  $("alert").querySelector("p").textContent = message.replace(/^expected/, "Expected") + (/[.!?]$/.test(message) ? "" : ".");
  $("alert").hidden = false;
}

const say = (text) => ($("status").textContent = text);

function broken(error) {
  complain(error.message);
  if (!error.kind) console.error(error);
}

// ── what is shown ───────────────────────────────────────────────────────────────────────────────────────────────

function show(item) {
  if (shown !== item && !running) closeVideo(stage.video);
  shown = item;
  strip.show(items, item);
  $("after").hidden = items.length === 0;
  $("intro").classList.toggle("small", items.length > 0 || running !== null);
  $("caption").hidden = !item;
  timeline.show(item?.stream ?? null);
  if (!item) {
    stage.clear();
    return faces.show(null);
  }
  const reading = item.readings[item.readings.length - 1];
  faces.show(reading && !reading.error ? reading : null); // a stream that begins has none: not those of the item before
  $("caption").textContent = item.caption;
  if (item.stream && running?.item === item) return;
  if (item.preview) stage.showPicture(item.preview, reading.error ? sized(item.preview) : reading, spokenOr(item, reading), item.kind === "camera");
  else stage.clear();
  if (item.message) complain(item.message);
}

const sized = ({ width, height }) => ({ width, height, faces: [] });
const spokenOr = (item, reading) => (reading && !reading.error ? spoken(reading) : item.caption);

// ── photos and videos ───────────────────────────────────────────────────────────────────────────────────────────

function take(files) {
  const chosen = [...files].filter((file) => file.size || file.type || file.name);
  if (!chosen.length) return;
  $("alert").hidden = true;
  stop();
  const mine = round;
  for (const file of chosen) {
    work = work.then(() => mine === round && (file.type.startsWith("video/") || VIDEO.test(file.name) ? takeVideo(file) : takePhoto(file))).catch(broken);
  }
}

async function takePhoto(file, replaced = null) {
  const name = file.name || "pasted.png";
  say(`Reading ${name}`);
  const { reading, preview, note, ms } = await engine.call("photo", { file, name });
  const item = { kind: "photo", name, file, preview, readings: [reading] };
  if (reading.error) {
    [item.caption, item.message] = [`${name}: could not be read`, `${name}: ${reading.error.message}`];
    say(item.caption);
  } else {
    const count = `${reading.faces.length} ${reading.faces.length === 1 ? "face" : "faces"}`;
    item.caption = [name, `${reading.width}×${reading.height}`, count, `${Math.round(ms)} ms`, note].filter(Boolean).join(" · ");
    say(spoken(reading));
  }
  if (replaced) items[items.indexOf(replaced)] = item;
  else items.push(item);
  if (!replaced || shown === replaced) show(item);
  else strip.show(items, shown);
}

async function takeVideo(file) {
  const mine = round;
  const item = newStream("video", file.name, file);
  stage.showVideo({ width: 16, height: 9 }, false);
  try {
    await openVideo(stage.video, file);
  } catch (error) {
    const readings = [failureOf(file.name, error.kind ?? "internal", error.message)];
    items.push({ ...item, stream: null, caption: `${file.name}: could not be read`, message: error.message, readings });
    return show(items[items.length - 1]);
  }
  if (mine !== round) return closeVideo(stage.video); // while it was opened
  if (Number.isFinite(stage.video.duration)) item.stream.durationS = stage.video.duration;
  await run(item, { live: false });
}

function newStream(kind, name, file = null) {
  const { labels } = settings.models[model()];
  return { kind, name, file, readings: [], caption: name, stream: { labels, tracks: new Map(), lastS: 0, durationS: 0, live: kind === "camera" } };
}

// ── video and camera ────────────────────────────────────────────────────────────────────────────────────────────

async function takeCamera() {
  const mine = round;
  let stream;
  try {
    stream = await openCamera();
    await showCamera(stage.video, stream);
    if (mine !== round) {
      for (const track of stream.getTracks()) track.stop(); // cleared while the browser asked
      return closeVideo(stage.video);
    }
  } catch (error) {
    for (const track of stream?.getTracks() ?? []) track.stop();
    closeVideo(stage.video);
    show(items[items.length - 1] ?? null);
    throw error;
  }
  const session = items.filter((item) => item.kind === "camera").length + 1;
  await run(newStream("camera", session > 1 ? `camera:0 (${session})` : "camera:0"), { live: true });
}

/** Read what stands ready in the video element until it ends or is stopped. */
async function run(item, { live }) {
  const { video } = stage;
  const abort = new AbortController();
  running = { item, abort };
  items.push(item);
  lock();
  show(item);
  stage.showVideo({ width: video.videoWidth, height: video.videoHeight }, live);
  let [spoke, drew, said] = [performance.now(), 0, ""];
  const onReading = (reading, frame, pace) => {
    item.preview?.close();
    item.preview = frame;
    if (item.readings.length < MOST_READINGS) keep(item, reading);
    else if (!item.full) {
      item.full = true;
      complain(`expected at most ${MOST_READINGS.toLocaleString("en")} readings of one session, got more; download and start again, for later frames are shown but not kept`);
    }
    stage.showFrame(frame, reading);
    faces.show(reading);
    const now = performance.now();
    if (now - drew > DRAW_EVERY_MS) {
      drew = now;
      timeline.show(item.stream);
      item.caption = `${item.name} · ${reading.width}×${reading.height} · ${reading.time_s.toFixed(1)} s · ${pace.toFixed(1)} readings a second`;
      $("caption").textContent = item.caption;
    }
    const told = reading.faces.map((face, i) => `${nameOf(face, i)}: ${face.expression}, ${percent(face.confidence)}`).join(". ") || "No face.";
    if (now - spoke > SPEAK_EVERY_MS && told.replace(/\d+ %/g, "") !== said) {
      [spoke, said] = [now, told.replace(/\d+ %/g, "")];
      say(told);
    }
  };
  let fault = null;
  try {
    fault = await readFrames(engine, video, { source: item.name, live, signal: abort.signal, onReading });
  } finally {
    running = null;
    item.stream.live = false;
    if (!item.stream.durationS) item.stream.durationS = item.stream.lastS;
    closeVideo(video);
    lock();
    show(item);
  }
  const persons = item.stream.tracks.size;
  say(`${item.name}: ended after ${item.readings.length} readings, ${persons} ${persons === 1 ? "person" : "persons"}.`);
  if (fault) {
    item.readings.push(failureOf(item.name, "truncated", fault));
    throw Object.assign(new Error(fault), { kind: "truncated" });
  }
  if (!item.readings.length) complain(`${item.name}: expected frames, got none; choose another`);
}

function keep(item, reading) {
  item.readings.push(reading);
  const { tracks, labels } = item.stream;
  item.stream.lastS = reading.time_s;
  for (const face of reading.faces) {
    if (!tracks.has(face.track)) tracks.set(face.track, { frames: [], timeS: [], rows: [], tops: [] });
    const points = tracks.get(face.track);
    points.frames.push(item.readings.length);
    points.timeS.push(reading.time_s);
    points.rows.push(labels.map((label) => face.probabilities[label]));
    points.tops.push(face.expression);
  }
}

function stop() {
  running?.abort.abort();
}

/** While something plays, it can be stopped, and the reader stays the same. */
function lock() {
  $("stop").hidden = !running;
  $("camera").hidden = running?.item.kind === "camera";
  for (const input of document.querySelectorAll("#models input")) input.disabled = running !== null;
}

// ── the reader, and the rest of the controls ────────────────────────────────────────────────────────────────────

const model = () => document.querySelector("#models input:checked").value;
let used; // the reader that the worker has: another one may have failed to load

async function changeModel(event) {
  const chosen = event.target.value;
  say(`Loading ${chosen}`);
  $("models").setAttribute("aria-busy", "true");
  try {
    await engine.call("choose", { model: chosen });
  } catch (error) {
    for (const input of document.querySelectorAll("#models input")) input.checked = input.value === used;
    throw error;
  } finally {
    $("models").removeAttribute("aria-busy");
  }
  used = chosen;
  say(`Reading with ${chosen}`);
  for (const item of items.filter((one) => one.kind === "photo" && !one.readings[0].error)) await takePhoto(item.file, item);
  if (items.some((item) => item.kind === "photo")) say(`Read again with ${chosen}`);
}

/** Stop, and what was chosen behind it. */
function stopAll() {
  round += 1;
  stop();
}

function clear() {
  stopAll();
  work = work.then(() => {
    items = [];
    $("alert").hidden = true;
    show(null);
    say("Cleared.");
    $("choose").focus();
  });
}

function wire() {
  $("choose").onclick = () => $("files").click();
  $("files").onchange = () => {
    take($("files").files);
    $("files").value = "";
  };
  $("drop").onclick = () => $("files").click();
  $("camera").onclick = () => $("consent").showModal();
  $("refuse").onclick = () => $("consent").close();
  $("agree").onclick = () => {
    $("consent").close();
    $("alert").hidden = true;
    stop();
    const mine = round;
    work = work.then(() => mine === round && takeCamera()).catch(broken);
  };
  $("stop").onclick = stopAll;
  $("clear").onclick = clear;
  for (const kind of ["csv", "jsonl"]) {
    $(kind).onclick = () => download(kind, items.flatMap((item) => item.readings), settings.models[model()].columns);
  }
  for (const input of document.querySelectorAll("#models input")) {
    input.onchange = (event) => (work = work.then(() => changeModel(event)).catch(broken));
  }
}

/** Files that come before the reader has started wait for it; without this a dropped one would replace the page. */
function listen() {
  const receive = (files) => (stage ? take(files) : early.push(...files));
  document.addEventListener("paste", (event) => receive(event.clipboardData.files));
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      $("view").classList.toggle("over", kind === "dragover");
      if (kind === "drop") receive(event.dataTransfer.files);
    });
  }
}

async function start() {
  listen();
  $("dismiss").onclick = () => ($("alert").hidden = true);
  engine = new Engine((done) => {
    $("progress").value = done;
    $("loadtext").textContent = done < 1 ? `Loading the reader… ${Math.round(done * 100)} %` : "Starting the reader…";
  });
  try {
    settings = await engine.call("start");
  } catch (error) {
    $("loading").hidden = true;
    return broken(error);
  }
  stage = new Stage(document, settings);
  faces = new FaceList($("faces"), $("empty"), settings, (number) => stage.mark(number));
  timeline = new Timeline($("timeline"), $("rows"), settings);
  strip = new Strip($("strip"), show);
  $("version").textContent = `mien ${settings.mien}`;
  used = settings.first_model;
  wire();
  $("loading").hidden = true;
  for (const button of [$("choose"), $("camera"), ...document.querySelectorAll("#models input")]) button.disabled = false;
  document.documentElement.dataset.ready = "true";
  say("Ready.");
  if (early.length) take(early);
  navigator.serviceWorker?.register("sw.js", { updateViaCache: "none" }).catch(() => {}); // works without, but not offline
}

start();
