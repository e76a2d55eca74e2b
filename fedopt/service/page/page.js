// The page of fedopt serve. It uses the service's own API and nothing else; all text goes in as text.

const BASE = "/fedopt/v1";
const SVG = "http://www.w3.org/2000/svg";
const EXAMPLE = `fedopt: 1
name: hello
units: {time: ms, work: job}
stages: [access, compute]
domains:
  - id: metro
    stage: access
    operator: carrier
    capacity: 20
    offers: [{id: gold, latency: 3, latency_kind: delay, impairment: {model: exponential, mean: 0.3}}]
  - id: near
    stage: compute
    operator: cloud
    capacity: 4
    offers: [{id: llm, latency: 2, cost: {model: linear, rate: 2.0}}]
  - id: far
    stage: compute
    operator: cloud
    capacity: 40
    offers: [{id: llm, latency: 12, cost: {model: linear, rate: 0.8}}]
tenants:
  - {id: chat, count: 3, arrivals: {model: poisson, rate: 0.4}, slo: {deadline: 60, epsilon: 0.001}}
  - {id: voice, arrivals: {model: poisson, rate: 0.2}, slo: {deadline: 15, epsilon: 0.0001}}
`;
const MOST_ROWS = 200;
const CURVE_POINTS = 9;

// --- elements --------------------------------------------------------------------------------------

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
const el = (tag, attributes, ...children) => build(document.createElement(tag), attributes, children);
const sv = (tag, attributes, ...children) => build(document.createElementNS(SVG, tag), attributes, children);
const main = document.getElementById("main");
const say = (text) => { document.getElementById("status").textContent = text; };
const button = (text, onclick, attributes) => el("button", { type: "button", onclick, ...attributes }, text);
const option = (value, text, selected) => el("option", { value, selected: selected || undefined }, text ?? value);
const labelled = (text, control) => el("label", {}, text, control);

function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e7)) return value.toExponential(2);
  return Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: digits });
}
const percent = (share, digits = 2) => (share === null || share === undefined ? "–" : `${number(100 * share, digits)} %`);
const power = (log) => (log === null || log === undefined ? "–" : `10^${(log / Math.LN10).toFixed(2)}`);
const clock = (text) => (text ? new Date(text).toLocaleString() : "–");
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;
const signed = (value) => (value > 0 ? "+" : "") + number(value);

function facts(rows) {
  return el("dl", { class: "facts" }, rows.filter(Boolean).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

// A table that can be filtered, sorted and downloaded. columns: {name, get, show, number, wide}
function table(caption, columns, rows, { file, choose } = {}) {
  let sorted = null, falling = false, words = "", shown = MOST_ROWS;
  const body = el("tbody"), count = el("span", { class: "note" });
  const more = button("Show all", () => { shown = Infinity; draw(); });
  const plain = (column, row) => column.get(row);
  const draw = () => {
    let found = rows.filter((row) => !words || columns.some((column) => String(plain(column, row) ?? "").toLowerCase().includes(words)));
    if (sorted) {
      found = [...found].sort((a, b) => {
        const [x, y] = [plain(sorted, a), plain(sorted, b)];
        if (x === y || (x ?? null) === null || (y ?? null) === null) return (x ?? null) === null ? 1 : -1;
        return (x < y ? -1 : 1) * (falling ? -1 : 1);
      });
    }
    body.replaceChildren(...found.slice(0, shown).map((row) => {
      const line = el("tr", {}, columns.map((column, at) => {
        const cell = (column.show ?? ((value) => (typeof value === "number" ? number(value) : value ?? "–")))(plain(column, row), row);
        const kind = [column.number && "number", column.wide && "wide"].filter(Boolean).join(" ");
        return el(at ? "td" : "th", { class: kind || undefined, scope: at ? undefined : "row" }, at || !choose ? cell : button(cell, () => {
          for (const other of body.children) other.classList.toggle("chosen", other === line);
          choose(row);
        }));
      }));
      return line;
    }));
    if (!found.length) body.replaceChildren(el("tr", {}, el("td", { colspan: String(columns.length), class: "none" }, "none")));
    count.textContent = found.length > shown ? `the first ${shown} of ${found.length.toLocaleString("en")}` : plural(found.length, "row");
    more.hidden = found.length <= shown;
  };
  const head = columns.map((column) => {
    const cell = el("th", { scope: "col", class: column.number ? "number" : undefined });
    cell.append(button(column.name, () => {
      falling = sorted === column && !falling;
      sorted = column;
      for (const other of cell.parentNode.children) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", falling ? "descending" : "ascending");
      draw();
    }));
    return cell;
  });
  draw();
  const filter = el("input", { type: "search", "aria-label": `Filter: ${caption}`, placeholder: "Filter", oninput: (event) => { words = event.target.value.trim().toLowerCase(); draw(); } });
  return el("div", {},
    el("div", { class: "tools" }, rows.length > 8 && filter, count, more,
      file && button("CSV", () => save(file, csv(columns, rows), "text/csv"), { "aria-label": `Download as CSV: ${caption}` })),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
      el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, head)), body)));
}

function csv(columns, rows) {
  const cell = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    const safe = /^[=+@]|^-(?!\d)/.test(text) ? `'${text}` : text; // no spreadsheet takes it for a formula
    return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [columns.map((column) => cell(column.name)), ...rows.map((row) => columns.map((column) => cell(column.get(row))))]
    .map((line) => line.join(",")).join("\r\n") + "\r\n";
}

function save(name, content, type = "application/json") {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

// --- the API ---------------------------------------------------------------------------------------

let token = sessionStorage.getItem("fedopt-token") ?? "";

class Refusal extends Error {
  constructor(body, status) {
    super(body.message ?? `the server answered ${status}`);
    this.status = status;
    this.code = body.code;
    this.problems = body.problems ?? [];
  }
}

async function call(path, { method = "GET", body, type, query, headers, signal } = {}) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== "");
  const parameters = given.length ? `?${new URLSearchParams(given)}` : "";
  const answer = await fetch(BASE + path + parameters, {
    method, body, signal,
    headers: { ...(token && { Authorization: `Bearer ${token}` }), ...(type && { "Content-Type": type }), ...headers },
  });
  if (answer.ok) return answer;
  const found = await answer.json().catch(() => ({}));
  if (answer.status === 401) signIn(found.message);
  throw new Refusal(found, answer.status);
}
const read = async (path, options) => (await call(path, options)).json();

// Follow a job's events; a broken stream is taken up after the last event that came.
async function follow(job, told, signal) {
  let last = 0;
  for (let failures = 0; failures < 20;) {
    try {
      const answer = await call(`/jobs/${job}/events`, { headers: last ? { "Last-Event-ID": String(last) } : {}, signal });
      if (answer.status === 204) return;
      let text = "";
      const stream = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await stream.read(); !part.done; part = await stream.read()) {
        failures = 0;
        text += part.value.replaceAll("\r\n", "\n");
        for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
          const fields = Object.fromEntries(text.slice(0, end).split("\n").map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]));
          text = text.slice(end + 2);
          if (!fields.data) continue;
          last = Number(fields.id);
          told(fields.event, JSON.parse(fields.data));
        }
      }
    } catch (error) {
      if (error instanceof Refusal || signal?.aborted) throw error;
      failures += 1;
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
}

async function ended(job, told, signal) {
  await follow(job, told ?? (() => {}), signal);
  const found = await read(`/jobs/${job}`, { signal });
  if (found.state === "FAILED") throw new Refusal(found.error, found.error.status);
  return found;
}

