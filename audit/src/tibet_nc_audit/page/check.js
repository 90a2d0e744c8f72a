// SPDX-License-Identifier: MIT
// The check of the chain (SPEC §7) in the browser, with nothing but WebCrypto.
//
// A fault is held against one record: after it the next record's link can't be checked, since it
// is to what was lost, and roots of later checkpoints can't be either.
"use strict";

const BATCH = 256;
const FINDINGS_SHOWN = 50;
const FORMAT = 1; // of records (SPEC §6)
const ED25519 = 1; // signature type (C2SP signed-note)

// The y coordinates of points of small order: signatures by them fit any text (SPEC §3).
const WEAK_KEYS = new Set([
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]);

function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function unhex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

async function sha256(...parts) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", joined(parts)));
}

// Whether this browser has SHA-256 and Ed25519 for pages; both or one may be missing.
async function abilities() {
  if (!globalThis.crypto?.subtle) return { hashes: false, signatures: false };
  try {
    await crypto.subtle.importKey("raw", unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325" +
      "af021a68f707511a"), "Ed25519", true, ["verify"]); // RFC 8032, §7.1, test 1
    return { hashes: true, signatures: true };
  } catch {
    return { hashes: true, signatures: false };
  }
}

async function importKey(text) {
  const bytes = unhex(text);
  const unsigned = bytes.slice();
  unsigned[31] &= 0x7f;
  if (bytes.length !== 32 || WEAK_KEYS.has(hex(unsigned))) throw new Error("a key of small order");
  return crypto.subtle.importKey("raw", bytes, "Ed25519", true, ["verify"]);
}

// The roots of the full subtrees of a growing tree, largest first (RFC 6962, §2.1).
class Frontier {
  constructor(size, digests) {
    this.size = size;
    this.digests = digests;
  }

  async append(leaf) {
    let digest = leaf;
    for (let size = this.size; size % 2 === 1; size = Math.floor(size / 2)) {
      digest = await sha256([1], this.digests.pop(), digest);
    }
    this.digests.push(digest);
    this.size += 1;
  }

  async root() {
    if (!this.digests.length) return sha256();
    let root = this.digests.at(-1);
    for (const digest of this.digests.slice(0, -1).reverse()) {
      root = await sha256([1], digest, root);
    }
    return root;
  }
}

class ChainCheck {
  // `about` says where the page's part of the chain begins, and with which key.
  constructor(about, able) {
    this.able = able;
    this.start = about.start;
    this.empty = about.total === 0;
    this.files = [...about.files]; // those that aren't entered yet
    this.file = null;
    this.number = about.start;
    this.row = 0; // of the line that is checked, or whose evidence is
    this.prev = about.prev;
    this.origin = about.origin;
    this.pinned = about.pinned ? about.key : null;
    this.keyText = about.key_here;
    this.key = null;
    this.tree = about.subtrees && new Frontier(about.start, about.subtrees.map(unhex));
    this.relink = false;
    this.open = new Map();
    this.left = new Map();
    this.findings = [];
    this.bad = new Map(); // record → reason
    this.believed = new Map(); // records that follow, or are signed → their rows
    this.latest = 0; // the number of the last of those
    this.counts = { records: 0, links: 0, signatures: 0, checkpoints: 0, roots: 0, texts: 0,
      outputs: 0 };
  }

  find(record, reason, expected = "", found = "") {
    this.findings.push({ record, reason, expected: String(expected), found: String(found),
      row: this.row });
    if (!this.bad.has(record)) this.bad.set(record, reason);
  }

  // Check lines from the page's first on; `progress` is told how many are done.
  async run(lines, records, progress) {
    for (let at = 0; at < lines.length; ) {
      let end = Math.min(at + BATCH, lines.length);
      // What comes after a key record is signed by another key: it is for the next batch.
      for (let row = at; row < end; row += 1) if (records[row]?.kind === "key") end = row + 1;
      await this.useKey(records[at]);
      const batch = lines.slice(at, end).map((line, row) => this.prepare(line, records[at + row]));
      const ready = await Promise.all(batch);
      for (let row = at; row < end; row += 1) {
        this.row = row;
        this.enter(row);
        await this.take(records[row], ready[row - at]);
      }
      at = end;
      progress(at);
      await new Promise((resolve) => setTimeout(resolve));
    }
    this.row = lines.length;
    this.enter(this.row);
    this.leave();
    if (this.empty) this.find(0, "the chain is empty");
  }

