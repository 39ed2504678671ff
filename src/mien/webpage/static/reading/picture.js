/* Files and frames → pictures. The browser decodes; what it cannot, and what is too large, is told in one sentence. */

import { fromRgba } from "./pillow.js";

/** An error of one input. kind: the word of mien's error records. */
export class PictureError extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

const BAND = 4 << 20; // pixels that are copied at a time, so that a large picture never stands in memory twice

/** A picture file, upright, with a smaller copy to show. limits: of settings.json.

Returns {picture, preview, width, height, note}: the picture is reduced where it has more than `full_pixels`; width and
height are those of the file. Raises PictureError. */
export async function decodeFile(file, { max_pixels, full_pixels, preview_side }) {
  if (file.size === 0) throw new PictureError("empty", "expected a picture, got an empty file (0 bytes); choose another");
  const told = sizeOf(new Uint8Array(await file.slice(0, 1 << 18).arrayBuffer()));
  if (told) checkSize(...told, max_pixels);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "default" });
  } catch {
    const what = told ? "a damaged picture, or one that is too large for this browser" : "a file that this browser does not know as one";
    throw new PictureError("unreadable", `expected a picture that can be decoded, got ${what}; save it as JPEG or PNG and choose it again`);
  }
  const { width, height } = bitmap;
  try {
    checkSize(width, height, max_pixels);
    const scale = Math.min(1, Math.sqrt(full_pixels / (width * height)));
    const picture = pixelsOf(bitmap, ...[width, height].map((n) => Math.max(1, Math.round(n * scale))));
    const shrink = Math.min(1, preview_side / Math.max(width, height));
    const preview = draw(bitmap, Math.max(1, Math.round(width * shrink)), Math.max(1, Math.round(height * shrink)));
    const note = scale < 1 ? `${width}×${height} was reduced to ${picture.width}×${picture.height} before reading` : "";
    return { picture, preview: preview.transferToImageBitmap(), width, height, note };
  } finally {
    bitmap.close();
  }
}

/** A frame (ImageBitmap, which stays open) as a picture. */
export const decodeFrame = (bitmap) => pixelsOf(bitmap, bitmap.width, bitmap.height);

function checkSize(width, height, most) {
  if (width * height <= most) return;
  const [limit, got] = [most, width * height].map((n) => `${Math.round(n / 1e6)} megapixels`);
  throw new PictureError("too_large", `expected at most ${limit}, got ${width}×${height} (${got}); make it smaller and choose it again`);
}

let shared = null; // the canvas of the last frame: a new one for each costs more than the copy

/** The pixels of a bitmap at a size, on white, band by band. */
function pixelsOf(bitmap, width, height) {
  const scale = bitmap.height / height;
  const rows = Math.max(1, Math.min(height, Math.floor(BAND / width)));
  if (!shared || shared.width !== width || shared.height !== rows) {
    shared = new OffscreenCanvas(width, rows);
    shared.context = shared.getContext("2d", { willReadFrequently: true, alpha: false });
  }
  const { context } = shared;
  if (!context) throw new PictureError("too_large", "expected a browser that draws a picture of this size, got one that refuses; make it smaller");
  context.imageSmoothingQuality = "high";
  let data = null;
  for (let top = 0; top < height; top += rows) {
    const here = Math.min(rows, height - top);
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, top * scale, bitmap.width, here * scale, 0, 0, width, here);
    const band = fromRgba(context.getImageData(0, 0, width, here).data, width, here);
    if (here === height) return band;
    data ??= new Uint8Array(width * height * 3);
    data.set(band.data, top * width * 3);
  }
  shared = null; // a large one is not kept
  return { width, height, data };
}

function draw(bitmap, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { alpha: false });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  return canvas;
}

/** Width and height in the head of a JPEG, PNG, GIF, WebP or BMP; null where it says none. */
export function sizeOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (at, length) => String.fromCharCode(...bytes.subarray(at, at + length));
  try {
    if (text(1, 3) === "PNG") return [view.getUint32(16), view.getUint32(20)];
    if (text(0, 3) === "GIF") return [view.getUint16(6, true), view.getUint16(8, true)];
    if (text(0, 2) === "BM") return [view.getInt32(18, true), Math.abs(view.getInt32(22, true))];
    if (text(0, 4) === "RIFF" && text(8, 4) === "WEBP") return webpSize(view, text(12, 4));
    if (view.getUint16(0) === 0xffd8) return jpegSize(view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // the head ends here
  }
  return null;
}

function webpSize(view, kind) {
  if (kind === "VP8X") return [24, 27].map((at) => 1 + view.getUint16(at, true) + (view.getUint8(at + 2) << 16));
  if (kind === "VP8L") {
    const bits = view.getUint32(21, true);
    return [(bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1];
  }
  return [view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff];
}

function jpegSize(view) {
  for (let at = 2; ; ) {
    const marker = view.getUint16(at);
    const frame = marker >= 0xffc0 && marker <= 0xffcf && ![0xffc4, 0xffc8, 0xffcc].includes(marker);
    if (frame) return [view.getUint16(at + 7), view.getUint16(at + 5)];
    if (marker < 0xff00) return null;
    at += 2 + view.getUint16(at + 2);
  }
}
