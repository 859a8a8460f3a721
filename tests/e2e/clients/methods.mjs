// What every client library must be able to do with the bunker, written once over a small adapter:
// {connect, getPublicKey, ping, signEvent, nip04Encrypt, ..., switchRelays, logout, raw(method, params), close}.

import { generateSecretKey, getPublicKey, verifyEvent } from "nostr-tools/pure";
import * as nip04 from "nostr-tools/nip04";
import * as nip44 from "nostr-tools/nip44";

import { equal, refused, refusedAloud } from "./report.mjs";

const now = () => Math.floor(Date.now() / 1000);
const SILENCE_MS = 2_000;

/** A bunker URL's parts; `relay` replaces its relays, so that one path at a time is tested. */
export function pointer(url, relay) {
  const parsed = new URL(url);
  return {
    pubkey: parsed.hostname || parsed.pathname.replace(/^\/+/, ""),
    relays: relay ? [relay] : parsed.searchParams.getAll("relay"),
    secret: parsed.searchParams.get("secret"),
  };
}

function signedAsAsked(signed, template, pubkey) {
  if (!verifyEvent({ ...signed })) throw new Error("nostr-tools does not accept the signature");
  equal(signed.pubkey, pubkey);
  equal(signed.kind, template.kind);
  equal(signed.content, template.content);
  equal(JSON.stringify(signed.tags), JSON.stringify(template.tags));
  equal(signed.created_at, template.created_at);
  return signed.id;
}

async function beforePairing(open, input, step) {
  const bunker = pointer(input.full, input.relay);
  const stranger = await open(generateSecretKey(), { ...bunker, secret: "" });
  await step("a stranger gets no signature", () =>
    refused(stranger.signEvent({ kind: 1, content: "mine?", tags: [], created_at: now() }), SILENCE_MS));
  await step("a stranger learns no public key", () => refused(stranger.getPublicKey(), SILENCE_MS));
  await step("connect without a secret is refused", () => refusedAloud(stranger.connect()));
  stranger.close();
  const guesser = await open(generateSecretKey(), { ...bunker, secret: "0".repeat(32) });
  await step("connect with a wrong secret is refused", () => refusedAloud(guesser.connect()));
  guesser.close();
}

async function signing(signer, input, step) {
  await step("get_public_key", async () => equal(await signer.getPublicKey(), input.pubkey));
  await step("ping", () => signer.ping());
  const templates = {
    "sign_event: a note": { kind: 1, content: "hello from a real client", tags: [], created_at: now() },
    "sign_event: tags, quotes, line breaks, emoji": {
      kind: 1,
      content: 'quote " slash / back \\ line\nfeed \u0000\u001f \u2028 é 🫂 end',
      tags: [["t", "nöstr"], ["client", "e2e", ""], ["e", "ab".repeat(32), "wss://r.example"]],
      created_at: now() - 60,
    },
    "sign_event: an article of 20,000 characters": {
      kind: 30023, content: "ä1\n".repeat(6_667), tags: [["d", "long"]], created_at: now(),
    },
  };
  for (const [name, template] of Object.entries(templates)) {
    await step(name, async () => signedAsAsked(await signer.signEvent({ ...template }), template, input.pubkey));
  }
  await step("sign_event: twenty at once, all different", async () => {
    const notes = Array.from({ length: 20 }, (_, n) => ({ kind: 1, content: `${n}`, tags: [], created_at: now() }));
    const signed = await Promise.all(notes.map((note) => signer.signEvent({ ...note })));
    signed.forEach((event, n) => signedAsAsked(event, notes[n], input.pubkey));
    equal(new Set(signed.map((event) => event.id)).size, 20);
  });
}

