// Small comforts. Every page works without them.
(() => {
  "use strict";

  const announce = (text) => {
    const region = document.getElementById("announcer");
    if (region) region.textContent = text;
  };

  // <button data-copy="element-id" hidden>: puts that element's text on the clipboard and says so.
  const prepareCopy = (scope) => {
    for (const button of scope.querySelectorAll("[data-copy]")) {
      if (!navigator.clipboard || button.dataset.ready) continue;
      button.dataset.ready = "1";
      button.hidden = false;
      const label = button.textContent;
      button.addEventListener("click", async () => {
        const source = document.getElementById(button.dataset.copy);
        const text = source.dataset.copyText || source.value || source.textContent.trim();
        try {
          await navigator.clipboard.writeText(text);
          button.textContent = "Copied";
          announce("Copied");
        } catch {
          button.textContent = "Select it";
          getSelection().selectAllChildren(source);
        }
        setTimeout(() => {
          button.textContent = label;
        }, 2000);
      });
    }
  };

  // <time data-countdown datetime="...">: time left, once a second.
  const remaining = (milliseconds) => {
    const seconds = Math.max(0, Math.round(milliseconds / 1000));
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  };
  const tick = () => {
    for (const clock of document.querySelectorAll("time[data-countdown]")) {
      const left = Date.parse(clock.dateTime) - Date.now();
      clock.textContent = left > 0 ? `in ${remaining(left)} minutes` : "now";
    }
  };

  // <time data-local datetime="...">: the server writes UTC, the reader sees their own clock.
  const localise = (scope) => {
    for (const time of scope.querySelectorAll("time[data-local]")) {
      const date = new Date(time.dateTime);
      if (Number.isNaN(date.getTime())) continue;
      time.title = time.title || time.textContent.trim();
      time.textContent = date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
    }
  };

  // [data-replace-address]: a reload then leads there instead of sending a form again.
  const replaceAddress = () => {
    const marker = document.querySelector("[data-replace-address]");
    if (marker) history.replaceState(null, "", marker.dataset.replaceAddress);
  };

  // Passkey scripts report through this event; say it on the page rather than in the console.
  document.addEventListener("allauth.error", (event) => {
    event.preventDefault();
    const region = document.getElementById("script-errors");
    if (!region) return;
    region.hidden = false;
    region.textContent =
      "Your browser did not finish that. If you did not cancel it yourself, try again or choose another way.";
  });

  // <form data-once>: a second click does not send it twice.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.once === undefined || event.defaultPrevented) return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "1";
    setTimeout(() => delete form.dataset.sent, 10000);
  });

  // <button data-print hidden>
  const preparePrint = () => {
    for (const button of document.querySelectorAll("[data-print]")) {
      button.hidden = false;
      button.addEventListener("click", () => window.print());
    }
  };

  // After a refused form, the first wrong field has the focus.
  const focusFirstError = () => {
    const wrong = document.querySelector("main [aria-invalid='true']");
    if (wrong) wrong.focus();
  };

  document.addEventListener("DOMContentLoaded", () => {
    prepareCopy(document);
    preparePrint();
    localise(document);
    replaceAddress();
    focusFirstError();
    tick();
    if (document.querySelector("time[data-countdown]")) setInterval(tick, 1000);
    document.body.addEventListener("htmx:afterSettle", (event) => {
      prepareCopy(event.target);
      localise(document);
    });
  });
})();
