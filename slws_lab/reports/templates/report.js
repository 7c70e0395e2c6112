// What a report does when scripts are on: it sorts tables, shows the runs behind a cell, enlarges figures, switches light and dark.
"use strict";
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const data = JSON.parse(one("#data").textContent);
  const UI = location.protocol.startsWith("http") ? "" : "http://127.0.0.1:5000";
  const FIRST = 200; // runs that a dialog shows at once
  const NOTHING = "–";

  function make(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function key(cell, numeric) {
    const text = cell.textContent.trim();
    if (text === "" || text === NOTHING) return null;
    const found = /^([<>≤≥≈~]?)\s*([+−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)/i.exec(text);
    if (!found || !(numeric || found[0].length === text.length)) return text;
    const number = Number(found[2].replace("−", "-").replaceAll(",", ""));
    return found[1] === "<" ? number - 1e-12 : number;
  }

  const words = new Intl.Collator("en", { numeric: true });

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a === "string" && typeof b === "string") return words.compare(a, b);
    return typeof a === "number" ? -1 : 1;
  }

  function ordered(rows, column, numeric, sign) {
    const keyed = rows.map((row) => ({ row, key: key(row.cells[column], numeric) }));
    const known = keyed.filter((entry) => entry.key !== null).sort((a, b) => sign * compare(a.key, b.key));
    return [...known, ...keyed.filter((entry) => entry.key === null)].map((entry) => entry.row);
  }

  function sortable(table) {
    const bodies = [...table.tBodies].map((body) => ({ body, rows: [...body.rows].filter((row) => !row.matches(".group")) }));
    const heads = all("th[data-column]", table);
    function sort(head) {
      const next = { ascending: "descending", descending: null }[head.getAttribute("aria-sort")];
      const order = next === undefined ? "ascending" : next;
      for (const other of heads) other.removeAttribute("aria-sort");
      if (order) head.setAttribute("aria-sort", order);
      table.toggleAttribute("data-sorted", order !== null);
      const { column } = head.dataset;
      const numeric = head.classList.contains("number");
      for (const { body, rows } of bodies) {
        const wanted = order ? ordered(rows, Number(column), numeric, order === "ascending" ? 1 : -1) : rows;
        const moved = document.createDocumentFragment();
        for (const row of wanted) moved.append(row);
        body.append(moved);
      }
    }
    for (const head of heads) {
      const button = make("button", { type: "button", class: "sort" }, ...head.childNodes);
      head.append(button);
      head.addEventListener("click", () => sort(head));
    }
  }

  const listed = all("#table-runs tbody tr");
  const labels = all("#table-runs thead th").map((head) => head.textContent.trim());
  const failures = all(".failure[data-set]").map((failure) => ({ id: failure.id, runs: new Set(places(failure.dataset.set)) }));

  function places(number) {
    return data.sets[number].split(" ").flatMap((span) => {
      const [first, last = first] = span.split("-").map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
  }

  function command(text) {
    const code = make("code", {}, text);
    const button = make("button", { type: "button", class: "copy" }, "Copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code); // no clipboard here: Ctrl+C takes what is selected
        button.textContent = "Selected";
      }
    });
    return make("span", { class: "command" }, code, button);
  }

  function known(place) {
    if (place >= listed.length) return { run: data.others[place - listed.length], texts: [] };
    const texts = [...listed[place].cells].map((cell) => cell.textContent.trim());
    return { run: texts[2], texts, status: texts[3] };
  }

  function line(place) {
    const { run, texts, status } = known(place);
    const cells = labels.slice(1).map((label, i) => {
      const text = i === 1 ? run : texts[i + 1] || NOTHING;
      return make("td", { "data-label": label, class: `at-${i + 1}` }, text);
    });
    const failure = ["failed", "diverged"].includes(status) && failures.find((found) => found.runs.has(place));
    if (failure) cells[2].replaceChildren(make("a", { href: `#${failure.id}` }, status));
    const page = make("a", { href: `${UI}/slws/runs/${encodeURIComponent(run)}?study=${encodeURIComponent(data.name)}`, target: "_blank", rel: "noopener" }, "MLflow");
    page.setAttribute("aria-label", `Run ${run} in MLflow`);
    const again = command(`slws rerun ${data.study} ${run}`);
    return make("tr", {}, ...cells, make("td", { "data-label": "page" }, page), make("td", { "data-label": "repeat" }, again));
  }

  function table(found) {
    const heads = [...labels.slice(1), "page", "repeat"].map((text, i) => make("th", { scope: "col", class: `at-${i + 1}` }, text));
    const body = make("tbody", {}, ...found.map(line));
    return make("div", { class: "scroll" }, make("table", { class: "runs" }, make("thead", {}, make("tr", {}, ...heads)), body));
  }

  function arm(found) {
    const number = found[0] < listed.length ? data.arms[found[0]] : -1;
    const name = number < 0 ? "Of another study" : known(found[0]).texts[0];
    const part = make("section", { class: "arm" }, make("h3", {}, name));
    if (number >= 0) part.append(make("p", { class: "again" }, "Repeat all its runs: ", command(data.commands[number])));
    part.append(table(found));
    return part;
  }

  function byArm(found) {
    const groups = new Map();
    for (const place of found) {
      const number = place < listed.length ? data.arms[place] : -1;
      groups.set(number, [...(groups.get(number) ?? []), place]);
    }
    return [...groups.values()];
  }

  const behind = one("#behind");

  function open(cell) {
    const row = cell.closest("tr");
    const table = cell.closest("table");
    const head = one(`th[data-column="${cell.cellIndex}"]`, table).textContent.trim();
    const found = places(cell.dataset.runs);
    const content = one(".content", behind);
    one("h2", behind).textContent = cell.textContent.trim() || NOTHING;
    const named = [...row.cells].slice(0, 3).filter((other) => other !== cell && !other.matches(".number"));
    const where = [head, ...named.map((other) => other.textContent.trim())].join(", ");
    const stands = `${where} — ${found.length} run${found.length === 1 ? "" : "s"}${UI ? "; links to MLflow work while " : ""}`;
    const about = make("p", { class: "about" }, stands, ...(UI ? [make("code", {}, "slws ui"), " runs"] : []));
    const show = (shown) => content.replaceChildren(about, ...byArm(shown).map(arm));
    show(found.slice(0, FIRST));
    if (found.length > FIRST) {
      const more = make("button", { type: "button", class: "more" }, `Show all ${found.length} runs`);
      more.addEventListener("click", () => show(found));
      content.append(more);
    }
    behind.showModal();
    content.scrollTop = 0;
  }

  // A table is one stop of the Tab key; arrows go from cell to cell.
  function focusable(table) {
    const first = one("[data-runs]", table);
    if (!first) return;
    first.tabIndex = 0;
    table.setAttribute("role", "grid");
    table.setAttribute("aria-label", table.closest("[aria-label]").getAttribute("aria-label"));
    table.addEventListener("focusin", (event) => {
      if (!event.target.matches("[data-runs]")) return;
      for (const cell of all("[data-runs][tabindex='0']", table)) cell.tabIndex = cell === event.target ? 0 : -1;
      event.target.setAttribute("aria-haspopup", "dialog");
    });
    table.addEventListener("keydown", (event) => {
      const cell = event.target;
      if (!cell.matches("[data-runs]")) return;
      const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [0, 0];
      if (event.key === "Enter" || event.key === " ") open(cell);
      else if (!down && !right) return;
      else move(beside(cell, down, right) ?? cell);
      event.preventDefault();
    });
    table.addEventListener("click", (event) => {
      const cell = event.target.closest("[data-runs]");
      if (!cell || String(getSelection()) || event.target.closest("a, button")) return;
      move(cell);
      open(cell);
    });
  }

  function move(cell) {
    cell.tabIndex = 0;
    cell.focus();
  }

  function beside(cell, down, right) {
    const rows = all("tbody tr:not(.group)", cell.closest("table"));
    let [row, column] = [rows.indexOf(cell.closest("tr")), cell.cellIndex];
    for (;;) {
      [row, column] = [row + down, column + right];
      const found = rows[row]?.cells[column];
      if (!found || found.matches("[data-runs]")) return found;
    }
  }

  const zoom = one("#zoom");
  const images = all(".card img");
  let [shown, scale, base] = [0, 1, 0];

  function enlarge(times) {
    const image = one("img", zoom);
    const content = one(".content", zoom);
    const { left, top, width, height } = content.getBoundingClientRect();
    const middle = { x: left + width / 2, y: top + height / 2 };
    if (scale === 1) base = Math.min(image.clientWidth, (image.clientHeight * image.naturalWidth) / image.naturalHeight);
    const before = image.getBoundingClientRect();
    scale = Math.min(4, Math.max(1, scale * times));
    image.style.width = scale > 1 ? `${base * scale}px` : "";
    image.style.maxHeight = scale > 1 ? "none" : "";
    const after = image.getBoundingClientRect();
    content.scrollLeft += after.left - middle.x + ((middle.x - before.left) * after.width) / before.width;
    content.scrollTop += after.top - middle.y + ((middle.y - before.top) * after.height) / before.height;
  }

  function turn(by) {
    shown = (shown + by + images.length) % images.length;
    const image = images[shown];
    one("h2", zoom).textContent = image.closest(".card").getAttribute("aria-label");
    one(".content", zoom).replaceChildren(make("img", { src: image.src, alt: image.alt }));
    one(".caption", zoom).textContent = image.closest("figure").querySelector("figcaption").textContent;
    scale = 1;
  }

  for (const [i, image] of images.entries()) {
    const card = image.closest(".card");
    card.setAttribute("role", "button");
    card.setAttribute("aria-haspopup", "dialog");
    const start = () => {
      shown = i;
      turn(0);
      zoom.showModal();
      one(".content", zoom).focus();
    };
    card.addEventListener("click", start);
    card.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      start();
    });
  }

  const keys = { ArrowLeft: () => turn(-1), ArrowRight: () => turn(1), "+": () => enlarge(1.5), "=": () => enlarge(1.5), "-": () => enlarge(1 / 1.5) };
  zoom.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || !keys[event.key] || (scale > 1 && event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    keys[event.key]();
  });
  zoom.addEventListener("click", (event) => {
    const { zoom: way, turn: by } = event.target.dataset;
    if (way) enlarge(way === "in" ? 1.5 : 1 / 1.5);
    else if (by) turn(Number(by));
    else if (event.target.matches("img")) enlarge(scale > 1 ? 1 / scale : 2);
  });

  for (const dialog of [behind, zoom]) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest(".close") || event.target.matches("a[href^='#']")) dialog.close();
    });
  }

  const theme = one("#theme");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  function label() {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Switch to ${theme.textContent.toLowerCase()}`);
  }
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();
  theme.hidden = false;

  for (const each of all(".slws-table table")) {
    sortable(each);
    focusable(each);
  }
  for (const pre of all("pre.command")) pre.replaceChildren(command(pre.textContent.trim()));
  for (const hint of all(".hint")) hint.hidden = false;
  root.classList.add("scripted");
})();