const solve = (text, query) => read("/solve", { method: "POST", body: text, query, type: text.trimStart().startsWith("{") ? "application/json" : "application/yaml" });
const solved = (job) => job.kind === "solve" && job.state === "DONE";

// --- signing in ------------------------------------------------------------------------------------

function signIn(reason) {
  const field = el("input", { type: "password", autocomplete: "current-password", required: true, name: "token" });
  const keep = el("input", { type: "checkbox" });
  show("Sign in", el("form", {
    class: "card",
    onsubmit: async (event) => {
      event.preventDefault();
      token = field.value.trim();
      try {
        await call("/jobs", { query: { perPage: 1 } });
      } catch (error) { say(error.message); return; }
      if (keep.checked) sessionStorage.setItem("fedopt-token", token);
      document.getElementById("sign-out").hidden = false;
      say("Signed in.");
      route();
    },
  },
  el("p", {}, "Each caller of this server has a token, made by ", el("code", {}, "fedopt serve token"), "."),
  labelled("Token", field),
  el("label", { class: "inline" }, keep, "Keep it until this tab is closed"),
  el("p", { class: "note" }, "Otherwise it is forgotten when the page is reloaded. It is sent to this server alone."),
  el("button", { class: "main" }, "Sign in")));
  say(reason ?? "");
  field.focus();
}

document.getElementById("sign-out").addEventListener("click", () => {
  token = "";
  sessionStorage.removeItem("fedopt-token");
  document.getElementById("sign-out").hidden = true;
  signIn("Signed out.");
});

// --- views -----------------------------------------------------------------------------------------

let leaving = new AbortController();

function show(title, ...parts) {
  document.title = `${title} – fedopt`;
  main.replaceChildren(el("h1", {}, title), ...parts.flat(Infinity).filter(Boolean));
}

async function route() {
  leaving.abort();
  leaving = new AbortController();
  say("");
  const [view, ...rest] = location.hash.slice(1).split("/");
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view || "new"}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const views = { new: newView, jobs: jobsView, job: jobView, compare: compareView, decompose: decomposeView, api: apiView };
  main.replaceChildren(el("p", { class: "note" }, "Loading …"));
  try {
    await (views[view] ?? newView)(leaving.signal, ...rest);
  } catch (error) {
    if (error.name !== "AbortError" && error.status !== 401) say(error.message);
  }
}

// A form's action: the button waits, and what goes wrong is said.
function act(work) {
  return async (event) => {
    const pressed = event.currentTarget;
    pressed.disabled = true;
    try { await work(event); } catch (error) { if (error.name !== "AbortError") say(error.message); }
    pressed.disabled = false;
  };
}

// --- a new plan ------------------------------------------------------------------------------------

let draft = EXAMPLE;

async function newView() {
  const gutter = el("pre", { class: "gutter", "aria-hidden": "true" });
  const text = el("textarea", { spellcheck: "false", wrap: "off", "aria-label": "Instance in YAML or JSON", "aria-describedby": "problems" });
  const problems = el("ul", { class: "problems", id: "problems", hidden: true });
  const preview = el("div");
  let marked = new Set();
  const number_lines = () => {
    const lines = text.value.split("\n").length;
    const parts = [""]; // text between marked lines, so that long files stay cheap
    for (let line = 1; line <= lines; line += 1) {
      if (marked.has(line)) parts.push(el("b", {}, String(line)), "\n");
      else parts[parts.length - 1] += `${line}\n`;
    }
    gutter.replaceChildren(...parts);
    gutter.scrollTop = text.scrollTop;
  };
  const put = (value) => { text.value = draft = value; marked = new Set(); problems.hidden = true; number_lines(); };
  text.addEventListener("input", () => { draft = text.value; number_lines(); });
  text.addEventListener("scroll", () => { gutter.scrollTop = text.scrollTop; });

  const jump = (line) => {
    const start = text.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    const end = text.value.indexOf("\n", start);
    text.focus();
    text.setSelectionRange(start, end < 0 ? text.value.length : end);
    text.scrollTop = (line - 4) * parseFloat(getComputedStyle(text).lineHeight);
  };
  const refuse = (error) => {
    preview.replaceChildren();
    marked = new Set(error.problems.map((problem) => problem.line).filter(Boolean));
    number_lines();
    problems.hidden = false;
    problems.replaceChildren(...(error.problems.length ? error.problems : [{ message: error.message }]).map((problem) => el("li", {},
      problem.line && button(`Line ${problem.line}`, () => jump(problem.line)),
      problem.place && el("code", {}, problem.place), problem.place ? ": " : "", problem.message,
      problem.remedy && el("div", { class: "note" }, problem.remedy))));
    say(error.problems.length ? `${plural(error.problems.length, "problem")} found.` : error.message);
  };
  const check = async () => {
    problems.hidden = true;
    say("Reading …");
    try {
      const type = text.value.trimStart().startsWith("{") ? "application/json" : "application/yaml";
      const found = await read("/read-instance", { method: "POST", body: text.value, type });
      marked = new Set();
      number_lines();
      const instance = found.instance;
      preview.replaceChildren(
        el("p", { class: "note" }, `${found.name}: no problems. ${plural(found.tenants, "tenant")}, ${plural(instance.domains.length, "domain")}, ${plural(instance.stages.length, "stage")}.`),
        network(instance, null).figure);
      say("No problems found.");
    } catch (error) { refuse(error); }
  };

  const method = el("select", {}, ["central", "admm", "bundle"].map((name) => option(name)));
  const guarantee = el("select", {}, ["minplus", "split", "paper-path", "paper-local"].map((name) => option(name)));
  const objective = el("select", {}, option("cost", "cost: serve all"), option("profit", "profit: admit what pays"));
  const gap = el("input", { type: "number", min: "0", max: "1", step: "any", value: "0.001" });
  const limit = el("input", { type: "number", min: "1", step: "any", placeholder: "server's" });
  const plan = async () => {
    problems.hidden = true;
    say("Posting …");
    try {
      const job = await solve(text.value, { method: method.value, guarantee: guarantee.value, objective: objective.value, gap: gap.value, timeLimit: limit.value });
      location.hash = `#job/${job.jobId}`;
    } catch (error) { refuse(error); }
  };
  const file = el("input", { type: "file", accept: ".yaml,.yml,.json", onchange: async () => { if (file.files[0]) put(await file.files[0].text()); } });
  const editor = el("div", {
    class: "editor",
    ondragover: (event) => { event.preventDefault(); editor.classList.add("dropping"); },
    ondragleave: () => editor.classList.remove("dropping"),
    ondrop: async (event) => {
      event.preventDefault();
      editor.classList.remove("dropping");
      if (event.dataTransfer.files[0]) put(await event.dataTransfer.files[0].text());
    },
  }, gutter, text);

  show("New plan",
    el("p", { class: "note" }, "Upload an instance, drop a file on the editor, or edit the example: stages, domains with their offers, tenants with their promises."),
    el("div", { class: "row" }, labelled("Instance file", file), button("Example", () => put(EXAMPLE)), button("Save text", () => save("instance.yaml", text.value, "text/yaml"))),
    el("div", { class: "split" },
      el("div", {}, editor, problems),
      el("form", { onsubmit: (event) => event.preventDefault() },
        el("div", { class: "row" }, labelled("Method", method), labelled("Guarantee", guarantee), labelled("Objective", objective),
          labelled("Gap to certify", gap), labelled("Time limit, s", limit)),
        el("div", { class: "row" }, button("Check", act(check)), button("Plan", act(plan), { class: "main" })))),
    preview);
  put(draft);
}

