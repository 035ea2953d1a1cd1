/**
 * One request on the page: words, progress, buttons and its painters. The DOM contract is in stream.js.
 */

import { placeWords } from "./frames.js";
import { Painter } from "./painter.js";

const WORDS = {
  queued: "Waiting",
  loading: "Loading",
  running: "Drawing",
  saving: "Saving",
  completed: "Done",
  failed: "Failed",
  canceled: "Canceled",
};
const DESCRIBING = "Describing"; // instead of drawing
const FINAL = new Set(["completed", "failed", "canceled"]);

/** As views/cards.py says it. */
function waitWords(position, wait) {
  return [placeWords(position), wait].filter(Boolean).join(", ");
}

export class Card {
  constructor(element) {
    this.element = element;
    this.id = element.dataset.request;
    this.painters = new Map();
    this.progress = new Map();
    for (const canvas of element.querySelectorAll("canvas[data-canvas]")) {
      this.painters.set(Number(canvas.dataset.index), new Painter(canvas));
    }
  }

  get state() {
    return this.element.dataset.state;
  }

  get words() {
    return this.state === "running" && this.element.dataset.capability === "describe" ? DESCRIBING : WORDS[this.state];
  }

  get isFinal() {
    return FINAL.has(this.state);
  }

  get run() {
    return Number(this.element.dataset.run) || 0;
  }

  get gap() {
    return [...this.painters.values()].some((painter) => painter.gap);
  }

  /** What the server needs to know to send what is lacking. */
  resume() {
    const have = {};
    let run = 0;
    for (const [index, painter] of this.painters) {
      run = Math.max(run, painter.sequencer.run);
      have[index] = painter.next;
    }
    for (const [index, painter] of this.painters) if (painter.sequencer.run < run) have[index] = 0;
    return { type: "resume", request: this.id, run, have };
  }

  /** A fragment or preview. Settles when it is painted. */
  show(frame) {
    const painter = this.painters.get(frame.index);
    if (this.isFinal || !painter) return Promise.resolve();
    if (frame.run > this.run) this.begin(frame.run);
    if (!this.progress.size) this.note(""); // what was said while it got ready is over with its first frame
    this.measureFrame(frame);
    return painter.show(frame).then(() => this.showProgress());
  }

  /** A state from the server. False when it is older than what is shown. */
  update(payload) {
    if (payload.version < (Number(this.element.dataset.version) || 0) || this.isFinal) return false;
    if (payload.run > this.run) this.begin(payload.run);
    const changed = payload.state !== this.state;
    this.payload = payload;
    Object.assign(this.element.dataset, { state: payload.state, version: payload.version });
    this.text("[data-request-state]", this.words || payload.state);
    if (!this.isFinal) this.keep(payload);
    if (payload.answer || payload.state === "queued") this.text("[data-request-answer]", payload.answer || "");
    this.text("[data-request-position]", payload.state === "queued" ? waitWords(payload.position, payload.wait) : "");
    this.text("[data-request-note]", payload.note || "");
    this.showProgress();
    if (changed) this.announce("tessera:state");
    if (this.isFinal) this.end(payload);
    return true;
  }

  /** Its place in the queue. */
  place(position, wait) {
    if (this.state === "queued") this.text("[data-request-position]", waitWords(position, wait));
  }

  /** An answer so far, all of it. */
  answer({ run, text }) {
    if (this.isFinal || run < this.run) return false;
    if (run > this.run) this.begin(run);
    this.note("");
    this.text("[data-request-answer]", text);
    return true;
  }

  note(words) {
    if (!this.isFinal) this.text("[data-request-note]", words || "");
  }

  /** One sentence for those who listen. */
  sentence() {
    if (this.state === "failed") return `Failed: ${this.payload?.error?.message || "no reason known"}`;
    const said = this.find("[data-request-answer]")?.textContent;
    const words = [this.words, this.isFinal && said, this.find("[data-request-progress-text]")?.textContent];
    return words.filter(Boolean).join(". ");
  }

  begin(run) {
    this.element.dataset.run = run;
    this.progress.clear();
    this.text("[data-request-answer]", "");
    for (const painter of this.painters.values()) painter.advance(run);
  }

  async end(payload) {
    this.reveal("[data-request-cancel]", false);
    this.reveal("[data-request-retry]", payload.state !== "completed");
    this.text("[data-request-error-message]", payload.error?.message || "");
    this.text("[data-request-error-hint]", payload.error?.hint || "");
    this.reveal("[data-request-error]", Boolean(payload.error));
    this.text("[data-request-note]", "");
    await Promise.all((payload.images || []).map((image) => this.finish(image)));
    this.announce("tessera:final");
  }

  /** Pictures that are there for good while the others wait: no later run may wipe them. */
  keep({ kept = 0, images = [] }) {
    this.element.dataset.kept = kept;
    for (const image of images) {
      this.finish(image);
      this.painters.delete(image.index);
      this.progress.delete(image.index);
    }
  }

  async finish(image) {
    const painter = this.painters.get(image.index);
    if (!painter) return;
    await painter.finish(image.url);
    painter.canvas.closest("[data-picture-link]")?.setAttribute("href", image.page);
  }

  showProgress() {
    const bar = this.find("[data-request-progress]");
    const { done, words } = this.measure();
    this.text("[data-request-progress-text]", this.isFinal ? "" : words);
    if (!bar) return;
    bar.hidden = this.isFinal;
    bar.max = 100;
    if (this.state === "loading" && !done) bar.removeAttribute("value");
    else bar.value = this.state === "saving" ? 100 : done;
  }

  measureFrame({ run, index, step, steps }) {
    if (run < this.run || step < (this.progress.get(index)?.step || 0)) return;
    this.progress.set(index, { index, step, steps });
  }

  measure() {
    const kept = Number(this.element.dataset.kept) || 0;
    const count = Math.max(1, this.painters.size + kept, this.payload?.count || 0);
    const known = [...this.progress.values()];
    if (!known.length && kept) return { done: (100 * kept) / count, words: `${kept} of ${count} drawn` };
    if (!known.length) {
      const { step = 0, steps = 0 } = this.payload || {};
      return { done: steps ? (100 * step) / steps : 0, words: steps && step ? `Step ${step} of ${steps}` : "" };
    }
    const parts = known.reduce((sum, { step, steps }) => sum + (steps ? Math.min(1, step / steps) : 0), 0);
    const last = known.reduce((a, b) => (b.index > a.index ? b : a));
    const words = `Step ${last.step} of ${last.steps}`;
    return { done: (100 * (kept + parts)) / count, words: count > 1 ? `Picture ${last.index + 1} of ${count}, ${words}` : words };
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  text(selector, words) {
    const element = this.find(selector);
    if (!element) return;
    if (element.textContent !== words) element.textContent = words;
    element.hidden = !words;
  }

  reveal(selector, visible) {
    const element = this.find(selector);
    if (!element) return;
    element.hidden = !visible;
    if ("disabled" in element) element.disabled = !visible;
  }

  announce(name) {
    const detail = { request: this.payload };
    this.element.dispatchEvent(new CustomEvent(name, { bubbles: true, detail }));
  }
}
