// The studio's form: shows what the chosen checkpoint can use, keeps what was typed, takes dropped and pasted pictures.

import { say } from "../core/page.js";

const form = document.querySelector("[data-studio-form]");
const prompt = form.querySelector("[data-prompt]");
const settings = form.querySelector("[data-settings]");
const wide = matchMedia("(min-width: 60rem)");
const NEAR_LIMIT = 0.8;
const SEEDS = 2 ** 31;

const chosen = () => form.querySelector("[data-checkpoint]:checked");

// --- The checkpoint decides which fields there are -----------------------------------------------------------------

const showUsed = () => {
  const checkpoint = chosen();
  if (!checkpoint) return;
  const uses = new Set(checkpoint.dataset.uses.split(" "));
  const hasPicture = form.querySelector("[data-source-key]") !== null;
  if (!hasPicture) uses.delete("strength");
  prompt.placeholder = hasPicture && uses.has("edit") ? "What shall change?" : "What do you want to see?";
  form.querySelector("label[for=id_prompt]").textContent = prompt.placeholder;
  for (const field of form.querySelectorAll("[data-uses-field]")) {
    const used = uses.has(field.dataset.usesField);
    field.hidden = !used;
    for (const control of field.querySelectorAll("input, textarea, select")) control.disabled = !used;
  }
  const advanced = form.querySelector("[data-advanced]");
  advanced.hidden = !advanced.querySelector("[data-uses-field]:not([hidden])");
  showDefaults(JSON.parse(checkpoint.dataset.defaults));
  offer(form.elements.size, checkpoint.dataset.sizes.split(" "));
  offer(form.elements.scheduler, ["", ...checkpoint.dataset.schedulers.split(" ")]);
  summarize();
};

const showDefaults = (defaults) => {
  for (const [name, value] of Object.entries(defaults)) {
    const control = form.elements[name];
    if (control) control.placeholder = String(value);
  }
};

/** Only these values of a list; the first of them when another one was chosen. */
const offer = (select, values) => {
  for (const option of select.options) {
    option.hidden = option.disabled = !values.includes(option.value);
  }
  if (!values.includes(select.value)) select.value = values[0];
};

const summarize = () => {
  const count = form.elements.count.value;
  const words = [chosen()?.dataset.title, form.elements.size.value.replace("x", " × ")];
  if (count > 1) words.push(`${count} pictures`);
  if (form.querySelector("[data-source-key]:enabled")) words.unshift("With your picture");
  form.querySelector("[data-settings-summary]").textContent = words.filter(Boolean).join(" · ");
};

// --- The prompt ----------------------------------------------------------------------------------------------------

const countPrompt = () => {
  const limit = Number(prompt.dataset.limit);
  const length = [...prompt.value.trim()].length;
  const counter = form.querySelector("[data-prompt-count]");
  counter.hidden = length < limit * NEAR_LIMIT;
  counter.textContent = `${length.toLocaleString("en")} of ${limit.toLocaleString("en")}`;
  counter.dataset.over = String(length > limit);
};

