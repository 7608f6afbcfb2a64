// What the pages gain with JavaScript: tables that sort and filter, marks that light up with their row.
"use strict";

const valueOf = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.value ?? cell.textContent.trim();
};

const compare = (left, right) => {
  const [a, b] = [Number(left), Number(right)];
  if (left !== "" && right !== "" && !Number.isNaN(a) && !Number.isNaN(b)) return a - b;
  return left.localeCompare(right, "en", { numeric: true });
};

const sortBy = (table, head) => {
  const direction = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", direction);
  const body = table.tBodies[0];
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...body.rows].map((row) => [valueOf(row, head.cellIndex), row]);
  // What has no value stays last, whichever way the rest is sorted.
  const none = (value) => value === "" || value === "–";
  rows.sort(([a], [b]) => none(a) - none(b) || sign * compare(a, b));
  body.append(...rows.map(([, row]) => row));
};

const addFilter = (table) => {
  const bar = document.createElement("p");
  const label = document.createElement("label");
  const input = document.createElement("input");
  const count = document.createElement("span");
  bar.className = "filter";
  input.type = "search";
  input.id = `filter-${table.caption.textContent.trim().split(/\W/)[0].toLowerCase()}`;
  label.htmlFor = input.id;
  label.textContent = "Filter";
  count.setAttribute("role", "status");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = words.length ? `${shown} of ${table.tBodies[0].rows.length}` : "";
  });
  bar.append(label, input, count);
  table.parentElement.before(bar);
};

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, head));
    head.append(button);
  }
  if (table.tBodies[0].rows.length > 3) addFilter(table);
  for (const row of table.tBodies[0].rows) {
    const link = row.querySelector("a")?.getAttribute("href");
    const mark = [...document.querySelectorAll("svg a.mark")].find((item) => item.getAttribute("href") === link);
    if (!mark) continue;
    row.addEventListener("pointerenter", () => mark.classList.add("lit"));
    row.addEventListener("pointerleave", () => mark.classList.remove("lit"));
  }
}
