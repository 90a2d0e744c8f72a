// SPDX-License-Identifier: MIT
// What this page holds: the lines of the chain, texts and recordings, as they are on disk.
//
// Each block is the text of an element that isn't shown: lines, each with its end; the line end
// after the tag is HTML's and never in the text. A line that HTML can't carry exactly is written as
// "base64:" and its bytes; no line of ours begins so.
"use strict";

const UTF8 = new TextEncoder();
const STRICT = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const LOOSE = new TextDecoder("utf-8", { ignoreBOM: true });

function fromBase64(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function bytesOf(line) {
  return line.startsWith("base64:") ? fromBase64(line.slice(7)) : UTF8.encode(line);
}

const linesIn = (block) => block.textContent.replace(/\n$/, "").split("\n");

// The lines of all blocks of one kind; the blocks are taken out of the page.
function takeLines(kind) {
  const lines = [];
  for (const block of document.querySelectorAll(`pre[data-of="${kind}"]`)) {
    lines.push(...linesIn(block));
    block.remove();
  }
  return lines;
}

function takeRecordings() {
  const recordings = new Map();
  for (const block of document.querySelectorAll('pre[data-of="recording"]')) {
    recordings.set(block.dataset.name, linesIn(block));
    block.remove();
  }
  return recordings;
}

// The name of the recording of which an outcome or a remainder speaks (SPEC §9).
function recordingName({ kind, intent }) {
  return `${String(intent).padStart(12, "0")}${kind === "remainder" ? ".remainder" : ""}.cast`;
}

// What a command printed, from its recording; throws what is wrong with that.
function printed(lines) {
  const parts = [];
  let shown = null;
  lines.forEach((line, row) => {
    let event;
    try {
      event = JSON.parse(line);
    } catch {
      throw new Error(`line ${row + 1} of the recording is no JSON`);
    }
    if (row === 0) {
      if (event?.version !== 3) throw new Error("the recording has no asciicast v3 header");
      return;
    }
    if (!Array.isArray(event) || event.length !== 3 || typeof event[2] !== "string") {
      throw new Error(`line ${row + 1} of the recording is no event`);
    }
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
