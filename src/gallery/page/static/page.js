"use strict";

const $ = (id) => document.getElementById(id);
const form = $("search");
let gallery = null; // what /api/gallery says
let upload = null; // the chosen picture; null while a picture of the gallery is the query
let running = null; // aborts the search under way

const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function say(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", wrong);
}

// --- The form

async function start() {
  try {
    gallery = await (await fetch("api/gallery")).json();
  } catch {
    say("The server does not answer; start src.app again.", true);
    return;
  }
  about();
  scale();
  $("query-domain").hidden = !gallery.needs_domain;
  checkboxes("camera", gallery.cameras.map((camera) => [camera.id, camera.name]));
  checkboxes("domain", gallery.domains.map((domain) => [domain, domain]));
  options("colour", gallery.colours);
  options("type", gallery.types);
  $("by").hidden = !gallery.tracks;
  form.elements.by.checked = form.elements.by.defaultChecked = gallery.tracks && gallery.by_track;
  if (gallery.living) setInterval(look, 10000);
  if (gallery.times) {
    $("times").hidden = false;
    $("unit").textContent = gallery.time_unit === "unix" ? "(UTC)" : gallery.time_unit && `(${gallery.time_unit})`;
    for (const name of ["after", "before"]) {
      const input = form.elements[name];
      if (gallery.time_unit === "unix") input.type = "datetime-local";
      else input.inputMode = "decimal";
    }
    if (gallery.time_unit !== "unix") {
      form.elements.after.placeholder = Math.floor(gallery.times[0]);
      form.elements.before.placeholder = Math.ceil(gallery.times[1]);
    }
  }
  if (matchMedia("(max-width: 760px)").matches) $("filters").open = false;
  search();
}

function about() {
  $("about").textContent = `${gallery.count.toLocaleString("en")} pictures of ${gallery.name}${gallery.growing ? ", and growing" : ""}`;
}

// What the slider is the least of: probabilities where the checkpoint has a calibration.
function scale() {
  $("slider").name = gallery.probabilities ? "min_probability" : "threshold";
  $("least-what").textContent = gallery.probabilities ? "Least probability" : "Least score";
}

// A living gallery: what is there now is in the next search.
async function look() {
  try {
    const now = await (await fetch("api/gallery")).json();
    const more = now.count !== gallery.count || String(now.newest) !== String(gallery.newest);
    Object.assign(gallery, now);
    about();
    scale();
    for (const camera of gallery.cameras) {
      if (gallery.cameras.length < 2 || form.querySelector(`[name=camera][value="${camera.id}"]`)) continue;
      checkbox("camera", camera.id, camera.name);
    }
    if (more && (queryRow() !== null || upload)) search();
  } catch { /* it will be asked again */ }
}

function checkboxes(name, values) {
  if (values.length < 2) return;
  for (const [value, text] of values) checkbox(name, value, text);
}

function checkbox(name, value, text) {
  $(name).append(element("label", {}, element("input", { type: "checkbox", name, value }), ` ${text}`));
  $(name).hidden = false;
}

function options(name, values) {
  if (values.length < 2) return;
  for (const value of values) form.elements[name].append(element("option", { value, textContent: value }));
  $(name).hidden = false;
}

function choose(file) {
  if (!file) return;
  if (file.size > gallery.max_upload_mb * 2 ** 20) {
    say(`The file has ${(file.size / 2 ** 20).toFixed(1)} MiB, at most ${gallery.max_upload_mb} are taken.`, true);
    return;
  }
  upload = file;
  showQuery(URL.createObjectURL(file), file.name);
  if (location.hash) history.pushState(null, "", location.pathname); // so that Back leads to the picture before
  search();
}

function showQuery(source, text) {
  if ($("query").src.startsWith("blob:")) URL.revokeObjectURL($("query").src);
  $("query").src = source;
  $("query").alt = text;
  $("query").hidden = false;
  $("hint").hidden = true;
  $("query-text").textContent = text;
}

// --- Searching

const queryRow = () => (/^#\d+$/.test(location.hash) ? Number(location.hash.slice(1)) : null);

async function search() {
  const row = queryRow();
  if (row === null && !upload) {
    say("Choose a picture to find the same vehicle elsewhere.");
    return;
  }
  running?.abort();
  running = new AbortController();
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) {
    if (typeof value === "string" && value !== "" && name !== "query_domain") query.append(name, value);
  }
  // The slider at its left end means no threshold at all: scores can be negative.
  if (query.get($("slider").name) === "0") query.delete($("slider").name);
  if (row !== null) query.set("row", row);
  else if (gallery.needs_domain) query.set("query_domain", form.elements.query_domain.value);
  say("Searching …");
  try {
    const request = row !== null ? {} : { method: "POST", body: upload };
    const response = await fetch(`api/search?${query}`, { ...request, signal: running.signal });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error);
    show(answer);
  } catch (error) {
    if (error.name === "AbortError") return;
    show({ hits: [], query: null });
    say(error.message, true);
  }
}

