// The gallery by keyboard, and where the focus goes when a picture is deleted or comes back.
// Arrow keys walk the grid, Delete deletes, / searches; elements with data-key are pressed by their key.

const CARDS = "#gallery > li:not([hidden]) a.picture, #gallery > li > a.card";

const typing = (target) =>
  target instanceof HTMLElement && (target.isContentEditable || target.closest("input, textarea, select, dialog[open]"));

// The neighbour in the grid: the nearest card whose centre lies that way, by rows for up and down.
const neighbour = (cards, from, key) => {
  const index = cards.indexOf(from);
  if (key === "ArrowRight") return cards[index + 1];
  if (key === "ArrowLeft") return cards[index - 1];
  if (key === "Home") return cards[0];
  if (key === "End") return cards.at(-1);
  const here = from.getBoundingClientRect();
  const below = key === "ArrowDown";
  const rows = cards.filter((card) => {
    const box = card.getBoundingClientRect();
    return below ? box.top > here.top + 1 : box.top < here.top - 1;
  });
  const row = (below ? rows[0] : rows.at(-1))?.getBoundingClientRect().top;
  const distance = (card) => Math.abs(card.getBoundingClientRect().left - here.left);
  return rows
    .filter((card) => Math.abs(card.getBoundingClientRect().top - row) < 1)
    .sort((one, other) => distance(one) - distance(other))[0];
};

const walk = (event) => {
  const cards = [...document.querySelectorAll(CARDS)];
  const from = document.activeElement;
  if (!cards.includes(from)) {
    if (!cards.length || !event.key.startsWith("Arrow") || document.querySelector(`[data-key="${event.key}"]`)) return;
    if (from !== document.body && from.id !== "main") return;
    event.preventDefault();
    cards[0].focus();
    return;
  }
  const next = neighbour(cards, from, event.key);
  if (!next) return;
  event.preventDefault();
  next.focus();
};

const keys = (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  const search = document.querySelector("[data-search]");
  if (event.key === "Escape" && event.target === search) {
    search.blur();
    return;
  }
  if (typing(event.target) || document.querySelector("details.menu[open]")) return;
  if (event.key === "/" && search) {
    event.preventDefault();
    search.select();
    search.focus();
    return;
  }
  if (event.key === "Delete" && document.activeElement.matches("#gallery a.picture")) {
    document.activeElement.closest("li").querySelector("[data-trash]")?.click();
    return;
  }
  if (/^(Arrow|Home$|End$)/.test(event.key) && document.getElementById("gallery")) walk(event);
  if (event.defaultPrevented) return;
  document.querySelector(`[data-key="${CSS.escape(event.key)}"]`)?.click();
};

// A card that goes takes the focus with it: hand it to the card that moves into its place.
let place = -1;

const remember = (event) => {
  const card = event.detail.target;
  place = -1;
  if (!card?.matches?.("#gallery > li") || !card.contains(document.activeElement)) return;
  place = [...document.querySelectorAll(CARDS)].indexOf(card.querySelector("a.picture"));
};

const hand = (event) => {
  const card = document.getElementById(event.detail.target?.id ?? "");
  if (place < 0) {
    if (event.detail.requestConfig?.path?.endsWith("/restore/")) card?.querySelector("a.picture")?.focus();
    return;
  }
  const cards = [...document.querySelectorAll(CARDS)];
  (cards[place] ?? cards.at(-1))?.focus();
  place = -1;
};

document.addEventListener("keydown", keys);
document.addEventListener("htmx:beforeSwap", remember);
document.addEventListener("htmx:afterSettle", hand);

// A toast that came with the page goes where toasts are; its address must not bring it back.
for (const toast of document.querySelectorAll("[data-toast]")) {
  document.getElementById("toasts").append(toast);
  const here = new URL(location.href);
  here.searchParams.delete("undo");
  history.replaceState(history.state, "", here);
}
