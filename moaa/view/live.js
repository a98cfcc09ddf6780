// Pages work without this. It reads a live page again and puts the new parts in place, and lets a search go on by itself.
"use strict";
const PAUSE_MS = 10000;

function sameParts(selector, fresh) {
  for (const old of document.querySelectorAll(selector)) {
    const now = fresh.getElementById(old.id);
    if (now && now.innerHTML !== old.innerHTML && !old.contains(document.activeElement)) old.replaceChildren(...now.childNodes);
  }
}

function liveIds(page) {
  return [...page.querySelectorAll("[data-live]")].map((part) => part.id).join(" ");
}

async function read(address) {
  const answer = await fetch(address, { headers: { accept: "text/html" } });
  return answer.ok ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
}

async function refresh() {
  if (!document.hidden) {
    const fresh = await read(location.href).catch(() => null);
    const note = document.getElementById("live-note");
    if (fresh && liveIds(fresh) !== liveIds(document)) return location.reload(); // a part has come or gone
    if (fresh) sameParts("[data-live]", fresh);
    if (note) note.textContent = fresh ? "" : "The server does not answer; this page is as it was.";
  }
  if (document.querySelector("[data-refresh]")) setTimeout(refresh, PAUSE_MS);
}

async function searchOn() {
  const list = document.querySelector("#rows tbody");
  const more = document.getElementById("more");
  while (list && more && more.dataset.search && list.rows.length < 50) {
    const link = more.querySelector("a[rel=next]");
    const fresh = link && (await read(link.href).catch(() => null));
    if (!fresh) return;
    const looked = Number(more.dataset.looked) + Number(fresh.getElementById("more").dataset.looked);
    list.append(...fresh.querySelectorAll("#rows tbody tr"));
    more.replaceWith(fresh.getElementById("more"));
    const now = document.getElementById("more");
    now.dataset.looked = looked;
    now.querySelector("[data-count]").textContent = looked.toLocaleString("en");
    return searchOn();
  }
}

if (document.querySelector("[data-refresh]")) setTimeout(refresh, PAUSE_MS);
searchOn();
