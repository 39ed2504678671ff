/* The list of faces: for each its name, its most probable expression and a bar for every probability. */

export const percent = (p) => (p < 0.005 ? "<1 %" : `${Math.round(p * 100)} %`);

/** What a face is called: by its number in a picture, or by its track. */
export const nameOf = (face, number) => (face.track === null ? `Face ${number + 1}` : `Person ${face.track}`);

/** One sentence for those who hear it. */
export function spoken(reading) {
  const { faces } = reading;
  if (!faces.length) return `${reading.source}: no face was found.`;
  const told = faces.slice(0, 6).map((face, i) => `${nameOf(face, i)}: ${face.expression}, ${percent(face.confidence)}`);
  const rest = faces.length > 6 ? `, and ${faces.length - 6} more` : "";
  return `${reading.source}: ${faces.length} ${faces.length === 1 ? "face" : "faces"}. ${told.join(". ")}${rest}.`;
}

export class FaceList {
  /** onPoint: told the number of the face that is pointed at, or null. */
  constructor(root, empty, settings, onPoint) {
    this.root = root;
    this.empty = empty;
    this.colours = Object.assign({}, ...Object.values(settings.models).map((model) => model.colours));
    this.cards = [];
    this.onPoint = onPoint;
  }

  /** reading: of the picture or frame that is shown; null for none. */
  show(reading) {
    const faces = reading?.faces ?? [];
    this.empty.hidden = faces.length > 0;
    this.empty.textContent = reading ? "No face was found in this picture." : "The faces of a picture appear here, each with a probability for every expression.";
    while (this.cards.length > faces.length) this.cards.pop().root.remove();
    faces.forEach((face, number) => {
      const labels = Object.keys(face.probabilities);
      const card = this.cards[number] ?? this.add(number, labels);
      card.name.textContent = nameOf(face, number);
      card.label.textContent = face.expression;
      card.dot.style.background = this.colours[face.expression];
      card.sure.textContent = percent(face.confidence);
      for (const label of labels) {
        const bar = card.bars.get(label);
        bar.row.classList.toggle("best", label === face.expression);
        bar.value.textContent = percent(face.probabilities[label]);
        bar.fill.style.transform = `scaleX(${face.probabilities[label]})`;
      }
    });
  }

  add(number, labels) {
    const make = (tag, className, ...children) => {
      const element = document.createElement(tag);
      if (className) element.className = className;
      element.append(...children);
      return element;
    };
    const [name, dot, label, sure] = [make("span", "name"), make("span", "dot"), make("span"), make("span", "sure")];
    const bars = new Map();
    const list = make("ul", "bars");
    for (const text of labels) {
      const [fill, value] = [make("b"), make("span", "value")];
      fill.style.background = this.colours[text];
      const row = make("li", "", make("span", "label", text), value, make("i", "", fill));
      bars.set(text, { row, fill, value });
      list.append(row);
    }
    const root = make("li", "face", make("header", "", name, make("span", "top", dot, label), sure), list);
    root.addEventListener("pointerenter", () => this.onPoint(number));
    root.addEventListener("pointerleave", () => this.onPoint(null));
    this.root.append(root);
    this.cards.push({ root, name, dot, label, sure, bars });
    return this.cards[number];
  }
}
