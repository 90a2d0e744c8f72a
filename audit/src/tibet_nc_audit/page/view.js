// SPDX-License-Identifier: MIT
// The page itself. Data reaches the document as text nodes only; the policy forbids anything else.
"use strict";

const PAGE_ENTRIES = 200;
const PREVIEW_LINES = 10;
const PREVIEW_BYTES = 1200;
const OPEN_BYTES = 32 * 1024; // shown at once where a session is read from end to end
const SHOWN_BYTES = 512 * 1024;
const BARS = 96;
const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

// Text of unknown origin: in the order in which it stands, hidden characters as escapes.
function exact(element, parts) {
  element.classList.add("exact");
  for (const [plain, hidden] of parts) {
    if (plain) element.append(plain);
    if (hidden) element.append(make("span", "hostile", hidden));
  }
  return element;
}

const safe = (tag, className, text) => exact(make(tag, className), runs(String(text)));

function button(className, label, act) {
  const element = make("button", className, label);
  element.type = "button";
  element.addEventListener("click", act);
  return element;
}

const clock = (time) => time.slice(11, 19);
const dayOf = (time) => time.slice(0, 10);

function dayName(day) {
  const date = new Date(`${day}T00:00:00Z`);
  if (Number.isNaN(date.getTime())) return day;
  return date.toLocaleDateString("en-GB", { weekday: "long", day: "numeric", month: "long",
    year: "numeric", timeZone: "UTC" });
}

// --- the head of the page -------------------------------------------------------------------------

function showHead(about, records, entries) {
  byId("host").textContent = "";
  byId("host").append(safe("span", "", about.host || "A host without a name"));
  const times = records.filter(Boolean).map((record) => record.time);
  const commands = entries.filter((entry) => entry.record?.kind === "intent").length;
  const from = times[0] ?? "", to = times.at(-1) ?? "";
  const span = dayOf(from) === dayOf(to) ? `${dayName(dayOf(from))}, ${clock(from)} to ${clock(to)}`
    : `${dayName(dayOf(from))} to ${dayName(dayOf(to))}`;
  byId("span").append(`${many(records.length, "record")}, ${many(commands, "command")}`);
  if (from) byId("span").append(" · ", safe("span", "", span), " UTC");
  byId("made").append(safe("span", "",
    `Made by tibet-nc-audit ${about.version} on ${about.made} from the chain of ${about.origin || "nobody"}`));
  for (const text of about.omitted) byId("omitted").append(safe("li", "", text));
}

function showVerdict(tone, word, sentence) {
  byId("verdict").className = tone;
  byId("word").textContent = word;
  byId("sentence").textContent = sentence;
}

function showProgress(done, all) {
  document.querySelector(".seal .arc").style.strokeDasharray =
    `${all ? (100 * done) / all : 100} 100`;
  byId("sentence").textContent = `${done.toLocaleString("en")} of ${many(all, "record")} done.`;
}

function showKey(about, check) {
  const key = about.key || check.keyText;
  if (!key) return;
  const code = make("code", "", key.match(/.{1,8}/g).join(" "));
  byId("key").append(about.pinned ? "Key, as given: " : "Key: ", code, about.pinned ? ""
    : ". It is the chain's own, which so only agrees with itself: compare it with the key that" +
      " you hold.");
}

function showCounts(check, about) {
  const { records, links, signatures, checkpoints, roots, texts, outputs } = check.counts;
  const rows = [["links", links, records], ["signatures", signatures, records],
    ["Merkle roots", roots], ["checkpoints", checkpoints], ["command texts", texts],
    ["outputs", outputs]];
  if (!check.able.signatures) rows.splice(1, 1);
  byId("counts").append(...rows.map(([what, number, of]) => make("li", "",
    make("b", "", number.toLocaleString("en")),
    of !== undefined && of !== number ? ` of ${of.toLocaleString("en")} ${what}` : ` ${what}`)));
  if (about.start > 0) byId("counts").append(make("li", "", `from record ${about.start} on`));
}

function showFindings(check) {
  for (const { record, reason, expected, found } of check.findings.slice(0, FINDINGS_SHOWN)) {
    const link = make("a", "", `Record ${record}`);
    link.href = `#r${record}`;
    const item = make("li", "", link, ": ", safe("span", "", reason));
    if (expected) {
      item.append(make("dl", "", make("dt", "", "expected"), safe("dd", "mono", expected),
        make("dt", "", "found"), safe("dd", "mono", found)));
    }
    byId("findings").append(item);
  }
  const more = check.findings.length - FINDINGS_SHOWN;
  if (more > 0) byId("findings").append(make("li", "", `and ${more} more`));
}

