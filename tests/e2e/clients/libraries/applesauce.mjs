// applesauce-signers' NostrConnectSigner over applesauce-relay.

import { RelayPool } from "applesauce-relay";
import { NostrConnectSigner, PrivateKeySigner } from "applesauce-signers";

const session = (signer) => ({
  getPublicKey: () => signer.getPublicKey(),
  ping: () => signer.ping(),
  signEvent: (event) => signer.signEvent(event),
  nip04Encrypt: (peer, message) => signer.nip04.encrypt(peer, message),
  nip04Decrypt: (peer, payload) => signer.nip04.decrypt(peer, payload),
  nip44Encrypt: (peer, message) => signer.nip44.encrypt(peer, message),
  nip44Decrypt: (peer, payload) => signer.nip44.decrypt(peer, payload),
  switchRelays: async () => {
    await signer.switchRelays();
    return signer.relays;
  },
  logout: () => signer.logout(),
});

export default {
  async bunker(secretKey, url) {
    const options = { pool: new RelayPool(), signer: new PrivateKeySigner(secretKey) };
    return session(await NostrConnectSigner.fromBunkerURI(url, options));
  },
  async nostrconnect(secretKey, relay, show) {
    const options = { pool: new RelayPool(), signer: new PrivateKeySigner(secretKey), relays: [relay] };
    const signer = new NostrConnectSigner(options);
    const connected = signer.waitForSigner();
    show(signer.getNostrConnectURI({ name: "applesauce" }));
    await connected;
    return session(signer);
  },
};
