// A relay that is not ours: @nostr-relay over ws, on a free port of the loopback, in memory.
// Prints {"url": "ws://127.0.0.1:PORT"} when it listens; ends with standard input.

import { createRequire } from "node:module";
import { WebSocketServer } from "ws";

const require = createRequire(import.meta.url);
const { EventRepository, EventUtils, LogLevel } = require("@nostr-relay/common");
const { NostrRelay } = require("@nostr-relay/core");
const { Validator } = require("@nostr-relay/validator");

// Version 0.0.40 forgets tag filters for live events (NIP-01), so that everybody would get everything: a bunker rightly
// takes such a relay for a flooder and stays away from it. Its other checks are its own.
const matchesTheRest = EventUtils.isMatchingFilter;
EventUtils.isMatchingFilter = (event, filter) =>
  matchesTheRest(event, filter) &&
  Object.entries(filter).every(
    ([name, values]) =>
      !name.startsWith("#") || event.tags.some((tag) => tag[0] === name.slice(1) && values.includes(tag[1])),
  );

/** Kind 24133 is ephemeral: nothing needs to be kept. */
class Nothing extends EventRepository {
  isSearchSupported() { return false; }
  upsert() { return { isDuplicate: false }; }
  find() { return []; }
  async destroy() {}
}

const relay = new NostrRelay(new Nothing(), { logLevel: LogLevel.ERROR, maxSubscriptionsPerClient: 100 });
const validator = new Validator();
const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });

server.on("connection", (socket, request) => {
  relay.handleConnection(socket, request.socket.remoteAddress);
  socket.on("message", async (data) => {
    try {
      await relay.handleMessage(socket, await validator.validateIncomingMessage(data));
    } catch (error) {
      if (error instanceof Error) socket.send(JSON.stringify(["NOTICE", error.message]));
    }
  });
  socket.on("close", () => relay.handleDisconnect(socket));
  socket.on("error", () => socket.terminate());
});
server.on("listening", () => console.log(JSON.stringify({ url: `ws://127.0.0.1:${server.address().port}` })));
process.stdin.on("end", () => process.exit(0)).resume();
