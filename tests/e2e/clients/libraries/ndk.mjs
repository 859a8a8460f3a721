// NDK's NDKNip46Signer, of whichever version is given. It has no ping and no logout.

export function adapter({ default: NDK, NDKEvent, NDKNip46Signer, NDKPrivateKeySigner, NDKUser }) {
  const session = (ndk, signer) => {
    const encrypt = (scheme) => (peer, message) => signer.encrypt(new NDKUser({ pubkey: peer }), message, scheme);
    const decrypt = (scheme) => (peer, payload) => signer.decrypt(new NDKUser({ pubkey: peer }), payload, scheme);
    return {
      getPublicKey: () => signer.getPublicKey(),
      signEvent: async (template) => {
        const event = new NDKEvent(ndk, { ...template });
        await event.sign(signer);
        return event.rawEvent();
      },
      nip04Encrypt: encrypt("nip04"),
      nip04Decrypt: decrypt("nip04"),
      nip44Encrypt: encrypt("nip44"),
      nip44Decrypt: decrypt("nip44"),
      ...(signer.switchRelays && {
        switchRelays: async () => {
          await signer.switchRelays();
          return signer.relayUrls;
        },
      }),
    };
  };
  const own = (secretKey) => new NDKPrivateKeySigner(Buffer.from(secretKey).toString("hex"));
  return {
    async bunker(secretKey, url) {
      const ndk = new NDK();
      const signer = new NDKNip46Signer(ndk, url, own(secretKey));
      await signer.blockUntilReady();
      return session(ndk, signer);
    },
    ...(NDKNip46Signer.nostrconnect && {
      async nostrconnect(secretKey, relay, show) {
        const ndk = new NDK();
        const signer = NDKNip46Signer.nostrconnect(ndk, relay, own(secretKey), { name: "NDK" });
        const connected = signer.blockUntilReady();
        show(signer.nostrConnectUri);
        await connected;
        return session(ndk, signer);
      },
    }),
  };
}
