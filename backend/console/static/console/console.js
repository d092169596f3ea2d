// What scripts add to pages that work without them. Nothing here decides or stores anything.
"use strict";

(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const isTyping = (element) =>
    element.closest("input, textarea, select, [contenteditable]") !== null &&
    !element.matches("input[type=checkbox], input[type=radio], input[type=submit]");

  // --- Keys -------------------------------------------------------------------------------------
  // data-search          the field that "/" goes to
  // data-row             a row; arrow keys go from row to row, Enter follows its first link
  // data-key="a"         pressed alone, the key clicks or focuses the element, that of the row first
  // data-chart           a chart of one tab stop, see below

  const rows = () => all("[data-row]").filter((row) => row.offsetParent !== null);

  const step = (event) => {
    const found = rows();
    const at = found.findIndex((row) => row.contains(document.activeElement));
    if (!found.length || (at < 0 && document.activeElement !== document.body &&
        document.activeElement.id !== "content")) return;
    const next = found[Math.min(Math.max(at + (event.key === "ArrowDown" ? 1 : -1), 0), found.length - 1)];
    const target = next.querySelector("a[href], button") || next;
    event.preventDefault();
    target.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") return closeMenus(event.target);
    if (isTyping(event.target) || document.querySelector("dialog[open]:not([data-static])")) return;
    if (event.key === "/") {
      const field = document.querySelector("[data-search]");
      if (field) { event.preventDefault(); field.focus(); field.select(); }
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && !event.target.closest("[data-chart], summary")) {
      step(event);
    } else if (/^[a-z0-9]$/.test(event.key) && !event.shiftKey) {
      const row = document.activeElement.closest("[data-row]") || document;
      const within = (where) =>
        all(`[data-key="${event.key}"]`, where).find((one) => one.offsetParent !== null);
      const wanted = within(row) || within(document);
      if (!wanted) return;
      event.preventDefault();
      if (wanted.matches("input, textarea, select")) wanted.focus();
      else wanted.click();
    }
  });

  // --- Menus: one open at a time, closed by Escape or a click elsewhere ---------------------------

  const closeMenus = (from) => {
    for (const menu of all("details.menu[open]")) {
      menu.open = false;
      if (from && menu.contains(from)) menu.querySelector("summary").focus();
    }
  };
  document.addEventListener("click", (event) => {
    for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
    // data-dialog="id" opens a native dialog; without scripts the link leads to a page instead.
    const opener = event.target.closest("[data-dialog]");
    const dialog = opener && document.getElementById(opener.dataset.dialog);
    if (dialog) { event.preventDefault(); dialog.showModal(); }
    const closer = event.target.closest("[data-close]");
    if (closer) { event.preventDefault(); closer.closest("dialog")?.close(); }
  });

  // data-print: what a browser's own menu does, too.
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-print]")) window.print();
  });

  // data-days="address": where a day is opened that was picked in a chart.
  document.addEventListener("chart:pick", (event) => {
    const box = event.target.closest("[data-days]");
    if (!box || !event.detail.date) return;
    const address = new URL(box.dataset.days, location.href);
    address.searchParams.set("day", event.detail.date);
    location.assign(address);
  });

  // data-submit: a filter that is sent as soon as it changes.
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
  });

  // A form is sent once, however often its button is pressed.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented || form.hasAttribute("hx-post")) return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
    setTimeout(() => delete form.dataset.sent, 4000);
  });

  // --- Charts -----------------------------------------------------------------------------------
  // <figure data-chart tabindex="0"> with marks that carry data-point="what to read out", in order:
  // arrow keys go from point to point, the element with data-read says it.

  const point = (chart, to) => {
    const points = all("[data-point]", chart);
    if (!points.length) return;
    const now = Number(chart.dataset.at ?? -1);
    const at = Math.min(Math.max(to(now, points.length), 0), points.length - 1);
    chart.dataset.at = at;
    points.forEach((one, index) => one.classList.toggle("is-here", index === at));
    const read = chart.querySelector("[data-read]");
    if (read) read.textContent = points[at].dataset.point;
  };
  const MOVES = {
    ArrowRight: (now) => now + 1, ArrowLeft: (now) => now - 1,
    Home: () => 0, End: (_, count) => count - 1,
  };
  document.addEventListener("keydown", (event) => {
    const chart = event.target.closest("[data-chart]");
    if (!chart || !MOVES[event.key]) return;
    event.preventDefault();
    point(chart, MOVES[event.key]);
  });

  // --- While a page is being made: a bar, shown by the stylesheet when it takes a while -------------

  const leaving = document.documentElement.classList;
  addEventListener("beforeunload", () => {
    leaving.add("leaving");
    setTimeout(() => leaving.remove("leaving"), 10_000);  // it was a file, and no page comes
  });
  addEventListener("pageshow", () => leaving.remove("leaving"));

  // --- When a page, or a part of one, has come -----------------------------------------------------

  const settle = (within) => {
    const summary = within.querySelector("[data-focus]");
    for (const link of all("a[href^='#']", summary || document.createElement("p"))) {
      const field = document.getElementById(link.hash.slice(1));  // the refusal does not name it
      const label = field?.labels?.[0] || field?.querySelector(":scope > legend");
      if (label) link.prepend(`${label.firstChild.textContent.trim()}: `);
    }
    if (summary) summary.focus();
    // Where a chart is wider than its place, the newest days are at sight.
    for (const box of all(".chart-timeline .chart-box", within)) box.scrollLeft = box.scrollWidth;
    for (const box of all(".chart-heat .chart-box", within)) {
      const day = all("tbody tr:first-child td:not(.figure)", box).at(-1);
      if (day) box.scrollLeft += Math.max(0, day.getBoundingClientRect().right - box.getBoundingClientRect().right);
    }
    for (const toast of all("[data-toast]", within)) {
      const undo = toast.querySelector("form");  // it may be taken back for so many seconds
      setTimeout(() => undo?.contains(document.activeElement) || undo?.remove(), toast.dataset.toast * 1000);
    }
  };
  document.addEventListener("DOMContentLoaded", () => settle(document));
  document.addEventListener("htmx:afterSettle", (event) => settle(event.target));
  // A refused form comes back as a page of its own: htmx shows it like any other answer.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if ([409, 412, 422, 428].includes(event.detail.xhr.status)) {
      event.detail.shouldSwap = true;
      event.detail.isError = false;
    }
  });
})();
