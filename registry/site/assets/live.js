// What serves now, from a Prometheus whose address the page names. Nothing else is asked, nothing is stored.
"use strict";

const PERIOD = 15_000;
const write = {
  rate: (value) => (value < 10 ? value.toFixed(2) : value.toFixed(0)),
  share: (value) => `${(100 * value).toFixed(2)}%`,
  seconds: (value) => (value < 1 ? `${(1000 * value).toPrecision(3)} ms` : `${value.toPrecision(3)} s`),
};

const ask = async (base, query) => {
  const address = `${base}/api/v1/query?query=${encodeURIComponent(query)}`;
  const answer = await fetch(address, { credentials: "omit", signal: AbortSignal.timeout(10_000) });
  const said = await answer.json();
  if (said.status !== "success") throw new Error(said.error ?? `HTTP ${answer.status}`);
  return new Map(said.data.result.map((item) => [item.metric.version ?? "", Number(item.value[1])]));
};

const cell = (name, text) => {
  const made = document.createElement(name);
  made.textContent = text;
  if (name === "td") made.className = "number";
  return made;
};

const draw = (section, columns, found) => {
  const [requests] = found;
  const versions = [...new Set(found.flatMap((column) => [...column.keys()]))].filter(Boolean).sort();
  const all = [...requests.values()].reduce((sum, value) => sum + value, 0);
  const rows = versions.map((version) => {
    const row = document.createElement("tr");
    const head = cell("th", version);
    head.scope = "row";
    row.append(head, cell("td", all > 0 ? write.share((requests.get(version) ?? 0) / all) : "–"));
    found.forEach((column, index) => {
      const value = column.get(version);
      row.append(cell("td", Number.isFinite(value) ? write[columns[index].unit](value) : "–"));
    });
    return row;
  });
  section.querySelector("tbody").replaceChildren(...rows);
};

const look = async (section, told) => {
  const base = section.dataset.metrics;
  const status = section.querySelector("[role=status]");
  try {
    const queries = [...told.columns.map((column) => column.query), told.age, told.problem];
    const found = await Promise.all(queries.map((query) => ask(base, query)));
    const [age, problem] = found.splice(-2).map((values) => [...values.values()][0]);
    draw(section, told.columns, found);
    const state = problem > 0 ? "The registry's newest state is not what serves." : "The registry's newest state serves.";
    const known = Number.isFinite(age) ? `${state} Its remote answered ${write.seconds(age)} ago.` : "No server reports.";
    status.textContent = `${known} Read at ${new Date().toISOString().slice(11, 19)} UTC.`;
    section.classList.toggle("stale", !Number.isFinite(age) || problem > 0);
  } catch (error) {
    section.querySelector("tbody").replaceChildren();
    section.classList.add("stale");
    status.textContent = `${base} does not answer (${error.message}). What the last looks saw stands below.`;
  }
};

for (const section of document.querySelectorAll("section.live")) {
  const told = JSON.parse(section.dataset.queries);
  section.hidden = false;
  look(section, told);
  setInterval(() => document.hidden || look(section, told), PERIOD);
}