// --- drawing ---------------------------------------------------------------------------------------

// What stands where: domains with their load, flows between consecutive domains of paths.
function loads(instance, plan) {
  const reserved = new Map((plan?.domains ?? []).map((domain) => [domain.id, domain]));
  const flows = new Map();
  for (const entry of plan?.tenants ?? []) {
    if (!entry.admitted) continue;
    const ids = entry.path.map((part) => part.split("/")[0]);
    for (let at = 1; at < ids.length; at += 1) {
      const key = JSON.stringify([ids[at - 1], ids[at]]);
      const flow = flows.get(key) ?? { from: ids[at - 1], to: ids[at], count: 0, tenants: new Set() };
      flow.count += entry.count;
      flow.tenants.add(entry.id);
      flows.set(key, flow);
    }
  }
  const domains = instance.domains.map((domain) => {
    const found = reserved.get(domain.id);
    const capacity = found?.capacity ?? domain.capacity;
    return { ...domain, reserved: found?.reserved ?? 0, price: found?.price, capacity, share: capacity > 0 ? (found?.reserved ?? 0) / capacity : 0 };
  });
  return { domains, flows: [...flows.values()] };
}

// The map where every domain has a position, else the stage graph; with a choice where there is one.
function network(instance, plan) {
  const { domains, flows } = loads(instance, plan);
  const placed = domains.every((domain) => domain.position);
  const figure = el("div"), holder = el("div", { class: "map", tabindex: "0", role: "region" });
  const draw = (kind) => {
    holder.replaceChildren(kind === "map" ? drawMap(domains, flows) : drawGraph(instance.stages, domains, flows));
    holder.setAttribute("aria-label", kind === "map" ? "Map of the domains" : "Stage graph");
  };
  const kind = el("select", { onchange: () => draw(kind.value) }, placed && option("map", "map"), option("graph", "stage graph"));
  if (placed) figure.append(el("div", { class: "row" }, labelled("Show as", kind)));
  figure.append(holder, el("ul", { class: "legend" },
    el("li", {}, "bar or ring: share of the capacity that is reserved"), flows.length > 0 && el("li", {}, "line: tenants, wider for more")));
  draw(placed ? "map" : "graph");
  return {
    figure,
    light: (tenant) => {
      const picture = holder.querySelector("svg");
      picture.classList.add("lit");
      for (const flow of picture.querySelectorAll(".flow")) flow.classList.toggle("on", flow.tenants.has(tenant));
    },
  };
}

function flowLine(flow, path, most) {
  const line = sv("path", { class: "flow", d: path, "stroke-width": String(1.5 + 8 * flow.count / most) },
    sv("title", {}, `${flow.from} → ${flow.to}: ${plural(flow.count, "tenant")}`));
  line.tenants = flow.tenants;
  return line;
}

function drawGraph(stages, domains, flows) {
  const columns = stages.map((stage) => domains.filter((domain) => domain.stage === stage));
  const wide = 200, high = 58, gap = 120;
  const height = 40 + high * Math.max(1, ...columns.map((column) => column.length));
  const width = stages.length * wide + (stages.length - 1) * gap + 8;
  const at = new Map();
  columns.forEach((column, x) => column.forEach((domain, y) => at.set(domain.id, [4 + x * (wide + gap), 34 + y * high + (height - 40 - column.length * high) / 2])));
  const most = Math.max(1, ...flows.map((flow) => flow.count));
  return sv("svg", { viewBox: `0 0 ${width} ${height}`, width: String(width), height: String(height), role: "img", "aria-label": `Stage graph with ${plural(domains.length, "domain")}; the table of domains has the numbers` },
    stages.map((stage, x) => sv("text", { x: String(4 + x * (wide + gap)), y: "18", "font-weight": "600" }, stage)),
    flows.map((flow) => {
      const [[a, b], [c, d]] = [at.get(flow.from), at.get(flow.to)];
      const [x, y, u, v] = [a + wide, b + 22, c, d + 22];
      return flowLine(flow, `M${x} ${y}C${x + gap / 2} ${y} ${u - gap / 2} ${v} ${u} ${v}`, most);
    }),
    domains.map((domain) => {
      const [x, y] = at.get(domain.id);
      const name = domain.id.length > 26 ? `${domain.id.slice(0, 25)}…` : domain.id;
      return sv("g", {}, sv("title", {}, `${domain.id}: ${number(domain.reserved)} of ${number(domain.capacity)} reserved`),
        sv("rect", { class: "box", x: String(x), y: String(y), width: String(wide), height: "44", rx: "5" }),
        sv("text", { x: String(x + 9), y: String(y + 18) }, name),
        sv("rect", { class: "track", x: String(x + 9), y: String(y + 28), width: "130", height: "7", rx: "3" }),
        sv("rect", { class: domain.share > 0.999 ? "load full" : "load", x: String(x + 9), y: String(y + 28), width: String(130 * Math.min(1, domain.share)), height: "7", rx: "3" }),
        sv("text", { class: "soft", x: String(x + 147), y: String(y + 35) }, percent(domain.share, 3)));
    }));
}

function drawMap(domains, flows) {
  const middle = domains.reduce((sum, domain) => sum + domain.position[1], 0) / domains.length;
  const squeeze = Math.max(0.2, Math.cos((middle * Math.PI) / 180));
  const raw = domains.map((domain) => [domain.position[0] * squeeze, -domain.position[1]]);
  const [left, right] = [Math.min(...raw.map((p) => p[0])), Math.max(...raw.map((p) => p[0]))];
  const [top, bottom] = [Math.min(...raw.map((p) => p[1])), Math.max(...raw.map((p) => p[1]))];
  const scale = Math.min(820 / Math.max(right - left, 1e-6), 520 / Math.max(bottom - top, 1e-6), 400);
  const width = (right - left) * scale + 200, height = (bottom - top) * scale + 110;
  // domains at one place stand side by side
  const there = new Map(), at = new Map();
  domains.forEach((domain, index) => {
    const key = domain.position.join();
    const beside = there.get(key) ?? 0;
    there.set(key, beside + 1);
    at.set(domain.id, [(raw[index][0] - left) * scale + 70 + 20 * beside, (raw[index][1] - top) * scale + 50]);
  });
  const most = Math.max(1, ...flows.map((flow) => flow.count));
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20].find((value) => (right - left) / squeeze / value < 8) ?? 30;
  const lines = [];
  for (let lon = Math.ceil(left / squeeze / step) * step; lon * squeeze <= right + 1e-9; lon += step) {
    const x = String((lon * squeeze - left) * scale + 70);
    lines.push(sv("path", { class: "grid", d: `M${x} 24V${height - 24}` }), sv("text", { class: "soft", x, y: String(height - 8), "text-anchor": "middle" }, `${number(lon)}°`));
  }
  const named = new Map();
  for (const domain of domains) named.set(domain.position.join(), [...(named.get(domain.position.join()) ?? []), domain]);
  return sv("svg", { viewBox: `0 0 ${width} ${height}`, width: String(width), height: String(height), role: "img", "aria-label": `Map of ${plural(domains.length, "domain")}; the table of domains has the numbers` },
    lines,
    flows.map((flow) => {
      const [[a, b], [c, d]] = [at.get(flow.from), at.get(flow.to)];
      const bend = (flow.from < flow.to ? 1 : -1) * 0.12;
      return flowLine(flow, `M${a} ${b}Q${(a + c) / 2 + (d - b) * bend} ${(b + d) / 2 - (c - a) * bend} ${c} ${d}`, most);
    }),
    domains.map((domain) => {
      const [x, y] = at.get(domain.id), turn = 2 * Math.PI * Math.min(0.9999, domain.share);
      const arc = `M${x} ${y - 8}A8 8 0 ${turn > Math.PI ? 1 : 0} 1 ${x + 8 * Math.sin(turn)} ${y - 8 * Math.cos(turn)}L${x} ${y}Z`;
      return sv("g", {}, sv("title", {}, `${domain.id} (${domain.stage}): ${number(domain.reserved)} of ${number(domain.capacity)} reserved`),
        sv("circle", { class: "ring", cx: String(x), cy: String(y), r: "9" }),
        domain.share > 0 && sv("path", { class: domain.share > 0.999 ? "load full" : "load", d: arc }));
    }),
    [...named.values()].map((group) => {
      const [x, y] = at.get(group[0].id);
      const names = group.length > 2 ? `${group[0].id} +${group.length - 1}` : group.map((domain) => domain.id).join(", ");
      return sv("text", { class: "halo", x: String(x), y: String(y - 14), "text-anchor": x > width - 120 ? "end" : x < 80 ? "start" : "middle" }, names);
    }));
}

