/* Cameras and video files: one frame is read at a time. Of a camera the newest is taken next; of a file a frame in each
STEP_S, however slow the machine. What cannot be had is told in one sentence: what was expected, what came, what to do. */

import { Failure } from "./engine.js";

const STEP_S = 1 / 12; // between two readings of a video file
const LATE_S = 2; // a frame that has not come by then is looked after
const PATIENCE_S = 20; // for a frame that does not come
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

/** Read what the element shows until it ends or `signal` aborts.

engine: the worker. live: a camera, whose times count from its first frame. onReading: told each reading, its frame (an
ImageBitmap, the caller's from then on) and how many are read in a second. Resolves with a sentence where the stream broke off, else with null. */
export async function readFrames(engine, video, { source, live, signal, onReading }) {
  await engine.call("begin");
  const watch = watching(video, source, signal);
  let [seconds, before] = [0, performance.now()];
  const read = async ({ bitmap, timeS }) => {
    const { reading, bitmap: frame, ms } = await engine.call("frame", { bitmap, timeS, source }, [bitmap]);
    const now = performance.now();
    seconds = seconds ? 0.8 * seconds + 0.2 * ((now - before) / 1000) : ms / 1000;
    before = now;
    if (!signal.aborted) onReading(reading, frame, 1 / seconds);
  };
  await (live ? readCamera : readFile)(video, watch, read);
  return watch.broken;
}

/** over: resolves with null when the user stops or the stream breaks off. broken: how it broke off, a sentence, else null. */
function watching(video, source, signal) {
  const watch = { broken: null };
  watch.over = new Promise((resolve) => {
    watch.broke = (how) => {
      watch.broken = `${source}: ${how}`;
      resolve(null);
    };
    signal.addEventListener("abort", () => resolve(null), { once: true });
  });
  video.onerror = () => watch.broke(`expected a whole video, got a fault at ${video.currentTime.toFixed(1)} s; what came before it was read`);
  video.srcObject?.getVideoTracks()[0].addEventListener("ended", () => watch.broke("expected a camera that stays connected, got its end; start again"));
  return watch;
}

/** One frame at a time, always the newest. */
async function readCamera(video, { over }, read) {
  for (let first = null; ;) {
    const ms = await Promise.race([nextFrame(video), over]);
    if (ms === null) return;
    const bitmap = await picture(video);
    first ??= ms;
    if (bitmap) await read({ bitmap, timeS: (ms - first) / 1000 });
  }
}

/** Every frame that is STEP_S or more after the one before. The video plays while a frame is read, and waits where the next
one comes before that is done. Where it has played past frames, as on a machine that falters, it is set back. */
async function readFile(video, watch, read) {
  let frame = { bitmap: null, timeS: video.currentTime };
  while (!(frame.bitmap = await picture(video))) if ((await Promise.race([after(30), watch.over])) === null) return;
  for (let natural = 2.5 * STEP_S; frame; ) { // natural: a gap as wide as the file's own frames leave
    let reads = true;
    const reading = read(frame).finally(() => (reads = false));
    reading.catch(() => {}); // awaited below
    const from = frame.timeS + STEP_S;
    let next = await playTo(video, from, watch, () => reads);
    const gap = (next?.timeS ?? video.duration) - frame.timeS;
    if (next !== null && gap > natural && Number.isFinite(gap)) {
      const missed = await setBack(video, frame.timeS, from, watch);
      if (missed) next.bitmap?.close();
      else natural = gap;
      next = missed ?? next;
    }
    await reading;
    frame = next?.bitmap ? next : null;
  }
}

/** Play until a frame of `from` seconds or later: {bitmap, timeS}; {} at the file's end, null where `watch` is over. */
async function playTo(video, from, watch, reads) {
  const ended = new Promise((resolve) => (video.onended = () => resolve("ended")));
  for (let waited = 0; ;) {
    if (video.ended) return {};
    if (video.paused) video.play().catch(() => {}); // a file that breaks off says so by an event
    const seen = await Promise.race([nextFrame(video), ended, watch.over, after(LATE_S * 1000)]);
    if (seen === null) return null;
    if (seen === "ended") return {};
    if (seen === undefined) {
      if (document.hidden) await hiddenNoMore(video, watch);
      else if ((waited += LATE_S) >= PATIENCE_S) {
        watch.broke(`expected a video that plays on, got no frame after ${video.currentTime.toFixed(1)} s; what came before it was read`);
        return null;
      }
    } else if (seen >= from) {
      const taken = picture(video);
      if (reads()) video.pause();
      const bitmap = await taken;
      if (bitmap) return { bitmap, timeS: seen };
    }
  }
}

/** The frame at `from` seconds, if it is after `before`; null where that has none of its own. */
async function setBack(video, before, from, watch) {
  video.pause();
  for (let tries = 0; tries < 4; tries++) { // a browser may show a frame without telling
    const sought = new Promise((resolve) => (video.onseeked = resolve));
    let seen = nextFrame(video);
    video.currentTime = from + tries / 1000;
    const late = Promise.race([sought, after(LATE_S * 1000)]).then(() => after(LATE_S * 200));
    for (;;) {
      const timeS = await Promise.race([seen, watch.over, late]);
      if (timeS === null) return null;
      if (timeS === undefined) break;
      if (timeS <= from + STEP_S) {
        const bitmap = timeS > before ? await picture(video) : null;
        return bitmap && { bitmap, timeS };
      }
      seen = nextFrame(video); // that one was shown before it was set back
    }
  }
  return null;
}

async function hiddenNoMore(video, { over }) {
  video.pause();
  const visible = new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  await Promise.race([visible, over]);
}

const after = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** What the element shows, an ImageBitmap; null where no frame stands ready yet. */
const picture = (video) => createImageBitmap(video).catch(() => null);

/** When the next frame is shown: its time in a file, seconds; of a camera the clock's, milliseconds. */
function nextFrame(video) {
  return new Promise((resolve) => {
    const live = Boolean(video.srcObject);
    if (video.requestVideoFrameCallback) {
      video.requestVideoFrameCallback((now, { mediaTime }) => resolve(live ? now : mediaTime));
    } else requestAnimationFrame((now) => resolve(live ? now : video.currentTime));
  });
}
