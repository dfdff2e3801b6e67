"use strict";
(() => {
  const held = document.getElementById("page-data");
  const page = held ? JSON.parse(held.textContent) : { charts: {}, strategies: {}, budgets: [], classes: [] };
  const views = {}, hidden = new Set(), gone = new Set();
  let budget = 0, each = false;
  const make = (tag, words, attributes = {}) => {
    const node = document.createElement(tag);
    if (words !== undefined) node.textContent = words;
    for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
    return node;
  };
  const tick = (words, color, on, act) => {
    const label = make("label"), box = make("input", undefined, { type: "checkbox" });
    box.checked = on;
    box.addEventListener("change", () => act(box.checked));
    label.append(box);
    if (color) { const dot = make("i"); dot.style.background = color; label.append(dot); }
    label.append(words);
    return label;
  };
  const signal = (name, value) => {
    for (const view of Object.values(views)) { try { view.signal(name, value).run(); } catch { /* a chart without it */ } }
  };
  const set = (name, value) => value.size >= 0 ? signal(name, [...value]) : signal(name, value);

  async function draw() {
    for (const [id, spec] of Object.entries(page.charts)) {
      const place = document.getElementById(`chart-${id}`);
      if (!place || typeof drawVegaLite === "undefined") continue;
      const live = make("div", undefined, { class: "live", role: "img", "aria-label": place.dataset.said });
      place.append(live);
      const width = Math.max(240, Math.min(place.clientWidth || 640, 1000));
      try {
        views[id] = await drawVegaLite({ ...spec, width, height: Math.min(spec.height, Math.max(220, width * 0.62)) }, live);
        place.querySelector(".still").hidden = true;
        live.querySelector("svg")?.setAttribute("aria-hidden", "true");
      } catch (error) { live.remove(); console.warn(String(error)); }
    }
  }
  function group(name, items) {
    const set = make("fieldset");
    set.append(make("legend", name), ...items);
    return set;
  }
  function controls() {
    const chart = document.getElementById("chart-curve");
    const bar = make("div", undefined, { class: "controls" });
    const names = Object.entries(page.strategies);
    if (chart && names.length) {
      bar.append(group("Strategies", names.map(([name, color]) => tick(name, color, true, (on) => { on ? hidden.delete(name) : hidden.add(name); set("hidden", hidden); sheets(); }))));
      bar.append(tick("every seed", "", false, (on) => { each = on; signal("each", each); }));
    }
    if (page.budgets.length > 1) {
      const label = make("label", "Budget "), slider = make("input", undefined, { type: "range", min: "0", max: String(page.budgets.length - 1), step: "1", "aria-label": "Budget in labels" });
      slider.value = slider.max;
      const said = make("output", `all ${page.budgets.at(-1)} labels`);
      slider.addEventListener("input", () => {
        const last = slider.value === slider.max;
        budget = last ? 0 : page.budgets[Number(slider.value)];
        said.textContent = last ? `all ${page.budgets.at(-1)} labels` : `${budget} labels`;
        slider.setAttribute("aria-valuetext", said.textContent);
        signal("budget", budget); sheets();
      });
      label.append(slider, said); bar.append(label);
    }
    if (bar.children.length && chart) chart.before(bar);
    const first = document.querySelector(".picks figure[data-class]");
    if (first && page.classes.length && page.classes.length <= 30) {
      const filter = make("div", undefined, { class: "controls", id: "classes" });
      const used = [...new Set([...document.querySelectorAll(".picks figure[data-class]")].map((f) => Number(f.dataset.class)))].sort((a, b) => a - b);
      filter.append(group("Classes", used.map((c) => tick(page.classes[c] ?? "unknown", "", true, (on) => { on ? gone.delete(c) : gone.add(c); set("gone", gone); sheets(); }))));
      first.closest("details.section, main").querySelector("summary").after(filter);
    }
  }
  function sheets() {
    for (const figure of document.querySelectorAll("figure[data-class]")) {
      const spent = Number(figure.dataset.labels || 0);
      figure.hidden = gone.has(Number(figure.dataset.class)) || (budget > 0 && spent > budget);
    }
    for (const block of document.querySelectorAll("details[data-strategy]")) block.hidden = hidden.has(block.dataset.strategy);
    for (const bar of document.querySelectorAll(".sheetbar")) count(bar);
  }
  const visible = (block) => [...block.querySelectorAll("figure[data-id]")].filter((f) => !f.hidden);
  function count(bar) { bar.querySelector("output").textContent = `${visible(bar.parentElement).length} shown `; }
  function bars() {
    for (const block of document.querySelectorAll("details[data-strategy], .shots, .groups")) {
      if (!block.querySelector("figure[data-id]")) continue;
      const bar = make("p", undefined, { class: "sheetbar" }), save = make("button", "Ids as CSV", { type: "button" });
      save.addEventListener("click", () => {
        const quote = (v) => `"${String(v ?? "").replaceAll('"', '""')}"`;
        const rows = visible(block).map((f) => [f.dataset.id, f.dataset.rank, f.dataset.round, f.dataset.label, f.dataset.score].map(quote).join(","));
        const link = make("a", "", { download: `${block.dataset.strategy || "rows"}.csv`, href: URL.createObjectURL(new Blob([["id,rank,round,label,score", ...rows].join("\n") + "\n"], { type: "text/csv" })) });
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 1000);
      });
      bar.append(make("output", ""), save);
      const summary = block.matches("details") ? block.querySelector("summary") : null;
      if (summary) summary.after(bar); else block.before(bar);
      if (summary) count(bar);
    }
  }
  function zoom() {
    const dialog = make("dialog", undefined, { "aria-label": "Picture" });
    const picture = make("img", undefined, { alt: "" }), said = make("p"), close = make("button", "Close", { type: "button" });
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.append(picture, said, close);
    document.body.append(dialog);
    const show = (figure) => {
      const image = figure.querySelector("img");
      picture.src = image.src; picture.alt = image.alt; said.textContent = figure.title;
      picture.className = image.classList.contains("hard") ? "" : "smooth";
      dialog.showModal();
    };
    for (const figure of document.querySelectorAll(".picks figure, .row figure")) {
      const image = figure.querySelector("img");
      if (!image) continue;
      const button = make("button", undefined, { type: "button", "aria-label": `Enlarge ${figure.title}` });
      image.replaceWith(button); button.append(image);
      button.addEventListener("click", () => show(figure));
      button.addEventListener("keydown", (event) => {
        const all = [...document.querySelectorAll(".picks figure button, .row figure button")].filter((b) => b.offsetParent);
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step) { all[all.indexOf(button) + step]?.focus(); event.preventDefault(); }
      });
    }
  }
  for (const link of document.querySelectorAll('nav a[href^="#part-"]')) link.addEventListener("click", () => { document.querySelector(link.getAttribute("href")).open = true; });
  zoom(); bars(); controls();
  draw().then(() => { sheets(); document.body.dataset.ready = "1"; });
})();
