// SPDX-License-Identifier: MIT
// One entry for each command, from intent to outcome, and one for each other record.
"use strict";

const VERDICTS = {
  ran: "Exit 0",
  failed: "Failed",
  refused: "Refused",
  aborted: "Aborted",
  running: "Running",
  remainder: "Left running",
  security: "Security",
  chain: "Chain",
  damaged: "Damaged",
};

// Whatever a reader can't see as what it is; a space, and in output tabs and line ends, stay.
const HIDDEN = /[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u;
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])/y;

function escapeOf(character) {
  const short = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[character];
  if (short) return short;
  const code = character.codePointAt(0);
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}`
    : `\\U${code.toString(16).padStart(8, "0")}`;
}

// Put a [plain, hidden] run to others; a row of hidden characters is one, however long it is.
function put(parts, plain, hidden) {
  const last = parts.at(-1);
  if (last?.[1] && !plain) last[1] += hidden;
  else parts.push([plain, hidden]);
}

// Split a text into [plain, hidden] runs: what is hidden comes as escapes.
function runs(text, keep = "") {
  const parts = [];
  let plain = "";
  for (let at = 0; at < text.length; ) {
    const character = String.fromCodePoint(text.codePointAt(at));
    if (character === " " || keep.includes(character) || !HIDDEN.test(character)) {
      plain += character;
      at += character.length;
      continue;
    }
    ESCAPES.lastIndex = at;
    const sequence = character === "\x1b" ? ESCAPES.exec(text)?.[0] ?? character : character;
    put(parts, plain, Array.from(sequence, (one) =>
      HIDDEN.test(one) && one !== " " ? escapeOf(one) : one).join(""));
    plain = "";
    at += sequence.length;
  }
  put(parts, plain, "");
  return parts;
}

// Printed bytes as text: what is no UTF-8 is shown as escapes of its bytes.
function outputRuns(bytes) {
  try {
    return runs(STRICT.decode(bytes), "\n\t");
  } catch {
    const parts = [];
    let from = 0;
    const flush = (to) => {
      for (const run of runs(STRICT.decode(bytes.subarray(from, to)), "\n\t")) put(parts, ...run);
    };
    for (let at = 0; at < bytes.length; ) {
      const length = characterLength(bytes, at);
      if (!length) {
        flush(at);
        put(parts, "", `\\x${bytes[at].toString(16).padStart(2, "0")}`);
        from = at + 1;
      }
      at += length || 1;
    }
    flush(bytes.length);
    return parts;
  }
}

// The number of bytes of the UTF-8 character at a place, 0 if there is none.
function characterLength(bytes, at) {
  const first = bytes[at];
  if (first < 0x80) return 1;
  const length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3
    : first < 0xf5 ? 4 : 0;
  if (length === 0 || at + length > bytes.length) return 0;
  try {
    STRICT.decode(bytes.subarray(at, at + length));
    return length;
  } catch {
    return 0;
  }
}

// The first place from one on where no character of UTF-8 is cut in two.
function wholeFrom(bytes, at) {
  let end = at;
  while (end < at + 3 && (bytes[end] & 0xc0) === 0x80) end += 1;
  return end;
}

// The text of a record that commits to one: that one, else whatever stands in its place.
function textOf(record, texts) {
  const those = record?.command ? texts.get(record.seq) : undefined;
  return those?.find(({ digest }) => digest === record.command) ?? those?.at(-1);
}

// Put records together; `texts` are by a command's number, `recordings` by their name.
function entriesOf(lines, records, start, texts, recordings) {
  const entries = [];
  const open = new Map();
  lines.forEach((line, row) => {
    const record = records[row];
    const command = record && open.get(record.intent);
    if ((record?.kind === "outcome" || record?.kind === "aborted") && command) {
      open.delete(record.intent);
      command.end = record;
      command.recording = recordings.get(recordingName(record));
      command.lines.push(line);
      command.verdict = record.kind === "aborted" ? "aborted"
        : record.exit === 0 ? "ran" : "failed";
      return;
    }
    const seq = record ? record.seq : start + row;
    const text = textOf(record, texts);
    const differs = Boolean(text?.digest) && text.digest !== record.command;
    const entry = { seq, record, end: null, lines: [line], verdict: verdictOf(record),
      time: record?.time ?? "", operator: record?.sender ?? "", session: record?.session ?? "",
      text: differs ? undefined : text, differs,
      recording: record?.kind === "remainder" ? recordings.get(recordingName(record)) : null };
    entries.push(entry);
    if (record?.kind === "intent") open.set(seq, entry);
  });
  return entries;
}

function verdictOf(record) {
  switch (record?.kind) {
    case undefined: return "damaged";
    case "intent": return "running";
    case "outcome": return record.exit === 0 ? "ran" : "failed";
    case "aborted": return "aborted";
    case "refusal": return "refused";
    case "security": return "security";
    case "remainder": return "remainder";
    default: return "chain";
  }
}

function duration(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  if (milliseconds < 1000) return `${milliseconds} ms`;
  if (seconds < 60) return `${(milliseconds / 1000).toFixed(2)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} m`;
}

function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 ** 2) return `${(bytes / 1024).toFixed(1)} KiB`;
  return `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}

function many(number, what) {
  return `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
}
