/* The page's side of the worker: calls become promises. */

/** An error that the page shows as it is. kind: of what went wrong. */
export class Failure extends Error {
  constructor({ kind, message }) {
    super(message);
    this.kind = kind;
  }
}

export class Engine {
  /** onProgress: told the proportion of the files that have come, 0-1. */
  constructor(onProgress) {
    this.waiting = new Map();
    this.count = 0;
    // By way of a blob the worker has this page's content policy too, where the server sends none with worker.js
    const start = new Blob([`import ${JSON.stringify(new URL("../worker.js", import.meta.url).href)};`], { type: "text/javascript" });
    this.worker = new Worker(URL.createObjectURL(start), { type: "module" });
    this.worker.onmessage = ({ data }) => {
      if ("progress" in data) return onProgress(data.progress);
      const { resolve, reject } = this.waiting.get(data.id);
      this.waiting.delete(data.id);
      return data.failure ? reject(new Failure(data.failure)) : resolve(data.value);
    };
    this.worker.onerror = (event) => {
      event.preventDefault();
      const message = `expected the page's worker to run, got ${event.message || "a file that does not load"}; reload the page`;
      for (const { reject } of this.waiting.values()) reject(new Failure({ kind: "worker", message }));
      this.waiting.clear();
    };
  }

  /** call: a name in worker.js. moved: what the worker takes over. */
  call(name, options = {}, moved = []) {
    return new Promise((resolve, reject) => {
      const id = ++this.count;
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, call: name, ...options }, moved);
    });
  }
}
