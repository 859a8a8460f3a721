// nostr-tools' BunkerSigner.

import { SimplePool, useWebSocketImplementation } from "nostr-tools/pool";
import { BunkerSigner, createNostrConnectURI, parseBunkerInput } from "nostr-tools/nip46";
import { generateSecretKey, getPublicKey } from "nostr-tools/pure";

useWebSocketImplementation(globalThis.WebSocket);

const session = (signer) => ({
  getPublicKey: () => signer.getPublicKey(),
  ping: () => signer.ping(),
  signEvent: (event) => signer.signEvent(event),
  nip04Encrypt: (peer, message) => signer.nip04Encrypt(peer, message),
  nip04Decrypt: (peer, payload) => signer.nip04Decrypt(peer, payload),
  nip44Encrypt: (peer, message) => signer.nip44Encrypt(peer, message),
  nip44Decrypt: (peer, payload) => signer.nip44Decrypt(peer, payload),
  switchRelays: async () => {
    await signer.switchRelays();
    return signer.bp.relays;
  },
  logout: () => signer.logout(),
});

export default {
  async bunker(secretKey, url, { publishMs } = {}) {
    const pool = new SimplePool();
    const bunker = await parseBunkerInput(url);
    // The library gives up on a relay's OK after 4.4 s, which its own encrypting of a thousand requests can take.
    if (publishMs) for (const relay of bunker.relays) (await pool.ensureRelay(relay)).publishTimeout = publishMs;
    const signer = BunkerSigner.fromBunker(secretKey, bunker, { pool });
    await signer.connect({ name: "nostr-tools", url: "https://client.example" });
    return session(signer);
  },
  async nostrconnect(secretKey, relay, show) {
    const uri = createNostrConnectURI({
      clientPubkey: getPublicKey(secretKey),
      relays: [relay],
      secret: Buffer.from(generateSecretKey()).toString("hex").slice(0, 32),
      name: "nostr-tools",
    });
    const connected = BunkerSigner.fromURI(secretKey, uri, { pool: new SimplePool() }, 150_000);
    show(uri);
    return session(await connected);
  },
};
