// Drives one library, named as the argument, through what tests/e2e/client_table.py asks for, one JSON line each:
// {do, relay, ...} comes in, {do, relay, step, outcome, detail} goes out for each step, {do, relay, done} at the end.
// Outcomes: "ok", "no" (the library has no such thing), "fails" (with the reason).

import { createInterface } from "node:readline";
import * as nip04 from "nostr-tools/nip04";
import * as nip44 from "nostr-tools/nip44";
import { generateSecretKey, getPublicKey, verifyEvent } from "nostr-tools/pure";

import { cutConnections, subscribedAt, subscribedSince } from "./libraries/sockets.mjs";
import { equal, within } from "./report.mjs";

const STEP_MS = 20_000;
const LET_IN_MS = 150_000;
const BURST_MS = 150_000;
const STUCK_MS = 12_000;
const ASK_AGAIN_MS = 4_000;

const { default: library } = await import(`./libraries/${process.argv[2]}.mjs`);
const ASKS_FOR_MS = library.asksForMs ?? 20_000;
const RECONNECT_MS = ASKS_FOR_MS + 2 * STEP_MS;
const sessions = new Map();
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const reason = (error) => String(error?.error ?? error?.message ?? error);
const note = (content) => ({ kind: 1, content, tags: [["t", "nöstr"]], created_at: Math.floor(Date.now() / 1000) });

// What a library leaves without a handler: a browser would log it, and so do we.
process.on("unhandledRejection", (error) => console.error(`unhandled: ${reason(error)}`));

function check(signed, template, pubkey) {
  if (!verifyEvent({ ...signed })) throw new Error("the signature is not valid");
  equal(signed.pubkey, pubkey);
  for (const member of ["kind", "content", "created_at"]) equal(signed[member], template[member]);
  equal(JSON.stringify(signed.tags), JSON.stringify(template.tags));
  return signed.id;
}

async function sign(session, content, pubkey) {
  const template = note(content);
  return check(await session.signEvent({ ...template }), template, pubkey);
}

async function refusal(session) {
  try {
    await session.signEvent({ ...note("never"), kind: 24133 });
  } catch (error) {
    if (!reason(error).includes("24133")) throw new Error(`the reason is not shown: ${reason(error)}`);
    return;
  }
  throw new Error("was not refused");
}

function methods(session, { pubkey, address }) {
  const peerSecret = generateSecretKey();
  const peer = getPublicKey(peerSecret);
  const key = nip44.getConversationKey(peerSecret, pubkey);
  const plain = "grüße 🫂\n";
  return {
    get_public_key: async () => equal(await session.getPublicKey(), pubkey),
    ping: session.ping && (() => session.ping()),
    sign_event: () => sign(session, 'quote " slash / \\ line\nfeed 🫂', pubkey),
    nip44_encrypt: async () => equal(nip44.decrypt(await session.nip44Encrypt(peer, plain), key), plain),
    nip44_decrypt: async () => equal(await session.nip44Decrypt(peer, nip44.encrypt(plain, key)), plain),
    nip04_encrypt: async () => {
      equal(await nip04.decrypt(peerSecret, pubkey, await session.nip04Encrypt(peer, plain)), plain);
    },
    nip04_decrypt: async () => {
      equal(await session.nip04Decrypt(peer, await nip04.encrypt(peerSecret, pubkey, plain)), plain);
    },
    switch_relays: session.switchRelays && (async () => {
      const used = (await session.switchRelays()).map((url) => url.replace(/\/$/, ""));
      equal(JSON.stringify(used), JSON.stringify([address]));
    }),
    refusal: () => refusal(session),
  };
}

/** Asks until there is an answer, as a person presses a button again. */
async function keepAsking(session, pubkey) {
  const ends = Date.now() + ASKS_FOR_MS;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await within(sign(session, `attempt ${attempt}`, pubkey), ASK_AGAIN_MS);
    } catch (error) {
      if (Date.now() > ends) throw error;
      if (!reason(error).startsWith("no answer within")) await new Promise((next) => setTimeout(next, 500));
    }
  }
}

