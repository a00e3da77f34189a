/* The page: shows one slot after the other with its questions. */

const byId = (id) => document.getElementById(id);
const block = (id) => JSON.parse(byId(id).textContent);
const NONE_OF_THESE = "None of these";
const SLIDER_MOST = 100;

const sheet = block("design");
const answers = new Answers(sheet, document.querySelector('meta[name="content-sha256"]').content, progress);
const viewer = new Viewer(byId("tiles"), sheet, tools, (index) => choosePicture(index));
const loaded = new Map();
let current = null;

/** Return an element with these properties and children. */
function made(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/* Moving about. place: -1 is the start, the number of slots is the end. */

/** Show a place; the next one is unpacked meanwhile. */
async function go(place) {
  leave();
  const end = sheet.slots.length;
  answers.state.place = between(-1, place, end);
  const slot = sheet.slots[answers.state.place] ?? null;
  current = null;
  byId("start").hidden = answers.state.place !== -1;
  byId("reading").hidden = slot === null;
  byId("end").hidden = answers.state.place !== end;
  answers.see(slot);
  progress();
  window.scrollTo(0, 0);
  if (answers.state.place === -1) byId("begin").focus();
  if (answers.state.place === end) atEnd();
  if (!slot) return;
  const content = await fetched(slot);
  if (sheet.slots[answers.state.place] !== slot) return; // moved on meanwhile
  current = slot;
  viewer.outline = content.pictures.some((picture) => picture.mask) && answers.questions(slot).some((q) => q.shows === "mask");
  byId("outline-tool").hidden = !content.pictures.some((picture) => picture.mask);
  viewer.show(content.pictures, `Image ${answers.state.place + 1} of ${end}`);
  byId("description").hidden = content.description === null;
  byId("description").lastElementChild.textContent = content.description ?? "";
  byId("back").disabled = answers.state.place === 0;
  ask(slot);
  focusOn(answers.open(slot)[0] ?? answers.questions(slot)[0]);
  if (answers.state.place + 1 < end) fetched(sheet.slots[answers.state.place + 1]);
}

/** Return the unpacked content of a slot, kept for the slots nearby. */
function fetched(slot) {
  if (!loaded.has(slot.id)) {
    if (loaded.size > 3) loaded.delete(loaded.keys().next().value);
    const { pictures, description } = block(`slot-${slot.id}`);
    loaded.set(slot.id, Promise.all(pictures.map((picture) => unpacked(picture, sheet.bits))).then((all) => ({ pictures: all, description })));
  }
  return loaded.get(slot.id);
}

function leave() {
  if (current) for (const question of answers.questions(current)) answers.settle(current, question.name);
}

/** Go to the next slot, from here round to the start, that has an open question; to the end where none has. */
function nextOpen() {
  const n = sheet.slots.length;
  for (let step = 1; step <= n; step++) {
    const place = (between(-1, answers.state.place, n - 1) + step + n) % n;
    if (answers.open(sheet.slots[place]).length) return go(place);
  }
  return go(n);
}

/** Go to the next open question of this slot, then to the next slot. */
function onward() {
  leave();
  const asked = answers.questions(current), open = new Set(answers.open(current));
  const after = asked.slice(asked.findIndex((question) => question.name === activeName()) + 1);
  const next = after.find((question) => open.has(question));
  if (next) focusOn(next);
  else go(answers.state.place + 1);
}

/* Questions. */

/** Show the questions of a slot with the answers given so far. */
function ask(slot) {
  const asked = answers.questions(slot);
  for (const element of [...byId("questions").children]) {
    if (element.dataset.slot !== slot.id || !asked.some((q) => q.name === element.dataset.name)) element.remove();
  }
  asked.forEach((question, index) => {
    const there = byId("questions").children[index];
    if (there && there.dataset.name === question.name) return;
    byId("questions").insertBefore(field(slot, question), there ?? null);
  });
  if (slot.kind === "grid") markTile(slot);
}

function field(slot, question) {
  const element = made("fieldset", { className: "question" }, made("legend", { textContent: question.question }));
  element.dataset.name = question.name;
  element.dataset.slot = slot.id;
  const value = answers.value(slot.id, question.name);
  if (question.level === "text") element.append(textField(slot, question, value));
  else if (question.level === "interval" && !question.categories.length) element.append(numberField(slot, question, value));
  else element.append(...options(slot, question, value));
  element.addEventListener("focusin", () => mark(question.name));
  element.addEventListener("focusout", (event) => {
    if (!element.contains(event.relatedTarget)) answers.settle(slot, question.name);
  });
  return element;
}

/** Return the words that a question offers: its categories, the pictures of a grid, and for a set that none holds. */
function offered(slot, question) {
  if (slot.kind === "grid") return viewer.tiles.map((_, index) => `Image ${index + 1}`);
  return question.level === "set" ? [...question.categories, NONE_OF_THESE] : question.categories;
}

/** Return the key of each option: the category itself where all are single digits, else its number. */
function keysOf(words) {
  return words.every((word) => /^\d$/.test(word)) ? words : words.map((_, index) => (index < 9 ? String(index + 1) : ""));
}

function options(slot, question, value) {
  const set = question.level === "set", words = offered(slot, question), keys = keysOf(words), name = `q-${question.name}`;
  const hint = set ? [made("p", { className: "hint", textContent: "Mark all that apply." })]
    : slot.kind === "grid" ? [made("p", { className: "hint", textContent: "Click the picture, or press its number." })] : [];
  return [...hint, ...words.map((word, index) => {
    const input = made("input", { type: set ? "checkbox" : "radio", name, value: word, checked: isChosen(slot, question, value, index) });
    input.addEventListener("change", () => pick(slot, question, index, input.checked));
    const key = keys[index] ? [made("kbd", { textContent: keys[index], ariaHidden: "true" })] : [];
    return made("label", { className: "option" }, input, made("span", { textContent: word }), ...key);
  })];
}

function isChosen(slot, question, value, index) {
  if (value === null) return false;
  if (slot.kind === "grid") return value === index + 1;
  if (question.level !== "set") return String(value) === question.categories[index];
  return index < question.categories.length ? value.includes(question.categories[index]) : value.length === 0;
}

function pick(slot, question, index, checked) {
  const word = question.categories[index];
  let value = slot.kind === "grid" ? index + 1 : question.level === "interval" ? Number(word) : word;
  if (question.level === "set") {
    const before = new Set(answers.value(slot.id, question.name) ?? []);
    if (word !== undefined) before[checked ? "add" : "delete"](word);
    const members = question.categories.filter((category) => before.has(category));
    value = word === undefined ? (checked ? [] : null) : members.length ? members : null;
  }
  give(slot, question, value);
}

/** Write an answer down and bring what is shown up to date. */
function give(slot, question, value) {
  answers.give(slot, question, value);
  ask(slot);
  const inputs = [...byId("questions").querySelectorAll(`[data-name="${CSS.escape(question.name)}"] .option input`)];
  inputs.forEach((input, index) => { input.checked = isChosen(slot, question, value, index); });
}

function textField(slot, question, value) {
  const area = made("textarea", { value: value ?? "", ariaLabel: question.question, placeholder: "May be left empty" });
  area.addEventListener("input", () => answers.give(slot, question, area.value.trim() || null));
  return area;
}

function numberField(slot, question, value) {
  const number = made("input", { type: "number", step: "any", value: value ?? "", ariaLabel: question.question });
  const slider = made("input", { type: "range", min: 0, max: SLIDER_MOST, step: 1, value: value ?? SLIDER_MOST / 2,
    ariaLabel: `${question.question}, from 0 to ${SLIDER_MOST}`, className: value === null ? "untouched" : "" });
  number.addEventListener("input", () => {
    slider.classList.toggle("untouched", number.value === "");
    if (number.value !== "") slider.value = number.value;
    answers.give(slot, question, number.value === "" ? null : Number(number.value));
  });
  slider.addEventListener("input", () => {
    slider.classList.remove("untouched");
    number.value = slider.value;
    answers.give(slot, question, Number(slider.value));
  });
  return made("div", { className: "number-answer" }, number, slider);
}

function activeName() {
  return byId("questions").querySelector(".question.active")?.dataset.name;
}

function activeQuestion() {
  return answers.questions(current).find((question) => question.name === activeName());
}

function mark(name) {
  for (const element of byId("questions").children) element.classList.toggle("active", element.dataset.name === name);
}

function focusOn(question) {
  if (!question) return;
  mark(question.name);
  const element = byId("questions").querySelector(`[data-name="${CSS.escape(question.name)}"]`);
  (element.querySelector("input:checked") ?? element.querySelector("input, textarea"))?.focus({ preventScroll: true });
  element.scrollIntoView({ block: "nearest" });
}

function markTile(slot) {
  const question = answers.questions(slot).find((q) => q.name === activeName()) ?? answers.questions(slot)[0];
  viewer.mark((answers.value(slot.id, question.name) ?? 0) - 1);
}

/** Choose a picture of a grid for the marked question. */
function choosePicture(index) {
  const question = activeQuestion() ?? answers.questions(current)[0];
  give(current, question, index + 1);
}

/** Give the marked question the answer with this key; return whether it has one. */
function answerByKey(key) {
  const question = activeQuestion();
  if (!question || question.level === "text" || (question.level === "interval" && !question.categories.length)) return false;
  const index = keysOf(offered(current, question)).indexOf(key);
  if (index < 0) return false;
  const set = question.level === "set";
  const input = byId("questions").querySelectorAll(`[data-name="${CSS.escape(question.name)}"] .option input`)[index];
  pick(current, question, index, set ? !input.checked : true);
  const open = answers.open(current)[0];
  if (!set && open) focusOn(open);
  else input.focus({ preventScroll: true });
  return true;
}

/* What is said about progress. */

function progress() {
  const { given, all, complete, slots } = answers.count(), { place } = answers.state;
  const where = place >= 0 && place < slots ? `Image ${place + 1} of ${slots} · ` : "";
  byId("progress").textContent = where ? `${where}${complete} complete` : `${complete} of ${slots} complete`;
  byId("bar").value = all ? given / all : 0;
  if (!answers.kept) notice("This browser does not keep your answers. Save them as a file before you close the page.");
}

function notice(text) {
  byId("notice").textContent = text;
  byId("notice").hidden = text === "";
}

function atEnd() {
  const { given, all } = answers.count(), open = sheet.slots.flatMap((slot, i) => (answers.open(slot).length ? [i] : []));
  byId("end-title").textContent = open.length ? `${all - given} of ${all} questions are open` : "Every question is answered";
  byId("end-text").textContent = open.length ? "You can go back to the images with open questions, or save what you have."
    : `Save your answers and hand the file answers-${sheet.reader}.json to whoever runs the study. Thank you for reading.`;
  byId("open-list").replaceChildren(...open.map((place) => {
    const button = made("button", { type: "button", textContent: `Image ${place + 1}` });
    button.addEventListener("click", () => go(place));
    return made("li", {}, button);
  }));
  byId("end-title").focus();
}

/* The tools of the viewer. */

function tools(view) {
  byId("level").value = view.level * 100;
  byId("width").value = view.width * 100;
  byId("level-value").textContent = `${(view.level * 100).toFixed(0)} %`;
  byId("width-value").textContent = `${(view.width * 100).toFixed(0)} %`;
  byId("zoom-value").textContent = `${(view.zoom * 100).toFixed(0)} %`;
  byId("slice").value = view.slice + 1;
  byId("slice-value").textContent = `${view.slice + 1} / ${view.slices}`;
  byId("channel").value = view.channel + 1;
  byId("channel-value").textContent = `${view.channel + 1} / ${view.channels}`;
  byId("outline").checked = view.outline;
}

/* Files. */

function save() {
  leave();
  const url = URL.createObjectURL(new Blob([answers.file()], { type: "application/json" }));
  made("a", { href: url, download: `answers-${sheet.reader}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
  answers.state.saved = answers.state.changes;
  answers.keep();
  byId("progress").textContent = `Saved as answers-${sheet.reader}.json`;
}

async function load(file) {
  try {
    const body = answers.understood(await file.text()), differing = answers.differing(body);
    if (differing && !(await confirmed(`${differing} answers given here differ from those in ${file.name}.`))) return;
    answers.replace(body);
    notice("");
    nextOpen();
  } catch (error) {
    notice(error.message);
  }
}

/** Return whether the reader agrees. */
function confirmed(text) {
  byId("confirm-text").textContent = text;
  byId("confirm").returnValue = "";
  byId("confirm").showModal();
  return new Promise((resolve) => {
    byId("confirm-yes").onclick = () => { byId("confirm").close("yes"); };
    byId("confirm-no").onclick = () => { byId("confirm").close("no"); };
    byId("confirm").onclose = () => resolve(byId("confirm").returnValue === "yes");
  });
}