async function encryption(signer, input, step) {
  const peerSecret = generateSecretKey();
  const peer = getPublicKey(peerSecret);
  const key = nip44.getConversationKey(peerSecret, input.pubkey);
  // Above 65,535 bytes NIP-44 uses its extended length prefix; not every relay carries events that long.
  const messages = ["a", "grüße 🫂\n", "x".repeat(20_000), ...(input.large ? ["y".repeat(70_000)] : [])];
  for (const message of messages) {
    const size = `${message.length} characters`;
    await step(`nip44_encrypt: ${size}, read by nostr-tools`, async () => {
      equal(nip44.decrypt(await signer.nip44Encrypt(peer, message), key), message);
    });
    await step(`nip44_decrypt: ${size}, written by nostr-tools`, async () => {
      equal(await signer.nip44Decrypt(peer, nip44.encrypt(message, key)), message);
    });
  }
  await step("nip44 to oneself and back", async () => {
    equal(await signer.nip44Decrypt(input.pubkey, await signer.nip44Encrypt(input.pubkey, "diary")), "diary");
  });
  await step("nip04_encrypt, read by nostr-tools", async () => {
    equal(await nip04.decrypt(peerSecret, input.pubkey, await signer.nip04Encrypt(peer, "old way ä")), "old way ä");
  });
  await step("nip04_decrypt, written by nostr-tools", async () => {
    equal(await signer.nip04Decrypt(peer, await nip04.encrypt(peerSecret, input.pubkey, "old way ü")), "old way ü");
  });
  await step("nip44_decrypt of an altered payload is refused", () => {
    const payload = nip44.encrypt("secret", key);
    return refusedAloud(signer.nip44Decrypt(peer, payload.slice(0, -8) + "AAAAAAA="));
  });
  await step("nip44_encrypt to a point off the curve is refused", () =>
    refusedAloud(signer.nip44Encrypt("ff".repeat(32), "x")));
}

async function refusals(signer, step) {
  await step("an unknown method is refused aloud", () => refusedAloud(signer.raw("get_relays", [])));
  await step("an invented method is refused aloud", () => refusedAloud(signer.raw("export_nsec", [])));
  await step("sign_event without an event is refused aloud", () => refusedAloud(signer.raw("sign_event", [])));
  await step("sign_event with a broken event is refused aloud", () =>
    refusedAloud(signer.raw("sign_event", ['{"kind":1'])));
  await step("kind 24133 is never signed", () =>
    refusedAloud(signer.raw("sign_event", [
      JSON.stringify({ kind: 24133, content: "", tags: [], created_at: now() }),
    ])));
  await step("another author's event is refused aloud", () =>
    refusedAloud(signer.raw("sign_event", [
      JSON.stringify({ kind: 1, content: "", tags: [], created_at: now(), pubkey: "ab".repeat(32) }),
    ])));
}

async function underAPolicy(open, input, step) {
  if (!input.social) return;
  const signer = await open(generateSecretKey(), pointer(input.social, input.relay));
  await step("policy social: connect", () => signer.connect());
  await step("policy social: a note is signed", () =>
    signer.signEvent({ kind: 1, content: "allowed", tags: [], created_at: now() }));
  for (const kind of [13, 22242, 27235, 30078]) {
    await step(`policy social: kind ${kind} is refused aloud`, () =>
      refusedAloud(signer.signEvent({ kind, content: "", tags: [], created_at: now() })));
  }
  await step("policy social: ping still answers", () => signer.ping());
  signer.close();
}

/** Every method of NIP-46 and the refusals around them. `open(secretKey, pointer)` makes the library's adapter. */
export async function useEverything(open, input, step) {
  await beforePairing(open, input, step);
  const secretKey = generateSecretKey();
  const bunker = pointer(input.full, input.relay);
  const signer = await open(secretKey, bunker);
  if (!(await step("connect", () => signer.connect()))) return;
  await step("connect again with the same key", () => signer.connect());
  const second = await open(generateSecretKey(), bunker);
  await step("the secret works for nobody else", () => refused(second.connect(), SILENCE_MS));
  second.close();
  await signing(signer, input, step);
  await encryption(signer, input, step);
  await refusals(signer, step);
  await step("switch_relays answers", () => signer.switchRelays());
  await step("ping after switch_relays", () => signer.ping());
  await underAPolicy(open, input, step);
  await step("logout", () => signer.logout());
  const again = await open(secretKey, bunker);
  await step("nothing is signed after logout", () =>
    refused(again.signEvent({ kind: 1, content: "late", tags: [], created_at: now() }), SILENCE_MS));
  again.close();
}
