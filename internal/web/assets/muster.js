// muster.js makes the page live. Without it everything works by links and forms.
// A stream of events says that something happened; the page is then fetched again, and the
// parts of it that differ are put in place. Rows are changed where they are; a list whose
// rows would come, go or move waits until its reader asks for it.
"use strict";

const strip = document.getElementById("offline");
const news = document.getElementById("news");
let source, due, fresh, lost;

function busy() {
  const at = document.activeElement;
  if (at && at.closest && at.closest("[data-live] form, [data-live] details")) return true;
  return document.querySelector("[data-live] input:checked[type=checkbox], [data-live] details[open]") !== null;
}

function ids(of) {
  return [...of.querySelectorAll("[id^=h-]")].map((x) => x.id).join(" ");
}

// put takes what is new of one part into the page.
function put(old, now) {
  if (old.innerHTML === now.innerHTML) return;
  if (old.querySelector("tr[id^=h-]") && ids(old) !== ids(now)) {
    for (const row of old.querySelectorAll("[id^=h-]")) {
      const next = now.querySelector("#" + row.id);
      if (next && next.innerHTML !== row.innerHTML) row.innerHTML = next.innerHTML;
    }
    offer();
    return;
  }
  if (busy()) { offer(); return; }
  old.innerHTML = now.innerHTML;
}

function offer() {
  if (document.getElementById("fresh")) return;
  const b = document.createElement("button");
  b.id = "fresh";
  b.textContent = "The list has changed: show";
  b.addEventListener("click", () => location.reload());
  document.querySelector("h1").after(b);
  news.textContent = "The list has changed.";
}

async function refresh() {
  due = undefined;
  asked = Date.now();
  if (document.hidden) { fresh = false; return; }
  const parts = document.querySelectorAll("[data-live]");
  if (parts.length === 0) return;
  try {
    const a = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual", cache: "no-store" });
    if (a.type === "opaqueredirect" || a.status === 401) { say("You were signed out. Reload to sign in again."); return; }
    if (!a.ok) throw new Error(a.status);
    const page = new DOMParser().parseFromString(await a.text(), "text/html");
    for (const old of parts) {
      const now = page.querySelector(`[data-live="${old.dataset.live}"]`);
      if (now) put(old, now);
    }
    fresh = true;
    say("");
  } catch (e) {
    gone();
  }
}

// Pages that look at the same thing do not ask at the same moment, and none asks without a break.
let asked = 0;
function soon() {
  if (due === undefined) due = setTimeout(refresh, Math.max(100 + Math.random() * 300, asked + 700 - Date.now()));
}

function say(words) {
  strip.textContent = words;
  strip.hidden = words === "";
  document.body.classList.toggle("stale", words !== "");
}

function gone() {
  if (lost === undefined) lost = setTimeout(() => say("Not live since " + new Date().toLocaleTimeString() + ", trying again."), 5000);
}

function listen() {
  if (document.hidden || source || !document.querySelector("[data-live]")) return;
  source = new EventSource("/api/v1/events?all=1&brief=1&back=1&since=" + encodeURIComponent(new Date(Date.now() - 1000).toISOString().replace(/\.\d+/, "")));
  source.onopen = () => { clearTimeout(lost); lost = undefined; say(""); soon(); };
  source.onmessage = soon;
  source.onerror = () => {
    gone();
    if (source.readyState === EventSource.CLOSED) { source = undefined; setTimeout(listen, 3000); }
  };
}

function hush() {
  if (source) source.close();
  source = undefined;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) hush(); else { listen(); if (!fresh) soon(); }
});
addEventListener("pagehide", hush);
setInterval(() => { if (!document.hidden && document.querySelector("[data-live=now]")) soon(); }, 5000);

// Keys: / search, g and a letter to go, j and k for rows. None gives an order.
let going = false;
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) return;
  const places = { n: "/", i: "/inbox", h: "/hosts", t: "/templates", m: "/images", w: "/networks", e: "/events", s: "/settings" };
  if (going && places[e.key]) { location.href = places[e.key]; return; }
  going = e.key === "g";
  if (e.key === "/") { e.preventDefault(); document.getElementById("q").focus(); }
  if (e.key === "j" || e.key === "k") {
    const all = [...document.querySelectorAll("main a")];
    const at = all.indexOf(document.activeElement);
    const next = all[at + (e.key === "j" ? 1 : -1)];
    if (next) next.focus();
  }
});

// Filters that somebody keeps, in this browser.
(() => {
  const box = document.getElementById("kept");
  if (!box) return;
  let kept = [];
  try { kept = JSON.parse(localStorage.getItem("filters")) || []; } catch { /* a browser that keeps nothing */ }
  const q = box.dataset.q;
  const keep = (now) => {
    kept = now;
    try { localStorage.setItem("filters", JSON.stringify(kept)); } catch { return; }
    draw();
  };
  function draw() {
    box.replaceChildren();
    for (const f of kept) {
      const a = document.createElement("a");
      a.href = "/hosts?q=" + encodeURIComponent(f);
      a.textContent = f;
      box.append(a, " ");
    }
    if (q) {
      const has = kept.includes(q);
      const b = document.createElement("button");
      b.type = "button";
      b.className = "plain";
      b.textContent = has ? "Forget this filter" : "Keep this filter";
      b.onclick = () => keep(has ? kept.filter((f) => f !== q) : [...kept, q].slice(-20));
      box.append(b);
    }
    box.hidden = !box.childElementCount;
  }
  draw();
})();

listen();
