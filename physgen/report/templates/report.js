"use strict";
// Tables sort by their columns, and points say their name below the picture. Without this the page loses nothing else.
(() => {
  const key = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, "en", { numeric: true });
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    if (body.rows.length < 2) continue;
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].map((row) => [key(row, column), row]);
        rows.sort((a, b) => (down ? -1 : 1) * compare(a[0], b[0]));
        body.append(...rows.map((pair) => pair[1]));
      });
    });
  }
  for (const figure of document.querySelectorAll("figure")) {
    if (!figure.querySelector(".point")) continue;
    const readout = document.createElement("output");
    readout.className = "readout";
    readout.setAttribute("aria-live", "off");
    figure.querySelector(".panels").after(readout);
    const say = (event) => {
      const point = event.target.closest(".point");
      const title = point && point.querySelector("title");
      if (title) readout.textContent = title.textContent;
    };
    figure.addEventListener("mouseover", say);
    figure.addEventListener("focusin", say);
  }
})();
