/* Keys, buttons and what happens when the page is opened, hidden and left. */

const STEP = 0.02, MOVE = 0.06, FACTOR = 1.25;

/** What a key does while an image is on screen; keys that write into a field never come here. */
const KEYS = {
  ArrowLeft: () => go(Math.max(answers.state.place - 1, 0)),
  ArrowRight: () => go(answers.state.place + 1),
  Enter: onward,
  n: nextOpen,
  "+": () => viewer.zoomBy(FACTOR),
  "=": () => viewer.zoomBy(FACTOR),
  "-": () => viewer.zoomBy(1 / FACTOR),
  r: () => viewer.reset(),
  m: () => viewer.set({ outline: !viewer.outline }),
  "[": () => viewer.set({ level: viewer.level - STEP }),
  "]": () => viewer.set({ level: viewer.level + STEP }),
  "{": () => viewer.set({ width: viewer.width / (1 + 2 * STEP) }),
  "}": () => viewer.set({ width: viewer.width * (1 + 2 * STEP) }),
  PageUp: () => viewer.set({ slice: viewer.slice - 1 }),
  PageDown: () => viewer.set({ slice: viewer.slice + 1 }),
  "Shift+ArrowLeft": () => viewer.set({ x: viewer.x - MOVE }),
  "Shift+ArrowRight": () => viewer.set({ x: viewer.x + MOVE }),
  "Shift+ArrowUp": () => viewer.set({ y: viewer.y - MOVE }),
  "Shift+ArrowDown": () => viewer.set({ y: viewer.y + MOVE }),
};

/** Return whether a key belongs to the element that has the focus: text, numbers and sliders need their own keys. */
function belongs(event) {
  const { target, key } = event;
  if (target.matches('textarea, input[type="number"]')) return !(key === "Enter" && (event.ctrlKey || target.type === "number"));
  if (target.matches('input[type="range"]')) return key.startsWith("Arrow") || key.startsWith("Page");
  return key === "Enter" && target.matches("button");
}

function pressed(event) {
  if (document.querySelector("dialog[open]") || event.altKey || event.metaKey || belongs(event)) return;
  if (event.ctrlKey && event.key !== "Enter") return;
  const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (letter === "?") help();
  else if (letter === "s") save();
  else if (current && /^\d$/.test(event.key)) { if (!answerByKey(event.key)) return; }
  else if (current) {
    const action = KEYS[event.shiftKey && event.key.startsWith("Arrow") ? `Shift+${event.key}` : letter];
    if (!action) return;
    action();
  } else if (answers.state.place === sheet.slots.length && event.key === "ArrowLeft") go(sheet.slots.length - 1);
  else return;
  event.preventDefault();
}

function buttons() {
  const clicked = {
    "help-open": help, "help-close": () => byId("help").close(), save, "end-save": save,
    load: () => byId("load-file").click(), begin, next: () => go(answers.state.place + 1), back: () => go(answers.state.place - 1),
    "open-one": nextOpen, "end-back": () => go(sheet.slots.length - 1), reset: () => viewer.reset(),
    "zoom-in": () => viewer.zoomBy(FACTOR), "zoom-out": () => viewer.zoomBy(1 / FACTOR),
  };
  for (const [id, action] of Object.entries(clicked)) byId(id).addEventListener("click", action);
  const moved = {
    level: (value) => ({ level: value / 100 }), width: (value) => ({ width: value / 100 }), slice: (value) => ({ slice: value - 1 }),
    channel: (value) => ({ channel: value - 1 }),
  };
  for (const [id, meaning] of Object.entries(moved)) byId(id).addEventListener("input", () => viewer.set(meaning(Number(byId(id).value))));
  byId("outline").addEventListener("change", () => viewer.set({ outline: byId("outline").checked }));
  byId("smooth").addEventListener("change", () => viewer.set({ smooth: byId("smooth").checked }));
  byId("panel").addEventListener("submit", (event) => event.preventDefault());
  byId("load-file").addEventListener("change", () => {
    const [file] = byId("load-file").files;
    byId("load-file").value = "";
    if (file) load(file);
  });
}

function help() {
  byId("help").showModal();
  byId("help-title").focus(); // the table begins at the top, however small the window
}

function begin() {
  if (answers.count().given) nextOpen();
  else go(0);
}

/** Say on the first screen what awaits the reader. */
function introduce(resumed) {
  const grids = sheet.slots.filter((slot) => slot.kind === "grid").length, single = sheet.slots.length - grids;
  const parts = [single ? `${single} images` : "", grids ? `${grids} sets of images, one of which is to be chosen` : ""].filter(Boolean);
  const facts = [`You will see ${parts.join(" and ")}, one after the other. Some may come twice.`,
    "Every image can be enlarged, moved and brightened. Press ? at any time for the keys.",
    "You can stop at any time and go on later in this browser, or in another with the saved file."];
  byId("who").textContent = `Reader ${sheet.reader} · ${sheet.study}`;
  document.title = `Reader study · ${sheet.reader}`;
  byId("instructions").replaceChildren(...sheet.instructions.split(/\n\s*\n/).filter(Boolean).map((text) => made("p", { textContent: text })));
  byId("facts").replaceChildren(...facts.map((text) => made("li", { textContent: text })));
  if (resumed && answers.count().given) byId("begin").textContent = "Go on where you stopped";
}

function start() {
  const resumed = answers.resume();
  byId("slice-tool").hidden = viewer.slices === 1;
  byId("slice").max = viewer.slices;
  byId("channel-tool").hidden = viewer.channels === 1 || viewer.colour;
  byId("channel").max = viewer.channels;
  buttons();
  introduce(resumed);
  document.addEventListener("keydown", pressed);
  document.addEventListener("visibilitychange", () => { answers.tick(); answers.keep(); });
  window.addEventListener("pagehide", () => { answers.tick(); answers.keep(); });
  window.addEventListener("beforeunload", (event) => { if (answers.unsaved) event.preventDefault(); });
  window.addEventListener("storage", (event) => {
    if (event.key === answers.key) notice("This page is open in another window too. Close one of them, or answers may be lost.");
  });
  new ResizeObserver(([entry]) => document.documentElement.style.setProperty("--header", `${entry.target.offsetHeight}px`))
    .observe(document.querySelector("header"));
  contentDigest().then((digest) => {
    answers.computed = digest;
    if (digest && digest !== answers.page) notice("This page was changed after it was made. Please ask for a new copy.");
  });
  go(resumed ? answers.state.place : -1);
}

start();