// A chart of lines over x. series: {name, kind, points: [[x, y]]}; crosses: x without a y.
function chart(label, unit, series, { here, crosses = [], logarithmic } = {}) {
  const [width, height, left, bottom] = [560, 230, 66, 34];
  const all = series.flatMap((one) => one.points);
  if (!all.length && !crosses.length) return el("p", { class: "note" }, "Nothing to draw yet.");
  const place = logarithmic ? Math.log : (value) => value;
  const xs = [...all.map((p) => p[0]), ...crosses];
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  let [y0, y1] = [Math.min(...all.map((p) => p[1])), Math.max(...all.map((p) => p[1]))];
  if (!all.length) [y0, y1] = [0, 1];
  const pad = (y1 - y0 || Math.abs(y1) || 1) * 0.08;
  [y0, y1] = [y0 - pad, y1 + pad];
  const px = (x) => left + (width - left - 16) * (x1 > x0 ? (place(x) - place(x0)) / (place(x1) - place(x0)) : 0.5);
  const py = (y) => height - bottom - (height - bottom - 14) * ((y - y0) / (y1 - y0));
  const ticks = Array.from({ length: 4 }, (_, at) => y0 + pad + ((y1 - y0 - 2 * pad) * at) / 3);
  const marks = logarithmic ? [x0, Math.sqrt(x0 * x1), x1] : [x0, (x0 + x1) / 2, x1];
  return el("div", { class: "chart" },
    sv("svg", { viewBox: `0 0 ${width} ${height}`, width: String(width), height: String(height), role: "img", "aria-label": label },
      [...new Set(ticks)].map((y) => [sv("path", { class: "grid", d: `M${left} ${py(y)}H${width - 16}` }), sv("text", { class: "soft", x: String(left - 8), y: String(py(y) + 4), "text-anchor": "end" }, number(y))]),
      [...new Set(marks)].map((x, at) => sv("text", { class: "soft", x: String(px(x)), y: String(height - 14), "text-anchor": at ? (at === 2 ? "end" : "middle") : "start" }, `${number(x, 3)}${unit}`)),
      here !== undefined && sv("path", { class: "here", d: `M${px(here)} 8V${height - bottom}` }),
      series.map((one) => [sv("path", { class: `line ${one.kind}`, d: one.points.map(([x, y], at) => `${at ? "L" : "M"}${px(x)} ${py(y)}`).join("") }),
        one.points.map(([x, y]) => sv("circle", { class: `dot ${one.kind}`, cx: String(px(x)), cy: String(py(y)), r: "3.5" }, sv("title", {}, `${one.name}: ${number(y, 6)} at ${number(x)}${unit}`)))]),
      crosses.map((x) => sv("path", { class: "cross", d: `M${px(x) - 5} ${height - bottom - 10}l10 10m0 -10l-10 10` }, sv("title", {}, `no plan at ${number(x)}${unit}`)))),
    el("ul", { class: "legend" }, series.map((one) => el("li", {}, `${one.kind === "bound" ? "dashed" : "solid"}: ${one.name}`)), crosses.length > 0 && el("li", {}, "cross: no plan keeps all promises")));
}

// --- jobs ------------------------------------------------------------------------------------------

function resultOf(job) {
  const found = job.result;
  if (!found) return job.error?.message ?? "";
  const words = {
    solve: () => `${found.status}${found.cost === undefined ? "" : `, cost ${number(found.cost, 6)}, gap ${percent(found.gap)}`}`,
    intent: () => (found.resolved ? `resolved, cost ${number(found.cost)}` : "cannot be served"),
    simulate: () => (found.broken ? `${plural(found.broken, "promise")} broken` : "no promise seen broken"),
    audit: () => found.verdict ?? "no promise judged",
    explain: () => found.status,
    settle: () => (found.conserved ? "adds up to the cent" : "does not add up"),
    decompose: () => `accepted with probability ${number(found.probability)}`,
  };
  return words[found.kind]();
}

async function jobsView(signal) {
  const list = await read("/jobs", { query: { perPage: 100 }, signal });
  const again = () => route();
  show("Jobs",
    el("div", { class: "row" }, button("Refresh", again), el("span", { class: "note" }, `${plural(list.pagination.totalCount, "job")}; the last ${list.items.length} are shown.`)),
    table("Jobs, the newest first", [
      { name: "Job", get: (job) => job.name, show: (name, job) => el("a", { href: `#job/${job.jobId}` }, name) },
      { name: "Kind", get: (job) => job.kind },
      { name: "State", get: (job) => job.state.toLowerCase() },
      { name: "Result", get: resultOf, wide: true },
      { name: "Posted", get: (job) => job.createdAt, show: clock },
      { name: "Action", get: () => "", show: (_, job) => (["DONE", "FAILED", "CANCELLED"].includes(job.state)
        ? button("Delete", act(async () => { await call(`/jobs/${job.jobId}`, { method: "DELETE" }); again(); }), { "aria-label": `Delete ${job.kind} ${job.name}` })
        : button("Cancel", act(async () => { await call(`/jobs/${job.jobId}/cancel`, { method: "POST" }); again(); }), { "aria-label": `Cancel ${job.kind} ${job.name}` })) },
    ], list.items));
}

