// The same WebSocket for every library, and all TCP connections of this process, to cut them as a network does.

import { subscribe } from "node:diagnostics_channel";
import WebSocket from "ws";

// Node.js 22 has one of its own, Node.js 20 has none. As in a browser, an error that nobody listens to ends nothing.
globalThis.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    this.on("error", () => {});
  }
};

const emit = WebSocket.prototype.emit;
const waiting = new Map();

WebSocket.prototype.emit = function (name, data, ...given) {
  if (name === "message" && data.subarray(0, 7).toString() === '["EOSE"') waiting.get(this.url.replace(/\/$/, ""))?.();
  return emit.call(this, name, data, ...given);
};

const send = WebSocket.prototype.send;
let requested = 0;

WebSocket.prototype.send = function (data, ...given) {
  if (String(data).startsWith('["REQ"')) requested += 1;
  return send.call(this, data, ...given);
};

/** How many subscriptions were opened since the connections were cut. */
export const subscribedSince = () => requested;

/** Resolves when a relay has next told some library that its subscription stands. */
export const subscribedAt = (url) => new Promise((resolve) => waiting.set(url, resolve));

const open = new Set();
subscribe("net.client.socket", ({ socket }) => {
  open.add(socket);
  socket.on("close", () => open.delete(socket));
});

/** Ends every connection at once, without a close frame (code 1006); returns how many there were. */
export function cutConnections() {
  const cut = [...open];
  requested = 0;
  for (const socket of cut) socket.destroy();
  return cut.length;
}
