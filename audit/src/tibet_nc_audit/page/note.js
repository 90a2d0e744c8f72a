// SPDX-License-Identifier: MIT
// Signed notes as the protocol takes them (C2SP signed-note): one form, and nothing beside it.
"use strict";

// A note's text and what is signed under which names, or null if it is no note.
function splitNote(note) {
  const end = note.lastIndexOf("\n\n");
  const rest = note.slice(end + 2);
  if (end < 0 || !rest.endsWith("\n") || /[\x00-\x09\x0b-\x1f]/.test(note)) return null;
  const signatures = rest.slice(0, -1).split("\n").map(signatureIn);
  return signatures.every(Boolean) ? { text: note.slice(0, end + 1), signatures } : null;
}

function signatureIn(line) {
  const [, name, encoded] = /^— ([^\p{White_Space}+]+) ([^ ]+)$/u.exec(line) ?? [];
  try {
    const data = fromBase64(encoded);
    return toBase64(data) === encoded ? { name, data } : null;
  } catch {
    return null;
  }
}
