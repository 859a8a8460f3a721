// nostrify, which opens a subscription for each request, with many requests at once over one connection.
// Input: {bunker, counts}.

import WebSocket from "ws";

const closed = [];
globalThis.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    this.on("close", (code) => closed.push(code));
  }
};

const { NConnectSigner, NRelay1, NSecSigner } = await import("@nostrify/nostrify");
const { generateSecretKey, verifyEvent } = await import("nostr-tools/pure");
const { parseBunkerInput } = await import("nostr-tools/nip46");
const { equal, main } = await import("./report.mjs");

main(async ({ bunker, counts }, step) => {
  const { pubkey, relays, secret } = await parseBunkerInput(bunker);
  const relay = new NRelay1(relays[0]);
  const signer = new NConnectSigner({ relay, pubkey, signer: new NSecSigner(generateSecretKey()), timeout: 14_000 });
  await step("connect", async () => equal(await signer.connect(secret), "ack"));
  for (const count of counts) {
    await step(`${count} notes at once`, async () => {
      const created_at = Math.floor(Date.now() / 1000);
      const wanted = Array.from({ length: count }, (_, number) => `note ${number}`);
      const signed = await Promise.all(wanted.map((content) => signer.signEvent({ kind: 1, content, tags: [], created_at })));
      equal(signed.filter((event, number) => event.content === wanted[number] && verifyEvent(event)).length, count);
    });
  }
  await step("the connection was never lost", async () => equal(JSON.stringify(closed), "[]"));
});