async function jobView(signal, id) {
  const job = await read(`/jobs/${id}`, { signal });
  const live = el("div"), result = el("div");
  show(job.name, live, result);
  const rows = [];
  let now = job;
  const draw = () => {
    const last = rows.at(-1) ?? now.progress ?? {};
    const running = ["QUEUED", "RUNNING"].includes(now.state);
    const gap = last.cost && last.lowerBound !== undefined ? (last.cost - last.lowerBound) / Math.abs(last.cost) : null;
    live.replaceChildren(...[
      el("p", { class: "note" }, `${now.kind}, ${now.state.toLowerCase()}, posted ${clock(now.createdAt)}`),
      running && facts([
        now.kind === "solve" && ["Best cost", number(last.cost, 6)], now.kind === "solve" && ["Lower bound", number(last.lowerBound, 6)],
        now.kind === "solve" && ["Gap", percent(gap)], [last.total ? "Trials" : "Round", `${last.round ?? "–"}${last.total ? ` of ${last.total}` : ""}`], ["Seconds", number(last.seconds, 3)],
      ]),
      running && el("progress", last.total ? { max: String(last.total), value: String(last.round), "aria-label": "Trials" } : { "aria-label": "Working" }),
      running && el("div", { class: "row" },
        now.kind === "solve" && button("Stop at the best plan", act(() => call(`/jobs/${id}/stop`, { method: "POST" })), { disabled: last.cost === undefined }),
        button("Cancel", act(() => call(`/jobs/${id}/cancel`, { method: "POST" })))),
      now.kind === "solve" && rows.length > 1 && progressChart(rows),
    ].filter(Boolean));
  };
  draw();
  await follow(id, (kind, data) => {
    if (kind === "state") now = data; else rows.push(data);
    draw();
  }, signal);
  now = await read(`/jobs/${id}`, { signal });
  draw();
  if (now.state === "FAILED") result.replaceChildren(el("p", { class: "broken" }, now.error.message));
  if (now.state === "CANCELLED") result.replaceChildren(el("p", {}, "Cancelled; there is no result."));
  if (now.state !== "DONE") return;
  if (now.kind === "solve") await planView(signal, now, result);
  else {
    const kind = ANALYSES[now.kind] ?? { document: "resolution", draw: (found) => code(found) };
    const found = await read(`/jobs/${id}/${kind.document}`, { signal });
    result.replaceChildren(now.options.job ? el("p", {}, el("a", { href: `#job/${now.options.job}` }, "The plan it is about")) : "",
      kind.draw(found), button("Download JSON", () => save(`${kind.document}.json`, JSON.stringify(found, null, 2))));
  }
  say("Done.");
}

function progressChart(rows) {
  const series = (name, kind, field) => ({ name, kind, points: rows.filter((row) => row[field] !== undefined).map((row) => [row.seconds, row[field]]) });
  return el("details", { open: true }, el("summary", {}, "Convergence"),
    chart("Cost and lower bound by seconds", " s", [series("best cost", "cost", "cost"), series("lower bound", "bound", "lowerBound")]));
}

const code = (document) => el("pre", { class: "code", tabindex: "0" }, JSON.stringify(document, null, 2));

// --- a plan ----------------------------------------------------------------------------------------

const domainColumns = (units) => [
  { name: "Domain", get: (domain) => domain.id },
  { name: "Stage", get: (domain) => domain.stage },
  { name: "Operator", get: (domain) => domain.operator },
  { name: `Reserved, ${units}`, get: (domain) => domain.reserved, number: true },
  { name: `Capacity, ${units}`, get: (domain) => domain.capacity, number: true },
  { name: "In use", get: (domain) => domain.share, show: (share) => percent(share, 3), number: true },
  { name: "Price", get: (domain) => domain.price, number: true },
];

function tenantColumns(plan, instance) {
  const tenants = new Map(instance.tenants.map((tenant) => [tenant.id, tenant]));
  const time = instance.units?.time ?? "";
  const based = plan.tenants.some((entry) => entry.basis);
  return [
    { name: "Tenant", get: (entry) => entry.id },
    { name: "Count", get: (entry) => entry.count, number: true },
    { name: "Path", get: (entry) => (entry.admitted ? entry.path.join(" → ") : "not served"), wide: true },
    { name: `Deadline${time && `, ${time}`}`, get: (entry) => tenants.get(entry.id)?.slo.deadline, number: true },
    { name: "ε", get: (entry) => tenants.get(entry.id)?.slo.epsilon, number: true },
    { name: "Proven", get: (entry) => entry.log_bound, show: power, number: true },
    based && { name: "Rests on", get: (entry) => entry.basis && `${entry.basis}${entry.confidence ? ` (${percent(entry.confidence, 4)} confidence)` : ""}` },
    { name: "Cost", get: (entry) => entry.cost, number: true },
  ].filter(Boolean);
}

// The bound on every reservation, and where it is not known that of the method's own catalogue.
function bounds(plan) {
  if (plan.lower_bound !== null) return [["Lower bound", number(plan.lower_bound, 6)]];
  return plan.catalogue_bound === null ? [] : [["Lower bound of its catalogue", number(plan.catalogue_bound, 6)]];
}

async function planView(signal, job, holder) {
  const [plan, instance, check] = await Promise.all(["plan", "instance", "check"].map((name) => read(`/jobs/${job.jobId}/${name}`, { signal })));
  const units = `${instance.units?.work ?? "job"}/${instance.units?.time ?? "ms"}`;
  const heads = instance.tenants.reduce((sum, tenant) => sum + (tenant.count ?? 1), 0);
  const parts = [facts([
    ["Status", plan.status], plan.cost !== null && ["Cost", number(plan.cost, 6)], ...bounds(plan),
    plan.gap !== null && ["Certified gap", percent(plan.gap)], ["Tenants served", `${number(job.result.admitted)} of ${number(heads)}`], ["Guarantee", plan.guarantee],
    ["Independent check", el("span", { class: check.ok ? "kept" : "broken" }, check.ok ? "✓ correct" : `✗ ${plural(check.findings.length, "finding")}`)],
  ])];
  if (plan.explanation?.length) parts.push(el("h2", {}, "Why there is no plan"), el("ul", {}, plan.explanation.map((reason) => el("li", {}, reason.message ?? JSON.stringify(reason)))));
  if (!check.ok) parts.push(el("ul", { class: "problems" }, check.findings.map((finding) => el("li", {}, finding.message))));
  if (plan.cost === null || plan.cost === undefined) {
    holder.replaceChildren(...parts, analyses(signal, job, false), downloads(job, plan, instance));
    return;
  }
  const net = network(instance, plan), found = loads(instance, plan);
  parts.push(el("h2", {}, "Network"), net.figure,
    el("h2", {}, "Domains"), table(`Reservations, ${units}`, domainColumns(units), found.domains, { file: "domains.csv" }),
    el("h2", {}, "Tenants"), table("Promises and paths; a tenant's button shows its path above", tenantColumns(plan, instance), plan.tenants, { file: "tenants.csv", choose: (entry) => net.light(entry.id) }),
    el("h2", {}, "What if"), whatIf(signal, job, plan, instance),
    el("h2", {}, "Analyses"), analyses(signal, job, true),
    el("h2", {}, "Download"), downloads(job, plan, instance));
  holder.replaceChildren(...parts);
}

// --- what if ---------------------------------------------------------------------------------------

// A number, or a quantity such as "0.1 s", times a factor.
function times(value, factor) {
  if (typeof value === "number") return value * factor;
  const found = /^\s*([-+0-9.eE]+)(.*)$/.exec(value);
  return found ? `${Number(found[1]) * factor}${found[2]}` : value;
}

const KNOBS = {
  deadline: { name: "Deadline", range: [0.5, 2], among: "tenants" },
  epsilon: { name: "ε, probability of being late", range: [0.1, 10], among: "tenants" },
  capacity: { name: "Capacity", range: [0.5, 2], among: "domains" },
};

function changed(instance, changes) {
  const copy = structuredClone(instance);
  for (const [knob, { factor, which }] of Object.entries(changes)) {
    for (const part of copy[KNOBS[knob].among]) {
      if (which && part.id !== which) continue;
      if (knob === "capacity") part.capacity = times(part.capacity, factor);
      else if (knob === "deadline") part.slo.deadline = times(part.slo.deadline, factor);
      else if (part.slo.percentile !== undefined) part.slo.percentile = 100 - Math.min(49.9, (100 - part.slo.percentile) * factor);
      else part.slo.epsilon = Math.min(0.499, part.slo.epsilon * factor);
    }
  }
  return JSON.stringify(copy);
}

