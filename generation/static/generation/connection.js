/**
 * One socket that comes back: backoff with jitter, pings, acknowledgements. Knows no page.
 *
 * Handlers: onState("connecting" | "open" | "lost" | "closed"), onText(event), onFrame(buffer) which returns a promise
 * that settles when the frame was dealt with, and beat() which gives what is said now and then to hear an answer.
 */

import { backoff } from "./frames.js";

const PING_MILLISECONDS = 25000;
const SILENCE_MILLISECONDS = 60000;
const LOGGED_OUT = 4401;
const TOO_MUCH = 4429;

export class Connection {
  constructor(path, handlers) {
    this.url = new URL(path, location.href);
    this.url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.handlers = handlers;
    this.failures = 0;
    this.refusals = 0;
    setInterval(() => this.ping(), PING_MILLISECONDS);
    addEventListener("online", () => this.hurry());
    addEventListener("pageshow", (event) => event.persisted && this.hurry());
  }

  open() {
    clearTimeout(this.timer);
    this.handlers.onState(this.failures ? "lost" : "connecting");
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.handled = 0;
    this.heard = performance.now();
    socket.onmessage = ({ data }) => this.receive(socket, data);
    socket.onclose = ({ code }) => this.closed(socket, code);
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  say(message) {
    if (this.isOpen) this.socket.send(JSON.stringify(message));
    return this.isOpen;
  }

  /** Connects now instead of later. */
  hurry() {
    if (this.socket?.readyState === WebSocket.CLOSED && !this.ended) this.open();
  }

  receive(socket, data) {
    this.heard = performance.now();
    if (typeof data === "string") {
      const event = JSON.parse(data);
      if (event.type === "snapshot") this.established();
      this.handlers.onText(event);
      return;
    }
    // Acknowledged when painted, not when received: a slow page is sent newer previews instead of more of them.
    Promise.resolve(this.handlers.onFrame(data)).finally(() => {
      if (socket !== this.socket) return;
      this.handled += 1;
      this.say({ type: "ack", n: this.handled });
    });
  }

  established() {
    this.failures = 0;
    this.refusals = 0;
    this.handlers.onState("open");
  }

  closed(socket, code) {
    if (socket !== this.socket) return;
    this.refusals = code === LOGGED_OUT ? this.refusals + 1 : 0;
    // A changed password or a logout elsewhere closes every socket; a session that holds gets in again.
    if (this.refusals > 1) {
      this.ended = true;
      this.handlers.onState("closed");
      return;
    }
    this.handlers.onState("lost");
    this.timer = setTimeout(() => this.open(), backoff(this.failures + (code === TOO_MUCH ? 4 : 0), Math.random()));
    this.failures += 1;
  }

  ping() {
    if (!this.isOpen) return;
    if (performance.now() - this.heard > SILENCE_MILLISECONDS) this.socket.close();
    else this.say(this.handlers.beat());
  }
}
