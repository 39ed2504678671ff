/* The worker: it alone loads networks and reads pictures, so that the page never stops answering.

Messages in: {id, call, …}; out: {id, value} or {id, failure: {kind, message}}, and {progress} while files are loaded.
Calls are served one after the other, in the order in which they came. */

import { decodeFile, decodeFrame } from "./reading/picture.js";
import { Reader } from "./reading/reader.js";
import { failureOf, readingOf } from "./reading/results.js";
import { Stream } from "./reading/stream.js";
import { UprightDetector } from "./reading/upright.js";
import { YuNet } from "./reading/yunet.js";

const BASE = new URL("./", import.meta.url);
const READERS = new Map(); // name of a model → its Reader
let settings, ort, detector, reader, stream;

/** An error that the page shows as it is: what was expected, what came, what to do. */
function failure(kind, message) {
  return Object.assign(new Error(message), { kind });
}

const calls = {
  /** Load settings, runtime, detector and the first model; returns the settings. */
  async start() {
    settings = JSON.parse(new TextDecoder().decode(await fetched({ file: "settings.json" })));
    if (typeof WebAssembly !== "object") throw blocked("it has no WebAssembly");
    const first = settings.models[settings.first_model];
    const parts = [settings.runtime, settings.detector, settings.orientation, first];
    const counter = { done: 0, total: parts.reduce((sum, part) => sum + part.bytes, 0) };
    const [wasm, ...networks] = await Promise.all(parts.map((part) => fetched(part, counter)));
    try {
      new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)); // the smallest one: blocked, or not?
    } catch (error) {
      throw blocked(error.message);
    }
    try {
      ort = await import(new URL("runtime/ort.mjs", BASE).href);
    } catch (error) {
      throw failure("model", `expected ONNX Runtime at runtime/ort.mjs, got nothing that runs (${short(error)}); reload the page`);
    }
    Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: wasm });
    ort.env.logLevel = "error";
    const [search, upright, read] = [await session(networks[0], settings.detector), await session(networks[1], settings.orientation), await session(networks[2], first)];
    detector = new UprightDetector(new YuNet(search, ort.Tensor, settings), upright, ort.Tensor, settings);
    use(settings.first_model, read);
    return settings;
  },

  /** Read with that model from now on. */
  async choose({ model }) {
    const entry = settings.models[model];
    if (!READERS.has(model)) {
      const content = await fetched(entry, { done: 0, total: entry.bytes });
      use(model, await session(content, entry));
    }
    reader = READERS.get(model);
    if (stream) stream.reader = reader;
  },

  /** Read a picture file; a failure of the file is a result like any other. */
  async photo({ file, name }) {
    const began = performance.now();
    try {
      const { picture, preview, width, height, note } = await decodeFile(file, settings.limits);
      const faces = grown(await reader.read(picture), width / picture.width, height / picture.height);
      const reading = readingOf(name, { width, height }, faces, reader.model.labels);
      return [{ reading, preview, note, ms: performance.now() - began }, [preview]];
    } catch (error) {
      if (!error.kind && !(error instanceof RangeError)) throw error; // a fault of ours, told as one
      const message = error.kind ? error.message : "expected a picture that fits into memory, got a larger one; make it smaller";
      return { reading: failureOf(name, error.kind ?? "too_large", message) };
    }
  },

  /** A video or camera begins. */
  async begin() {
    stream = new Stream(reader, settings);
  },

  /** Its next frame, which comes back with what was read in it. */
  async frame({ bitmap, timeS, source }) {
    const began = performance.now();
    const picture = decodeFrame(bitmap);
    const faces = await stream.read(timeS, picture);
    return [{ reading: readingOf(source, picture, faces, reader.model.labels, timeS), bitmap, ms: performance.now() - began }, [bitmap]];
  },
};

function use(model, made) {
  reader = new Reader(made, ort.Tensor, detector, settings.models[model], settings);
  READERS.set(model, reader);
}

/** Faces of a reduced picture in pixels of the file. */
function grown(faces, across, down) {
  if (across === 1 && down === 1) return faces;
  return faces.map((face) => ({
    ...face,
    box: { x: face.box.x * across, y: face.box.y * down, w: face.box.w * across, h: face.box.h * down },
    landmarks: face.landmarks && face.landmarks.map(([x, y]) => [x * across, y * down]),
  }));
}

async function session(content, { file }) {
  try {
    return await ort.InferenceSession.create(content, { executionProviders: ["wasm"] });
  } catch (error) {
    throw failure("model", `expected a network that runs in this browser at ${file}, got: ${short(error)}; reload the page, or use another browser`);
  }
}

/** A file of the page, whole and unchanged. counter: of the bytes so far, told to the page. */
async function fetched({ file, bytes, sha256 }, counter) {
  let answer;
  try {
    answer = await fetch(new URL(file, BASE));
  } catch (error) {
    throw failure("model", `expected the file ${file} of this page, got no answer (${short(error)}); go online once and reload the page`);
  }
  if (!answer.ok) throw failure("model", `expected the file ${file} of this page, got status ${answer.status}; reload the page, or ask whoever hosts it`);
  const parts = [];
  let size = 0;
  try {
    for (const stream = answer.body.getReader(); ; ) {
      const { done, value } = await stream.read();
      if (done) break;
      parts.push(value);
      size += value.length;
      if (counter) postMessage({ progress: (counter.done += value.length) / counter.total });
    }
  } catch (error) {
    throw failure("model", `expected the whole file ${file}, got ${size} bytes and then ${short(error)}; reload the page`);
  }
  const content = new Uint8Array(await new Blob(parts).arrayBuffer());
  if (bytes === undefined) return content;
  if (size !== bytes) throw failure("model", `expected ${file} with ${bytes} bytes, got ${size}; reload the page`);
  if (self.crypto.subtle) { // absent where the page comes neither from this machine nor over https
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    const got = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (got !== sha256) throw failure("model", `expected ${file} with SHA-256 ${sha256.slice(0, 16)}…, got ${got.slice(0, 16)}…; reload the page`);
  }
  return content;
}

const blocked = (why) => failure("wasm", `expected a browser that runs WebAssembly, got one that blocks it (${why}); allow it for this page, or use another browser`);

const short = (error) => String(error.message ?? error).split("\n")[0].slice(0, 160);

let last = Promise.resolve();
self.onmessage = ({ data: { id, call, ...options } }) => {
  last = last.then(async () => {
    try {
      const made = await calls[call](options);
      const [value, moved] = Array.isArray(made) ? made : [made, []];
      postMessage({ id, value }, moved);
    } catch (error) {
      const message = error.kind ? error.message : `this should not happen: ${error.name}: ${short(error)}; reload the page`;
      postMessage({ id, failure: { kind: error.kind ?? "internal", message } });
    }
  });
};