const facts = (hit) => [
  hit.camera === null ? null : cameraName(hit.camera), hit.time,
  hit.rows.length > 1 ? `${hit.rows.length} pictures` : null, hit.domain,
  [hit.colour, hit.type].filter(Boolean).join(" "), hit.vehicle === null ? null : `vehicle ${hit.vehicle}`,
].filter(Boolean);

const cameraName = (id) => gallery.cameras.find((camera) => camera.id === id)?.name ?? `Camera ${id}`;

// Of a checkpoint with a calibration the probability of one vehicle, else the score.
function likelihood(hit) {
  if (hit.probability === null) return hit.score.toFixed(3);
  return hit.probability > .995 ? "> 99 %" : hit.probability < .005 ? "< 1 %" : `${Math.round(100 * hit.probability)} %`;
}

function show({ hits, query, not_in_gallery: absent }) {
  if (query) showQuery(`api/images/${query.row}`, [query.path, ...facts(query)].join(" · "));
  $("results").replaceChildren(...hits.map(card));
  $("where").hidden = hits.length === 0;
  if (hits.length) {
    // Of tracks the most probable may not be the first.
    const likeliest = hits.reduce((one, other) => (other.probability > one.probability ? other : one));
    const best = gallery.probabilities ? `best probability ${likelihood(likeliest)}` : `best score ${hits[0].score.toFixed(2)}`;
    const found = `${hits.length} result${hits.length > 1 ? "s" : ""}, ${best}. Click one to search on from it.`;
    say(absent ? `Probably not in the gallery. ${found}` : found);
    drawTimeline(hits, query);
    drawMap(hits);
    $("where").classList.toggle("flat", $("map-figure").hidden);
    $("where").hidden = $("timeline").childElementCount === 0 && $("map-figure").hidden;
  } else {
    say(absent ? "Probably not in the gallery." : `Nothing passes the filters and the ${$("least-what").textContent.toLowerCase()}.`);
  }
}

function card(hit, place) {
  const text = facts(hit);
  const button = element("button", { type: "button", title: hit.path },
    element("img", { src: `api/images/${hit.row}`, alt: text.join(", ") || hit.path, loading: "lazy" }),
    element("span", { className: "score" }, element("span", { textContent: `${place + 1}` }),
      element("b", { textContent: likelihood(hit), title: `score ${hit.score.toFixed(3)}. ${gallery.probabilities ?? ""}` })),
    ...text.map((line) => element("div", { className: "facts", textContent: line })));
  button.addEventListener("click", () => { location.hash = hit.row; });
  const item = element("li", { id: `hit-${hit.row}` }, button);
  if (hit.video) {
    const play = element("button", { type: "button", className: "play", textContent: "▶", title: "Play the video from here" });
    play.addEventListener("click", () => playVideo(hit.video));
    item.append(play);
  }
  for (const [event, on] of [["mouseenter", true], ["mouseleave", false], ["focusin", true], ["focusout", false]]) {
    item.addEventListener(event, () => light(hit.row, on));
  }
  return item;
}

function playVideo({ number, second }) {
  $("video").src = `api/videos/${number}#t=${Math.max(0, second - 1)}`;
  $("player").showModal();
  $("video").play().catch(() => {}); // the browser may not know its format; the controls say so
}

function light(row, on) {
  for (const lit of document.querySelectorAll(`[data-row="${row}"], #hit-${row}`)) lit.classList.toggle("lit", on);
}

// --- When and where

function timeText(value) {
  const [first, last] = gallery.times;
  if (gallery.time_unit === "unix") {
    return new Date(value * 1000).toISOString().slice(0, last - first < 600 ? 19 : 16).replace("T", " ");
  }
  return value.toLocaleString("en", { maximumFractionDigits: last - first > 100 ? 0 : 2 });
}

