// Splits each line of standard input, {"secret", "page"}, as the import page does; a line of JSON each.
import { createInterface } from "node:readline";
import { secretOf, splitKey } from "../../static/js/split_key.js";

for await (const line of createInterface({ input: process.stdin })) {
  const { secret, page } = JSON.parse(line);
  let made;
  try {
    made = await splitKey(secretOf(secret), page);
  } catch (error) {
    made = { error: error.constructor.name };
  }
  console.log(JSON.stringify(made));
}