function showResult(check, about) {
  showCounts(check, about);
  showFindings(check);
  showKey(about, check);
  const records = many(check.counts.records, "record");
  if (check.findings.length) {
    const [first] = check.findings;
    showVerdict("bad", `Not verified: record ${first.record} is bad`,
      `${many(check.findings.length, "finding")}. The first bad record is ${first.record}:` +
      ` ${first.reason}.`);
  } else if (!check.counts.records) {
    showVerdict("half", "Nothing to check", "No record is on this page: none is of the times that" +
      " were asked for.");
  } else if (!check.able.signatures) {
    showVerdict("half", "Partly verified: no signatures", "This browser can't check Ed25519" +
      ` signatures (Chromium can from version 137 on). Hashes and links of ${records} agree,` +
      " which shows nothing about who wrote them.");
  } else if (check.counts.signatures < check.counts.records) {
    showVerdict("half", "Partly verified: no key", "Nothing here says with which key the records" +
      ` are signed: the chain's beginning is missing or damaged. Hashes and links of ${records}` +
      " agree, which shows nothing about who wrote them.");
  } else {
    const sure = about.pinned ? "with the key that was given"
      : "with the key that the chain itself names";
    showVerdict("good", "Verified in this browser", `${records} follow from one another and bear` +
      ` the executor's signature, ${sure}; every checkpoint, text and output that is here agrees.`);
  }
}

// --- activity -------------------------------------------------------------------------------------

function showActivity(entries) {
  const timed = entries.filter((entry) => entry.verdict !== "chain" && entry.time)
    .map((entry) => [Date.parse(entry.time), entry.verdict])
    .filter(([time]) => Number.isFinite(time)); // a record may name the 99th of a month
  if (timed.length < 2) return;
  const times = timed.map(([time]) => time);
  const from = times.reduce((a, b) => Math.min(a, b)), to = times.reduce((a, b) => Math.max(a, b));
  const columns = Array.from({ length: BARS }, () => new Map());
  for (const [time, verdict] of timed) {
    const column = columns[Math.min(BARS - 1, Math.floor((BARS * (time - from)) / (to - from || 1)))];
    column.set(verdict, (column.get(verdict) ?? 0) + 1);
  }
  const totals = columns.map((column) => [...column.values()].reduce((a, b) => a + b, 0));
  const highest = Math.max(...totals);
  const svg = shape("svg", { viewBox: `0 0 ${BARS * 10} 56`, preserveAspectRatio: "none" });
  svg.append(shape("line", { class: "axis", x1: 0, x2: BARS * 10, y1: 55.5, y2: 55.5 }));
  columns.forEach((column, index) => {
    let y = 55;
    for (const verdict of Object.keys(VERDICTS)) {
      const height = (50 * (column.get(verdict) ?? 0)) / highest;
      if (!height) continue;
      y -= height;
      svg.append(shape("rect", { class: `bar-${verdict}`, x: index * 10 + 1, width: 8, y, height,
        rx: Math.min(2, height / 2) }));
    }
  });
  const digits = to - from < 24 * 3600 * 1000 ? 19 : 16;
  const label = (time) => new Date(time).toISOString().slice(0, digits).replace("T", " ");
  byId("activity").append(svg, make("p", "", make("span", "", label(from)),
    make("span", "", label(to))));
}

function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// --- one entry ------------------------------------------------------------------------------------

function entryElement(entry, view) {
  const { record } = entry;
  const body = make("div", "body");
  const element = make("article", `entry ${entry.verdict}`, make("time", "", clock(entry.time)),
    body);
  element.id = `r${entry.seq}`;
  element.tabIndex = -1; // to go on from, after a link or a button that has led here
  if (record?.kind === "intent" || record?.kind === "refusal") body.append(commandLine(entry));
  const remark = remarkOf(entry);
  if (remark) body.append(safe("p", "remark", remark));
  for (const number of numbersOf(entry)) {
    const reason = view.bad.get(number);
    if (reason) body.append(safe("p", "wrong", `Record ${number}: ${reason}`));
  }
  if (entry.verdict !== "chain") body.append(facts(entry, view));
  const printed = entry.end ?? record;
  if (entry.recording) body.append(output(entry, printed, view));
  else if (printed?.recorded_bytes) body.append(make("p", "remark", absence(printed, view.gone)));
  body.append(details(entry));
  return element;
}

function commandLine(entry) {
  const line = make("div", "command");
  if (entry.text) line.append(safe("code", "", entry.text.command));
  else if (entry.record?.command) {
    line.append(make("span", "remark", entry.differs ? "[not the text that the record commits to]"
      : "[no text here]"));
  }
  line.append(make("span", "badge", ending(entry)));
  return line;
}

