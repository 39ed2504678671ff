/* Runs in Node.js, started in a folder with @vladmandic/human, @tensorflow/tfjs and @tensorflow/tfjs-backend-wasm:
Human's expression network as its src/gear/emotion.ts drives it, on TensorFlow.js's WebAssembly, one thread.

One crop at a time, without its face detector; the crop is enlarged to its 64×64 before the clock starts. Reads the
crop, a square of bytes of grey, as hexadecimal digits, answers "ready", then each line with the seconds of one round. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";

const LUMA = [0.2989, 0.587, 0.114]; // Human's constants.rgb
const require = createRequire(join(process.cwd(), "here.js"));
const tf = require("@tensorflow/tfjs");
const wasm = require("@tensorflow/tfjs-backend-wasm");
const models = join(dirname(require.resolve("@vladmandic/human")), "../models");

wasm.setWasmPaths(dirname(require.resolve("@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm")) + "/");
wasm.setThreadsCount(1);
await tf.setBackend("wasm");
await tf.ready();
const { modelTopology, weightsManifest } = JSON.parse(readFileSync(join(models, "emotion.json"), "utf8"));
const weights = readFileSync(join(models, weightsManifest[0].paths[0]));
const weightData = weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.length);
const weightSpecs = weightsManifest[0].weights;
const network = await tf.loadGraphModel(tf.io.fromMemory({ modelTopology, weightSpecs, weightData }));
const side = network.inputs[0].shape[2];

function read(face) {
  const score = tf.tidy(() => {
    const grey = tf.sum(tf.mul(face, LUMA), 3, true);
    return network.execute(tf.mul(tf.sub(grey, 0.5), 2));
  });
  const values = score.dataSync();
  score.dispose();
  return values;
}

let face = null;
for await (const line of createInterface({ input: process.stdin })) {
  if (face === null) {
    const crop = Float32Array.from(Buffer.from(line.trim(), "hex"), (value) => value / 255);
    const grey = tf.tensor(crop, [1, Math.sqrt(crop.length), Math.sqrt(crop.length), 1]);
    face = tf.image.resizeBilinear(tf.tile(grey, [1, 1, 1, 3]), [side, side]);
    read(face);
    console.log("ready");
    continue;
  }
  const started = performance.now();
  for (let i = 0; i < Number(process.argv[2]); i++) read(face);
  console.log((performance.now() - started) / 1000);
}