function whatIf(signal, job, plan, instance) {
  const options = { guarantee: plan.guarantee, objective: plan.objective, gap: job.options.gap, method: job.options.method };
  const answer = el("p", { role: "status" }, `As planned: cost ${number(plan.cost, 6)}.`), curve = el("div");
  const state = Object.fromEntries(Object.keys(KNOBS).map((knob) => [knob, { factor: 1, which: "" }]));
  let turn = 0;
  const plan_again = async (changes) => {
    const posted = await solve(changed(instance, changes), { ...options, warmStart: job.jobId });
    return ended(posted.jobId, null, signal);
  };
  const moved = async () => {
    const mine = (turn += 1);
    answer.textContent = "Planning …";
    try {
      const found = await plan_again(state);
      if (mine !== turn) return;
      const cost = found.result.cost;
      answer.replaceChildren(cost === undefined ? "No plan keeps all promises. " : `Cost ${number(cost, 6)}: ${signed(cost - plan.cost)} (${signed((100 * (cost - plan.cost)) / Math.abs(plan.cost || 1))} %). `,
        el("a", { href: `#job/${found.jobId}` }, "Open this plan"), " ",
        el("a", { href: `#compare/${job.jobId}/${found.jobId}` }, "Compare"));
    } catch (error) { if (!signal.aborted) answer.textContent = error.message; }
  };
  const draw = (knob) => act(async () => {
    const { range, name } = KNOBS[knob], which = state[knob].which;
    const points = [], crosses = [];
    const factors = Array.from({ length: CURVE_POINTS }, (_, at) => range[0] * (range[1] / range[0]) ** (at / (CURVE_POINTS - 1)));
    const redraw = (left) => curve.replaceChildren(el("h3", {}, `Cost by ${name.toLowerCase()}, as a multiple of now${which ? `, of ${which}` : ""}`),
      chart(`Cost by ${name.toLowerCase()}`, "×", [{ name: "cost", kind: "cost", points: [...points].sort((a, b) => a[0] - b[0]) }], { here: 1, crosses, logarithmic: true }),
      el("p", { class: "note" }, left ? `${plural(left, "plan")} to go …` : "Each point is a plan of its own, certified to the same gap."));
    let left = factors.length;
    redraw(left);
    for (const factor of factors) {
      const found = await plan_again({ [knob]: { factor, which } });
      if (found.result.cost === undefined) crosses.push(factor); else points.push([factor, found.result.cost]);
      await call(`/jobs/${found.jobId}`, { method: "DELETE", signal });
      redraw((left -= 1));
    }
  });
  return el("div", {},
    el("div", { class: "sliders" }, Object.entries(KNOBS).map(([knob, { name, range, among }]) => {
      const shown = el("output", {}, "as now");
      const slider = el("input", {
        type: "range", min: String(Math.log(range[0])), max: String(Math.log(range[1])), step: "0.01", value: "0", "aria-label": `${name}, as a multiple of now`,
        oninput: () => {
          state[knob].factor = Math.abs(slider.value) < 0.02 ? 1 : Math.exp(slider.value);
          shown.textContent = state[knob].factor === 1 ? "as now" : `${number(state[knob].factor, 3)} × now`;
          slider.setAttribute("aria-valuetext", shown.textContent);
        },
        onchange: moved,
      });
      const which = el("select", { "aria-label": `${name} of`, onchange: () => { state[knob].which = which.value; if (state[knob].factor !== 1) moved(); } },
        option("", `all ${among}`), instance[among].slice(0, 500).map((part) => option(part.id)));
      return el("fieldset", {}, el("legend", {}, name), which, slider, el("div", { class: "tools" }, shown, button("Draw the cost curve", draw(knob), { "aria-label": `Draw the cost curve of ${name}` })));
    })), answer, curve);
}

// --- analyses --------------------------------------------------------------------------------------

const verdict = (word) => el("span", { class: word ?? "" }, `${{ kept: "✓ ", broken: "✗ ", undecided: "? " }[word] ?? ""}${word ?? "no promise"}`);
const range = (pair) => (pair ? `${number(pair[0])} … ${number(pair[1])}` : "–");
const cents = (value) => (value / 100).toLocaleString("en", { minimumFractionDigits: 2 });

const ANALYSES = {
  simulate: {
    document: "simulation",
    draw: (found) => table(`Simulated, ${found.trials} trials, ${percent(found.confidence, 3)} confidence`, [
      { name: "Tenant", get: (tenant) => tenant.id },
      { name: "Path", get: (tenant) => tenant.path.join(" → "), wide: true },
      { name: "Requests", get: (tenant) => tenant.requests, number: true },
      { name: "ε", get: (tenant) => tenant.epsilon, number: true },
      { name: "Late", get: (tenant) => tenant.violation.estimate, number: true },
      { name: "Interval", get: (tenant) => range(tenant.violation.interval) },
      { name: "Bound", get: (tenant) => tenant.log_bound, show: power, number: true },
      { name: "Verdict", get: (tenant) => tenant.verdict, show: verdict },
    ], found.tenants, { file: "simulation.csv" }),
  },
  explain: {
    document: "explanation",
    draw: (found) => el("div", {},
      found.reasons?.length ? el("ul", {}, found.reasons.map((reason) => el("li", {}, reason.message ?? JSON.stringify(reason)))) : "",
      found.binding?.length ? table("What relaxing each constraint is worth", [
        { name: "Constraint", get: (worth) => worth.constraint },
        { name: "Saves", get: (worth) => worth.saving, number: true },
        { name: "Of the cost, %", get: (worth) => worth.per_cent, number: true },
        { name: "In words", get: (worth) => worth.message, wide: true },
      ], found.binding, { file: "explanation.csv" }) : el("p", { class: "none" }, "No constraint binds whose relaxation would save anything.")),
  },
  audit: {
    document: "audit",
    draw: (found) => {
      const series = Object.entries(found.series ?? {});
      const quantile = (audit) => audit.quantiles?.["0.999"];
      return table("Audited", [
        { name: "Series", get: ([name]) => name },
        { name: "Verdict", get: ([, audit]) => audit.verdict, show: verdict },
        { name: "99.9 %", get: ([, audit]) => quantile(audit)?.estimate, number: true },
        { name: "Interval", get: ([, audit]) => range(quantile(audit)?.interval) },
        { name: "Exceedances", get: ([, audit]) => audit.exceedances, number: true },
        { name: "More samples to decide", get: ([, audit]) => audit.samples_to_decide, number: true },
      ], [["all", found], ...series]);
    },
  },
  settle: {
    document: "settlement",
    draw: (found) => el("div", {},
      table(`Net by domain${found.period ? `, ${found.period}` : ""}`, [
        { name: "Domain", get: ([domain]) => domain }, { name: "Net", get: ([, value]) => value, show: cents, number: true },
      ], Object.entries(found.net), { file: "net.csv" }),
      table("Tenants", [
        { name: "Tenant", get: (line) => line.tenant }, { name: "Verdict", get: (line) => line.verdict, show: verdict },
        { name: "Payment", get: (line) => line.payment, show: cents, number: true }, { name: "Refund", get: (line) => line.refund, show: cents, number: true },
        { name: "Domains", get: (line) => line.domains.join(", "), wide: true },
      ], found.lines, { file: "settlement.csv" })),
  },
  decompose: {
    document: "decomposition",
    draw: (found) => el("div", {},
      el("p", {}, `Accepted by every domain with probability ${number(found.probability)} (${found.model} model).`),
      (found.warnings ?? []).map((words) => el("p", { class: "note" }, words)),
      table("The split", [
        { name: "Domain", get: (domain) => domain.domain }, { name: "Delay", get: (domain) => domain.delay, number: true },
        { name: "Throughput", get: (domain) => domain.throughput, number: true }, { name: "P(accept)", get: (domain) => domain.probability, number: true },
      ], found.domains, { file: "decomposition.csv" })),
  },
};

