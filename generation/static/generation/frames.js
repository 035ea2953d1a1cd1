/**
 * The binary frame and the order in which frames may be painted. Pure: no DOM, no socket, no decoding.
 *
 * A frame is what generation/events.py packs: 44 bytes of header in network order, then WebP.
 */

export const HEADER_BYTES = 44;
export const FRAGMENT = "fragment";
export const PREVIEW = "preview";
const KINDS = [FRAGMENT, PREVIEW];
const VERSION = 1;
const WAITING_LIMIT = 64;

/** Reads one frame. Throws RangeError for anything else. */
export function parseFrame(buffer) {
  if (buffer.byteLength < HEADER_BYTES) throw new RangeError("shorter than a header");
  const view = new DataView(buffer);
  const kind = KINDS[view.getUint8(3)];
  if (view.getUint8(0) !== 0x54 || view.getUint8(1) !== 0x46 || view.getUint8(2) !== VERSION || !kind) {
    throw new RangeError("not a frame of this version");
  }
  return {
    kind,
    request: uuid(new Uint8Array(buffer, 4, 16)),
    run: view.getUint16(20),
    index: view.getUint16(22),
    sequence: view.getUint32(24),
    x: view.getUint16(28),
    y: view.getUint16(30),
    width: view.getUint16(32),
    height: view.getUint16(34),
    canvasWidth: view.getUint16(36),
    canvasHeight: view.getUint16(38),
    step: view.getUint16(40),
    steps: view.getUint16(42),
    data: new Uint8Array(buffer, HEADER_BYTES),
  };
}

function uuid(bytes) {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/**
 * Decides for one picture what may be painted, and when.
 *
 * Fragments are painted in the order of their sequence numbers, each once; one that comes early waits, which is a gap.
 * Of previews only a newer one is painted, and none once a fragment was. A newer run starts again, an older one is
 * ignored. After `finish` nothing is painted.
 */
export class Sequencer {
  constructor() {
    this.run = 0;
    this.finished = false;
    this.restart();
  }

  /** Forget what was painted, not the run. */
  restart() {
    this.next = 0;
    this.newest = -1;
    this.waiting = new Map();
  }

  /** The final picture is there. */
  finish() {
    this.finished = true;
    this.waiting.clear();
  }

  /** Whether fragments wait for one that has not come. */
  get gap() {
    return this.waiting.size > 0;
  }

  /** {reset: clear the canvas first, paint: frames to paint in this order}. */
  accept(frame) {
    if (this.finished || frame.run < this.run) return { reset: false, paint: [] };
    const reset = this.advance(frame.run);
    return { reset, paint: frame.kind === PREVIEW ? this.acceptPreview(frame) : this.acceptFragment(frame) };
  }

  /** A newer run is known. True when something painted before must go. */
  advance(run) {
    if (this.finished || run <= this.run) return false;
    const stale = this.next > 0 || this.newest >= 0;
    this.run = run;
    this.restart();
    return stale;
  }

  acceptPreview(frame) {
    if (this.next > 0 || frame.sequence <= this.newest) return [];
    this.newest = frame.sequence;
    return [frame];
  }

  acceptFragment(frame) {
    if (frame.sequence < this.next || this.waiting.has(frame.sequence)) return [];
    // Beyond the limit the frame is let go: the gap brings it again.
    if (frame.sequence === this.next || this.waiting.size < WAITING_LIMIT) this.waiting.set(frame.sequence, frame);
    const ready = [];
    while (this.waiting.has(this.next)) {
      ready.push(this.waiting.get(this.next));
      this.waiting.delete(this.next);
      this.next += 1;
    }
    return ready;
  }
}

/** "Next in the queue", "2nd in the queue"; empty when there is no place. */
export function placeWords(place) {
  if (!place || place < 1) return "";
  if (place === 1) return "Next in the queue";
  const teen = place % 100 > 10 && place % 100 < 14;
  const ending = teen ? "th" : { 1: "st", 2: "nd", 3: "rd" }[place % 10] || "th";
  return `${place}${ending} in the queue`;
}

/** Milliseconds before try number `attempt` (0, 1, ...): grows to half a minute, spread by `random` in [0, 1). */
export function backoff(attempt, random) {
  return Math.min(30000, 500 * 2 ** Math.min(attempt, 10)) * (0.5 + random / 2);
}