  // Enter the files of the chain that begin at a row of this page (SPEC §9).
  enter(row) {
    for (; this.files[0]?.at === row; this.files.shift()) {
      this.leave();
      [this.file] = this.files;
      const { first } = this.file;
      if (first === this.number || (row === 0 && first < this.start)) continue;
      this.find(this.number, "the file that begins with this record is missing", this.number, first);
      if (first < this.number) continue;
      this.number = first;
      this.relink = true;
      this.tree = null;
    }
  }

  // Leave the file that was entered last.
  leave() {
    const { torn, no_texts, lacking } = this.file ?? {};
    if (torn) this.find(this.number, "the last line of the chain's file is incomplete");
    if (no_texts) this.findNoTexts(lacking ?? this.latest, no_texts);
  }

  // What isn't to be read among the texts is most likely the first text that isn't there.
  findNoTexts(record, lines) {
    const { row } = this;
    this.row = Math.max(row - (this.number - record), 0);
    this.find(record, `lines among the texts of this record's file that are none: ${lines}`);
    this.row = row;
  }

  async useKey(first) {
    if (!this.able.signatures || this.key) return;
    if (!this.keyText && first?.kind === "genesis") this.keyText = first.key;
    try {
      if (this.keyText) this.key = await importKey(this.keyText);
    } catch {
      this.find(this.number, "the key can't be used: it is none, or of small order");
      this.able = { ...this.able, signatures: false };
    }
  }

  async prepare(line, record) {
    const bytes = bytesOf(line);
    const [digest, leaf, signed] = await Promise.all([
      sha256(bytes),
      sha256([0], bytes),
      record ? this.signed(record) : false,
    ]);
    return { digest: hex(digest), leaf, signed };
  }

  async signed(record) {
    if (!this.key || typeof record.sig !== "string") return false;
    const { sig, ...rest } = record;
    const text = `tibet-nc/v1\nrecord\n${hex(await sha256(UTF8.encode(canonical(rest))))}`;
    return this.verify(unhex(sig), UTF8.encode(text));
  }

  async verify(signature, data) {
    return signature.length === 64 && crypto.subtle.verify("Ed25519", this.key, signature, data);
  }

  async take(record, { digest, leaf, signed }) {
    const number = this.number;
    const fault = this.fault(record, number, signed);
    this.counts.records += 1;
    if (signed || !fault) {
      this.believed.set(record, this.row);
      this.latest = record.seq;
    }
    if (fault) {
      this.find(number, ...fault);
      this.tree = null;
    } else {
      this.counts.links += 1;
      if (signed) this.counts.signatures += 1;
      await this.meaning(record, number);
      if (this.tree) await this.tree.append(leaf);
    }
    // A signed record is believed to have the number it says; what is missing before was found.
    this.relink = Boolean(fault) && !signed;
    this.number = (fault && signed ? record.seq : number) + 1;
    this.prev = digest;
  }

  // Why a line isn't the one that follows (SPEC §7, steps 1 to 4 and 6), or null.
  fault(record, number, signed) {
    if (record === null) return ["not a record in its one form"];
    if (record.seq !== number) return ["another record stands in its place", number, record.seq];
    if (!this.relink && record.prev !== this.prev) {
      return ["not linked to the record before", this.prev, record.prev];
    }
    if (this.key && !signed) return ["the executor's signature does not verify"];
    return null;
  }