const named = (job) => ({ body: JSON.stringify(job), type: "application/json" });

function analyses(signal, job, planned) {
  const base = `/jobs/${job.jobId}`, results = el("div"), audits = el("select", { "aria-label": "Audit to settle by" });
  const present = async (found) => {
    const { document: name, draw } = ANALYSES[found.kind];
    const document_ = await read(`/jobs/${found.jobId}/${name}`, { signal });
    results.prepend(el("section", {}, el("h3", {}, `${name[0].toUpperCase()}${name.slice(1)}, ${clock(found.createdAt)}`), draw(document_),
      button("Download JSON", () => save(`${name}.json`, JSON.stringify(document_, null, 2)), { "aria-label": `Download ${name} as JSON` })));
    if (found.kind === "simulate" && found.options.telemetry) simulated.prepend(option(found.jobId, clock(found.createdAt), true));
    if (found.kind === "audit") audits.prepend(option(found.jobId, clock(found.createdAt), true));
    settling.disabled = !audits.options.length;
  };
  const start = (kind, options) => act(async () => {
    const posted = await read(`${base}/${kind}`, { method: "POST", ...(await options?.()) });
    say(`${kind}: waiting …`);
    const found = await ended(posted.jobId, (event, data) => { if (event === "progress" && data.total) say(`${kind}: ${data.round} of ${data.total} trials`); }, signal);
    await present(found);
    say("Done.");
  });
  const trials = el("input", { type: "number", min: "2", max: "4096", value: "32" }), seed = el("input", { type: "number", min: "0", value: "0" });
  const keep = el("input", { type: "checkbox", checked: true }), simulated = el("select", { "aria-label": "Simulation to audit" });
  const telemetry = el("input", { type: "file", accept: ".csv,.jsonl,.ndjson" });
  const rule = el("select", {}, option("marginal", "marginal (the paper's)"), option("shapley", "Shapley"));
  const settling = button("Settle", start("settle", () => ({ ...named({ audit: audits.value }), query: { rule: rule.value } })), { disabled: true });
  read("/jobs", { query: { perPage: 100, state: "DONE", order: "desc" }, signal })
    .then(async (list) => { for (const found of list.items.filter((item) => item.options.job === job.jobId && ANALYSES[item.kind]).reverse()) await present(found); })
    .catch(() => {});
  const explain = el("div", { class: "row" }, button("Explain", start("explain")), el("span", { class: "note" }, planned ? "Which constraints bind, and what relaxing each is worth." : "Why there is no plan, and what would help."));
  if (!planned) return el("div", {}, explain, results);
  return el("div", {}, explain,
    el("div", { class: "row" }, button("Simulate", start("simulate", () => ({ query: { trials: trials.value, seed: seed.value, telemetry: keep.checked } }))), labelled("Trials", trials), labelled("Seed", seed), el("label", { class: "inline" }, keep, "Keep the delays for an audit")),
    el("div", { class: "row" }, button("Audit", start("audit", async () => {
      if (!telemetry.files[0] && simulated.value) return named({ simulation: simulated.value });
      if (!telemetry.files[0]) throw new Error("choose a telemetry file, a row a request with the columns tenant and delay, or simulate first");
      return { body: await telemetry.files[0].text(), type: telemetry.files[0].name.endsWith("csv") ? "text/csv" : "application/x-ndjson" };
    })), labelled("Telemetry: CSV or JSON lines", telemetry), labelled("or simulated at", simulated)),
    el("div", { class: "row" }, settling, labelled("By the audit of", audits), labelled("Rule", rule)),
    results);
}

// --- downloads -------------------------------------------------------------------------------------

function downloads(job, plan, instance) {
  const files = { "plan.json": "plan", "instance.json": "instance", "bounds.json": "bounds", "check.json": "check", "report.html": "report" };
  const get = async (name) => (await call(`/jobs/${job.jobId}/${files[name]}`)).blob();
  const everything = async () => {
    say("Collecting …");
    const found = await Promise.all(Object.keys(files).map(async (name) => [name, new Uint8Array(await (await get(name)).arrayBuffer())]));
    const text = (content) => new TextEncoder().encode(content);
    if (plan.cost !== null) {
      found.push(["domains.csv", text(csv(domainColumns(instance.units?.work ?? ""), loads(instance, plan).domains))], ["tenants.csv", text(csv(tenantColumns(plan, instance), plan.tenants))]);
    }
    const list = await read("/jobs", { query: { perPage: 100, state: "DONE" } });
    for (const other of list.items.filter((item) => item.options.job === job.jobId && ANALYSES[item.kind])) {
      const name = ANALYSES[other.kind].document;
      found.push([`${name}-${other.jobId.slice(0, 8)}.json`, new Uint8Array(await (await call(`/jobs/${other.jobId}/${name}`)).arrayBuffer())]);
    }
    save(`${job.name}.zip`, zip(found), "application/zip");
    say("Saved.");
  };
  return el("div", { class: "row" }, Object.keys(files).map((name) => button(name, act(async () => save(name, await get(name))))), button("Everything (.zip)", act(everything), { class: "main" }));
}

