/**
 * The live part of the studio: hears the socket and leads what it says to the cards.
 *
 * A card is an element with data-request inside the element with data-stream. It may carry data-request-state,
 * -position, -progress, -progress-text, -note, -answer, -error (-message, -hint), -cancel, -retry and one canvas with
 * data-canvas and data-index per picture. Cards are made and removed by the server's templates; this file only fills them.
 * Outside of the cards there may be data-stream-connection, -announcer, and -paused, shown while nothing is drawn.
 * Events: tessera:state and tessera:final on a card, tessera:missing on the root for a request without a card.
 */

import { Card } from "./card.js";
import { Connection } from "./connection.js";
import { parseFrame } from "./frames.js";

const OPEN = new Set(["queued", "loading", "running", "saving"]);
const MOST_ASKED = 20; // at once: after a night away more may have ended, and the next beat asks for the others
const RESUME_MILLISECONDS = 1000;
const MISSING_MILLISECONDS = 1500;
const ANNOUNCE_MILLISECONDS = 5000;
const WORDS = {
  connecting: "Connecting…",
  open: "",
  lost: "Connection lost. Reconnecting…",
  closed: "You are logged out. Log in again to go on.",
};

class Stream {
  constructor(root) {
    this.root = root;
    this.cards = new Map();
    this.asked = new Map();
    this.missing = new Map();
    this.spokenAt = -Infinity;
    this.connection = new Connection(root.dataset.streamUrl || "/ws/studio/", {
      onState: (state) => this.showConnection(state),
      onText: (event) => this.hear(event),
      onFrame: (buffer) => this.show(buffer),
      beat: () => ({ type: this.isWaiting ? "snapshot" : "ping" }),
    });
    new MutationObserver(() => this.collect()).observe(root, { childList: true, subtree: true });
    root.addEventListener("tessera:broken", (event) => this.ask(this.cards.get(owner(event.target))));
    document.addEventListener("visibilitychange", () => this.comeBack());
    this.collect();
    this.connection.open();
  }

  /** Cards come and go with the server's templates; a new open one lacks everything drawn so far. */
  collect() {
    const seen = new Set();
    for (const element of this.root.querySelectorAll("[data-request]")) {
      seen.add(element.dataset.request);
      if (this.cards.get(element.dataset.request)?.element === element) continue;
      const card = new Card(element);
      this.cards.set(card.id, card);
      if (OPEN.has(card.state)) this.ask(card);
    }
    for (const id of this.cards.keys()) if (!seen.has(id)) this.cards.delete(id);
  }

  /** Whether something may still happen here. Any one event may get lost, so then the truth is asked for regularly. */
  get isWaiting() {
    return [...this.cards.values()].some((card) => OPEN.has(card.state));
  }

  hear(event) {
    const payload = event.request;
    if (event.type === "snapshot") this.takeSnapshot(event);
    else if (event.type === "queue.position") this.place(event.positions || {}, event.waits || {});
    else if (event.type === "request.note") this.cards.get(payload?.id)?.note(payload?.note || event.message);
    else if (event.type === "request.words") this.cards.get(event.words.id)?.answer(event.words);
    else if (event.type === "request.state" || event.type === "request.completed") this.update(payload);
  }

  update(payload) {
    const card = this.cards.get(payload.id);
    if (!card) this.expect(payload);
    else if (card.update(payload)) this.speak(card, card.isFinal);
  }

  /** What is open, told at once. An open card that it does not name has ended meanwhile: ask. */
  takeSnapshot({ requests = [], positions = {}, waits = {}, paused }) {
    const notice = document.querySelector("[data-stream-paused]");
    if (notice && paused !== undefined) notice.hidden = !paused;
    for (const payload of requests) this.update(payload);
    this.place(positions, waits);
    const named = new Set([...requests.map(({ id }) => id), ...Object.keys(positions)]);
    for (const card of this.cards.values()) if (OPEN.has(card.state) && !named.has(card.id)) this.ask(card);
  }

  place(positions, waits) {
    for (const [id, position] of Object.entries(positions)) this.cards.get(id)?.place(position, waits[id]);
  }

  async show(buffer) {
    let frame;
    try {
      frame = parseFrame(buffer);
    } catch {
      return;
    }
    const card = this.cards.get(frame.request);
    if (!card) return;
    const painted = card.show(frame);
    if (card.gap) this.ask(card);
    await painted;
    this.speak(card, false);
  }

  /** Ask for what a card lacks, at most once a second, and again while it still lacks something. */
  ask(card) {
    if (!card || card.isFinal || this.asked.has(card.id) || this.asked.size >= MOST_ASKED) return;
    // Without a connection there is nothing to ask: the snapshot that comes first tells what is lacking.
    if (!this.connection.say(card.resume())) return;
    this.asked.set(card.id, setTimeout(() => this.askAgain(card), RESUME_MILLISECONDS));
  }

  /** What was asked on a connection that is gone will not be answered. */
  forgetAsked() {
    for (const timer of this.asked.values()) clearTimeout(timer);
    this.asked.clear();
  }

  askAgain(card) {
    this.asked.delete(card.id);
    if (card.gap && this.cards.get(card.id) === card) this.ask(card);
  }

  /** A request of mine without a card: it was started in another window, or its card is still on its way. */
  expect(payload) {
    if (!OPEN.has(payload.state) || this.missing.has(payload.id)) return;
    const tell = () => {
      this.missing.delete(payload.id);
      if (this.cards.has(payload.id)) return;
      const detail = { id: payload.id, request: payload };
      this.root.dispatchEvent(new CustomEvent("tessera:missing", { bubbles: true, detail }));
    };
    this.missing.set(payload.id, setTimeout(tell, MISSING_MILLISECONDS));
  }

  comeBack() {
    if (document.visibilityState !== "visible") return;
    if (!this.connection.say({ type: "snapshot" })) this.connection.hurry();
  }

  showConnection(state) {
    if (state === "lost") this.forgetAsked();
    const element = document.querySelector("[data-stream-connection]");
    if (!element) return;
    element.dataset.state = state;
    element.textContent = WORDS[state];
    element.hidden = state === "open";
  }

  /** Progress for those who listen: now and then, and at the ends. */
  speak(card, important) {
    const element = document.querySelector("[data-stream-announcer]");
    const now = performance.now();
    if (!element || (!important && now - this.spokenAt < ANNOUNCE_MILLISECONDS)) return;
    this.spokenAt = now;
    element.textContent = card.sentence();
  }
}

const owner = (element) => element.closest("[data-request]")?.dataset.request;

const root = document.querySelector("[data-stream]");
if (root) new Stream(root);
