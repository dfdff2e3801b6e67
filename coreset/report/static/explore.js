"use strict";
const $ = (id) => document.getElementById(id);
const COLORS = ["#1f77b4", "#e15759", "#59a14f", "#b07aa1", "#f28e2b", "#17a2a2", "#9c755f", "#d37295", "#8c8c00", "#4e4ea8",
  "#7f7f7f", "#2ca9e1", "#c44e00", "#3a7d44", "#7a3b8f", "#a67c00", "#00695c", "#ad1457", "#455a64", "#6d4c41"];
const FADED = "#cfd3da";
const RAMP = Array.from({ length: 32 }, (_, i) => `hsl(${250 - i * 6.6} 75% ${38 + i * 0.5}%)`).map(toHex);
let about, plots = [], xy, chunks = new Map(), shown = [], said = {}, values = new Map(), hidden = new Set();

function toHex(hsl) {
  const [h, s, l] = hsl.match(/[\d.-]+/g).map(Number);
  const f = (n) => { const k = (n + h / 30) % 12; const a = (s / 100) * Math.min(l / 100, 1 - l / 100);
    return Math.round(255 * (l / 100 - a * Math.max(-1, Math.min(k - 3, 9 - k, 1)))).toString(16).padStart(2, "0"); };
  return `#${f(0)}${f(8)}${f(4)}`;
}
function fail(text) { $("error").textContent = text; $("error").hidden = !text; }
async function get(url, how = "json") {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return how === "json" ? answer.json() : new Float32Array(await answer.arrayBuffer());
}
async function row(i) {
  const k = Math.floor(i / about.chunk);
  if (!chunks.has(k)) chunks.set(k, get(`api/rows/${k}.json`));
  return (await chunks.get(k))[i % about.chunk];
}
async function column(name) {
  if (!values.has(name)) values.set(name, await get(`api/column/${encodeURIComponent(name)}`, "binary"));
  return values.get(name);
}
function make(tag, text, attributes = {}) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
  return node;
}
function button(text, act, attributes = {}) {
  const node = make("button", text, { type: "button", ...attributes });
  node.addEventListener("click", act);
  return node;
}