  // What a record that follows says (SPEC §7, steps 5, 7 and 8).
  async meaning(record, number) {
    if (number === 0 && record.kind !== "genesis") {
      this.find(number, "the chain does not begin with a genesis record");
    }
    switch (record.kind) {
      case "genesis":
        if (number !== 0) this.find(number, "a chain begins in the middle of this one");
        else if (record.format !== FORMAT) {
          this.find(number, "a chain of another format", FORMAT, record.format);
        } else if (this.pinned && record.key !== this.pinned) {
          this.find(number, "the chain is of another key", this.pinned, record.key);
        } else this.origin = record.executor;
        break;
      case "intent":
        this.open.set(number, record.run);
        break;
      case "outcome":
      case "aborted":
        if (this.open.get(record.intent) === record.run) {
          this.open.delete(record.intent);
          if (record.leftover) this.left.set(record.intent, record.run);
        } else if (record.intent >= this.start) {
          this.find(number, "ends a command that is not open", "an open command", record.intent);
        }
        break;
      case "remainder":
        if (this.left.get(record.intent) === record.run) this.left.delete(record.intent);
        else if (record.intent >= this.start) {
          this.find(number, "ends what no command has left running", "one that did", record.intent);
        }
        break;
      case "checkpoint":
        await this.checkpoint(record, number);
        break;
      case "key":
        await this.changeKey(record, number);
        break;
    }
  }

  async changeKey({ key }, number) {
    try {
      if (this.key) this.key = await importKey(key);
      this.keyText = key;
    } catch {
      this.find(number, "the new key can't be used: it is none, or of small order");
    }
  }

  async checkpoint(record, number) {
    if (record.size !== number) {
      this.find(number, "a checkpoint over another number of records", number, record.size);
      return;
    }
    if (this.tree) {
      const root = hex(await this.tree.root());
      if (root !== record.root) {
        this.find(number, "not the Merkle root of the records before", root, record.root);
        return;
      }
      this.counts.roots += 1;
    }
    const note = splitNote(record.note);
    const text = `${this.origin}\n${record.size}\n${toBase64(unhex(record.root))}\n`;
    if (!note) this.find(number, "the checkpoint's note has not the form of one");
    else if (!note.text.startsWith(text)) { // lines after these three are extensions
      this.find(number, "the checkpoint's note says something else than its record");
    } else if (this.key && !(await this.noteSigned(note))) {
      this.find(number, "the checkpoint's signature does not verify");
    } else this.counts.checkpoints += 1;
  }

  // Whether the key has signed a note under the chain's name (C2SP signed-note).
  async noteSigned({ text, signatures }) {
    const key = unhex(this.keyText);
    const hash = await sha256(UTF8.encode(`${this.origin}\n`), [ED25519], key);
    const id = hex(hash.slice(0, 4));
    let found = false;
    for (const { name, data } of signatures) {
      if (name !== this.origin || hex(data.slice(0, 4)) !== id) continue;
      if (!(await this.verify(data.slice(4), UTF8.encode(text)))) return false;
      found = true;
    }
    return found;
  }

  // A command's text against the record that commits to it.
  text(record, { digest }) {
    if (digest === record.command) this.counts.texts += 1;
    else this.find(record.seq, "not the text that the record commits to", record.command, digest);
  }

  // What a recording holds, if it is here, against the outcome that says what was printed.
  async output(record, name, recording) {
    if (record.recorded_bytes > record.output_bytes) {
      this.find(record.seq, "says that more was recorded than printed", record.output_bytes,
        record.recorded_bytes);
      return;
    }
    if (record.recording !== name && (record.recording || record.recorded_bytes)) {
      this.find(record.seq, "names another recording", name, record.recording);
      return;
    }
    const nothing = hex(await sha256(new Uint8Array()));
    if (!record.output_bytes && record.output_sha256 !== nothing) {
      this.find(record.seq, "says that nothing was printed, with another SHA-256", nothing,
        record.output_sha256);
      return;
    }
    if (!recording) return;
    if (recording.empty && (record.recorded_bytes || !record.output_bytes)) {
      this.find(record.seq, "the recording has no asciicast v3 header");
      return;
    }
    if (recording.wrong) {
      this.find(record.seq, recording.wrong);
      return;
    }
    const { bytes } = recording;
    if (bytes.length !== record.recorded_bytes) {
      this.find(record.seq, "the recording has another length", `${record.recorded_bytes} bytes`,
        `${bytes.length} bytes`);
      return;
    }
    const found = hex(await sha256(bytes));
    if (record.recorded_bytes < record.output_bytes || found === record.output_sha256) {
      this.counts.outputs += 1;
    } else {
      this.find(record.seq, "not the output that was printed", record.output_sha256, found);
    }
  }
}
