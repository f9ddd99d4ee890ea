// The labelling page: draws the photograph, its mask and prompts, and sends what a person does. The server decides all.
"use strict";

const byId = (id) => document.getElementById(id);
const canvas = byId("picture"), pen = canvas.getContext("2d");
const windowName = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16)).join("-");
const KEYS = {
  p: ["tool", "positive"], n: ["tool", "negative"], x: ["tool", "box"], b: ["tool", "brush"], e: ["tool", "eraser"],
  u: ["do", "undo"], o: ["do", "object"], 0: ["do", "nothing"], delete: ["do", "unlabel"], h: ["do", "hide"],
  enter: ["do", "next"], pageup: ["do", "back"], pagedown: ["do", "forward"], t: ["job", "train"],
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEP = 12; // of the arrows, in pixels of the page

let shown = null; // what the server said last of this window
let photograph = new Image(), mask = new Image();
let view = { scale: 1, x: 0, y: 0 }; // photograph's pixels to the canvas'
let tool = "positive", isHidden = false, corner = null, stroke = null, drag = null;
const sent = new Set(); // strokes that are not answered yet
let cross = null; // where the arrows are, in pixels of the photograph
let waiting = Promise.resolve(); // what is sent is answered in its order

// What the server is told

async function post(path, body) {
  try {
    const answer = await fetch(path, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body || {}),
    });
    return await answer.json();
  } catch {
    return { error: "The server does not answer. What was saved is safe; start alignsam label again, and go on." };
  }
}

function act(action, body) {
  const meant = shown?.stem; // when its turn comes, another photograph may be shown, which nobody has looked at
  document.body.setAttribute("aria-busy", "true");
  waiting = waiting.then(async () => {
    if (shown?.stem === meant || action === "open" || action === "move") {
      const told = await post(`/windows/${windowName}/${action}`, { ...body, shown: shown?.stem });
      if (told.error) notify(told.error, told.isChanged);
      else if (action !== "undo") byId("notice").hidden = true;
      if (told.window) await show(told.window);
    }
    document.body.removeAttribute("aria-busy");
    follow();
  });
  return waiting;
}

async function run(job) {
  byId("told").textContent = "Working …";
  const told = await post(`/jobs/${job}`);
  byId("told").textContent = ["predict", "export"].includes(job) ? told.told || "" : "";
  if (told.error) notify(told.error, false);
  follow();
}

// What is shown

function loaded(source) {
  return new Promise((done) => {
    const picture = new Image();
    picture.onload = picture.onerror = () => done(picture);
    picture.src = source;
  });
}

async function show(told) {
  const isOther = shown?.stem !== told.stem;
  mask = await loaded(told.mask);
  if (isOther) {
    photograph = await loaded(`/photograph?stem=${encodeURIComponent(told.stem)}`);
    corner = stroke = null;
  }
  shown = told;
  if (isOther) {
    cross = [told.width / 2, told.height / 2];
    location.replace(`#${encodeURIComponent(told.stem)}`);
    canvas.setAttribute("aria-label", `Photograph ${told.stem}, ${told.width} × ${told.height} pixels`);
    fit();
  }
  byId("where").textContent = `${told.stem}: ${told.number} of ${told.count}`;
  byId("status").textContent = told.sentence;
  for (const button of document.querySelectorAll('[data-do="undo"]')) button.disabled = !told.edits;
  draw();
}

function notify(message, isChanged) {
  byId("message").textContent = message;
  for (const button of document.querySelectorAll(".changed")) button.hidden = !isChanged;
  byId("notice").hidden = false;
}

function percent(share) {
  return `${Math.round(100 * share)}%`;
}

async function follow() {
  let state;
  try {
    state = await (await fetch("/state")).json();
  } catch {
    return;
  }
  const { training, outcomes, proposals } = state;
  byId("labelled").textContent = `Photographs with a mask: ${state.labelled} of ${state.count}.`;
  const isRunning = training.state === "running";
  const words = {
    none: state.canTrain ? "It can be trained." : `It can be trained from ${state.fewest} masks of something on.`,
    running: training.done === 1
      ? `${training.agent} is trained, and is being measured.`
      : `${training.agent} is being trained: ${training.done ? percent(training.done) : "it begins"}.`,
    stopped: `The training of ${training.agent} was stopped at ${percent(training.done)}.`,
    failed: `The training of ${training.agent} failed: ${training.message}`,
    finished: `${training.agent} is trained.`,
  };
  byId("training").textContent = words[training.state];
  byId("progress").hidden = !isRunning;
  byId("progress").value = training.done;
  document.querySelector('[data-job="train"]').disabled = !state.canTrain;
  document.querySelector('[data-job="resume"]').hidden = !training.can_resume;
  document.querySelector('[data-job="stop"]').hidden = !isRunning;
  document.querySelector('[data-job="predict"]').disabled = !state.agent;
  byId("proposals").textContent = state.agent
    ? `${state.agent} proposes: ${proposals.made} of the ${proposals.rest} photographs without a mask are ready. The most doubtful comes first.`
    : state.problem;
  byId("outcomes").textContent = outcomes.proposed
    ? `Of ${outcomes.proposed} proposals ${outcomes.unchanged} were accepted unchanged; mean IoU of proposal and saved mask ${outcomes.mean_iou.toFixed(3)}.`
    : "";
  byId("command").textContent = state.command;
}

