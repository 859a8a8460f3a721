// Applies the remembered theme before the first paint; without one, the system's choice stands.
(() => {
  "use strict";
  const KEY = "keycast-theme";
  const root = document.documentElement;

  const remembered = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // Storage may be switched off; the page then follows the system.
    }
  };

  const current = () =>
    root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");

  const saved = remembered();
  if (saved === "dark" || saved === "light") root.dataset.theme = saved;

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("[data-theme-toggle]");
    if (!button) return;
    const describe = () => {
      const label = current() === "dark" ? "Light theme" : "Dark theme";
      button.setAttribute("aria-label", label);
      button.title = label;
    };
    button.hidden = false;
    describe();
    button.addEventListener("click", () => {
      root.dataset.theme = current() === "dark" ? "light" : "dark";
      describe();
      try {
        localStorage.setItem(KEY, root.dataset.theme);
      } catch {
        // Not remembered then; the click still worked for this page.
      }
    });
  });
})();
