// @nostrify/nostrify's NConnectSigner over its NRelay1. It knows bunkers by URL parts only, and no nostrconnect://.

import { NConnectSigner, NRelay1, NSecSigner } from "@nostrify/nostrify";

export default {
  async bunker(secretKey, url) {
    const parsed = new URL(url);
    const signer = new NConnectSigner({
      relay: new NRelay1(parsed.searchParams.get("relay")),
      pubkey: parsed.hostname || parsed.pathname.replace(/^\/+/, ""),
      signer: new NSecSigner(secretKey),
    });
    const answer = await signer.connect(parsed.searchParams.get("secret"));
    if (answer !== "ack") throw new Error(`connect was answered ${answer}`);
    return {
      getPublicKey: () => signer.getPublicKey(),
      ping: () => signer.ping(),
      signEvent: (event) => signer.signEvent(event),
      nip04Encrypt: (peer, message) => signer.nip04.encrypt(peer, message),
      nip04Decrypt: (peer, payload) => signer.nip04.decrypt(peer, payload),
      nip44Encrypt: (peer, message) => signer.nip44.encrypt(peer, message),
      nip44Decrypt: (peer, payload) => signer.nip44.decrypt(peer, payload),
    };
  },
};
