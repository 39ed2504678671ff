/* The frames of a video or camera, one after the other: search, tracks, smoothing. As `mien read camera:0` does it
(mien/video/live.py and search.py): what was seen is looked back at only, and the times are the stream's. */

import { Causal } from "./smoothing.js";
import { Tracker } from "./tracking.js";

export class Stream {
  constructor(reader, settings) {
    this.reader = reader;
    this.tracker = new Tracker(settings.tracking);
    this.smoothing = new Causal(settings.smoothing);
    this.turns = 0;
    this.lastS = null;
    this.found = true;
  }

  /** The faces of the next frame, with their tracks; `raw` are its own probabilities. */
  async read(timeS, picture) {
    const found = await this.search(timeS, picture);
    const faces = await this.reader.readFaces(picture, found);
    const tracks = this.tracker.update(timeS, faces.map((face) => face.box), picture.width, picture.height);
    faces.forEach((face, i) => (face.track = tracks[i]));
    return this.smoothing.push(timeS, faces, this.reader.model.labels);
  }

  /** Frames are searched the way up in which faces were found last; all four ways where the last face has vanished,
  and once a second while there is none. */
  async search(timeS, picture) {
    const { detector } = this.reader;
    let found = await detector.detectTurned(picture, this.turns);
    if (!found.length) {
      const due = this.found || this.lastS === null || Math.floor(timeS) !== Math.floor(this.lastS);
      if (due) found = await detector.detect(picture);
    }
    this.lastS = timeS;
    this.found = found.length > 0;
    if (found.length) this.turns = found[0].turns;
    return found;
  }
}
