/* What was read, as small pictures in a row: each is a button that brings it to the stage. */

const SIDE = 104; // pixels of a small picture, for fine screens

export class Strip {
  /** onChoose: told the item. */
  constructor(root, onChoose) {
    this.root = root;
    this.onChoose = onChoose;
  }

  /** items: of main.js; shown: the one on the stage. */
  show(items, shown) {
    this.root.hidden = items.length < 2;
    this.root.dataset.items = items.length;
    this.root.replaceChildren(...items.map((item) => this.button(item, item === shown)));
    if (!this.root.hidden) this.root.querySelector("[aria-current=true]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  button(item, current) {
    const [entry, button] = [document.createElement("li"), document.createElement("button")];
    const reading = item.readings[item.readings.length - 1];
    const count = item.stream ? item.stream.tracks.size : (reading?.faces?.length ?? 0);
    const noun = (item.stream ? ["person", "persons"] : ["face", "faces"])[count === 1 ? 0 : 1];
    const what = reading?.error && !item.stream ? "could not be read" : `${count} ${noun}`;
    button.type = "button";
    button.title = `${item.name}: ${what}`;
    button.setAttribute("aria-label", button.title);
    if (current) button.setAttribute("aria-current", "true");
    button.onclick = () => {
      this.onChoose(item);
      this.root.querySelector("[aria-current=true]")?.focus();
    };
    if (item.preview) button.append(this.small(item), this.badge(count));
    else {
      const sign = document.createElement("span");
      [sign.className, sign.textContent] = item.stream ? ["playing", "●"] : ["bad", "!"];
      button.append(sign);
    }
    entry.append(button);
    return entry;
  }

  small({ preview }) {
    const canvas = document.createElement("canvas");
    const scale = SIDE / Math.min(preview.width, preview.height);
    canvas.width = canvas.height = SIDE;
    const [w, h] = [preview.width * scale, preview.height * scale];
    canvas.getContext("2d").drawImage(preview, (SIDE - w) / 2, (SIDE - h) / 2, w, h);
    return canvas;
  }

  badge(count) {
    const badge = document.createElement("span");
    [badge.className, badge.textContent] = ["count", String(count)];
    return badge;
  }
}
