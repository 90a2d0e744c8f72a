// SPDX-License-Identifier: MIT
// What is a record: the tables of SPEC §6 and the types of §4, a question mark for "optional".
//
// All that comes after relies on it: a field that is there has the type that it says.
"use strict";

const EVERY = "kind:Kind prev:Digest seq:Count sig:Signature? time:Time ";
const KINDS = {
  genesis: "format:Count host:Text executor:Text key:Digest agent:Text agent_key:Digest" +
    " version:Text",
  intent: "run:Run room:Room event:Event sender:User actor:Actor device:Device session:Text" +
    " ciphertext:Digest command:Digest request:Digest",
  outcome: "intent:Count run:Run session:Text reason:Reason duration_ms:Count output_bytes:Count" +
    " output_sha256:Digest recorded_bytes:Count recording:Text leftover:Count token:Text" +
    " token_sha256:Digest exit:Count? signal:Count? notes:Notes?",
  aborted: "intent:Count run:Run detail:Text",
  remainder: "intent:Count run:Run session:Text reason:Reason duration_ms:Count" +
    " output_bytes:Count output_sha256:Digest recorded_bytes:Count recording:Text killed:Count" +
    " notes:Notes?",
  refusal: "room:Room event:Event sender:User actor:Actor stage:Stage detail:Text device:Device?" +
    " family:Text? command:Digest?",
  security: "what:What detail:Text room:Room? event:Event? sender:User? uid:Count? number:Count?",
  session: "session:Text state:State room:Room sender:User actor:Actor detail:Text",
  checkpoint: "size:Count root:Digest note:Text",
  key: "executor:Text key:Digest",
};

const like = (form) => (value) => typeof value === "string" && form.test(value);
const oneOf = (words) => (value) => words.split(" ").includes(value);
const text = (most, form = /(?:)/) => (value) => like(form)(value) && !/\p{Cs}/u.test(value)
  && (value.length <= most || Array.from(value).length <= most);
const named = (sigil, most = 255) =>
  text(most, new RegExp(`^${sigil}[^\\p{White_Space}\\x00-\\x20\\x7f-\\x9f]+$`, "u"));

const TYPES = {
  Kind: (value) => Object.hasOwn(KINDS, value),
  Count: (value) => Number.isSafeInteger(value) && value >= 0,
  Text: text(1024),
  Notes: (value) => Array.isArray(value) && value.length > 0 && value.length <= 16
    && value.every(TYPES.Text),
  Digest: like(/^[0-9a-f]{64}$/),
  Run: like(/^[0-9a-f]{32}$/),
  Signature: like(/^[0-9a-f]{128}$/),
  Time: like(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/),
  User: named("@"),
  Room: named("!"),
  Event: named("\\$"),
  Device: named(""),
  Actor: named("jis:matrix:@", 300),
  Reason: oneOf("exited cancelled killed idle timed-out stopped aborted"),
  Stage: oneOf("sender freshness safety chain"),
  State: oneOf("opened closed"),
  What: oneOf("peer protocol policy replay torn-record erased retention journal agent"),
};

// The fields of each kind: what tells their type, and whether each has to be there.
const FIELDS = new Map(Object.entries(KINDS).map(([kind, table]) => [kind, new Map(
  (EVERY + table).split(" ").map((entry) => {
    const [, name, type, mark] = /^(\w+):(\w+)(\??)$/.exec(entry);
    return [name, { is: TYPES[type], needed: !mark }];
  }))]));

// The record in a line, or null: canonical JSON (RFC 8785) is the only form there is.
function parseRecord(line) {
  try {
    const record = JSON.parse(line);
    return canonical(record) === line && fits(record) ? record : null;
  } catch {
    return null;
  }
}

function fits(record) {
  const fields = FIELDS.get(record.kind);
  return fields !== undefined
    && Object.entries(record).every(([name, value]) => fields.get(name)?.is(value))
    && [...fields].every(([name, { needed }]) => !needed || Object.hasOwn(record, name));
}

function canonical(record) {
  const sorted = {};
  for (const key of Object.keys(record).sort()) sorted[key] = record[key];
  return JSON.stringify(sorted);
}
