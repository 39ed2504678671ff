/* The service worker: keeps the files of one version of the page, so that it works offline; nothing else is kept. */

const { version, first, later } = /* files: written by mien */ {};
const CACHE = `mien-${version}`;
const BASE = new URL("./", self.location.href);

self.addEventListener("install", (event) => {
  // no-cache: an unchanged file comes from the browser's own cache, after a question to the server
  const requests = first.map((path) => new Request(new URL(path, BASE), { cache: "no-cache" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(requests)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const drop = (names) => Promise.all(names.filter((name) => name.startsWith("mien-") && name !== CACHE).map((name) => caches.delete(name)));
  event.waitUntil(caches.keys().then(drop).then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || !url.href.startsWith(BASE.href)) return;
  const path = url.pathname.slice(BASE.pathname.length) || "index.html";
  if (first.includes(path) || later.includes(path)) event.respondWith(answer(path, event.request));
});

async function answer(path, request) {
  const cache = await caches.open(CACHE);
  const key = new URL(path, BASE).href;
  const kept = await cache.match(key);
  if (kept) return kept;
  const fresh = await fetch(request);
  if (fresh.ok) await cache.put(key, fresh.clone());
  return fresh;
}
