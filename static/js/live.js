// Keeps [data-live] fresh: asks again every few seconds, not while the page is hidden, and says when it is stale.
(() => {
  "use strict";
  const EVERY = 8000;
  const STALE = 25000;

  const start = () => {
    const area = document.querySelector("[data-live]");
    const state = document.getElementById("live-state");
    const at = document.getElementById("live-at");
    const toggle = document.getElementById("live-toggle");
    if (!area || !state || !at || !toggle || !window.htmx) return;

    let fresh = Date.now();
    let isPaused = false;
    let isBusy = false;
    let isOut = false;
    let open = [];

    // Said only when it changes: a screen reader would read it aloud every time.
    const say = (kind, text) => {
      state.dataset.state = kind;
      if (state.textContent !== text) state.textContent = text;
    };

    const isSelecting = () => {
      const selection = getSelection();
      return Boolean(selection && !selection.isCollapsed && area.contains(selection.anchorNode));
    };

    // Whoever types into the form or chooses from a list is not interrupted.
    const isTyping = () =>
      area.contains(document.activeElement) && document.activeElement.matches("input[type=text], select");

    const show = () => {
      if (isOut) say("stale", "You are signed out, or this page has moved. Reload it.");
      else if (isPaused) say("paused", "Paused.");
      else if (document.hidden) say("paused", "Paused while the page is hidden.");
      else if (isSelecting() || isTyping()) say("paused", "Paused while you select or type.");
      else if (Date.now() - fresh > STALE) say("stale", "No answer from the server. What you see is old.");
      else say("live", "Live.");
    };

    const ask = () => {
      show();
      if (isPaused || isBusy || isOut || document.hidden || isSelecting() || isTyping()) return;
      isBusy = true;
      window.htmx.trigger(area, "keycast:refresh");
    };

    area.addEventListener("htmx:beforeSwap", (event) => {
      // A sign-in page, or an error, is not what was asked for.
      if (event.detail.xhr.getResponseHeader("X-Keycast-Live") !== "1") {
        event.detail.shouldSwap = false;
        const status = event.detail.xhr.status;
        isOut = status === 200 || status === 403 || status === 404;
        return;
      }
      open = [...area.querySelectorAll("details[open]")].map((details) => details.id);
    });
    area.addEventListener("htmx:afterSwap", () => {
      for (const id of open) {
        const details = document.getElementById(id);
        if (details) details.open = true;
      }
      fresh = Date.now();
      at.textContent = `Updated ${new Date(fresh).toLocaleTimeString()}`;
    });
    area.addEventListener("htmx:afterRequest", () => {
      isBusy = false;
      show();
    });

    toggle.hidden = false;
    toggle.addEventListener("click", () => {
      isPaused = !isPaused;
      toggle.textContent = isPaused ? "Go on" : "Pause";
      ask();
    });
    document.addEventListener("visibilitychange", ask);
    setInterval(show, 1000);
    setInterval(ask, EVERY);
    show();
  };

  document.addEventListener("DOMContentLoaded", start);
})();