async function start() {
  about = await get("api/about.json");
  said = about.server ? await get("api/overrules.json") : JSON.parse(localStorage.getItem("overrules") || "{}").said || {};
  $("title").textContent = about.title; document.title = `${about.title}: every row`;
  $("counts").textContent = [`${about.rows.toLocaleString("en")} rows`, ...Object.entries(about.decisions).map(([k, n]) => `${n.toLocaleString("en")} ${k}`)].join(" · ");
  const names = [...Object.keys(about.colors), ...about.orders, ...about.scores];
  for (const name of names) { $("color").append(make("option", name)); $("beside").append(make("option", name)); }
  $("beside").prepend(make("option", "nothing", { value: "" })); $("beside").value = "";
  const slider = $("budget");
  const most = about.decisions.kept || about.decisions.chosen || about.rows;
  slider.max = String(most); slider.value = String(most);
  if (!about.orders.length) for (const id of ["budget", "spent"]) $(id).hidden = true;
  if (!about.orders.length) document.querySelector("label[for=budget]").hidden = true;
  $("color").addEventListener("change", () => { hidden.clear(); paint(); });
  $("beside").addEventListener("change", beside);
  slider.addEventListener("input", paint);
  $("find").addEventListener("submit", find);
  $("csv").addEventListener("click", csv);
  $("saved").addEventListener("click", saved);
  $("atlas").addEventListener("toggle", () => { if (!$("atlas").querySelector("iframe")) $("atlas").append(make("iframe", "", { src: "atlas/index.html", title: "Embedding Atlas: table, charts and cross-filters" })); }, { once: true });
  if (about.map) {
    xy = await get("api/points.bin", "binary");
    plots = [plot($("map"))];
  } else { $("maps").replaceChildren(make("p", "There is no map: the run has no vectors, texts or images to draw one from.")); }
  await paint();
  const asked = new URLSearchParams(location.search).get("row");
  if (asked) { $("q").value = asked; $("find").requestSubmit(); }
  document.body.dataset.ready = "1";
}
function plot(canvas) {
  const box = canvas.parentElement.getBoundingClientRect();
  const one = createScatterplot({ canvas, width: box.width, height: box.height, pointSize: about.rows > 2e5 ? 1.5 : about.rows > 2e4 ? 3 : 6,
    backgroundColor: "#ffffff", opacity: about.rows > 2e5 ? 0.5 : 0.85, pointColorActive: "#000000", pointColorHover: "#000000", lassoColor: "#1f5fbf" });
  one.subscribe("select", ({ points }) => choose([...points], false));
  one.subscribe("view", ({ view }) => { for (const other of plots) if (other !== one && !other.busy) { one.busy = true; other.set({ cameraView: view }); one.busy = false; } });
  new ResizeObserver(() => { const b = canvas.parentElement.getBoundingClientRect(); if (b.width) one.set({ width: b.width, height: b.height }); }).observe(canvas.parentElement);
  return one;
}
async function beside() {
  $("second").hidden = !$("beside").value;
  if ($("beside").value && plots.length === 1) plots.push(plot($("map2")));
  await paint();
}
async function paint() {
  const order = about.orders.includes($("color").value) ? $("color").value : about.orders[0];
  const rank = order ? await column(order) : null;
  const budget = Number($("budget").value);
  $("spent").textContent = order ? `${budget.toLocaleString("en")} first` : "";
  for (const [one, pick] of [[plots[0], $("color")], [plots[1], $("beside")]]) {
    const name = pick.value;
    if (!name) continue;
    const held = await column(name), isOrder = about.orders.includes(name), known = about.colors[name];
    let colors, place = new Float32Array(about.rows);
    const own = isOrder ? held : rank;
    if (known) {
      colors = [FADED, ...known.map((_, i) => COLORS[i % COLORS.length])];
      for (let i = 0; i < place.length; i++) place[i] = hidden.has(held[i]) ? -1 : held[i] + 1;
    } else {
      colors = [FADED, ...RAMP];
      let low = Infinity, high = -Infinity;
      for (const v of held) if (Number.isFinite(v) && !(isOrder && v < 0)) { low = Math.min(low, v); high = Math.max(high, v); }
      for (let i = 0; i < place.length; i++) {
        const v = held[i];
        place[i] = !Number.isFinite(v) || (isOrder && (v < 0 || v >= budget)) ? 0 : 1 + Math.round((31 * (v - low)) / Math.max(high - low, 1e-30));
      }
    }
    if (known && own && budget < Number($("budget").max)) for (let i = 0; i < place.length; i++) if (!(own[i] >= 0 && own[i] < budget)) place[i] = Math.min(place[i], 0);
    if (one) await draw(one, colors, place);
    if (pick === $("color")) legend(name, known, colors);
  }
}
async function draw(one, colors, place) {
  const n = about.rows, x = new Float32Array(n), y = new Float32Array(n), z = new Float32Array(n), off = [];
  for (let i = 0; i < n; i++) {
    const there = Number.isFinite(xy[i]) && place[i] >= 0;
    x[i] = there ? xy[i] : 4; y[i] = there ? xy[n + i] : 4; z[i] = Math.max(place[i], 0);
    if (!there) off.push(i);
  }
  one.set({ pointColor: colors, colorBy: "valueA" });
  await one.draw({ x, y, valueA: z }, { zDataType: "categorical" });
}
function legend(name, known, colors) {
  const items = (known || ["lowest", "middle", "highest"]).map((value, i) => {
    const item = make("li"), dot = make("i");
    dot.style.background = known ? colors[i + 1] : RAMP[[0, 16, 31][i]];
    if (!known) { item.append(dot, value); return item; }
    const label = make("label"), box = make("input", undefined, { type: "checkbox" });
    box.checked = !hidden.has(i);
    box.addEventListener("change", () => { if (box.checked) hidden.delete(i); else hidden.add(i); paint(); });
    label.append(box, dot, value); item.append(label);
    return item;
  });
  $("legend").replaceChildren(...items);
}
async function find(event) {
  event.preventDefault();
  const q = $("q").value.trim();
  if (!q) return;
  try {
    const hits = about.server ? await get(`api/search.json?q=${encodeURIComponent(q)}`) : await findHere(q);
    fail(hits.length ? "" : `No row has ${q}.`);
    if (hits.length) await choose(hits, true);
  } catch (error) { fail(String(error.message)); }
}
async function findHere(q) {
  const ids = await get("api/ids.json"), out = [];
  if (ids.indexOf(q) >= 0) out.push(ids.indexOf(q));
  if (/^\d+$/.test(q) && Number(q) < ids.length && !out.includes(Number(q))) out.push(Number(q));
  for (let i = 0; i < ids.length && out.length < 50; i++) if (ids[i].includes(q) && !out.includes(i)) out.push(i);
  return out;
}
async function choose(indices, mark) {
  shown = indices;
  $("many").textContent = indices.length ? `(${indices.length.toLocaleString("en")})` : "";
  $("csv").disabled = !indices.length;
  if (mark && plots.length) plots[0].select(indices, { preventEvent: true });
  const items = await Promise.all(indices.slice(0, 60).map(async (i) => {
    const r = await row(i), item = make("li");
    item.append(button(`${r.id}: ${r.decision}${r.reason ? `, ${r.reason}` : ""}`, () => show(i)));
    return item;
  }));
  $("list").replaceChildren(...items);
  if (indices.length) await show(indices[0]);
}
function face(r) {
  const parts = [];
  if (r.thumbnail) parts.push(make("img", undefined, { src: r.thumbnail, alt: `image of row ${r.id}` }));
  if (r.text) parts.push(make("pre", r.text, { tabindex: "0" }));
  return parts;
}
async function show(i) {
  const r = await row(i), place = $("row");
  const head = make("h2", `Row ${r.row}: ${r.id}`);
  const why = make("p", [r.decision, r.operator ? `by ${r.operator}` : "", r.reason || ""].filter(Boolean).join(", "), { class: `why ${r.decision}` });
  const parts = [head, why];
  if (said[r.id]) parts.push(make("p", `Overruled: ${said[r.id]}`, { class: "overruled" }));
  if (r.duplicate_row !== undefined) {
    const twin = await row(r.duplicate_row), pair = make("div", undefined, { class: "pair" });
    const mine = make("div"), theirs = make("div");
    mine.append(make("p", "This row"), ...face(r));
    theirs.append(make("p", `Kept for it: ${twin.id}`), ...face(twin), button("Show it", () => show(r.duplicate_row)));
    pair.append(mine, theirs); parts.push(pair);
  } else parts.push(...face(r));
  parts.push(actions(r));
  const facts = make("dl");
  for (const [k, v] of Object.entries(r)) if (!["row", "id", "thumbnail", "text", "neighbors", "decision", "operator", "reason"].includes(k))
    facts.append(make("dt", k), make("dd", typeof v === "number" && !Number.isInteger(v) ? v.toPrecision(5) : String(v)));
  parts.push(facts);
  if (r.neighbors) {
    const near = make("div", undefined, { class: "near" });
    r.neighbors.ids.forEach((n, j) => near.append(button(`${n} (${r.neighbors.distances[j].toPrecision(3)})`, () => show(n))));
    parts.push(make("h3", "Nearest rows"), near);
  }
  place.replaceChildren(...parts);
  if (plots.length && Number.isFinite(xy[i])) plots[0].select([i], { preventEvent: true });
}
function actions(r) {
  const box = make("div", undefined, { class: "actions" });
  const who = make("input", undefined, { "aria-label": "Your name", placeholder: "your name", size: "10", id: "who" });
  who.value = localStorage.getItem("who") || about.who || "";
  const why = make("input", undefined, { "aria-label": "Why", placeholder: "why", id: "why" });
  const label = make("input", undefined, { "aria-label": "New label", placeholder: "new label", size: "10", id: "label" });
  const act = (action) => overrule(shown.length > 1 && $("all")?.checked ? shown : [r.row], action, who.value, why.value, label.value);
  box.append(who, why);
  for (const action of ["keep", "drop", "pin"]) box.append(button(action, () => act(action), { "data-action": action }));
  box.append(label, button("relabel", () => act("relabel"), { "data-action": "relabel" }));
  if (shown.length > 1) {
    const every = make("label"), tick = make("input", undefined, { type: "checkbox", id: "all" });
    every.append(tick, `all ${shown.length} chosen`); box.append(every);
  }
  return box;
}
async function overrule(indices, action, who, why, label) {
  try {
    if (!who.trim()) throw new Error("Say who decides: your name is empty.");
    if (action === "relabel" && !label.trim()) throw new Error("Relabel to what? The new label is empty.");
    localStorage.setItem("who", who);
    const ids = await Promise.all(indices.map(async (i) => (await row(i)).id));
    const body = { ids, action, who, why, label: action === "relabel" ? label : null };
    if (about.server) {
      const answer = await fetch("api/overrule", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
      if (!answer.ok) throw new Error((await answer.json()).detail);
      said = await get("api/overrules.json");
    } else {
      const held = JSON.parse(localStorage.getItem("overrules") || '{"lines":[],"said":{}}');
      const when = new Date().toISOString().slice(0, 19) + "Z";
      for (const id of ids) {
        held.lines.push({ id, action, who, when, ...(why ? { why } : {}), ...(body.label ? { label } : {}) });
        held.said[id] = `${action}${body.label ? ` to ${label}` : ""} by ${who}`;
      }
      localStorage.setItem("overrules", JSON.stringify(held)); said = held.said;
    }
    fail("");
    await show(indices[0]);
  } catch (error) { fail(String(error.message)); }
}
function download(name, text) {
  const link = make("a", "", { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
async function csv() {
  const lines = await Promise.all(shown.map(async (i) => { const r = await row(i); return `${r.row},"${String(r.id).replaceAll('"', '""')}",${r.decision}`; }));
  download("rows.csv", ["row,id,decision", ...lines].join("\n") + "\n");
}
async function saved() {
  if (about.server) { fail(`Overrules are written to ${about.file}`); return; }
  const held = JSON.parse(localStorage.getItem("overrules") || '{"lines":[]}');
  download("overrules.jsonl", held.lines.map((l) => JSON.stringify(l)).join("\n") + "\n");
}
start().catch((error) => fail(String(error.message)));
