// Verifies, with nostr-tools, each event of a JSON array on standard input; prints the number that verify.

import { text } from "node:stream/consumers";
import { verifyEvent } from "nostr-tools/pure";

const events = JSON.parse(await text(process.stdin));
console.log(events.filter((event) => verifyEvent(event)).length);