function drawTimeline(hits, query) {
  const chart = $("timeline");
  chart.replaceChildren();
  const shown = hits.filter((hit) => hit.timestamp !== null);
  const self = query && query.timestamp !== null ? [query] : [];
  if (shown.length === 0) return;
  const lanes = [...new Set([...shown, ...self].map((hit) => hit.camera))].sort((a, b) => a - b);
  const width = Math.max(300, chart.parentElement.clientWidth - 24), left = 84, right = 14;
  const lane = Math.min(40, Math.max(22, 180 / lanes.length));
  const height = lanes.length * lane + 24;
  const times = [...shown, ...self].flatMap((hit) => [hit.timestamp, hit.first ?? hit.timestamp, hit.last ?? hit.timestamp]);
  const first = Math.min(...times), last = Math.max(...times), span = last - first || 1;
  const x = (time) => left + ((time - first) / span) * (width - left - right);
  const y = (camera) => lanes.indexOf(camera) * lane + lane / 2;
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  chart.setAttribute("aria-label", `${shown.length} results at ${lanes.length} cameras over time`);
  for (const camera of lanes) {
    chart.append(svg("line", { class: "lane", x1: left, x2: width - right, y1: y(camera), y2: y(camera) }));
    const name = camera === null ? "no camera" : cameraName(camera);
    chart.append(svg("text", { x: 0, y: y(camera) + 4 }, name.length > 13 ? `${name.slice(0, 12)}…` : name));
  }
  const marks = last > first ? [[first, "start"], [(first + last) / 2, "middle"], [last, "end"]] : [[first, "start"]];
  for (const [time, anchor] of width < 420 ? marks.filter(([, a]) => a !== "middle") : marks) {
    chart.append(svg("text", { x: x(time), y: height - 4, "text-anchor": anchor }, timeText(time)));
  }
  const trip = ofOneTrip(shown, self).map((hit) => `${x(hit.timestamp)},${y(hit.camera)}`);
  if (trip.length > 1) {
    const line = svg("polyline", { class: "trip", points: trip.join(" ") });
    line.append(svg("title", {}, "the trip of one vehicle"));
    chart.append(line);
  }
  for (const hit of shown.filter((hit) => hit.last > hit.first)) {
    chart.append(svg("line", { class: "span", x1: x(hit.first), x2: x(hit.last), y1: y(hit.camera), y2: y(hit.camera) }));
  }
  // The best on top, so that it can be clicked.
  for (const hit of [...shown].reverse()) {
    const place = hits.indexOf(hit);
    const dot = svg("circle", { class: "hit", "data-row": hit.row, cx: x(hit.timestamp), cy: y(hit.camera),
      r: Math.max(4, 8 - place / 4) });
    dot.append(svg("title", {}, `${place + 1}: ${facts(hit).join(", ")}`));
    dot.addEventListener("mouseenter", () => light(hit.row, true));
    dot.addEventListener("mouseleave", () => light(hit.row, false));
    dot.addEventListener("click", () => $(`hit-${hit.row}`).scrollIntoView({ block: "center", behavior: "smooth" }));
    chart.append(dot);
  }
  for (const hit of self) {
    const ring = svg("circle", { class: "self", cx: x(hit.timestamp), cy: y(hit.camera), r: 9 });
    ring.append(svg("title", {}, "the query"));
    chart.append(ring);
  }
}

// The sightings of one vehicle in order of time: those that src.link says are the query's, else, once a least score says
// what is alike enough, all results.
function ofOneTrip(shown, self) {
  const vehicle = self[0]?.global_id ?? null;
  const same = vehicle !== null ? shown.filter((hit) => hit.global_id === vehicle)
    : Number($("slider").value) > 0 ? shown : [];
  return [...same, ...self].sort((a, b) => a.timestamp - b.timestamp);
}

function drawMap(hits) {
  const chart = $("map"), side = 220, margin = 26;
  const placed = gallery.cameras.filter((camera) => camera.place);
  $("map-figure").hidden = placed.length < 2;
  chart.replaceChildren();
  if (placed.length < 2) return;
  const xs = placed.map((camera) => camera.place[0]), ys = placed.map((camera) => camera.place[1]);
  const west = Math.min(...xs), south = Math.min(...ys);
  const extent = Math.max(Math.max(...xs) - west, Math.max(...ys) - south) || 1;
  const scale = (side - 2 * margin) / extent;
  chart.setAttribute("viewBox", `0 0 ${side} ${side}`);
  chart.setAttribute("aria-label", "Cameras and how many results each has");
  for (const camera of placed) {
    const count = hits.filter((hit) => hit.camera === camera.id).length;
    const cx = margin + (camera.place[0] - west) * scale, cy = side - margin - (camera.place[1] - south) * scale;
    const dot = svg("circle", { class: count ? "camera seen" : "camera", cx, cy, r: count ? 5 + 2.2 * Math.sqrt(count) : 4 });
    dot.append(svg("title", {}, `${camera.name}: ${count}`));
    chart.append(dot, svg("text", { x: cx, y: cy - 9 - (count ? 2.2 * Math.sqrt(count) : 0), "text-anchor": "middle" },
      camera.name === `Camera ${camera.id}` ? `${camera.id}` : camera.name));
  }
}

// --- Events

$("file").addEventListener("change", () => choose($("file").files[0]));
for (const event of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(event, (dropped) => {
    dropped.preventDefault();
    $("drop").classList.toggle("over", event === "dragover");
    if (event === "drop") choose(dropped.dataTransfer.files[0]);
  });
}
let waiting = null;
form.addEventListener("input", (event) => {
  if (event.target.id === "file") return;
  $("least").textContent = Number($("slider").value).toFixed(2);
  clearTimeout(waiting);
  waiting = setTimeout(search, 250);
});
form.addEventListener("reset", () => setTimeout(() => {
  $("least").textContent = "0.00";
  search();
}));
form.addEventListener("submit", (event) => event.preventDefault());
$("player").addEventListener("close", () => { $("video").removeAttribute("src"); $("video").load(); });
addEventListener("hashchange", () => {
  if (queryRow() !== null) scrollTo({ top: 0, behavior: "smooth" });
  else if (upload) showQuery(URL.createObjectURL(upload), upload.name);
  search();
});
start();
