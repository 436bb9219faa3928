"use strict";

const $ = (id) => document.getElementById(id);
const colors = ["--t1", "--t2", "--t3", "--t4"];
let key = sessionStorage.getItem("tern-key") || "";
let tasks = {}; // by model: "classify", "detect" or "none"
let current = null; // the picture that is shown: {blob, bitmap, name}
let busy = false, again = false; // a request is under way; another one is wanted after it

// ---- the server ----------------------------------------------------------------------------------------------------

async function call(path, options = {}) {
  const headers = { ...(options.headers || {}) };
  if (key) headers["X-API-Key"] = key;
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) $("key-form").hidden = false;
  if (!response.ok) {
    let text = response.status + " " + response.statusText;
    try { text = (await response.json()).error || text; } catch { /* not JSON: the status says it */ }
    throw new Error(text);
  }
  return response.json();
}

const post = (path, body, type) => call(path, { method: "POST", body, headers: type ? { "Content-Type": type } : {} });

function say(text) {
  $("message").textContent = text || "";
  $("message").hidden = !text;
}

// ---- pictures ------------------------------------------------------------------------------------------------------

async function take(blob, name) {
  say("");
  try {
    const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image" });
    current = { blob, bitmap, name: name || "picture.jpg" };
  } catch {
    current = { blob, bitmap: null, name: name || "picture" }; // a format that the server may know
  }
  await ask();
}

async function ask() {
  const model = $("model").value;
  if (!current) return;
  if (busy) { again = true; return; }
  if (!model) return say("No model for pictures is ready.");
  busy = true;
  again = false;
  const task = tasks[model] === "detect" ? "detect" : "classify";
  const path = `v1/models/${encodeURIComponent(model)}:${task}`;
  showCurl(path);
  const begin = performance.now(), asked = current;
  try {
    const answer = await post(path, asked.blob, "application/octet-stream");
    if (asked === current) show(answer, performance.now() - begin);
    say("");
  } catch (error) {
    say(error.message);
    $("repeat").checked = false;
    show(null, 0);
  }
  busy = false;
  if (again || $("repeat").checked) setTimeout(ask, 0);
}

function showCurl(path) {
  const quoted = "'" + current.name.replace(/'/g, "'\\''") + "'";
  const auth = key ? " -H \"X-API-Key: $KEY\"" : "";
  $("curl").textContent = `curl -s${auth} ${new URL(path, location.href)} --data-binary @${quoted}`;
  $("curl-box").hidden = false;
}

const hue = (cls) => `hsl(${(cls * 137.508) % 360} 75% 45%)`;

function show(answer, roundTrip) {
  const canvas = $("picture"), bitmap = current.bitmap;
  $("figure").hidden = !bitmap;
  if (bitmap) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    $("figure").classList.toggle("small-picture", bitmap.width < 100);
    $("caption").textContent = `${current.name}, ${bitmap.width} × ${bitmap.height}`;
  }
  const bars = $("bars");
  bars.replaceChildren();
  $("timing").hidden = !answer;
  if (!answer) return;
  const found = answer.results || answer.detections;
  for (const item of found) {
    const label = item.label ?? item.name ?? `class ${item.index ?? item.class}`;
    bars.append(bar(label, item.score, answer.detections ? hue(item.class) : null));
  }
  if (found.length === 0) bars.append(bar("nothing found", 0, null));
  if (answer.detections && bitmap) drawBoxes(canvas, answer.detections);
  const best = found[0] ? `${found[0].label ?? found[0].name ?? ""} ${(found[0].score * 100).toFixed(1)} %` : "nothing found";
  canvas.setAttribute("aria-label", `The picture: ${answer.detections ? found.length + " objects" : best}`);
  showTiming(answer.timing, roundTrip);
}

function element(tag, name, text) {
  const e = document.createElement(tag);
  if (name) e.className = name;
  if (text !== undefined) e.textContent = text;
  return e;
}

