// @nostrify/nostrify's NConnectSigner over its NRelay1 against the bunker. Input: {full, social?, relay?, pubkey}.

import WebSocket from "ws";
globalThis.WebSocket ??= WebSocket;

const { NConnectSigner, NRelay1, NSecSigner } = await import("@nostrify/nostrify");
const { useEverything } = await import("./methods.mjs");
const { equal, main } = await import("./report.mjs");

async function open(secretKey, bunker) {
  const relay = new NRelay1(bunker.relays[0]);
  const signer = new NConnectSigner({
    relay, pubkey: bunker.pubkey, signer: new NSecSigner(secretKey), timeout: 10_000,
  });
  // NIP-46's newer methods have no name of their own in this library yet; its call function sends them all the same.
  const raw = (method, params) => signer.cmd(method, params);
  return {
    connect: async () => equal(await signer.connect(bunker.secret), "ack"),
    getPublicKey: () => signer.getPublicKey(),
    ping: async () => equal(await signer.ping(), "pong"),
    signEvent: (event) => signer.signEvent(event),
    nip04Encrypt: (peer, message) => signer.nip04.encrypt(peer, message),
    nip04Decrypt: (peer, payload) => signer.nip04.decrypt(peer, payload),
    nip44Encrypt: (peer, message) => signer.nip44.encrypt(peer, message),
    nip44Decrypt: (peer, payload) => signer.nip44.decrypt(peer, payload),
    switchRelays: () => raw("switch_relays", []),
    logout: async () => equal(await raw("logout", []), "ack"),
    raw,
    close: () => relay.close(),
  };
}

main((input, step) => useEverything(open, input, step));