function ending({ verdict, end }) {
  if (verdict !== "ran" && verdict !== "failed") return VERDICTS[verdict];
  const status = end.signal !== undefined ? `signal ${end.signal}` : `exit ${end.exit ?? "unknown"}`;
  return end.reason === "exited" ? status : `${status}, ${end.reason}`;
}

function remarkOf({ record, end }) {
  switch (record?.kind) {
    case undefined: return "This line is no record.";
    case "intent": return [end?.detail, ...(end?.notes ?? [])].filter(Boolean).join("; ");
    case "refusal": return `refused by ${record.stage}${record.family ? `, ${record.family}` : ""}:` +
      ` ${record.detail}`;
    case "security": return `${record.what}: ${record.detail}`;
    case "session": return `Session ${record.session} of ${record.sender} ${record.state}:` +
      ` ${record.detail}`;
    case "checkpoint": return `Checkpoint over ${many(record.size, "record")}, root` +
      ` ${record.root.slice(0, 16)}…`;
    case "key": return `From here on the key is ${record.key}, of ${record.executor}`;
    case "remainder": return `What #${record.intent} had left running has ended: ${record.reason}`;
    case "genesis": return `The chain of ${record.executor} begins, version ${record.version}`;
    default: return `Ends command ${record.intent}, which began before this page does.`;
  }
}

function numbersOf({ seq, end }) {
  return end ? [seq, end.seq] : [seq];
}

function facts(entry, view) {
  const line = make("p", "facts");
  const link = make("a", "", `#${entry.seq}`);
  link.href = `#r${entry.seq}`;
  line.append(link);
  if (entry.operator) {
    const choose = button("", "", () => view.choose("operator", entry.operator));
    choose.append(safe("span", "", entry.operator));
    line.append(choose);
  }
  if (entry.session) {
    const choose = button("", "", () => view.choose("session", entry.session));
    choose.append("session ", safe("span", "", entry.session));
    line.append(choose);
  }
  const ran = entry.end ?? entry.record;
  if (ran?.duration_ms !== undefined) {
    line.append(make("span", "", duration(ran.duration_ms)));
    line.append(make("span", "", ran.output_bytes ? size(ran.output_bytes) : "no output"));
  }
  return line;
}

function output(entry, { output_bytes: all, recorded_bytes: kept }, view) {
  const { bytes, wrong } = entry.recording;
  if (wrong) return safe("p", "wrong", wrong);
  const block = make("div");
  const cut = previewEnd(bytes);
  const cap = wholeFrom(bytes, Math.min(bytes.length, SHOWN_BYTES));
  const show = (end) => {
    const pre = exact(make("pre", end < bytes.length ? "output short" : "output"),
      outputRuns(bytes.subarray(0, end)));
    const rest = bytes.length - end;
    pre.tabIndex = 0; // to be scrolled by keys
    pre.role = "group";
    pre.ariaLabel = `Output of #${entry.seq}`;
    block.replaceChildren(pre);
    if (end < cap) {
      block.append(button("more", `Show all ${size(bytes.length)}`, () => show(cap).focus()));
    } else if (rest) block.append(make("p", "remark", `… and ${size(rest)} more`));
    if (kept < all) {
      block.append(make("p", "remark", `Recorded were the first ${size(kept)} of ${size(all)}.`));
    }
    return pre;
  };
  show(bytes.length <= (view.session ? OPEN_BYTES : cut) ? cap : cut);
  return block;
}

// Why the output of an outcome or a remainder isn't here, as far as a later record says.
function absence({ seq, intent }, gone) {
  const by = gone.find((record) => record.seq > seq && (record.what === "erased"
    ? record.number === intent && record.detail.startsWith("text and recording ")
    : record.number >= intent));
  if (!by) return "The output isn't here.";
  return `The output was ${by.what === "erased" ? "erased" : "kept no longer"}, as record` +
    ` ${by.seq} says.`;
}

function previewEnd(bytes) {
  let lines = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    if (bytes[at] === 10) lines += 1;
    if (lines === PREVIEW_LINES || at >= PREVIEW_BYTES) return wholeFrom(bytes, at + 1);
  }
  return bytes.length;
}

// What is rarely asked for is made when it is.
function details(entry) {
  const element = make("details", "record",
    make("summary", "", entry.end ? "records" : "record"));
  element.addEventListener("toggle", () => {
    if (element.childElementCount > 1) return;
    for (const [row, line] of entry.lines.entries()) {
      const record = row ? entry.end : entry.record;
      if (record) {
        element.append(make("dl", "", ...Object.entries(record).flatMap(([name, value]) =>
          [make("dt", "", name), safe("dd", "", Array.isArray(value) ? value.join("; ") : value)])));
      } else element.append(safe("pre", "", line));
    }
  });
  return element;
}

