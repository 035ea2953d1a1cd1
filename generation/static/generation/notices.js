/**
 * Tells on every page when a picture is done: a toast, and the browser's notification where the person allowed it.
 *
 * Of all open pages one holds a socket for news (the lock says which) and hands what it hears to the others. The
 * switch is an element with data-notify, holding data-notify-words and a data-notify-switch with a data-notify-label.
 */

import { say } from "../core/page.js";
import { Connection } from "./connection.js";

const NAME = "tessera-news"; // of the lock, the channel and what is kept: since when, and what was told
const OFF = "tessera-notify-off";
const MOST_TOLD = 30;
const MOST_KEPT = 3;
const CALM_MILLISECONDS = 700; // who only passes by opens no socket

const supported = "Notification" in window;
const allowed = () => supported && Notification.permission === "granted" && localStorage.getItem(OFF) === null;
const read = () => {
  try {
    return JSON.parse(localStorage.getItem(NAME)) ?? {};
  } catch {
    return {};
  }
};

/** What is said of a request that ended. */
const words = ({ state, prompt, images = [], error }) => {
  const short = prompt.length > 80 ? `${prompt.slice(0, 79)}…` : prompt;
  if (state === "failed") return { title: "A request failed", text: `“${short}”: ${error?.message ?? ""}`.trim(), href: "/history/?state=failed" };
  if (!images.length) return { title: "A picture is described", text: `“${short}”`, href: "/history/" };
  const title = images.length > 1 ? `${images.length} pictures are done` : "A picture is done";
  return { title, text: `“${short}”`, href: images[0].page, icon: images[0].thumb };
};

// --- In the page ---------------------------------------------------------------------------------------------------

let kept = []; // until somebody looks
const show = (request) => {
  if (document.visibilityState !== "visible") {
    kept = [...kept, request].slice(-MOST_KEPT);
    return;
  }
  if (document.getElementById(`request-${request.id}`)) return; // its card tells
  const { title, text, href } = words(request);
  say(`${title}: ${text}`, request.state === "failed" ? "error" : "success", { href, words: "Look" });
};
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState !== "visible") return;
  const waiting = kept;
  kept = [];
  waiting.forEach(show);
});

// --- By the browser ------------------------------------------------------------------------------------------------

const notify = (request) => {
  if (!allowed() || document.visibilityState === "visible") return;
  const { title, text, href, icon } = words(request);
  const notice = new Notification(title, { body: text, icon, tag: request.id });
  notice.addEventListener("click", () => {
    window.focus();
    notice.close();
    location.assign(href);
  });
};

// --- One page listens ----------------------------------------------------------------------------------------------

const others = new BroadcastChannel(NAME);
others.addEventListener("message", ({ data }) => show(data));

let connection;
const hear = ({ request, news = request ? [request] : [], at }) => {
  if (!at) return;
  const { told = [] } = read();
  const fresh = news.filter(({ id }) => !told.includes(id)).reverse();
  const ids = [...told, ...fresh.map(({ id }) => id)].slice(-MOST_TOLD);
  localStorage.setItem(NAME, JSON.stringify({ at, told: ids }));
  connection.url.searchParams.set("news", at); // from there on, when it comes back after a break
  for (const one of fresh) {
    others.postMessage(one);
    show(one);
    notify(one);
  }
};

const listen = () => {
  connection = new Connection(`/ws/studio/?news=${read().at ?? 0}`, {
    onState: () => {},
    onText: hear,
    onFrame: () => {},
    beat: () => ({ type: "ping" }),
  });
  connection.open();
};

setTimeout(() => {
  // A lock is only there where the connection is safe; without it every page listens for itself.
  if (navigator.locks) navigator.locks.request(NAME, () => new Promise(listen));
  else listen();
}, CALM_MILLISECONDS);

// --- The switch ----------------------------------------------------------------------------------------------------

const place = document.querySelector("[data-notify]");

const tell = () => {
  const button = place.querySelector("[data-notify-switch]");
  const states = {
    default: ["The browser does not notify you yet.", "Notify me"],
    denied: ["Your browser forbids it. Allow notifications of this site in its settings, then load this page again.", ""],
    granted: allowed() ? ["The browser notifies you.", "Stop notifying me"] : ["The browser does not notify you.", "Notify me"],
  };
  const [sentence, label] = states[Notification.permission];
  place.querySelector("[data-notify-words]").textContent = sentence;
  place.querySelector("[data-notify-label]").textContent = label;
  button.hidden = !label;
};

const turn = async () => {
  if (allowed()) localStorage.setItem(OFF, "off");
  else {
    localStorage.removeItem(OFF);
    if (Notification.permission === "default") await Notification.requestPermission();
  }
  tell();
};

if (place && supported && window.isSecureContext) {
  place.querySelector("[data-notify-switch]").addEventListener("click", turn);
  tell();
}
