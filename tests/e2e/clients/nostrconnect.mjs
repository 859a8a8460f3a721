// nostr-tools as a client that shows a nostrconnect:// address and waits to be let in.
// Argument: the relay. Prints the address, then, once let in, one JSON line {pubkey, event}.

import WebSocket from "ws";
import { SimplePool, useWebSocketImplementation } from "nostr-tools/pool";
import { BunkerSigner, createNostrConnectURI } from "nostr-tools/nip46";
import { generateSecretKey, getPublicKey } from "nostr-tools/pure";

useWebSocketImplementation(WebSocket);

const relay = process.argv[2];
const secretKey = generateSecretKey();
const uri = createNostrConnectURI({
  clientPubkey: getPublicKey(secretKey),
  relays: [relay],
  secret: Buffer.from(generateSecretKey()).toString("hex").slice(0, 32),
  perms: ["sign_event:1", "nip44_encrypt"],
  name: "Waiting client",
});
const signer = BunkerSigner.fromURI(secretKey, uri, { pool: new SimplePool() }, 60_000);
console.log(uri);

const connected = await signer;
const pubkey = await connected.getPublicKey();
const event = await connected.signEvent({ kind: 1, created_at: Math.floor(Date.now() / 1000), tags: [], content: "hi" });
console.log(JSON.stringify({ pubkey, event }));
process.exit(0);
