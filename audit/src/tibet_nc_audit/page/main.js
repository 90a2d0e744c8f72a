// SPDX-License-Identifier: MIT
// Read what the page holds, show it, check it, say so.
"use strict";

async function main() {
  showVerdict("checking", "Checking…", "");
  const about = JSON.parse(takeLines("about")[0]);
  const lines = takeLines("chain");
  const records = lines.map(parseRecord);
  const able = await abilities();
  const { texts, strays } = await takeTexts(able, about.files);
  const recordings = new Map([...takeRecordings()].map(([name, cast]) => {
    try {
      return [name, { bytes: printed(cast), empty: !cast.lines.length }];
    } catch (error) {
      return [name, { wrong: error.message }];
    }
  }));
  const selected = takeLines("selected").map(Number);
  const only = about.selected ? new Set(selected) : null;
  const every = entriesOf(lines, records, about.start, texts, recordings);
  const entries = only ? every.filter((entry) => only.has(entry.seq)
    || ["chain", "damaged"].includes(entry.verdict)) : every;
  showHead(about, records, entries);
  showActivity(entries);

  const check = new ChainCheck(about, able);
  const gone = records.filter((record) => ["erased", "retention"].includes(record?.what));
  const view = new View(entries, check.bad, gone);
  view.show();
  if (!able.hashes) {
    showVerdict("half", "Not checked", "This browser gives no cryptography to this page: open the" +
      " file itself, or over https.");
    return;
  }
  await check.run(lines, records, (done) => showProgress(done, lines.length));
  await checkEvidence(check, about.files, texts, strays, recordings);
  check.findings.sort((a, b) => a.row - b.row);
  showResult(check, about);
  if (check.findings.length) view.show();
  view.reach();
}

// The texts of commands by their numbers, of which one may have several: a crash leaves texts that no
// record speaks of, and anybody can add some. Those in another file than their record are apart.
async function takeTexts(able, files) {
  const texts = new Map();
  const strays = [];
  for (const { first, lines } of takeBlocks("texts")) {
    for (const line of lines) {
      const text = { ...JSON.parse(line), file: Number(first) };
      const { seq, salt, command } = text;
      if (able.hashes) text.digest = hex(await sha256(unhex(salt), UTF8.encode(command)));
      if (fileOf(files, seq) !== text.file) strays.push(text);
      else if (texts.has(seq)) texts.get(seq).push(text);
      else texts.set(seq, [text]);
    }
  }
  return { texts, strays };
}

// The file of the chain in which a record belongs: the number in its name.
function fileOf(files, seq) {
  return files.findLast(({ first }) => first <= seq)?.first;
}

async function checkEvidence(check, files, texts, strays, recordings) {
  const left = new Set(recordings.keys());
  const claimed = new Set();
  const without = new Map(); // commitments whose text isn't there, and whose they are
  for (const [record, row] of check.believed) {
    check.row = row;
    const text = textOf(record, texts);
    if (text) {
      claimed.add(text);
      check.text(record, text);
    } else if (record.command) without.set(record.command, record);
    if (!["outcome", "remainder"].includes(record.kind)) continue;
    const name = recordingName(record);
    await check.output(record, name, left.delete(name) ? recordings.get(name) : null);
  }
  for (const text of [...strays, ...[...texts.values()].flat()]) {
    const record = claimed.has(text) ? undefined : without.get(text.digest);
    if (!record || fileOf(files, record.seq) !== text.file) continue;
    check.row = check.believed.get(record);
    const { seq } = record;
    check.find(seq, "this record's text stands under another number", seq, text.seq);
  }
  // After a fault in the chain, what an altered record spoke of stands alone too.
  if (check.findings.length) return;
  for (const name of left) {
    check.find(Number.parseInt(name, 10), "a recording that no record speaks of");
  }
}

main().catch((error) => {
  showVerdict("bad", "Not verified: this page can't be read", String(error));
});