function bar(label, score, color) {
  const li = element("li"), fill = element("span", "fill");
  fill.style.width = Math.max(0, Math.min(1, score)) * 100 + "%";
  li.append(fill);
  if (color) {
    const swatch = element("span", "swatch");
    swatch.style.background = color;
    li.append(swatch);
  }
  li.append(element("span", "name", label), element("span", "score", score ? (score * 100).toFixed(1) + " %" : ""));
  return li;
}

// Where a label of a box goes: above it, else next to there, where none is yet.
function labelPlace(taken, x, y, width, height) {
  const free = (top) => !taken.some((r) => x < r.x + r.width && r.x < x + width && top < r.top + height && r.top < top + height);
  const first = Math.max(0, y - height);
  const steps = [0, -1, 1, -2, 2, 3, 4, 5].map((n) => first + n * height);
  return steps.find((top) => top >= 0 && free(top)) ?? first;
}

function drawBoxes(canvas, detections) {
  const c = canvas.getContext("2d");
  const size = Math.max(12, Math.round(Math.max(canvas.width, canvas.height) / 45));
  c.lineWidth = Math.max(2, size / 6);
  c.font = `600 ${size}px system-ui, sans-serif`;
  c.textBaseline = "middle";
  for (const d of [...detections].reverse()) {
    const [x1, y1, x2, y2] = d.box;
    c.strokeStyle = c.fillStyle = hue(d.class);
    c.strokeRect(x1, y1, x2 - x1, y2 - y1);
    for (const [x, y] of d.landmarks || []) c.fillRect(x - size / 8, y - size / 8, size / 4, size / 4);
  }
  const taken = []; // labels come after all boxes, those of the best first
  for (const d of detections) {
    const text = `${d.name ?? "class " + d.class} ${(d.score * 100).toFixed(0)} %`, height = size * 1.3;
    const width = c.measureText(text).width + size / 2, half = c.lineWidth / 2;
    const x = Math.max(0, Math.min(d.box[0] - half, canvas.width - width));
    const top = labelPlace(taken, x, d.box[1] + half, width, height);
    taken.push({ x, top, width });
    c.fillStyle = hue(d.class);
    c.fillRect(x, top, width, height);
    c.fillStyle = "#fff";
    c.fillText(text, x + size / 4, top + height / 2);
  }
}

function showTiming(t, roundTrip) {
  const parts = [["decode", t.decode_ms], ["queue", t.queue_ms], ["inference", t.infer_ms], ["post-processing", t.post_ms]];
  const total = Math.max(t.total_ms, 1e-3);
  const stack = $("stack"), list = $("times");
  stack.replaceChildren();
  list.replaceChildren();
  parts.forEach(([name, ms], i) => {
    const piece = element("span"), mark = element("i"), dt = element("dt", "", "");
    piece.style.width = (ms / total) * 100 + "%";
    piece.style.background = mark.style.background = `var(${colors[i]})`;
    dt.append(mark, name);
    stack.append(piece);
    list.append(dt, element("dd", "", ms.toFixed(2) + " ms"));
  });
  list.append(element("dt", "", "in the server"), element("dd", "", t.total_ms.toFixed(2) + " ms"));
  list.append(element("dt", "", "seen from here"), element("dd", "", roundTrip.toFixed(1) + " ms"));
}

// ---- ways to give a picture ----------------------------------------------------------------------------------------

$("file").addEventListener("change", (e) => {
  const file = e.target.files[0];
  if (file) take(file, file.name);
  e.target.value = "";
});
for (const type of ["dragenter", "dragover"]) {
  document.addEventListener(type, (e) => { e.preventDefault(); $("drop").classList.add("over"); });
}
document.addEventListener("dragleave", (e) => { if (!e.relatedTarget) $("drop").classList.remove("over"); });
document.addEventListener("drop", (e) => {
  e.preventDefault();
  $("drop").classList.remove("over");
  const file = e.dataTransfer.files[0];
  if (file) take(file, file.name);
});
document.addEventListener("paste", (e) => {
  const item = [...e.clipboardData.items].find((i) => i.type.startsWith("image/"));
  if (item) take(item.getAsFile(), "pasted.png");
});

