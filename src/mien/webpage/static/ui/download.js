/* Results as files, made in the browser. */

import { toCsv, toJsonLines } from "../reading/results.js";

const KINDS = { csv: "text/csv", jsonl: "application/jsonl" };

/** Offer all readings as mien.csv or mien.jsonl. columns: of the model. */
export function download(kind, readings, columns) {
  const text = kind === "csv" ? toCsv(readings, columns) : toJsonLines(readings);
  const address = URL.createObjectURL(new Blob([text], { type: KINDS[kind] }));
  const link = document.createElement("a");
  [link.href, link.download] = [address, `mien.${kind}`];
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000); // once the browser has taken it
}
