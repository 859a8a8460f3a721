// nostr-tools' own BunkerSigner against the bunker. Input: {full, social?, relay?, pubkey}.

import WebSocket from "ws";
import { SimplePool, useWebSocketImplementation } from "nostr-tools/pool";
import { BunkerSigner, parseBunkerInput } from "nostr-tools/nip46";

import { useEverything } from "./methods.mjs";
import { equal, main } from "./report.mjs";

useWebSocketImplementation(WebSocket);

async function open(secretKey, bunker) {
  const pool = new SimplePool();
  const signer = BunkerSigner.fromBunker(secretKey, bunker, { pool });
  return {
    connect: () => signer.connect({ name: "nostr-tools", url: "https://client.example" }),
    getPublicKey: () => signer.getPublicKey(),
    ping: () => signer.ping(),
    signEvent: (event) => signer.signEvent(event),
    nip04Encrypt: (peer, message) => signer.nip04Encrypt(peer, message),
    nip04Decrypt: (peer, payload) => signer.nip04Decrypt(peer, payload),
    nip44Encrypt: (peer, message) => signer.nip44Encrypt(peer, message),
    nip44Decrypt: (peer, payload) => signer.nip44Decrypt(peer, payload),
    switchRelays: async () => {
      const answer = await signer.sendRequest("switch_relays", []);
      if (!(JSON.parse(answer) === null || Array.isArray(JSON.parse(answer)))) throw new Error(answer);
      return answer;
    },
    logout: () => signer.logout(),
    raw: (method, params) => signer.sendRequest(method, params),
    close: () => {
      signer.close();
      pool.close(bunker.relays);
    },
  };
}

main(async (input, step) => {
  await step("the bunker URL reads as nostr-tools reads it", async () => {
    const bunker = await parseBunkerInput(input.full);
    if (!bunker?.relays.length || !bunker.secret) throw new Error("not accepted");
    equal(new URL(input.full).hostname, bunker.pubkey);
  });
  await useEverything(open, input, step);
});
