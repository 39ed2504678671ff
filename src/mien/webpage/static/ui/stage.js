/* The stage: a picture, video or camera, and over it a box and a name for each face. */

const MOST_ENLARGED = 6; // of a small picture
const INK = "#14161b";
const PAPER = "#f2f4f7";

export class Stage {
  constructor(root, settings) {
    const find = (id) => root.querySelector(`#${id}`);
    [this.view, this.drop, this.frame] = ["view", "drop", "frame"].map(find);
    [this.picture, this.video, this.overlay] = ["picture", "video", "overlay"].map(find);
    this.colours = Object.assign({}, ...Object.values(settings.models).map((model) => model.colours));
    this.spare = settings.no_label_colour;
    this.size = null;
    this.reading = null;
    this.marked = null;
    new ResizeObserver(() => this.fit()).observe(this.view);
  }

  /** A still picture: an ImageBitmap, which stays the caller's. label: what it is, for those who do not see it. */
  showPicture(bitmap, reading, label, mirrored = false) {
    this.show(false, reading, mirrored);
    [this.picture.width, this.picture.height] = [bitmap.width, bitmap.height];
    this.picture.getContext("2d").drawImage(bitmap, 0, 0);
    this.picture.setAttribute("aria-label", label);
  }

  /** The video element with what plays in it. size: {width, height} of its frames. */
  showVideo(size, mirrored) {
    this.show(true, { ...size, faces: [] }, mirrored);
    [this.picture.width, this.picture.height] = [size.width, size.height]; // empty: the video is seen through it
  }

  /** The frame that was read, over the video: so the boxes lie where they belong, however long reading took. */
  showFrame(bitmap, reading) {
    this.picture.getContext("2d").drawImage(bitmap, 0, 0, this.picture.width, this.picture.height);
    this.draw(reading, this.marked);
  }

  show(plays, reading, mirrored) {
    this.drop.hidden = true;
    this.frame.hidden = false;
    this.video.hidden = !plays;
    this.frame.classList.toggle("mirrored", mirrored);
    this.mirrored = mirrored;
    this.draw(reading);
    this.fit();
  }

  /** Nothing: the invitation to drop files. */
  clear() {
    this.reading = this.size = null;
    this.frame.hidden = true;
    this.drop.hidden = false;
  }

  /** The faces of what is shown. marked: the number of the one that is pointed at. */
  draw(reading, marked = null) {
    const changed = !this.size || this.size.width !== reading.width || this.size.height !== reading.height;
    [this.reading, this.marked, this.size] = [reading, marked, { width: reading.width, height: reading.height }];
    if (changed) this.fit();
    else this.paint();
  }

  mark(number) {
    this.marked = number;
    this.paint();
  }

  /** As large as the room allows, without another shape. */
  fit() {
    if (!this.size || this.frame.hidden) return;
    const { width, height } = this.size;
    const most = Math.max(240, Math.round(window.innerHeight * 0.66));
    const scale = Math.min(this.view.clientWidth / width, most / height, MOST_ENLARGED);
    this.frame.style.width = `${Math.round(width * scale)}px`;
    this.frame.style.height = `${Math.round(height * scale)}px`;
    this.paint();
  }

  paint() {
    const { overlay, reading } = this;
    if (!reading || this.frame.hidden) return;
    const [width, height] = [this.frame.clientWidth, this.frame.clientHeight];
    const fine = window.devicePixelRatio || 1;
    const [wide, high] = [Math.round(width * fine), Math.round(height * fine)];
    if (overlay.width !== wide || overlay.height !== high) [overlay.width, overlay.height] = [wide, high];
    const context = overlay.getContext("2d");
    context.setTransform(fine, 0, 0, fine, 0, 0);
    context.clearRect(0, 0, width, height);
    const scale = width / reading.width;
    const chips = [];
    reading.faces.forEach((face, number) => {
      const [x, y, w, h] = face.box.map((value) => value * scale);
      const box = { x: this.mirrored ? width - x - w : x, y, w, h };
      this.box(context, box, this.colourOf(face.expression), number === this.marked);
      chips.push({ face, number, box });
    });
    for (const chip of chips) this.chip(context, chip, width, height, reading.faces.length > 1);
  }

  colourOf(label) {
    return this.colours[label] ?? this.spare;
  }

  box(context, { x, y, w, h }, colour, marked) {
    const radius = Math.min(10, w / 8);
    for (const [width, style] of [[marked ? 7 : 5, "rgb(20 22 27 / 70%)"], [marked ? 4 : 2.5, colour]]) {
      context.beginPath();
      context.roundRect(x, y, w, h, radius);
      context.lineWidth = width;
      context.strokeStyle = style;
      context.stroke();
    }
  }

  /** Name and probability on top of the box, else below it, else inside. */
  chip(context, { face, number, box }, width, height, several) {
    const font = box.w < 60 ? 11 : 13;
    context.font = `600 ${font}px system-ui, "DejaVu Sans", sans-serif`;
    const name = `${several ? `${face.track ?? number + 1} · ` : ""}${face.expression}`;
    const text = box.w < 46 && several ? String(face.track ?? number + 1) : `${name} ${Math.round(face.confidence * 100)} %`;
    const [w, h] = [context.measureText(text).width + font + 14, font + 9];
    const x = Math.min(Math.max(box.x - 1, 2), Math.max(2, width - w - 2));
    let y = box.y - h - 4;
    if (y < 2) y = box.y + box.h + 4 + h < height ? box.y + box.h + 4 : Math.max(2, box.y + 4);
    context.fillStyle = INK;
    context.beginPath();
    context.roundRect(x, y, w, h, 6);
    context.fill();
    context.fillStyle = this.colourOf(face.expression);
    context.beginPath();
    context.roundRect(x + 6, y + h / 2 - 4, 8, 8, 4);
    context.fill();
    context.fillStyle = PAPER;
    context.textBaseline = "middle";
    context.fillText(text, x + font + 6, y + h / 2 + 0.5);
  }
}
