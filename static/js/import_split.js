// The import page: a key that is to be kept in two halves is split here, and only sealed halves are sent.
import { NotASecretKey, secretOf, splitKey } from "./split_key.js";

const form = document.querySelector("form[data-split-begin]");
const shown = (name) => form.querySelector(`[data-split-note="${name}"]`);
const field = (name) => form.elements.namedItem(name);
let page = null;
let isSending = false;

const ask = async () => {
  const answer = await fetch(form.dataset.splitBegin, {
    method: "POST",
    headers: { "X-CSRFToken": field("csrfmiddlewaretoken").value },
    credentials: "same-origin",
  });
  if (!answer.ok) throw new Error("no page");
  return answer.json();
};

const chosen = () => {
  const choice = form.querySelector('input[name="choice"]:checked, input[name="choice"][type="hidden"]');
  return choice ? choice.value : "";
};
const isEncrypted = () => field("secret").value.trim().toLowerCase().startsWith("ncryptsec1");
const splitsHere = () => page !== null && form.dataset.splitChoices.split(" ").includes(chosen());

const tell = (name) => {
  for (const note of form.querySelectorAll("[data-split-note]")) note.hidden = note.dataset.splitNote !== name;
};
const look = () => {
  if (!form.dataset.splitChoices.split(" ").includes(chosen())) tell("whole");
  else if (page === null) tell("cannot");
  else tell(isEncrypted() ? "encrypted" : "here");
};

const refuse = (text) => {
  const problem = shown("problem");
  problem.textContent = text;
  problem.hidden = false;
  field("secret").focus();
};

const send = async (secret) => {
  const made = await splitKey(secret, page);
  secret.fill(0);
  field("split").value = JSON.stringify(made);
  // What is disabled is not sent: neither the key nor its password leaves this page.
  for (const name of ["secret", "password"]) {
    field(name).value = "";
    field(name).disabled = true;
  }
  form.submit();
};

const start = async () => {
  try {
    page = globalThis.isSecureContext && globalThis.crypto.subtle ? await ask() : null;
  } catch {
    page = null;
  }
  if (page !== null) shown("here").querySelector("[data-fingerprint]").textContent = page.fingerprint;
  look();
  form.addEventListener("input", look);
  form.addEventListener("submit", (event) => {
    if (!splitsHere() || isEncrypted()) return;
    event.preventDefault();
    if (isSending) return;
    try {
      const secret = secretOf(field("secret").value);
      isSending = true;
      send(secret).catch(() => refuse("The key could not be split, and nothing was sent. Please load the page again."));
    } catch (error) {
      refuse(
        error instanceof NotASecretKey
          ? "This is no secret key. Nothing was sent."
          : "The key could not be split. Nothing was sent.",
      );
    }
  });
};

if (form) start();
