/* Cameras and video files: one frame is read at a time, and the newest is taken next. What cannot be had is told in one
sentence: what was expected, what came, what to do. */

import { Failure } from "./engine.js";

const WANTED_A_SECOND = 12; // readings of a video file: it plays slower where the machine reads fewer
const SLOWEST = 0.1; // of playing
const PATIENCE_S = 20; // for the first frame
const REFUSALS = {
  NotAllowedError: "expected permission to use the camera, got a refusal; allow the camera for this page in the browser and start again",
  NotFoundError: "expected a camera, found none; connect one and start again",
  OverconstrainedError: "expected a camera, found none that fits; connect another and start again",
  NotReadableError: "expected a camera that is free, got one that another program uses; close that and start again",
  AbortError: "expected a camera that starts, got one that failed; connect it again and start again",
  SecurityError: "expected a page that may use the camera, got one that may not; allow it in the browser, or open the page in a tab of its own",
};
const INSECURE = "expected a page over https or from this machine for the camera, got another; open it at https:// or http://localhost";

/** A stream of the camera. Raises Failure. */
export async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) throw new Failure({ kind: "camera", message: INSECURE });
  try {
    const video = { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" };
    return await navigator.mediaDevices.getUserMedia({ video, audio: false });
  } catch (error) {
    const message = REFUSALS[error.name] ?? `expected a camera that starts, got ${error.name}: ${error.message}; start again`;
    throw new Failure({ kind: "camera", message });
  }
}

/** A video file in the element, at its first frame. Raises Failure. */
export async function openVideo(video, file) {
  const unreadable = (got) => {
    const message = `${file.name}: expected a video that this browser plays (MP4 with H.264, or WebM), got ${got}; convert it, or read it with: mien read`;
    return new Failure({ kind: "unreadable", message });
  };
  if (file.size === 0) throw unreadable("an empty file");
  const address = URL.createObjectURL(file);
  try {
    await ready(video, () => (video.src = address), unreadable);
    if (!video.videoWidth) throw unreadable("one without pictures");
  } catch (error) {
    closeVideo(video);
    throw error;
  }
}

/** The camera's stream in the element, at its first frame. Raises Failure. */
export async function showCamera(video, stream) {
  const failed = (got) => new Failure({ kind: "camera", message: `expected pictures from the camera, got ${got}; start again` });
  await ready(video, () => (video.srcObject = stream), failed);
  await video.play();
}

/** Let go of what the element shows. */
export function closeVideo(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.load();
}

function ready(video, begin, failed) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => end(reject, failed("no frame")), PATIENCE_S * 1000);
    const end = (how, what) => {
      clearTimeout(timer);
      video.onloadeddata = video.onerror = null;
      how(what);
    };
    video.onloadeddata = () => end(resolve);
    video.onerror = () => end(reject, failed(video.error?.message?.slice(0, 120) || "another file"));
    begin();
  });
}

/** Read what plays in the element until it ends or `signal` aborts.

engine: the worker. live: a camera, whose times count from its first frame. onReading: told each reading, its frame (an
ImageBitmap, the caller's from then on) and how many are read in a second. Resolves with a sentence where the stream broke off, else with null. */
export async function readFrames(engine, video, { source, live, signal, onReading }) {
  await engine.call("begin");
  let broken = null;
  const stopped = new Promise((resolve) => {
    signal.addEventListener("abort", resolve, { once: true });
    video.onended = resolve;
    video.onerror = () => {
      broken = `${source}: expected a whole video, got a fault at ${video.currentTime.toFixed(1)} s; what came before it was read`;
      resolve();
    };
    video.srcObject?.getVideoTracks()[0].addEventListener("ended", () => {
      broken = `${source}: expected a camera that stays connected, got its end; start again`;
      resolve();
    });
  });
  let [first, seconds, before] = [null, 0, performance.now()];
  for (;;) {
    // a file's first frame is read before it plays: so the pace of playing is known from the start
    const waits = !live && first === null;
    const frame = waits ? video.currentTime : await Promise.race([nextFrame(video), stopped]);
    if (signal.aborted || broken || typeof frame !== "number") return broken;
    let bitmap;
    try {
      bitmap = await createImageBitmap(video);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 30)); // no frame stands ready yet
      continue;
    }
    first ??= frame;
    const timeS = live ? (frame - first) / 1000 : frame;
    const { reading, bitmap: frameRead, ms } = await engine.call("frame", { bitmap, timeS, source }, [bitmap]);
    const now = performance.now();
    seconds = seconds ? 0.8 * seconds + 0.2 * ((now - before) / 1000) : ms / 1000;
    before = now;
    if (waits) await video.play();
    if (!live) video.playbackRate = Math.min(1, Math.max(SLOWEST, 1 / (WANTED_A_SECOND * seconds)));
    if (!signal.aborted) onReading(reading, frameRead, 1 / seconds);
  }
}

/** When the next frame is shown: its time in a file, seconds; of a camera the clock's, milliseconds. */
function nextFrame(video) {
  return new Promise((resolve) => {
    const live = Boolean(video.srcObject);
    if (video.requestVideoFrameCallback) {
      video.requestVideoFrameCallback((now, { mediaTime }) => resolve(live ? now : mediaTime));
    } else requestAnimationFrame((now) => resolve(live ? now : video.currentTime));
  });
}
