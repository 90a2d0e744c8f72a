// SPDX-License-Identifier: MIT
// JSON lines: requests come on standard input; answers and news go to standard output.
//
//   in    {"id": 1, "do": "send", "with": {…}}
//   out   {"id": 1, "answer": {…}}  or  {"id": 1, "error": "…"}
//   out   {"news": "event", …}
//
// Import this module first: standard output is the protocol's alone, and some of the SDK's loggers
// write to the console whatever they are told. Only errors are kept, on standard error.

import readline from "node:readline";

const silent = () => {};

for (const level of ["trace", "debug", "log", "info", "warn"]) console[level] = silent;

/** A logger for the SDK. */
export const logger = {
  trace: silent,
  debug: silent,
  info: silent,
  warn: silent,
  error: console.error,
  getChild: () => logger,
};

function write(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Tell what nobody has asked for. */
export function tell(news, fields) {
  write({ news, ...fields });
}

/** Answer requests with the functions of `verbs` until the input ends; many can be under way. */
export async function serve(verbs) {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { id, do: verb, with: fields } = JSON.parse(line);
    Promise.resolve(fields)
      .then(verbs[verb] ?? (() => Promise.reject(new Error(`there is no verb ${verb}`))))
      .then(
        (answer) => write({ id, answer: answer ?? {} }),
        (error) => write({ id, error: `${error?.name}: ${error?.message ?? error}` }),
      );
  }
}
