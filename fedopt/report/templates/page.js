// Search, sort and page the tables; show a tenant's path in the graph; open what is folded before printing.
// All text enters the page as text, never as markup.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

function element(tag, text, attributes) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes || {})) made.setAttribute(name, value);
  return made;
}

function bar(share) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ class: "bar", width: 60, height: 9, viewBox: "0 0 60 9", "aria-hidden": "true" }))
    svg.setAttribute(name, value);
  for (const [style, width] of [["track", 60], [share >= 0.9995 ? "load full" : "load", 60 * share]]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", style);
    path.setAttribute("d", `M0 0h${width.toFixed(1)}v9H0Z`);
    svg.append(path);
  }
  return svg;
}

function hops(text) {
  return text.split(" → ").flatMap((hop, at) => [at ? " → " : "", element("span", hop, { class: "hop" })]);
}

class LiveTable {
  constructor(box) {
    this.box = box;
    const data = JSON.parse(document.getElementById(`${box.id}-data`).textContent);
    Object.assign(this, data);
    this.body = box.querySelector("tbody");
    this.heads = [...box.querySelectorAll("thead th")];
    this.order = this.rows.map((_, at) => at);
    this.at = 0;
    this.sorted = -1;
    this.down = false;
    this.search = box.querySelector("input[type=search]");
    this.count = box.querySelector(".count");
    this.pager = box.querySelector(".pager");
    this.texts = null;
    this.titles = this.heads.map((head) => head.textContent.trim());
    this.heads.forEach((head, column) => this.makeSortable(head, column));
    if (this.search) {
      box.querySelector(".tools").hidden = false;
      let waiting = 0;
      this.search.addEventListener("input", () => {
        clearTimeout(waiting);
        waiting = setTimeout(() => this.find(), 120);
      });
    }
    const csv = element("button", "CSV", { type: "button", class: "csv", "aria-label": `Download as CSV: ${box.querySelector("caption").textContent.split(";")[0]}` });
    csv.addEventListener("click", () => this.download());
    box.append(csv);
    if (this.pager) {
      this.pager.hidden = false;
      this.back = element("button", "Previous", { type: "button" });
      this.next = element("button", "Next", { type: "button" });
      this.where = element("span", "", { role: "status" });
      this.back.addEventListener("click", () => this.turn(-1));
      this.next.addEventListener("click", () => this.turn(1));
      this.pager.append(this.back, this.where, this.next);
    }
    this.draw();
  }

  download() {
    const cell = (text) => {
      const safe = /^[=+@]|^-(?!\d)/.test(text) ? `'${text}` : text; // no spreadsheet takes it for a formula
      return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    // numbers as they are, not as they are printed
    const value = (at, column) => String(this.keys[column] ? this.keys[column][at] ?? "" : this.rows[at][column]);
    const lines = [this.titles, ...this.order.map((at) => this.rows[at].map((_, column) => value(at, column)))];
    const text = lines.map((line) => line.map(cell).join(",")).join("\r\n");
    const address = URL.createObjectURL(new Blob([text + "\r\n"], { type: "text/csv" }));
    element("a", "", { href: address, download: `${this.box.id}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  makeSortable(head, column) {
    const button = element("button", head.textContent.trim(), { type: "button" });
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      this.down = this.sorted === column ? !this.down : this.numeric[column];
      this.sorted = column;
      this.heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", this.down ? "descending" : "ascending");
      this.sort();
      this.at = 0;
      this.draw();
    });
  }

  sort() {
    const column = this.sorted;
    if (column < 0) return;
    const sign = this.down ? -1 : 1;
    const keys = this.keys[column];
    const words = new Intl.Collator(undefined, { numeric: true });
    this.order.sort((a, b) => {
      if (!keys) return sign * words.compare(this.rows[a][column], this.rows[b][column]) || a - b;
      const missing = (keys[a] === null) - (keys[b] === null); // what has no number comes last either way
      return missing || sign * (keys[a] - keys[b]) || a - b;
    });
  }

  find() {
    this.texts = this.texts || this.rows.map((row) => row.join("\n").toLowerCase());
    const wanted = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.order = this.rows.map((_, at) => at).filter((at) => wanted.every((word) => this.texts[at].includes(word)));
    this.sort();
    this.at = 0;
    this.draw();
  }

  turn(step) {
    this.at += step;
    this.draw();
    if (this.back.disabled && step < 0) this.next.focus();
    if (this.next.disabled && step > 0) this.back.focus();
  }

  draw() {
    const first = this.at * this.page;
    const shown = this.order.slice(first, first + this.page);
    this.body.replaceChildren(...shown.map((at) => this.row(at)));
    const all = this.order.length;
    const format = (value) => value.toLocaleString("en");
    if (this.count) this.count.textContent = `${format(all)} of ${format(this.rows.length)} rows`;
    if (this.pager) {
      this.back.disabled = this.at === 0;
      this.next.disabled = first + this.page >= all;
      this.where.textContent = all ? `Rows ${format(first + 1)} to ${format(first + shown.length)} of ${format(all)}` : "No rows";
    }
  }

  row(at) {
    const tr = element("tr");
    this.rows[at].forEach((text, column) => {
      const cell = element(column ? "td" : "th");
      if (column === 0) cell.scope = "row";
      if (this.styles[column]) cell.className = this.styles[column];
      const bars = this.bars[column];
      const barred = bars && bars[at] !== null;
      const route = this.routes[at];
      if (column === 0 && route && route.length) {
        const button = element("button", text, { type: "button", title: "Show this path in the stage graph" });
        button.addEventListener("click", () => showRoute(this, at));
        cell.append(button);
      } else if (barred) cell.append(bar(bars[at]), " ", element("span", text, { class: "beside" }));
      else if (this.styles[column] === "path") cell.append(...hops(text));
      else cell.append(text);
      tr.append(cell);
    });
    if (this.chosen === at) tr.className = "chosen";
    return tr;
  }
}

function showRoute(table, at) {
  const graph = document.querySelector("#graph svg[role=img]");
  const said = document.getElementById("route");
  if (!graph) return;
  graph.querySelectorAll(".lit").forEach((part) => part.classList.remove("lit"));
  table.chosen = table.chosen === at ? -1 : at;
  graph.classList.toggle("routed", table.chosen === at);
  table.body.querySelectorAll(".chosen").forEach((row) => row.classList.remove("chosen"));
  if (table.chosen !== at) {
    said.textContent = "";
    return;
  }
  const route = table.routes[at];
  route.forEach((node, step) => {
    const marked = [graph.querySelector(`[data-node="${node}"]`)];
    if (step) marked.push(graph.querySelector(`[data-link="${route[step - 1]}-${node}"]`));
    marked.filter(Boolean).forEach((part) => part.classList.add("lit"));
  });
  said.textContent = `Shown: ${table.rows[at][0]}, ${table.rows[at][2]}`;
  table.body.children[table.order.indexOf(at) - table.at * table.page].className = "chosen";
  document.getElementById("graph").scrollIntoView({ block: "start" });
}

document.querySelectorAll("[data-live]").forEach((box) => new LiveTable(box));

let unfolded = [];
window.addEventListener("beforeprint", () => {
  const folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach((part) => { part.open = true; });
  unfolded.push(...folded);
});
window.addEventListener("afterprint", () => {
  unfolded.forEach((part) => { part.open = false; });
  unfolded = [];
});
