/**
 * Paints one picture on one canvas: fragments in order, previews newest first, the final in one go.
 *
 * Decoding is asynchronous, so every stroke waits for the one before it and asks, when it is ready, whether it is
 * still wanted.
 */

import { PREVIEW, Sequencer } from "./frames.js";

const BROKEN_LIMIT = 3;
const FINAL_TRIES = 4;

/** Something that drawImage takes, from WebP bytes. */
export async function decode(data) {
  const blob = new Blob([data], { type: "image/webp" });
  if ("createImageBitmap" in globalThis) return createImageBitmap(blob);
  const url = URL.createObjectURL(blob);
  try {
    return await load(url);
  } finally {
    URL.revokeObjectURL(url);
  }
}

async function load(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.sequencer = new Sequencer();
    this.last = Promise.resolve();
    this.epoch = 0;
    this.paints = 0;
    this.forgive();
  }

  /** Takes one frame; settles when it was painted or let go. */
  show(frame) {
    if (frame.run > this.sequencer.run) this.forgive();
    const { reset, paint } = this.sequencer.accept(frame);
    if (reset) this.clear();
    if (paint.length) this.starved = false;
    // What was given up has a hole: only something whole may be painted over it.
    for (const ready of paint) if (!this.gaveUp || ready.kind === PREVIEW) this.queue(ready);
    return this.last;
  }

  /** A newer run began: what the old one painted goes, and so does what was held against its bytes. */
  advance(run) {
    if (run > this.sequencer.run) this.forgive();
    if (this.sequencer.advance(run)) this.clear();
  }

  /** Whether frames are lacking. */
  get gap() {
    return !this.gaveUp && (this.sequencer.gap || this.starved);
  }

  /** The next fragment that is lacking. */
  get next() {
    return this.sequencer.next;
  }

  /** Loads the final picture and draws it in one go. False when it could not be loaded. */
  async finish(url) {
    for (let attempt = 0; attempt < FINAL_TRIES && !this.sequencer.finished; attempt += 1) {
      if (attempt > 0) await pause(250 * 2 ** attempt);
      try {
        const image = await load(url);
        // From here to the stroke nothing is awaited, so no late fragment comes in between.
        this.sequencer.finish();
        this.epoch += 1;
        this.stroke(image, 0, 0, this.canvas.width, this.canvas.height);
        this.canvas.dataset.final = "true";
      } catch {
        continue;
      }
    }
    return this.sequencer.finished;
  }

  queue(frame) {
    const epoch = this.epoch;
    const decoded = decode(frame.data);
    // Handled below, in its turn; without this the browser reports it as unhandled until then.
    decoded.catch(() => {});
    this.last = this.last.then(async () => {
      let picture;
      try {
        picture = await decoded;
      } catch {
        this.onBroken(epoch);
        return;
      }
      if (epoch === this.epoch) this.paint(frame, picture);
      picture.close?.();
    });
  }

  paint(frame, picture) {
    this.resize(frame);
    if (frame.kind === PREVIEW) {
      this.stroke(picture, 0, 0, this.canvas.width, this.canvas.height);
    } else {
      this.stroke(picture, frame.x, frame.y, frame.width, frame.height);
    }
    this.canvas.dataset.step = frame.step;
    this.canvas.dataset.steps = frame.steps;
  }

  stroke(picture, x, y, width, height) {
    // A preview smaller than the canvas is a blurred whole, not a mosaic.
    this.context.imageSmoothingEnabled = picture.width !== width || picture.height !== height;
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(picture, x, y, width, height);
    this.paints += 1;
    this.canvas.dataset.paints = this.paints;
  }

  resize(frame) {
    if (this.canvas.width !== frame.canvasWidth) this.canvas.width = frame.canvasWidth;
    if (this.canvas.height !== frame.canvasHeight) this.canvas.height = frame.canvasHeight;
  }

  /** Bytes that are no picture: everything is asked for and painted again; after a few times the final is awaited. */
  onBroken(epoch) {
    if (epoch !== this.epoch || this.sequencer.finished) return;
    this.broken += 1;
    this.epoch += 1;
    this.gaveUp = this.broken >= BROKEN_LIMIT;
    if (this.gaveUp) return;
    this.sequencer.restart();
    this.starved = true;
    this.canvas.dispatchEvent(new CustomEvent("tessera:broken", { bubbles: true }));
  }

  /** A run starts with a clean record. */
  forgive() {
    this.broken = 0;
    this.gaveUp = false;
    this.starved = false;
  }

  clear() {
    this.epoch += 1;
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }
}