// --- the timeline ---------------------------------------------------------------------------------

class View {
  // `gone` are the records that say that something was erased, or is kept no longer.
  constructor(entries, bad, gone) {
    this.entries = entries;
    this.gone = gone;
    this.bad = bad;
    this.off = new Set();
    this.fill("operator", entries.map((entry) => entry.operator));
    this.fill("session", entries.map((entry) => entry.session));
    for (const id of ["search", "operator", "session"]) {
      byId(id).addEventListener("input", () => this.show());
    }
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    this.buttons();
    byId("filters").hidden = false;
    addEventListener("hashchange", () => this.reach());
  }

  get session() {
    return byId("session").value;
  }

  fill(id, values) {
    for (const value of [...new Set(values)].filter(Boolean).sort()) {
      const option = make("option", "", ...runs(value).flat());
      option.value = value;
      byId(id).append(option);
    }
    byId(id).hidden = byId(id).options.length < 2;
  }

  choose(id, value) {
    byId(id).value = byId(id).value === value ? "" : value;
    this.show();
    byId("filters").scrollIntoView();
    byId(id).focus({ preventScroll: true });
  }

  buttons() {
    for (const [verdict, name] of Object.entries(VERDICTS)) {
      const number = this.entries.filter((entry) => entry.verdict === verdict).length;
      if (!number) continue;
      const toggle = button(verdict, name, () => {
        if (!this.off.delete(verdict)) this.off.add(verdict);
        toggle.setAttribute("aria-pressed", String(!this.off.has(verdict)));
        this.show();
      });
      toggle.setAttribute("aria-pressed", "true");
      toggle.append(make("small", "", number.toLocaleString("en")));
      byId("verdicts").append(toggle);
    }
  }

  wanted() {
    const text = byId("search").value.toLowerCase();
    const operator = byId("operator").value;
    return this.entries.filter((entry) => !this.off.has(entry.verdict)
      && (!operator || entry.operator === operator)
      && (!this.session || entry.session === this.session)
      && (!text || this.haystack(entry).includes(text)));
  }

  haystack(entry) {
    entry.haystack ??= [`#${entry.seq}`, entry.operator, entry.text?.command, remarkOf(entry),
      entry.recording?.bytes ? LOOSE.decode(entry.recording.bytes) : "",
    ].filter(Boolean).join("\n").toLowerCase();
    return entry.haystack;
  }

  show() {
    this.list = this.wanted();
    this.drawn = 0;
    this.day = "";
    byId("timeline").replaceChildren();
    const all = this.list.length === this.entries.length;
    byId("shown").textContent = all ? "" : `${this.list.length.toLocaleString("en")} of` +
      ` ${many(this.entries.length, "entry").replace("entrys", "entries")}`;
    if (!this.list.length) byId("timeline").append(make("p", "nothing", "Nothing fits."));
    this.draw(PAGE_ENTRIES);
  }

  draw(number) {
    byId("more")?.remove();
    const timeline = byId("timeline");
    for (const entry of this.list.slice(this.drawn, this.drawn + number)) {
      const day = dayOf(entry.time);
      if (day && day !== this.day) timeline.append(safe("h3", "day", dayName(day)));
      this.day = day || this.day;
      timeline.append(entryElement(entry, this));
    }
    this.drawn = Math.min(this.drawn + number, this.list.length);
    const rest = this.list.length - this.drawn;
    if (!rest) return;
    const more = button("", `Show ${Math.min(rest, PAGE_ENTRIES)} of ${rest.toLocaleString("en")}` +
      " more", () => {
      const next = this.list[this.drawn];
      this.draw(PAGE_ENTRIES);
      byId(`r${next.seq}`).focus({ preventScroll: true });
    });
    more.id = "more";
    timeline.append(more);
  }

  // Go to the record that the address names, drawing up to it; no filter keeps it away.
  reach() {
    const number = Number(location.hash.replace(/^#r?/, ""));
    const named = (entry) => numbersOf(entry).includes(number);
    if (!location.hash || !this.entries.some(named)) return;
    if (!this.list.some(named)) this.clear();
    const at = this.list.findIndex(named);
    if (at >= this.drawn) this.draw(at + 1 - this.drawn);
    const element = byId(`r${this.list[at].seq}`);
    element.scrollIntoView();
    element.focus({ preventScroll: true });
  }

  clear() {
    for (const id of ["search", "operator", "session"]) byId(id).value = "";
    for (const toggle of byId("verdicts").children) toggle.ariaPressed = "true";
    this.off.clear();
    this.show();
  }
}
