// @welshman/signer's Nip46Broker, which asks switch_relays by itself after it has connected. It has no logout.

import { Nip46Broker, Nip46Signer } from "@welshman/signer";

const session = (broker) => {
  const signer = new Nip46Signer(broker);
  return {
    getPublicKey: () => signer.getPubkey(),
    ping: () => broker.ping(),
    signEvent: (event) => signer.sign(event),
    nip04Encrypt: (peer, message) => signer.nip04.encrypt(peer, message),
    nip04Decrypt: (peer, payload) => signer.nip04.decrypt(peer, payload),
    nip44Encrypt: (peer, message) => signer.nip44.encrypt(peer, message),
    nip44Decrypt: (peer, payload) => signer.nip44.decrypt(peer, payload),
    switchRelays: () => broker.switchRelays(),
  };
};
const hex = (secretKey) => Buffer.from(secretKey).toString("hex");

export default {
  // While a relay is away it tries again without a pause, queues its subscription anew each time, and then sends the
  // queue at 200 messages a second: thousands come before the next request.
  asksForMs: 60_000,
  async bunker(secretKey, url) {
    const { relays, signerPubkey, connectSecret } = Nip46Broker.parseBunkerUrl(url);
    const broker = new Nip46Broker({ relays, signerPubkey, clientSecret: hex(secretKey) });
    await broker.connect(connectSecret);
    return session(broker);
  },
  async nostrconnect(secretKey, relay, show) {
    const broker = new Nip46Broker({ relays: [relay], clientSecret: hex(secretKey) });
    const uri = await broker.makeNostrconnectUrl({ name: "welshman" });
    const connected = broker.waitForNostrconnect(uri, new AbortController().signal);
    show(uri);
    await connected;
    return session(broker);
  },
};