function fit() {
  const bounds = canvas.getBoundingClientRect(), density = window.devicePixelRatio || 1;
  canvas.width = Math.round(bounds.width * density);
  canvas.height = Math.round(bounds.height * density);
  if (!shown) return;
  const scale = Math.min(canvas.width / shown.width, canvas.height / shown.height);
  view = { scale, x: (canvas.width - shown.width * scale) / 2, y: (canvas.height - shown.height * scale) / 2 };
  draw();
}

function zoom(factor, [x, y]) {
  const lowest = 0.5 * Math.min(canvas.width / shown.width, canvas.height / shown.height);
  const scale = Math.min(Math.max(view.scale * factor, lowest), 40);
  const by = scale - view.scale;
  view = { scale, x: view.x - x * by, y: view.y - y * by };
  draw();
}

function toPage([x, y]) {
  return [view.x + x * view.scale, view.y + y * view.scale];
}

function radius() {
  return Number(byId("radius").value) / 2;
}

function draw() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  byId("diameter").value = `${byId("radius").value} px`;
  if (!shown) return;
  const place = [view.x, view.y, shown.width * view.scale, shown.height * view.scale];
  pen.imageSmoothingEnabled = view.scale < 3;
  pen.drawImage(photograph, ...place);
  if (!isHidden) {
    pen.imageSmoothingEnabled = false;
    pen.drawImage(mask, ...place);
    drawPrompts();
  }
  for (const each of sent) drawStroke(each);
  if (stroke) drawStroke(stroke);
  drawCross();
}

function drawPrompts() {
  const size = 7 * (window.devicePixelRatio || 1);
  pen.lineWidth = 2 * (window.devicePixelRatio || 1);
  pen.strokeStyle = "white";
  for (const [x, y, isPositive] of shown.points) {
    const [left, top] = toPage([x, y]);
    pen.beginPath();
    if (isPositive) pen.arc(left, top, size, 0, 7);
    else pen.rect(left - size, top - size, 2 * size, 2 * size);
    pen.fillStyle = isPositive ? "rgb(0 90 200)" : "rgb(213 94 0)";
    pen.fill();
    pen.stroke();
  }
  const corners = corner && cross ? [...corner, ...cross] : shown.box;
  if (!corners) return;
  const [left, top] = toPage(corners.slice(0, 2)), [right, bottom] = toPage(corners.slice(2));
  pen.strokeStyle = "rgb(0 90 200)";
  pen.strokeRect(left, top, right - left, bottom - top);
}

function drawStroke({ path, radius, adds }) {
  pen.strokeStyle = adds ? "rgb(0 158 115 / 0.7)" : "rgb(30 30 30 / 0.7)";
  pen.lineWidth = 2 * radius * view.scale;
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  for (const at of path) pen.lineTo(...toPage(at));
  if (path.length === 1) pen.lineTo(...toPage([path[0][0] + 0.01, path[0][1]]));
  pen.stroke();
}

function drawCross() {
  if (!cross) return;
  const [x, y] = toPage(cross), density = window.devicePixelRatio || 1;
  const isPainting = tool === "brush" || tool === "eraser", reach = 9 * density;
  for (const [width, colour] of [[3, "black"], [1, "white"]]) {
    pen.lineWidth = width * density;
    pen.strokeStyle = colour;
    pen.beginPath();
    if (isPainting) pen.arc(x, y, Math.max(2, radius() * view.scale), 0, 7);
    else for (const [dx, dy] of [[1, 0], [0, 1]]) { pen.moveTo(x - reach * dx, y - reach * dy); pen.lineTo(x + reach * dx, y + reach * dy); }
    pen.stroke();
  }
}

// What a person does

function inside([x, y]) {
  return [Math.min(Math.max(x, 0), shown.width), Math.min(Math.max(y, 0), shown.height)];
}

function place(event) {
  const bounds = canvas.getBoundingClientRect(), density = canvas.width / bounds.width;
  const x = ((event.clientX - bounds.left) * density - view.x) / view.scale;
  const y = ((event.clientY - bounds.top) * density - view.y) / view.scale;
  return [x, y];
}

function isBeside(at) { // the photograph, farther than a hand may miss its edge
  const [x, y] = inside(at);
  return Math.hypot(at[0] - x, at[1] - y) * view.scale > 12;
}

function choose(name) {
  tool = name;
  corner = null;
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-pressed", String(button.dataset.tool === name));
  }
  draw();
}

function strokeFrom(at) {
  return { path: [at], radius: radius(), adds: tool === "brush" };
}

