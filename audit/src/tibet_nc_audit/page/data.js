// SPDX-License-Identifier: MIT
// What this page holds: the lines of the chain, texts and recordings, as they are on disk.
//
// Each block is the text of an element that isn't shown: lines, each with its end; the line end
// after the tag is HTML's and never in the text. A line that HTML can't carry exactly is written as
// "base64:" and its bytes; no line of ours begins so.
"use strict";

const UTF8 = new TextEncoder();
const STRICT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const RECORDING_LINE_BYTES = 394240; // SPEC §11
const LOOSE = new TextDecoder("utf-8", { ignoreBOM: true });

function fromBase64(text) {
  if (text.length % 4 || /\s/.test(text)) throw new Error("not base64"); // which atob() takes
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function toBase64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}

function bytesOf(line) {
  return line.startsWith("base64:") ? fromBase64(line.slice(7)) : UTF8.encode(line);
}

function linesIn({ textContent }) {
  return textContent === "" ? [] : textContent.replace(/\n$/, "").split("\n");
}

// The blocks of one kind, which are taken out of the page.
function takeBlocks(kind) {
  return Array.from(document.querySelectorAll(`pre[data-of="${kind}"]`), (block) => {
    block.remove();
    return { ...block.dataset, lines: linesIn(block) };
  });
}

function takeLines(kind) {
  return takeBlocks(kind).flatMap(({ lines }) => lines);
}

function takeRecordings() {
  return new Map(takeBlocks("recording").map(({ name, lines, torn }) =>
    [name, { lines, torn: Number(torn) }]));
}

// The name of the recording of which an outcome or a remainder speaks (SPEC §9).
function recordingName({ kind, intent }) {
  return `${String(intent).padStart(12, "0")}${kind === "remainder" ? ".remainder" : ""}.cast`;
}

const isText = (value) => typeof value === "string" && !/\p{Cs}/u.test(value);

// The value of a line of JSON as it is written: JSON.parse() tells neither 3 from 3.0 nor a name that
// comes twice. Objects are lists of names and values, numbers their digits. Throws where a text is
// half a surrogate pair.
function asWritten(line) {
  const forms = { "{": '{"object":[', "}": "]}", ":": "," };
  return JSON.parse(line.replace(/("(?:[^"\\]|\\.)*")|[{}:]|-?\d[-+.\deE]*/g, (token, text) =>
    text ?? forms[token] ?? `{"number":"${token}"}`), (_, value) => {
    if (typeof value === "string" && !isText(value)) throw new Error("half a surrogate pair");
    return value;
  });
}

const isInteger = (value) => /^-?\d+$/.test(value?.number);
const HEADER = {
  version: (value) => value?.number === "3",
  term: (value) => isObject(value, { cols: isInteger, rows: isInteger, type: isText }),
  timestamp: isInteger,
  title: isText,
};

// Whether all fields are in an object, and wherever one stands it is right.
function isObject(value, fields) {
  const missing = new Set(Object.keys(fields));
  for (let at = 0; at < value?.object?.length; at += 2) {
    const name = value.object[at];
    if (Object.hasOwn(fields, name) && !fields[name](value.object[at + 1])) return false;
    missing.delete(name);
  }
  return missing.size === 0;
}

function isHeader(line) {
  try {
    return isObject(asWritten(line), HEADER);
  } catch {
    return false;
  }
}

function isEvent(value) {
  return Array.isArray(value) && value.length === 3 && Number.isFinite(value[0]) && value[0] >= 0
    && isText(value[1]) && isText(value[2]);
}

// The value in a line of a recording, whose number is for what it throws.
function valueOf(line, number) {
  try {
    const bytes = bytesOf(line);
    if (bytes.length <= RECORDING_LINE_BYTES) return JSON.parse(STRICT.decode(bytes));
  } catch {
    throw new Error(`line ${number} of the recording is no JSON`);
  }
  throw new Error(`line ${number} of the recording is too long`);
}

// What a command printed, from its recording; throws what is wrong with that (SPEC §8).
function printed({ lines, torn }) {
  const parts = [];
  let shown = null;
  lines.forEach((line, row) => {
    const event = valueOf(line, row + 1);
    if (row === 0) {
      if (isHeader(STRICT.decode(bytesOf(line)))) return;
      throw new Error("the recording has no asciicast v3 header");
    }
    if (!isEvent(event)) throw new Error(`line ${row + 1} of the recording is no event`);
    const [, code, data] = event;
    if (shown !== null) {
      if (code !== "o" || data !== shown) {
        throw new Error(`line ${row + 1} of the recording shows other bytes than it holds`);
      }
      shown = null;
    } else if (code === "b") {
      let bytes;
      try {
        bytes = fromBase64(data);
      } catch {
        throw new Error(`line ${row + 1} of the recording is no base64`);
      }
      parts.push(bytes);
      shown = LOOSE.decode(bytes);
    } else if (code === "o") {
      parts.push(UTF8.encode(data));
    }
  });
  if (torn) throw new Error("the last line of the recording is incomplete");
  if (shown !== null) throw new Error("the recording ends within an event");
  return joined(parts);
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