let stream = null;
function cameraOff() {
  if (stream) stream.getTracks().forEach((t) => t.stop());
  stream = null;
  $("camera-box").hidden = true;
}
$("camera").addEventListener("click", async () => {
  cameraOff();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    $("video").srcObject = stream;
    $("camera-box").hidden = false;
    $("shoot").focus();
  } catch (error) {
    say("The camera can not be used here: " + (error.message || "the browser wants HTTPS or localhost for it"));
  }
});
$("shoot").addEventListener("click", () => {
  const video = $("video"), canvas = document.createElement("canvas");
  if (!video.videoWidth) return say("The camera has no picture yet.");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => take(blob, "camera.jpg"), "image/jpeg", 0.92);
});
$("camera-off").addEventListener("click", cameraOff);

$("model").addEventListener("change", ask);
$("repeat").addEventListener("change", ask);
$("copy").addEventListener("click", async () => {
  try { await navigator.clipboard.writeText($("curl").textContent); } catch { getSelection().selectAllChildren($("curl")); }
  $("copy").textContent = "Copied";
  setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
});
$("key-form").addEventListener("submit", (e) => {
  e.preventDefault();
  key = $("key").value.trim();
  sessionStorage.setItem("tern-key", key);
  $("key-form").hidden = true;
  refresh();
});
$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("tern-theme", root.dataset.theme);
  drawPlots();
});
document.documentElement.dataset.theme = localStorage.getItem("tern-theme") || "";

// ---- models and statistics -----------------------------------------------------------------------------------------

const bytes = (n) => (n >= 1e6 ? (n / 1e6).toFixed(1) + " MB" : n > 0 ? (n / 1e3).toFixed(0) + " kB" : "–");
const ms = (ns, n) => (n > 0 ? (ns / n / 1e6).toFixed(2) + " ms" : "–");
const past = { rate: [], latency: [] };
let last = null;

async function refreshTasks(index) {
  for (const name of new Set(index.filter((e) => e.state === "READY").map((e) => e.name))) {
    if (tasks[name]) continue;
    try { tasks[name] = (await call(`v2/models/${encodeURIComponent(name)}`)).parameters.task; } catch { /* gone again */ }
  }
  const ready = new Set(index.filter((e) => e.state === "READY").map((e) => e.name));
  for (const name of Object.keys(tasks)) if (!ready.has(name)) delete tasks[name];
  const names = Object.keys(tasks).filter((n) => tasks[n] !== "none").sort();
  const select = $("model");
  if ([...select.options].map((o) => o.value).join() === names.join()) return;
  const chosen = select.value;
  select.replaceChildren(...names.map((n) => new Option(`${n} (${tasks[n]})`, n)));
  if (names.includes(chosen)) select.value = chosen;
}

function control(name, loaded) {
  const button = element("button", "", loaded ? "Unload" : "Load");
  button.type = "button";
  button.setAttribute("aria-label", `${button.textContent} ${name}`);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await post(`v2/repository/models/${encodeURIComponent(name)}/${loaded ? "unload" : "load"}`, "");
      say("");
    } catch (error) { say(error.message); }
    refresh();
  });
  return button;
}

function showModels(index, stats) {
  const body = $("models"), focused = document.activeElement?.getAttribute("aria-label");
  const loaded = new Set(index.filter((e) => e.state === "READY").map((e) => e.name));
  const seen = new Set();
  body.replaceChildren(...index.map((e) => {
    const s = stats.find((m) => m.name === e.name && m.version === e.version);
    const tr = element("tr"), state = element("td", "", e.state.toLowerCase());
    if (e.reason && e.reason !== "unloaded") state.append(element("span", "reason", e.reason));
    const success = s?.inference_stats.success || { count: 0, ns: 0 };
    const act = element("td");
    if (!seen.has(e.name)) act.append(control(e.name, loaded.has(e.name)));
    seen.add(e.name);
    const name = element("th", "", e.name);
    name.scope = "row";
    tr.append(name, element("td", "", e.version ?? ""), state, element("td", "", tasks[e.name] || "–"),
      element("td", "number", bytes(s?.memory_usage[0]?.byte_size || 0)), element("td", "number", String(success.count)),
      element("td", "number", String(s?.inference_stats.fail.count ?? 0)), element("td", "number", ms(success.ns, success.count)), act);
    return tr;
  }));
  if (focused) body.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
}

