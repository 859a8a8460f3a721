// Runs named steps against a bunker and prints one JSON line for each: {step, ok, detail}.
// Input is one JSON object on standard input; the exit code is 1 when a step failed.

import { text } from "node:stream/consumers";

const STEP_TIMEOUT_MS = 15_000;

/** Rejects when `promise` has not settled after `ms`. */
export function within(promise, ms) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Resolves to the refusal's text; rejects when the bunker did what it should have refused. */
export async function refused(promise, ms = STEP_TIMEOUT_MS) {
  let result;
  try {
    result = await within(promise, ms);
  } catch (error) {
    if (error?.name === "ZodError") throw new Error(`the answer does not parse: ${error.message}`);
    return String(error?.message ?? error);
  }
  throw new Error(`was not refused: ${JSON.stringify(result)}`);
}

/** Like `refused`, and the bunker must have said why. */
export async function refusedAloud(promise) {
  const reason = await refused(promise);
  if (reason.startsWith("no answer within")) throw new Error("was met with silence instead of an error");
  return reason;
}

export function equal(actual, expected) {
  if (actual !== expected) throw new Error(`got ${JSON.stringify(actual)}, not ${JSON.stringify(expected)}`);
  return actual;
}

/** Reads the input, hands `run` the input and a `step(name, function)`, and reports. */
export async function main(run) {
  const input = JSON.parse(await text(process.stdin));
  let failures = 0;
  const step = async (name, action) => {
    let line;
    try {
      const detail = await within(action(), STEP_TIMEOUT_MS);
      line = { step: name, ok: true, detail: typeof detail === "string" ? detail : null };
    } catch (error) {
      failures += 1;
      line = { step: name, ok: false, detail: String(error?.message ?? error) };
    }
    console.log(JSON.stringify(line));
    return line.ok;
  };
  await run(input, step);
  process.exit(failures ? 1 : 0);
}
