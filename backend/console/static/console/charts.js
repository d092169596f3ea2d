/* Arrow keys walk through the points of a chart, and a live region reads each. */
"use strict";
{
  const places = new WeakMap();

  const rowsOf = (box) => {
    const days = [...box.querySelectorAll(".day")];
    if (days.length) return [days];
    return [...box.querySelectorAll("tbody tr")].map((row) => [...row.querySelectorAll("td")]);
  };

  const words = (box, point) => {
    const title = point.querySelector("title");
    if (title) return title.textContent;
    const table = point.closest("table");
    const name = point.parentElement.querySelector("th").textContent;
    const head = table.querySelector("thead tr").children[point.cellIndex];
    const known = JSON.parse(table.dataset.words || "{}");
    const told = point.textContent.trim();
    return `${name}, ${head.dataset.words || head.textContent}: ${known[told] || told}`;
  };

  const clear = (box) => {
    box.querySelectorAll("td.at").forEach((one) => one.classList.remove("at"));
    box.querySelector(".cursor")?.classList.remove("cursor-shown");
  };

  const show = (box, row, column) => {
    const rows = rowsOf(box);
    if (!rows.length || !rows[0].length) return;
    row = Math.max(0, Math.min(row, rows.length - 1));
    column = Math.max(0, Math.min(column, rows[row].length - 1));
    const point = rows[row][column];
    places.set(box, [row, column]);
    clear(box);
    const cursor = box.querySelector(".cursor");
    if (cursor) {
      cursor.setAttribute("x1", point.dataset.x);
      cursor.setAttribute("x2", point.dataset.x);
      cursor.classList.add("cursor-shown");
    } else {
      point.classList.add("at");
    }
    const here = point.getBoundingClientRect();
    const seen = box.getBoundingClientRect();
    const head = cursor ? 0 : box.querySelector("tbody th").offsetWidth;
    const top = cursor ? 0 : box.querySelector("thead").offsetHeight;
    if (here.left < seen.left + head) box.scrollLeft -= seen.left + head - here.left + 8;
    if (here.right > seen.right) box.scrollLeft += here.right - seen.right + 8;
    if (here.top < seen.top + top) box.scrollTop -= seen.top + top - here.top;
    if (here.bottom > seen.bottom) box.scrollTop += here.bottom - seen.bottom;
    box.closest(".chart").querySelector(".chart-reading").textContent = words(box, point);
    return point;
  };

  /* To open what is chosen, listen for `chart:pick`. */
  const pick = (point) =>
    point.dispatchEvent(
      new CustomEvent("chart:pick", { bubbles: true, detail: { date: point.dataset.date } }),
    );

  document.addEventListener("keydown", (event) => {
    const box = event.target;
    if (!box.matches?.("[data-cursor]") || event.ctrlKey || event.altKey || event.metaKey) return;
    const rows = rowsOf(box);
    const last = rows.length ? rows[0].length - 1 : 0;
    const start = rows.length > 1 ? [0, -1] : [0, event.key === "ArrowRight" ? -1 : last + 1];
    const [row, column] = places.get(box) || start;
    const to = {
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      Home: [row, 0],
      End: [row, last],
    }[event.key];
    if (to) {
      show(box, ...to);
    } else if (event.key === "Enter" && places.has(box)) {
      pick(rows[row][column]);
    } else if (event.key === "Escape" && places.has(box)) {
      places.delete(box);
      clear(box);
      box.closest(".chart").querySelector(".chart-reading").textContent = "";
    } else {
      return;
    }
    event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    const point = event.target.closest?.("[data-cursor] .day, [data-cursor] tbody td");
    if (!point) return;
    const box = point.closest("[data-cursor]");
    const rows = rowsOf(box);
    const row = rows.findIndex((one) => one.includes(point));
    show(box, row, rows[row].indexOf(point));
    if (point.dataset.date) pick(point);
  });
}
