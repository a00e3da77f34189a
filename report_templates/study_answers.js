/* The answers of one reader: kept in this browser after every change, saved as one JSON file, read back from one. */

const ANSWERS = "harness-study-answers-1";
const ONCE = new Set(["nominal", "ordinal", "grid"]); // one click is the whole answer; others are complete when the question is left

const isGiven = (value) => value !== null && value !== undefined && value !== "";
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** Return the SHA-256 of the page's data in hex, null where this browser does not offer it. */
async function contentDigest() {
  if (!window.crypto || !window.crypto.subtle) return null;
  const texts = [...document.querySelectorAll('script[type="application/json"]')].map((element) => element.textContent);
  const digest = await window.crypto.subtle.digest("SHA-256", new TextEncoder().encode(texts.join("\n")));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

class Answers {
  /** sheet: the design of the page. page: its digest as declared. changed: told after every change. */
  constructor(sheet, page, changed) {
    this.sheet = sheet;
    this.page = page;
    this.changed = changed;
    this.key = `harness-study|${sheet.study}|${sheet.reader}|${page}`;
    this.state = { place: -1, begun: null, changes: 0, saved: 0, slots: {} };
    this.computed = null;
    this.kept = true;
    this.since = null;
  }

  /** Take up what this browser kept; return whether there was anything. */
  resume() {
    try {
      const text = window.localStorage.getItem(this.key);
      if (text) this.state = JSON.parse(text);
      return text !== null;
    } catch {
      this.kept = false;
      return false;
    }
  }

  keep() {
    try {
      window.localStorage.setItem(this.key, JSON.stringify(this.state));
      this.kept = true;
    } catch {
      this.kept = false;
    }
  }

  slot(id) {
    this.state.slots[id] ??= { seconds: 0, visits: 0, answers: {} };
    return this.state.slots[id];
  }

  value(id, name) {
    return this.state.slots[id]?.answers[name]?.value ?? null;
  }

  /** Return the questions of a slot that are to be answered as things stand. */
  questions(slot) {
    const own = this.sheet.questions.filter((question) => (question.shows === "grid") === (slot.kind === "grid"));
    const asked = [];
    for (const question of own) {
      const cut = question.only_if.indexOf("=");
      const [name, wanted] = [question.only_if.slice(0, cut), question.only_if.slice(cut + 1)];
      const met = asked.some((other) => other.name === name) && [this.value(slot.id, name)].flat().map(String).includes(wanted);
      if (!question.only_if || met) asked.push(question);
    }
    return asked;
  }

  /** Return the questions of a slot that wait for an answer; text may be left empty. */
  open(slot) {
    return this.needed(slot).filter((question) => !isGiven(this.value(slot.id, question.name)));
  }

  needed(slot) {
    return this.questions(slot).filter((question) => question.level !== "text");
  }

  /** Write an answer down; a second choice where one was made before counts as a change. */
  give(slot, question, value) {
    const answers = this.slot(slot.id).answers;
    const answer = (answers[question.name] ??= { value: null, settled: null, changes: 0, at: null });
    if (same(answer.value, value)) return;
    answer.value = value;
    this.tick();
    answer.at = Math.round(this.slot(slot.id).seconds * 10) / 10;
    this.state.changes += 1;
    this.state.begun ??= new Date().toISOString();
    if (ONCE.has(question.level) || slot.kind === "grid") this.settle(slot, question.name);
    this.keep();
    this.changed();
  }

  /** Take an answer as it stands for given. */
  settle(slot, name) {
    const answer = this.state.slots[slot.id]?.answers[name];
    if (!answer || same(answer.value, answer.settled)) return;
    if (answer.settled !== null) answer.changes += 1;
    answer.settled = answer.value;
    this.keep();
  }

  /** Note which slot is on screen, null for none; its clock runs while the page is visible. */
  see(slot) {
    this.tick();
    this.seen = slot;
    if (slot) this.slot(slot.id).visits += 1;
    this.since = slot && document.visibilityState === "visible" ? performance.now() : null;
    this.keep();
  }

  tick() {
    const now = performance.now();
    if (this.seen && this.since !== null) this.slot(this.seen.id).seconds += (now - this.since) / 1000;
    this.since = this.seen && document.visibilityState === "visible" ? now : null;
  }

  /** Return the questions answered and those to be answered, of the whole study. */
  count() {
    let given = 0, all = 0, complete = 0;
    for (const slot of this.sheet.slots) {
      const questions = this.needed(slot), open = this.open(slot).length;
      all += questions.length;
      given += questions.length - open;
      complete += open === 0 ? 1 : 0;
    }
    return { given, all, complete, slots: this.sheet.slots.length };
  }

  get unsaved() {
    return this.state.changes > this.state.saved;
  }

  /** Return everything as the text of a file; answers to questions that an earlier answer has closed are left out. */
  file() {
    this.tick();
    const { given, all } = this.count(), slots = {};
    for (const slot of this.sheet.slots) {
      const found = this.state.slots[slot.id];
      if (!found) continue;
      const asked = this.questions(slot);
      for (const question of asked) this.settle(slot, question.name);
      const answers = {};
      for (const { name } of asked) {
        const answer = found.answers[name];
        if (answer) answers[name] = { value: isGiven(answer.value) ? answer.value : null, changes: answer.changes, at: answer.at };
      }
      slots[slot.id] = { seconds: Math.round(found.seconds * 100) / 100, visits: found.visits, answers };
    }
    return JSON.stringify({
      format: ANSWERS, study: this.sheet.study, reader: this.sheet.reader, page: this.page, page_computed: this.computed,
      begun: this.state.begun, saved: new Date().toISOString(), user_agent: navigator.userAgent,
      screen: `${window.screen.width}x${window.screen.height}x${window.devicePixelRatio}`, complete: given === all, answered: given, questions: all,
      slots,
    }, null, 1);
  }

  /** Return the body of a file that `file` wrote for this page; otherwise an Error says why it is refused. */
  understood(text) {
    let body;
    try {
      body = JSON.parse(text);
    } catch {
      throw new Error("This is not a file of saved answers.");
    }
    if (body === null || body.format !== ANSWERS || typeof body.slots !== "object") throw new Error("This is not a file of saved answers.");
    if (body.study !== this.sheet.study || body.page !== this.page) throw new Error("These answers belong to another study or page.");
    if (body.reader !== this.sheet.reader) throw new Error(`These are the answers of ${body.reader}; this is the page of ${this.sheet.reader}.`);
    return body;
  }

  /** Return how many answers given here a file would replace by others or by none. */
  differing(body) {
    const inFile = this.sheet.slots.filter(({ id }) => body.slots[id]);
    return inFile.reduce((sum, { id }) => sum + this.sheet.questions.filter(({ name }) =>
      isGiven(this.value(id, name)) && !same(this.value(id, name), body.slots[id].answers[name]?.value)).length, 0);
  }

  /** Continue from a file: its answers and times replace those of every slot that it holds. */
  replace(body) {
    const known = new Set(this.sheet.slots.map((slot) => slot.id));
    for (const [id, slot] of Object.entries(body.slots)) {
      if (!known.has(id)) continue;
      const answers = Object.fromEntries(Object.entries(slot.answers).map(([name, answer]) => [name, { ...answer, settled: answer.value }]));
      this.state.slots[id] = { seconds: slot.seconds, visits: slot.visits, answers };
    }
    this.state.begun = body.begun ?? this.state.begun;
    this.keep();
    this.changed();
  }
}
