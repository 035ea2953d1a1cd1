// Sets the theme before the first paint, and lets [data-theme-switch] go through system, light, dark.

const KEY = "tessera.theme";
const ORDER = ["system", "light", "dark"];
const root = document.documentElement;

const saved = () => {
  try {
    const value = localStorage.getItem(KEY);
    return ORDER.includes(value) ? value : "system";
  } catch {
    return "system"; // storage may be forbidden
  }
};

const apply = (theme) => {
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    button.dataset.themeNow = theme;
    const label = `Theme: ${theme}. Press to change.`;
    button.setAttribute("aria-label", label);
    button.title = label;
  }
};

apply(saved());
document.addEventListener("DOMContentLoaded", () => apply(saved()));
document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-theme-switch]")) return;
  const next = ORDER[(ORDER.indexOf(saved()) + 1) % ORDER.length];
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // then it lasts for this page only
  }
  apply(next);
});