const grow = () => {
  if (CSS.supports("field-sizing", "content")) return;
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight}px`;
};

const fillPrompt = (words) => {
  prompt.value = words;
  prompt.dispatchEvent(new Event("input", { bubbles: true }));
  prompt.focus();
};

// --- The seed ------------------------------------------------------------------------------------------------------

const dice = form.querySelector("[data-dice]");
const showSeed = () => {
  const kept = form.elements.seed.value.trim() !== "";
  const label = kept ? "Back to a random seed" : "Keep one seed";
  dice.hidden = false;
  dice.setAttribute("aria-pressed", String(kept));
  dice.setAttribute("aria-label", label);
  dice.title = label;
};

const throwDice = () => {
  const seed = form.elements.seed;
  seed.value = seed.value.trim() === "" ? String(Math.floor(Math.random() * SEEDS)) : "";
  showSeed();
};

// --- The picture to start from -------------------------------------------------------------------------------------

const pictureOf = (transfer) => [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/"));

const handIn = (file) => {
  const input = form.querySelector("[data-source-file]");
  if (!input || input.disabled) {
    say(`${chosen()?.dataset.title ?? "This checkpoint"} cannot start from a picture. Choose another checkpoint.`, "error");
    return;
  }
  const transfer = new DataTransfer();
  transfer.items.add(file);
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
  openSettings();
};

const tooLarge = (event) => {
  const input = event.target.closest?.("[data-source-file]");
  const size = input?.files[0]?.size ?? 0;
  if (!input || size <= Number(input.dataset.most)) return;
  event.preventDefault(); // refused here, so that nobody waits for an upload that the portal would not take
  const megabytes = (bytes) => Math.round(bytes / 1024 / 1024);
  const words = `The file has ${megabytes(size)} MB; ${megabytes(input.dataset.most)} MB is the most. Make it smaller.`;
  document.getElementById("error-source_file").textContent = words;
  input.value = "";
};

/** While a picture is on its way, a submit would leave it behind. */
const guard = (event) => {
  const source = form.querySelector("[data-source]");
  if (event.target.closest?.("[data-source-file]") && !event.defaultPrevented) source.toggleAttribute("data-busy", true);
  if (event.target !== form || !("busy" in source.dataset)) return;
  event.preventDefault();
  say("The picture is still on its way. Press Draw again in a moment.");
};

const removeSource = () => {
  const source = form.querySelector("[data-source]");
  source.querySelector(".source-chosen").remove();
  source.querySelector(".drop").hidden = false;
  source.querySelector("[data-source-file]").focus();
  showUsed();
};

const openSettings = () => {
  settings.open = true;
};

// --- Errors --------------------------------------------------------------------------------------------------------

const showErrors = () => {
  let first = null;
  for (const place of form.querySelectorAll(".field-error")) {
    const control = form.elements[place.id.replace("error-", "")];
    if (!(control instanceof HTMLElement)) continue;
    const wrong = place.textContent.trim() !== "";
    if (wrong) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
    if (wrong) first ??= control;
  }
  if (!first) return;
  for (let fold = first.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  first.focus();
};

const forgive = (control) => {
  const place = document.getElementById(`error-${control.name}`);
  if (place) place.textContent = "";
  control.removeAttribute("aria-invalid");
};

// --- Wiring --------------------------------------------------------------------------------------------------------

form.addEventListener("input", (event) => {
  forgive(event.target);
  countPrompt();
  grow();
  showSeed();
});
form.addEventListener("change", (event) => {
  if (event.target.matches("[data-checkpoint]")) showUsed();
  summarize();
});
form.addEventListener("click", (event) => {
  if (event.target.closest("[data-dice]")) throwDice();
  if (event.target.closest("[data-source-remove]")) removeSource();
});
form.addEventListener("htmx:beforeRequest", (event) => {
  tooLarge(event);
  guard(event);
});
form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  form.requestSubmit();
});

document.addEventListener("click", (event) => {
  const example = event.target.closest("[data-example]");
  if (!example) return;
  event.preventDefault();
  fillPrompt(example.dataset.example);
});
document.addEventListener("paste", (event) => {
  const file = pictureOf(event.clipboardData);
  if (!file) return;
  event.preventDefault();
  handIn(file);
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    form.querySelector(".drop")?.toggleAttribute("data-over", name === "dragover");
    if (name !== "drop") return;
    const file = pictureOf(event.dataTransfer) ?? event.dataTransfer.files[0];
    if (file) handIn(file);
  });
}

document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.closest?.("[data-source]")) showUsed();
});
document.addEventListener("htmx:afterRequest", (event) => {
  const { elt, xhr, successful } = event.detail;
  if (elt === form) showErrors();
  if (elt === form || elt.matches?.("[data-describe]")) {
    // A refusal counts as successful too, since its words are swapped in.
    if (xhr.status >= 400) document.getElementById("studio-errors").scrollIntoView({ block: "nearest" });
    else if (successful && !wide.matches) document.getElementById("requests").scrollIntoView({ block: "start" });
  }
  if (elt.matches?.("[data-source-file]")) form.querySelector("[data-source]").removeAttribute("data-busy");
  const cancel = elt.querySelector?.("[data-request-cancel]");
  if (cancel && xhr.status === 204) {
    cancel.textContent = "Stopping…";
    cancel.disabled = true;
  }
});
document.addEventListener("tessera:missing", (event) => {
  const { id } = event.detail;
  if (document.getElementById(`request-${id}`)) return;
  const url = event.target.dataset.cardUrl.replace("00000000-0000-0000-0000-000000000000", id);
  htmx.ajax("GET", url, { target: "#requests", swap: "afterbegin" });
});

// --- The focus -----------------------------------------------------------------------------------------------------

// The card that holds the focus. It still does when the button was disabled, hidden or swapped away, which moves the
// focus to the page itself without an event, and long before the card is swapped.
let held = null;
const cardOf = (element) => element.closest?.("[data-request]")?.id ?? null;
document.addEventListener("focusin", (event) => {
  held = cardOf(event.target);
});
document.addEventListener("pointerdown", (event) => {
  held = cardOf(event.target);
});
document.addEventListener("htmx:afterSettle", () => {
  if (!held || document.activeElement !== document.body) return;
  const controls = document.getElementById(held)?.querySelectorAll("a[href], button:not([disabled])") ?? [];
  [...controls].find((control) => control.checkVisibility())?.focus({ preventScroll: true });
});

const fold = () => {
  const errors = [...settings.querySelectorAll(".field-error")];
  settings.open = wide.matches || errors.some((place) => place.textContent.trim());
};
wide.addEventListener("change", fold);
fold();
if (navigator.platform.startsWith("Mac")) form.querySelector("[data-modifier]").textContent = "⌘";
showUsed();
countPrompt();
grow();
showSeed();
