// A verifier of exports of the audit log in another language, written from docs/audit.md alone.
// node verify.mjs FILE PUBLIC-KEY-IN-BASE64: exit code 0 when every row is proven, else 1 with the reason.
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";

const [path, publicKey] = process.argv.slice(2);
const key = createPublicKey({ key: Buffer.from(publicKey, "base64"), format: "der", type: "spki" });
const sha256 = (...parts) => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const hex = (text) => Buffer.from(text, "hex");
const keyId = sha256(Buffer.from(publicKey, "base64")).toString("hex").slice(0, 16);
const COLUMNS = [
  "chain", "sequence", "at", "tag", "outcome", "actor_type", "actor_id", "actor_label",
  "key_id", "connection_id", "request_id", "data",
];

function fail(reason) {
  console.log(reason);
  process.exit(1);
}

function isSigned(statement, signature) {
  const message = Buffer.from(JSON.stringify(statement));
  return verify(key.asymmetricKeyType === "ed25519" ? null : "sha256", message, key, Buffer.from(signature, "base64"));
}

// The root that a path leads to, by the shape of the tree: RFC 6962, 2.1.1, from the top down.
function rootOf(leaf, index, size, steps) {
  if (size === 1) return steps.length === 0 ? leaf : fail("the path is too long");
  if (steps.length === 0) fail("the path is too short");
  let half = 1;
  while (half * 2 < size) half *= 2;
  const last = steps[steps.length - 1];
  const rest = steps.slice(0, -1);
  return index < half
    ? sha256(Buffer.of(1), rootOf(leaf, index, half, rest), last)
    : sha256(Buffer.of(1), last, rootOf(leaf, index - half, size - half, rest));
}

const bytes = readFileSync(path);
const lines = bytes.toString("utf8").split("\n");
if (lines.pop() !== "") fail("the file does not end with a line break");
const header = JSON.parse(lines.shift());
if (header.format !== "keycast.audit.export.1") fail("another format");

let checkpoint = null, previousRow = null, waiting = 0, rows = 0, end = null;
for (const text of lines) {
  if (end) fail("something follows the end");
  const line = JSON.parse(text);
  if (line.checkpoint) {
    const c = line.checkpoint;
    const statement =
      ["keycast.audit.checkpoint.1", c.chain, c.number, c.size, c.root, c.head, c.previous, c.at, c.key];
    if (c.chain !== header.chain || c.key !== keyId || !isSigned(statement, c.signature)) fail("a forged checkpoint");
    checkpoint = c;
  } else if (line.row) {
    const { row } = line;
    const body = Buffer.from(JSON.stringify(["keycast.audit.row.1", ...COLUMNS.map((name) => row[name])]));
    const hash = sha256(hex(line.previous_hash), body);
    if (row.chain !== header.chain || hash.toString("hex") !== line.hash) fail(`row ${row.sequence} is not its hash's`);
    const follows = previousRow && row.sequence === previousRow.sequence + 1;
    if (previousRow && row.sequence <= previousRow.sequence) fail("rows out of order");
    if (follows && line.previous_hash !== previousRow.hash) fail(`row ${row.sequence} does not continue the one before`);
    if (!follows && waiting) fail(`row ${previousRow.sequence} is not proven`);
    if (previousRow && !follows && header.complete) fail("a gap in what should be complete");
    if (row.sequence === 1 && line.previous_hash !== sha256(`keycast.audit.genesis.1\0${row.chain}`).toString("hex"))
      fail("the first row does not continue the genesis");
    waiting += 1;
    if (line.proof) {
      if (line.proof.checkpoint !== checkpoint?.number || row.sequence > checkpoint.size) fail("a proof of nothing");
      const leaf = sha256(Buffer.of(0), hash);
      const root = rootOf(leaf, row.sequence - 1, checkpoint.size, line.proof.path.map(hex));
      if (root.toString("hex") !== checkpoint.root) fail(`row ${row.sequence} is not in the checkpoint`);
      waiting = 0;
    }
    previousRow = { sequence: row.sequence, hash: line.hash };
    rows += 1;
  } else if (line.end) {
    end = line.end;
    const before = bytes.subarray(0, bytes.length - Buffer.byteLength(text) - 1);
    if (end.rows !== rows || end.sha256 !== sha256(before).toString("hex")) fail("the end does not fit");
  } else fail("an unknown line");
}
if (!end) fail("the export stops before its end");
if (waiting) fail(`the last ${waiting} rows are not proven`);
console.log(`${rows} rows proven`);