function use(at, isNegative) {
  if (tool === "box") {
    if (corner && (corner[0] !== at[0] || corner[1] !== at[1])) {
      act("box", { corners: [corner, at] });
      corner = null;
    } else corner = at;
  } else if (tool === "brush" || tool === "eraser") act("paint", strokeFrom(at));
  else act("point", { at, positive: tool === "positive" && !isNegative });
  draw();
}

const DEEDS = {
  next: () => act("next"),
  undo: () => (corner ? (corner = null, draw()) : shown?.edits && act("undo")),
  object: () => act("object"),
  nothing: () => act("nothing"),
  unlabel: () => act("unlabel"),
  back: () => act("move", { by: -1 }),
  forward: () => act("move", { by: 1 }),
  load: () => act("open", { stem: shown.stem }),
  keep: () => act("keep"),
  dismiss: () => { byId("notice").hidden = true; canvas.focus(); },
  hide: () => {
    isHidden = !isHidden;
    document.querySelector('[data-do="hide"]').setAttribute("aria-pressed", String(isHidden));
    draw();
  },
};

canvas.addEventListener("contextmenu", (event) => event.preventDefault());
canvas.addEventListener("pointerdown", (event) => {
  if (!shown) return;
  canvas.focus({ focusVisible: false });
  canvas.setPointerCapture(event.pointerId);
  event.preventDefault();
  const at = place(event);
  if (event.button !== 1 && isBeside(at)) return;
  cross = inside(at);
  if (event.button === 1) drag = { x: event.clientX, y: event.clientY };
  else if (event.button === 2) act("point", { at: cross, positive: false });
  else if (tool === "brush" || tool === "eraser") stroke = strokeFrom(cross);
  else use(cross, event.shiftKey);
  draw();
});
canvas.addEventListener("pointermove", (event) => {
  if (!shown) return;
  cross = inside(place(event));
  if (drag) {
    const density = window.devicePixelRatio || 1;
    view.x += (event.clientX - drag.x) * density;
    view.y += (event.clientY - drag.y) * density;
    drag = { x: event.clientX, y: event.clientY };
  }
  if (stroke && event.buttons & 1) stroke.path.push(cross);
  draw();
});
canvas.addEventListener("pointerup", (event) => {
  const at = shown && inside(place(event));
  drag = null;
  if (stroke) {
    const drawn = stroke;
    stroke = null;
    sent.add(drawn);
    act("paint", drawn).then(() => { sent.delete(drawn); draw(); });
  } else if (corner && Math.hypot(at[0] - corner[0], at[1] - corner[1]) * view.scale > 6) use(at); // it was dragged
});
canvas.addEventListener("wheel", (event) => {
  if (!shown) return;
  event.preventDefault();
  zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, place(event));
}, { passive: false });

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.tool) choose(button.dataset.tool);
  else if (button.dataset.do) DEEDS[button.dataset.do]();
  else if (button.dataset.job) run(button.dataset.job);
});
byId("radius").addEventListener("input", draw);

document.addEventListener("keydown", (event) => {
  const isOnButton = event.target.closest("button, summary"), key = event.key;
  if (!shown || event.target.closest("input") || event.altKey || event.metaKey) return;
  const [kind, name] = KEYS[key.toLowerCase()] || [];
  if (event.repeat && (name === "next" || kind === "job")) { // a held key counts once here, on a button, too
    event.preventDefault();
    return;
  }
  if (event.ctrlKey) {
    if (key.toLowerCase() !== "z") return;
    DEEDS.undo();
  } else if (isOnButton && (key === "Enter" || key === " ")) return;
  else if (ARROWS[key]) {
    const by = event.shiftKey ? 1 : STEP * (window.devicePixelRatio || 1) / view.scale;
    cross = inside([cross[0] + by * ARROWS[key][0], cross[1] + by * ARROWS[key][1]]);
    follows();
  } else if (key === " ") use(cross, event.shiftKey);
  else if (key === "+" || key === "=") zoom(1.25, cross);
  else if (key === "-" || key === "−") zoom(0.8, cross);
  else if (key === "[" || key === "]") {
    byId("radius").value = Number(byId("radius").value) + (key === "]" ? 1 : -1) * Math.max(1, Math.round(radius() / 4));
    draw();
  } else if (key === "Escape") { corner = null; draw(); }
  else {
    if (!kind) return;
    if (kind === "tool") choose(name);
    else document.querySelector(`[data-${kind}="${name}"]`).click();
  }
  event.preventDefault();
});

function follows() { // the view follows the cross
  const [x, y] = toPage(cross), margin = 20;
  if (x < margin) view.x += margin - x;
  if (y < margin) view.y += margin - y;
  if (x > canvas.width - margin) view.x -= x - canvas.width + margin;
  if (y > canvas.height - margin) view.y -= y - canvas.height + margin;
  draw();
}

new ResizeObserver(fit).observe(canvas);
setInterval(follow, 2000);
act("open", { stem: decodeURIComponent(location.hash.slice(1)) || null }).then(() => canvas.focus({ focusVisible: false }));
