// Small behaviours of every page: dialogs, menus, toasts, copying. Driven by data attributes only.

const LIFETIME = 8000;

const openers = (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener) {
    event.preventDefault();
    document.querySelector(opener.dataset.opens)?.showModal();
  }
  const closer = event.target.closest("[data-closes]");
  if (closer) closer.closest("dialog")?.close();
  if (event.target instanceof HTMLDialogElement && event.target.open) event.target.close(); // the backdrop
};

const menus = (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
};

const escape = (event) => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details.menu[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
};

const dismissLater = (toast) => {
  if (toast.dataset.watched) return;
  toast.dataset.watched = "true";
  let timer;
  const start = () => {
    timer = setTimeout(() => toast.remove(), LIFETIME);
  };
  const stop = () => clearTimeout(timer);
  for (const name of ["pointerenter", "focusin"]) toast.addEventListener(name, stop);
  for (const name of ["pointerleave", "focusout"]) toast.addEventListener(name, start);
  if (!toast.classList.contains("toast-error")) start();
};

/** A toast; with `link` ({ href, words }) it leads somewhere. */
export const say = (message, level = "info", link = null) => {
  const toast = document.getElementById("toast-template").content.firstElementChild.cloneNode(true);
  toast.classList.add(`toast-${level}`);
  toast.querySelector("p").textContent = message;
  if (link) {
    const way = document.createElement("a");
    way.className = "button button-small";
    way.href = link.href;
    way.textContent = link.words;
    toast.querySelector("p").after(way);
  }
  document.getElementById("toasts").append(toast);
};

const copy = async (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copies);
    say("Copied.");
  } catch {
    say("The browser did not allow copying.", "error");
  }
};

const failed = (event) => {
  if (event.detail.xhr?.getResponseHeader("HX-Trigger")?.includes("toast")) return; // the answer has its own words
  const status = event.detail.xhr?.status ?? 0;
  if (status === 0) say("The portal cannot be reached. Nothing was changed.", "error");
  else if (status === 400 || status === 413) say("That was too large, or it could not be read.", "error");
  else if (status === 403) say("That was refused. Load the page again and retry.", "error");
  else if (status === 404) say("That is not there any more.", "error");
  else say("Something went wrong. Try again in a moment.", "error");
};

document.addEventListener("click", (event) => {
  openers(event);
  menus(event);
  copy(event);
  if (event.target.closest("[data-dismiss]")) event.target.closest(".toast")?.remove();
});
document.addEventListener("keydown", escape);
document.addEventListener("toast", (event) => say(event.detail.message ?? event.detail.value, event.detail.level));
document.addEventListener("htmx:responseError", failed);
document.addEventListener("htmx:sendError", failed);

const toasts = document.getElementById("toasts");
if (toasts) {
  const watch = () => toasts.querySelectorAll(".toast").forEach(dismissLater);
  new MutationObserver(watch).observe(toasts, { childList: true });
  watch();
}
for (const dialog of document.querySelectorAll("dialog[data-open-now]")) dialog.showModal();
