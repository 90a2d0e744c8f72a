// SPDX-License-Identifier: MIT
// Read what the page holds, show it, check it, say so.
"use strict";

async function main() {
  showVerdict("checking", "Checking…", "");
  const about = JSON.parse(takeLines("about")[0]);
  const lines = takeLines("chain");
  const records = lines.map(parseRecord);
  const texts = new Map(takeLines("texts").map((line) => JSON.parse(line))
    .map((payload) => [payload.seq, payload]));
  const recordings = new Map([...takeRecordings()].map(([name, cast]) => {
    try {
      return [name, { bytes: printed(cast) }];
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

  const able = await abilities();
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
  await checkEvidence(check, records, texts, recordings);
  check.findings.sort((a, b) => a.record - b.record);
  showResult(check, about);
  if (check.findings.length) view.show();
  view.reach();
}

async function checkEvidence(check, records, texts, recordings) {
  const left = new Set(recordings.keys());
  const unclaimed = new Set(texts.keys());
  for (const record of records) {
    if (record?.command && unclaimed.delete(record.seq)) {
      await check.text(record, texts.get(record.seq));
    }
    const name = ["outcome", "remainder"].includes(record?.kind) && recordingName(record);
    if (left.delete(name)) await check.output(record, recordings.get(name));
  }
  // After a fault in the chain, what an altered record spoke of stands alone too.
  if (check.findings.length) return;
  for (const number of unclaimed) check.find(number, "a text that no record speaks of");
  for (const name of left) {
    check.find(Number.parseInt(name, 10), "a recording that no record speaks of");
  }
}

main().catch((error) => {
  showVerdict("bad", "Not verified: this page can't be read", String(error));
});