// A ZIP archive of stored files.
function zip(files) {
  const table_ = Array.from({ length: 256 }, (_, n) => { for (let k = 0; k < 8; k += 1) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1; return n >>> 0; });
  const checksum = (bytes) => { let c = 0xffffffff; for (const byte of bytes) c = table_[(c ^ byte) & 255] ^ (c >>> 8); return (c ^ 0xffffffff) >>> 0; };
  const record = (signature, fields) => {
    const bytes = new DataView(new ArrayBuffer(4 + fields.reduce((sum, [size]) => sum + size, 0)));
    bytes.setUint32(0, signature, true);
    let at = 4;
    for (const [size, value] of fields) { if (size === 2) bytes.setUint16(at, value, true); else bytes.setUint32(at, value, true); at += size; }
    return new Uint8Array(bytes.buffer);
  };
  const parts = [], directory = [];
  let offset = 0;
  for (const [name, content] of files) {
    const title = new TextEncoder().encode(name);
    const shared = [[2, 20], [2, 0x800], [2, 0], [2, 0], [2, 0x21], [4, checksum(content)], [4, content.length], [4, content.length], [2, title.length], [2, 0]];
    const local = record(0x04034b50, shared);
    directory.push(record(0x02014b50, [[2, 20], ...shared, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]), title);
    parts.push(local, title, content);
    offset += local.length + title.length + content.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  return new Blob([...parts, ...directory, record(0x06054b50, [[2, 0], [2, 0], [2, files.length], [2, files.length], [4, size], [4, offset], [2, 0]])]);
}

// --- comparing two plans ---------------------------------------------------------------------------

async function compareView(signal, first, second) {
  const list = (await read("/jobs", { query: { perPage: 100, state: "DONE" }, signal })).items.filter((job) => solved(job) && job.result.cost !== undefined);
  const choice = (label, chosen) => {
    const select = el("select", { onchange: () => { location.hash = `#compare/${one.value}/${two.value}`; } },
      list.map((job) => option(job.jobId, `${job.name}, ${number(job.result.cost, 6)}, ${job.options.guarantee}, ${clock(job.createdAt)}`, job.jobId === chosen)));
    return [select, labelled(label, select)];
  };
  const [one, oneLabel] = choice("Plan A", first ?? list[1]?.jobId), [two, twoLabel] = choice("Plan B", second ?? list[0]?.jobId);
  const holder = el("div");
  show("Compare two plans", el("div", { class: "row" }, oneLabel, twoLabel), holder);
  if (list.length < 2) { holder.append(el("p", { class: "none" }, "There must be two plans that are done.")); return; }
  const load = async (job) => ({ plan: await read(`/jobs/${job}/plan`, { signal }), instance: await read(`/jobs/${job}/instance`, { signal }) });
  const [a, b] = await Promise.all([load(one.value), load(two.value)]);
  const total = (name, get) => ({ name, a: get(a.plan), b: get(b.plan) });
  const rows = [total("Cost", (p) => p.cost), total("Lower bound", (p) => p.lower_bound), total("Certified gap", (p) => p.gap),
    total("Tenants served", (p) => p.tenants.filter((entry) => entry.admitted).reduce((sum, entry) => sum + entry.count, 0)),
    total("Reserved in all domains", (p) => p.domains.reduce((sum, domain) => sum + domain.reserved, 0))];
  const difference = { name: "B − A", get: (row) => (row.a === undefined || row.b === undefined ? null : row.b - row.a), show: (value) => (value === null ? "–" : signed(value)), number: true };
  const sides = [{ name: "A", get: (row) => row.a, number: true }, { name: "B", get: (row) => row.b, number: true }, difference];
  const pairs = (get) => [...new Set([...get(a).keys(), ...get(b).keys()])].map((name) => ({ name, a: get(a).get(name), b: get(b).get(name) }));
  const reserved = ({ plan }) => new Map(plan.domains.map((domain) => [domain.id, domain.reserved]));
  const paths = ({ plan }) => {
    const found = new Map();
    for (const entry of plan.tenants) found.set(entry.id, [...(found.get(entry.id) ?? []), `${entry.count} × ${entry.admitted ? entry.path.join(" → ") : "not served"}`].sort());
    return new Map([...found].map(([name, all]) => [name, all.join("; ")]));
  };
  const moved = pairs(paths).filter((row) => row.a !== row.b);
  holder.append(
    a.plan.instance.sha256 === b.plan.instance.sha256 ? "" : el("p", { class: "note" }, "The plans are for different instances."),
    el("h2", {}, "Totals"), table("Totals", [{ name: "Total", get: (row) => row.name }, ...sides], rows),
    el("h2", {}, "Domains"), table("Reservations by domain", [{ name: "Domain", get: (row) => row.name }, ...sides], pairs(reserved), { file: "compare-domains.csv" }),
    el("h2", {}, "Tenants on other paths"), table("Tenants that take other paths", [{ name: "Tenant", get: (row) => row.name }, { name: "A", get: (row) => row.a, wide: true }, { name: "B", get: (row) => row.b, wide: true }], moved, { file: "compare-tenants.csv" }));
}

// --- decomposing an SLA ----------------------------------------------------------------------------

async function decomposeView(signal) {
  const history = el("input", { type: "file", accept: ".csv" }), sla = el("input", { value: "delay=100,throughput=0.5" });
  const model = el("select", {}, ["convex", "logistic", "network"].map((name) => option(name))), holder = el("div");
  show("Decompose an SLA",
    el("p", { class: "note" }, "Domains that publish no contract answer yes or no. From a history of answers (CSV with the columns domain, delay, throughput, accepted) risk models are learned, and the SLA is split where all accept most likely."),
    el("div", { class: "row" }, labelled("History", history), labelled("SLA", sla), labelled("Risk model", model),
      button("Decompose", act(async () => {
        if (!history.files[0]) throw new Error("choose a history file");
        say("Learning …");
        const posted = await read("/decompose", { method: "POST", body: await history.files[0].text(), type: "text/csv", query: { sla: sla.value, model: model.value } });
        const found = await ended(posted.jobId, null, signal);
        holder.replaceChildren(ANALYSES.decompose.draw(await read(`/jobs/${found.jobId}/decomposition`, { signal })));
        say("Done.");
      }), { class: "main" })), holder);
}

// --- the API's documentation -----------------------------------------------------------------------

async function apiView(signal) {
  const document_ = await read("/openapi.json", { signal });
  const typeOf = (schema) => {
    if (!schema) return "";
    if (schema.$ref) return schema.$ref.split("/").at(-1);
    if (schema.enum) return schema.enum.join(" | ");
    if (schema.allOf) return typeOf(schema.allOf[0]);
    if (schema.anyOf || schema.oneOf) return (schema.anyOf ?? schema.oneOf).map(typeOf).join(" | ");
    return schema.type === "array" ? `${typeOf(schema.items)}[]` : [schema.format ?? schema.type].flat().join(" | ");
  };
  const operation = (path, verb, op) => el("details", {},
    el("summary", {}, el("span", { class: "verb" }, verb.toUpperCase()), el("code", {}, path), ` ${op.summary ?? ""}`),
    el("p", {}, op.description ?? ""),
    op.parameters?.length ? table(`Parameters of ${op.operationId}`, [
      { name: "Name", get: (p) => p.name }, { name: "In", get: (p) => p.in }, { name: "Type", get: (p) => typeOf(p.schema) },
      { name: "Default", get: (p) => p.schema?.default ?? (p.required ? "required" : null) }, { name: "Meaning", get: (p) => p.description, wide: true },
    ], op.parameters) : "",
    Object.entries(op.requestBody?.content ?? {}).map(([media, content]) => el("p", {}, "Body: ", el("code", {}, media), ` ${typeOf(content.schema)}. ${op.requestBody.description ?? ""}`)),
    table(`Answers of ${op.operationId}`, [
      { name: "Status", get: ([status]) => status }, { name: "Type", get: ([, answer]) => Object.entries(answer.content ?? {}).map(([media, content]) => `${media} ${typeOf(content.schema)}`).join("; ") },
      { name: "Meaning", get: ([, answer]) => answer.description.replaceAll("`", ""), wide: true },
    ], Object.entries(op.responses)));
  const operations = Object.entries(document_.paths).flatMap(([path, verbs]) => Object.entries(verbs).map(([verb, op]) => ({ path, verb, op })));
  show(`${document_.info.title} API ${document_.info.version}`,
    document_.info.description.split("\n\n").map((text) => el("p", {}, text)),
    el("div", { class: "row" }, button("Download the OpenAPI document", () => save("fedopt-api.json", JSON.stringify(document_, null, 2)))),
    document_.tags.map((tag) => [el("h2", {}, tag.name), el("p", { class: "note" }, tag.description),
      operations.filter(({ op }) => op.tags?.includes(tag.name)).map(({ path, verb, op }) => operation(BASE + path, verb, op))]).flat(2),
    el("h2", {}, "Documents"),
    Object.entries(document_.components.schemas).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, schema]) => el("details", {}, el("summary", {}, el("code", {}, name), ` ${(schema.description ?? "").split("\n")[0]}`), code(schema))));
}

// --- beginning -------------------------------------------------------------------------------------

async function watchServer() {
  const place = document.getElementById("server");
  try {
    const found = await (await fetch(`${BASE}/ready`)).json();
    const waiting = found.queued ? `, ${plural(found.queued, "job")} waiting` : "";
    place.textContent = found.status === "READY" ? `ready${waiting}` : found.reason ?? "not ready";
  } catch { place.textContent = "no connection"; }
  setTimeout(watchServer, 10000);
}

window.addEventListener("hashchange", route);
document.getElementById("sign-out").hidden = !token;
watchServer();
call("/jobs", { query: { perPage: 1 } }).then(route, (error) => { if (error.status !== 401) route(); }); // 401 shows the sign-in