function measure(stats) {
  const now = performance.now();
  const sum = { inferences: 0, count: 0, ns: 0, at: now };
  for (const m of stats) {
    sum.inferences += m.inference_count;
    sum.count += m.inference_stats.success.count;
    sum.ns += m.inference_stats.success.ns;
  }
  if (last) {
    const n = sum.count - last.count;
    const rate = Math.max(0, (sum.inferences - last.inferences) / ((now - last.at) / 1000));
    past.rate.push(rate);
    past.latency.push(n > 0 ? (sum.ns - last.ns) / n / 1e6 : null);
    for (const list of Object.values(past)) if (list.length > 120) list.shift();
    const latest = past.latency.at(-1);
    $("rate").textContent = rate.toFixed(rate < 10 ? 1 : 0);
    $("latency").textContent = latest === null ? "–" : latest.toFixed(2) + " ms";
  }
  last = sum;
  drawPlots();
}

// The least of 1, 2, 4, 5, 10, 20, ... that is not below a value: its half is short to write, too.
function scaleTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((n) => n * power).find((n) => n >= value * 0.999);
}

function plot(canvas, values) {
  const ratio = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (!w) return;
  canvas.width = w * ratio;
  canvas.height = h * ratio;
  const c = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  c.scale(ratio, ratio);
  const most = Math.max(0, ...values.filter((v) => v !== null)), top = most > 0 ? scaleTop(most) : null;
  c.strokeStyle = style.getPropertyValue("--line");
  c.fillStyle = style.getPropertyValue("--soft");
  c.font = "12px system-ui, sans-serif";
  for (const part of [0, 0.5, 1]) {
    const y = h - 4 - part * (h - 20);
    c.beginPath();
    c.moveTo(0, y);
    c.lineTo(w, y);
    c.stroke();
    if (top !== null || part === 0) c.fillText(String(Number((top * part).toPrecision(3))), 2, y - 3);
  }
  c.strokeStyle = c.fillStyle = style.getPropertyValue("--accent");
  c.lineWidth = 2;
  c.beginPath();
  let pen = false;
  values.forEach((v, i) => {
    if (v === null) { pen = false; return; }
    const x = w - 3 - (values.length - 1 - i) * ((w - 3) / 119), y = h - 4 - (v / (top ?? 1)) * (h - 20);
    if (pen) c.lineTo(x, y);
    else c.moveTo(x, y);
    if (!pen && (values[i + 1] ?? null) === null) c.fillRect(x - 2, y - 2, 4, 4); // a value alone
    pen = true;
  });
  c.stroke();
}

function drawPlots() {
  plot($("plot-rate"), past.rate);
  plot($("plot-latency"), past.latency);
}

let refreshing = false;
async function refresh() {
  if (refreshing) return;
  refreshing = true;
  try {
    const index = await post("v2/repository/index", "");
    const stats = (await call("v2/models/stats")).model_stats;
    await refreshTasks(index);
    showModels(index, stats);
    measure(stats);
    const count = new Set(index.filter((e) => e.state === "READY").map((e) => e.name)).size;
    $("dot").className = "dot good";
    $("state").textContent = `${count} model${count === 1 ? "" : "s"} ready`;
  } catch (error) {
    $("dot").className = "dot bad";
    $("state").textContent = error instanceof TypeError ? "the server does not answer" : error.message;
  }
  refreshing = false;
}

addEventListener("resize", drawPlots);
refresh();
setInterval(() => { if (!document.hidden) refresh(); }, 1000);