/** An inbox of messages, all decrypted at once. */
async function burst(session, { pubkey, count }) {
  const peerSecret = generateSecretKey();
  const peer = getPublicKey(peerSecret);
  const key = nip44.getConversationKey(peerSecret, pubkey);
  const messages = Array.from({ length: count }, (_, number) => `message ${number}`);
  const payloads = messages.map((message) => nip44.encrypt(message, key));
  let answered = 0;
  const read = payloads.map(async (payload) => {
    const message = await session.nip44Decrypt(peer, payload);
    answered += 1;
    return message;
  });
  equal(JSON.stringify(await whileItGoesOn(() => answered, count, Promise.all(read))), JSON.stringify(messages));
}

/** Rejects when nothing more was answered for so long; libraries take very different times for a thousand. */
function whileItGoesOn(progress, count, promise) {
  let before = -1;
  let timer;
  const stuck = new Promise((_, reject) => {
    timer = setInterval(() => {
      if (progress() === before) reject(new Error(`${before} of ${count} were answered`));
      before = progress();
    }, STUCK_MS);
  });
  return Promise.race([promise, stuck]).finally(() => clearInterval(timer));
}

async function twoTabs(first, { relay, url, pubkey }) {
  const second = await library.bunker(sessions.get(relay).secretKey, url);
  const asked = Array.from({ length: 20 }, (_, number) => sign(number % 2 ? first : second, `tab ${number}`, pubkey));
  equal(new Set(await Promise.all(asked)).size, asked.length);
}

const commands = {
  async bunker(step, given) {
    const secretKey = generateSecretKey();
    await step("bunker", async () => {
      sessions.set(given.relay, { secretKey, session: await library.bunker(secretKey, given.url) });
    });
    const { session } = sessions.get(given.relay) ?? {};
    if (session) for (const [name, action] of Object.entries(methods(session, given))) await step(name, action);
  },
  async nostrconnect(step, given) {
    const subscribed = subscribedAt(given.address); // who shows the address before may miss the answer
    const show = (uri) => subscribed.then(() => say({ do: given.do, relay: given.relay, uri }));
    await step("nostrconnect", library.nostrconnect && (async () => {
      const session = await library.nostrconnect(generateSecretKey(), given.address, show);
      equal(await session.getPublicKey(), given.pubkey);
      await sign(session, "let in", given.pubkey);
    }), LET_IN_MS);
  },
  tabs: (step, given, session) => step("tabs", () => twoTabs(session, given)),
  burst: (step, given) => step("burst", async () => {
    await burst(await library.bunker(generateSecretKey(), given.url, { publishMs: BURST_MS }), given);
  }, BURST_MS),
  async cut(step, { relay, url, pubkey }) {
    const { secretKey } = sessions.get(relay);
    await step("cut", async () => {
      const session = await library.bunker(secretKey, url);
      await sign(session, "before", pubkey);
      if (!cutConnections()) throw new Error("there was nothing to cut");
      try {
        await keepAsking(session, pubkey);
      } catch (error) {
        throw new Error(`${reason(error)}; subscriptions opened since: ${subscribedSince()}`);
      }
    }, RECONNECT_MS);
    await step("renewed", async () => sign(await library.bunker(secretKey, url), "anew", pubkey));
  },
  restart: (step, given, session) => step("restart", () => keepAsking(session, given.pubkey), RECONNECT_MS),
  logout: (step, given, session) => step("logout", session.logout && (() => session.logout())),
};

async function obey(given) {
  const { do: what, relay } = given;
  const step = async (name, action, ms = STEP_MS) => {
    let result = { outcome: "no" };
    const began = Date.now();
    if (action) {
      try {
        await within(action(), ms);
        result = { outcome: "ok" };
      } catch (error) {
        result = { outcome: "fails", detail: reason(error) };
      }
    }
    say({ do: what, relay, step: name, ...result, ms: Date.now() - began });
  };
  await commands[what](step, given, sessions.get(relay)?.session ?? {});
  say({ do: what, relay, done: true });
}

say({ ready: true });
for await (const line of createInterface({ input: process.stdin })) obey(JSON.parse(line));
process.exit(0);
