"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);

  // ---------------------------------------------------------------- light and dark

  const root = document.documentElement;
  const themeButton = byId("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = {
    get() { try { return localStorage.getItem("report-theme"); } catch { return null; } },
    set(value) { try { localStorage.setItem("report-theme", value); } catch { /* of a file */ } },
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  function showTheme() {
    themeButton.setAttribute("aria-pressed", String(isDark()));
  }
  themeButton.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    kept.set(root.dataset.theme);
    showTheme();
  });
  dark.addEventListener("change", showTheme);
  if (["light", "dark"].includes(kept.get())) root.dataset.theme = kept.get();
  showTheme();

  // ---------------------------------------------------------------- tables that sort

  function keyOf(row, column) {
    const cell = row.cells[column];
    const value = cell.dataset.v ?? cell.textContent;
    if (!cell.classList.contains("n")) return value;
    return value === "" ? null : Number(value);
  }
  const inWords = new Intl.Collator(undefined, { numeric: true });
  function compare(one, other, sign) {
    if (one === null || other === null) return (one === null) - (other === null); // always last
    const order = typeof one === "number" ? one - other : inWords.compare(one, other);
    return sign * order;
  }
  function sort(heading) {
    const table = heading.closest("table");
    const column = heading.cellIndex;
    const first = heading.classList.contains("n") ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    const direction = heading.getAttribute("aria-sort") === first ? second : first;
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const rows = [...body.rows].filter((row) => !row.classList.contains("all"));
    const keyed = rows.map((row) => [keyOf(row, column), row]);
    keyed.sort(([one], [other]) => compare(one, other, sign));
    body.append(...keyed.map(([, row]) => row));
  }
  for (const heading of all("table.sortable thead th")) {
    heading.querySelector("button").addEventListener("click", () => sort(heading));
  }

  // ---------------------------------------------------------------- the filter by class

  const filter = byId("class-filter");
  const told = byId("class-shown");
  const names = all("#class-names option").map((option) => [
    option.value.toLowerCase(), option.dataset.c,
  ]);
  const classified = all("main [data-c]").map((one) => [one, one.dataset.c.split(" ")]);
  function chosenClasses() {
    const text = filter.value.trim().toLowerCase();
    if (!text) return null;
    const exact = names.filter(([name]) => name.trim() === text);
    const some = exact.length ? exact : names.filter(([name]) => name.includes(text));
    return new Set(some.map(([, number]) => number));
  }
  function showClasses() {
    const chosen = chosenClasses();
    for (const [one, classes] of classified) {
      one.hidden = chosen !== null && !classes.some((number) => chosen.has(number));
    }
    for (const list of all(".pictures")) {
      list.toggleAttribute("data-empty", ![...list.children].some((one) => !one.hidden));
    }
    told.textContent = chosen === null ? "" : `${chosen.size} of ${names.length} classes`;
  }
  filter.addEventListener("input", showClasses);

  // ---------------------------------------------------------------- pictures, enlarged

  const viewer = byId("viewer");
  const enlarged = viewer.querySelector(".enlarged");
  const list = byId("viewer-boxes");
  let opened = null;
  const thumbs = () => all(".thumb").filter((thumb) => !thumb.closest("[hidden]"));

  function listBoxes(overlay, focus) {
    list.replaceChildren();
    for (const box of all(".b", overlay).reverse()) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = box.querySelector("title").textContent;
      button.className = box.getAttribute("class").replace("b ", "");
      if (focus.includes(box.dataset.n)) {
        box.classList.add("focus");
        button.classList.add("focus");
      }
      for (const [event, on] of [
        ["mouseenter", true], ["focus", true], ["mouseleave", false], ["blur", false],
      ]) {
        button.addEventListener(event, () => box.classList.toggle("lit", on));
      }
      const entry = document.createElement("li");
      entry.append(button);
      list.append(entry);
    }
    if (overlay.dataset.more) {
      const entry = document.createElement("li");
      entry.textContent = `and ${overlay.dataset.more}, which are not drawn`;
      list.append(entry);
    }
  }
  function scaleText() {
    const [, , width, height] = (enlarged.getAttribute("viewBox") ?? "0 0 1 1").split(" ");
    const scale = Math.min(enlarged.clientWidth / width, enlarged.clientHeight / height);
    if (scale > 0) enlarged.style.setProperty("--px", String(1 / scale));
  }
  function show(thumb) {
    opened = thumb;
    const image = document.createElementNS("http://www.w3.org/2000/svg", "use");
    image.setAttribute("href", `#${thumb.dataset.image}`);
    const overlay = byId(thumb.dataset.overlay).cloneNode(true);
    overlay.removeAttribute("id");
    enlarged.setAttribute("viewBox", thumb.dataset.region);
    enlarged.replaceChildren(image, overlay);
    listBoxes(overlay, (thumb.dataset.focus ?? "").split(" "));
    const caption = thumb.closest("figure").querySelector("figcaption");
    const parts = [...caption.children].map((part) => part.textContent);
    byId("viewer-title").textContent = parts.join(" — ");
    if (!viewer.open) viewer.showModal();
    scaleText();
  }
  function step(by) {
    const shown = thumbs();
    const at = shown.indexOf(opened) + by;
    show(shown[(at + shown.length) % shown.length]);
  }
  document.addEventListener("click", (event) => {
    const thumb = event.target.closest(".thumb");
    if (thumb) show(thumb);
  });
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close(); // beside it
    const button = event.target.closest("header button");
    if (button?.dataset.step) step(Number(button.dataset.step));
    else if (button) viewer.close();
  });
  viewer.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    step(by);
  });
  viewer.addEventListener("close", () => {
    opened?.focus();
    enlarged.replaceChildren();
  });
  for (const kind of all(".kinds input", viewer)) {
    kind.addEventListener("change", () => {
      enlarged.classList.toggle(`hide-${kind.dataset.kind}`, !kind.checked);
    });
  }
  byId("show-names").addEventListener("change", (event) => {
    enlarged.classList.toggle("no-names", !event.target.checked);
  });
  new ResizeObserver(scaleText).observe(enlarged);
})();
