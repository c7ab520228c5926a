'use strict';
// What is in the page, in columns, and what follows from it: causes and effects, content, faults, who was up. No drawing.

const raw = JSON.parse(document.getElementById('trace').textContent);
const INPUT = 'i', EFFECT = 'e', LOG = 'l', UP = 'u', DOWN = 'd', FAULT = 'f', HEALED = 'h', PIN = 'p', FAILURE = 'x', PHASE = 's';

const T = (() => {
  const count = raw.at.length, peers = raw.peers.length;
  const at = new Float64Array(count), peer = Int32Array.from(raw.peer), cause = new Int32Array(count), kind = Int32Array.from(raw.kind);
  let time = 0;
  for (let i = 0; i < count; i++) {
    time += raw.at[i];
    at[i] = time;
    cause[i] = raw.cause[i] ? i - raw.cause[i] : -1;
    if (peer[i] >= peers) peer[i] = -1;
  }
  const letter = raw.kinds.map(k => k[0]), label = raw.kinds.map(k => k[1]);
  const isTimer = raw.kinds.map(k => k[0] === INPUT && k[1] === 'wake');

  // What entry i brought about: effects[effectStart[i] ..< effectStart[i + 1]].
  const effectStart = new Int32Array(count + 2), effects = new Int32Array(count);
  for (let i = 0; i < count; i++) if (cause[i] >= 0) effectStart[cause[i] + 2]++;
  for (let i = 2; i < count + 2; i++) effectStart[i] += effectStart[i - 1];
  for (let i = 0; i < count; i++) if (cause[i] >= 0) effects[effectStart[cause[i] + 1]++] = i;

  // A message: handed to one peer, brought about by another.
  const isMessage = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    const from = cause[i] < 0 ? -1 : peer[cause[i]];
    isMessage[i] = letter[kind[i]] === INPUT && from >= 0 && peer[i] >= 0 && from !== peer[i] ? 1 : 0;
  }

  // Entries of one peer at one moment stand below each other.
  const depth = new Uint16Array(count), lastAt = new Float64Array(peers).fill(-1), lastDepth = new Int32Array(peers);
  for (let i = 0; i < count; i++) {
    const p = peer[i];
    if (p < 0) continue;
    lastDepth[p] = lastAt[p] === at[i] ? Math.min(lastDepth[p] + 1, 60000) : 0;
    lastAt[p] = at[i];
    depth[i] = lastDepth[p];
  }

  const about = i => typeof raw.about[i] === 'number' ? (raw.about[i] ? [raw.about[i] - 1] : []) : raw.about[i].map(n => n - 1);
  const byContent = raw.cids.map(() => []);
  for (let i = 0; i < count; i++) {
    const a = raw.about[i];
    if (a === 0) continue;
    if (typeof a === 'number') byContent[a - 1].push(i); else for (const n of a) byContent[n - 1].push(i);
  }

  // Up or down: switches of each peer, and whether it was up before the first.
  const switches = Array.from({ length: peers }, () => ({ upAtFirst: true, at: [], up: [] }));
  const faults = [], phases = [], failures = [], openFaults = new Map();
  for (let i = 0; i < count; i++) {
    const k = raw.kinds[kind[i]];
    switch (k[0]) {
      case UP: case DOWN:
        if (peer[i] < 0) break;
        const s = switches[peer[i]];
        if (!s.at.length) s.upAtFirst = k[0] === DOWN;
        s.at.push(i); s.up.push(k[0] === UP);
        break;
      case FAULT: {
        const fault = { name: k[1], number: k[2], peers: k[3].filter(p => p < peers), others: k[4].filter(p => p < peers), from: i, to: -1, row: 0 };
        faults.push(fault); openFaults.set(k[2], fault);
        break;
      }
      case HEALED: if (openFaults.has(k[2])) { openFaults.get(k[2]).to = i; openFaults.delete(k[2]); } break;
      case PHASE: phases.push(i); break;
      case FAILURE: failures.push(i); break;
    }
  }
  // Faults of one peer that overlap stand below each other.
  const rows = Array.from({ length: peers }, () => []);
  for (const f of faults) {
    const end = f.to < 0 ? (f.others.length ? Infinity : at[f.from] + 1) : at[f.to], struck = [...f.peers, ...f.others];
    let row = 0;
    while (struck.some(p => (rows[p][row] ?? -Infinity) > at[f.from])) row++;
    for (const p of struck) rows[p][row] = end;
    f.row = row;
  }
  const faultNames = [...new Set(faults.filter(f => !f.others.length).map(f => f.name))];
  for (const f of faults) f.colour = f.others.length ? 'partition' : 'fault-' + (faultNames.indexOf(f.name) % 6 + 1);

  return {
    count, peers, at, peer, cause, kind, letter, label, isTimer, isMessage, depth, effects, effectStart, about, byContent, switches, faults,
    phases, failures, names: raw.peers, cids: raw.cids, oracles: raw.oracles, end: count ? at[count - 1] : 0, begin: count ? Math.min(at[0], 0) : 0,
    letterOf: i => letter[kind[i]], labelOf: i => label[kind[i]], textOf: i => raw.texts[raw.text[i]],
    effectsOf: i => effects.subarray(effectStart[i], effectStart[i + 1]),
  };
})();

/// `c7…k4f2m`, as on a terminal.
const shortCID = n => `c${n + 1}…${T.cids[n].slice(-5)}`;
/// An entry's text with its content in short.
function shownText(i) {
  let text = T.textOf(i);
  const about = T.about(i);
  for (const n of about) text = text.split(T.cids[n]).join(shortCID(n));
  if (T.letterOf(i) === PIN && about.length && !text.includes(shortCID(about[0]))) text = shortCID(about[0]) + (text ? ' ' + text : '');
  return text;
}
const faultHealedBy = i => T.faults.find(f => f.to === i);
function shownLabel(i) {
  if (T.letterOf(i) === FAILURE) return 'FAILED ' + T.labelOf(i);
  if (T.letterOf(i) === HEALED) { const f = faultHealedBy(i); return f ? f.name + ' ends' : 'healed'; }
  return T.labelOf(i);
}
function shownWho(i) {
  const name = T.peer[i] < 0 ? '' : T.names[T.peer[i]];
  return T.isMessage[i] ? `${T.names[T.peer[T.cause[i]]]}→${name}` : name;
}

const UNITS = [[1e9, 's', 3], [1e6, 'ms', 3], [1e3, 'µs', 3], [1, 'ns', 0]];
/// A moment, in seconds, as exact as what is looked at needs.
function moment(ns, step = 1e6) {
  const digits = Math.max(0, Math.min(9, Math.ceil(9 - Math.log10(Math.max(1, step)))));
  return (ns / 1e9).toFixed(digits) + ' s';
}
const stamp = ns => (ns / 1e9).toFixed(3);
function span(ns) {
  for (const [size, name] of UNITS) if (Math.abs(ns) >= size) return +(ns / size).toPrecision(3) + ' ' + name;
  return '0 s';
}

// MARK: What is shown

/// Groups of entries that can be left out. What is in none always stays.
const GROUPS = [
  { id: 'messages', name: 'messages', has: i => T.isMessage[i] },
  { id: 'steps', name: 'timers, disk, IPFS, clients', has: i => T.letterOf(i) === INPUT && !T.isMessage[i] },
  { id: 'effects', name: 'replies and calls', has: i => T.letterOf(i) === EFFECT },
  { id: 'pins', name: 'lives of pins', has: i => T.letterOf(i) === PIN },
  { id: 'logs', name: 'log lines', has: i => T.letterOf(i) === LOG },
];
const NO_GROUP = GROUPS.length;
const groupOf = (() => {
  const out = new Uint8Array(T.count);
  for (let i = 0; i < T.count; i++) { const g = GROUPS.findIndex(g => g.has(i)); out[i] = g < 0 ? NO_GROUP : g; }
  return out;
})();

const filter = { cid: -1, timers: true, peers: new Uint8Array(T.peers).fill(1), groups: new Uint8Array(GROUPS.length + 1).fill(1), find: '' };

/// What the filters leave: `mask` (0 left out, 1 there as a cause, 2 asked for), `list` in order, `rank` = how many are before.
const shown = { mask: new Uint8Array(T.count), list: new Int32Array(0), rank: new Int32Array(T.count + 1), messages: new Int32Array(0), reach: null };
const REACH = 128;

const followed = i => !filter.timers && T.isTimer[T.kind[i]] ? -1 : T.cause[i];
/// An entry, what brought it about, and so on.
function chainOf(i) {
  const chain = [];
  for (let c = i; c >= 0; c = followed(c)) chain.push(c);
  return chain;
}

function applyFilter() {
  const mask = shown.mask;
  if (filter.cid < 0) mask.fill(2); else {
    mask.fill(0);
    for (const i of T.byContent[filter.cid]) mask[i] = 2;
    for (let i = T.count - 1; i >= 0; i--) if (mask[i]) { const c = followed(i); if (c >= 0 && !mask[c]) mask[c] = 1; }
  }
  const words = filter.find.toLowerCase();
  const texts = words ? raw.texts.map(t => t.toLowerCase().includes(words)) : null;
  const labels = words ? T.label.map(l => l.toLowerCase().includes(words)) : null;
  for (let i = 0; i < T.count; i++) {
    if (!mask[i]) continue;
    if (T.peer[i] >= 0 && !filter.peers[T.peer[i]] || !filter.groups[groupOf[i]]) mask[i] = 0;
    else if (words && !texts[raw.text[i]] && !labels[T.kind[i]] && !T.about(i).some(n => T.cids[n].toLowerCase().includes(words))) mask[i] = 0;
  }
  let n = 0, m = 0;
  for (let i = 0; i < T.count; i++) { shown.rank[i] = n; if (mask[i]) { n++; if (T.isMessage[i]) m++; } }
  shown.rank[T.count] = n;
  shown.list = new Int32Array(n);
  shown.messages = new Int32Array(m);
  n = m = 0;
  for (let i = 0; i < T.count; i++) if (mask[i]) {
    shown.list[n++] = i;
    if (T.isMessage[i] && filter.peers[T.peer[T.cause[i]]]) shown.messages[m++] = i;
  }
  shown.messages = shown.messages.subarray(0, m);
  // The earliest sending within each block of messages, so that those under way in a view are found without asking all.
  shown.reach = new Int32Array(Math.ceil(m / REACH)).fill(T.count);
  for (let k = 0; k < m; k++) { const b = k / REACH | 0; shown.reach[b] = Math.min(shown.reach[b], T.cause[shown.messages[k]]); }
}
applyFilter();

/// Where an entry stands on the axis: its time, or how many of those shown are before it.
let byOrder = false;
const X = i => byOrder ? shown.rank[i] : T.at[i];
/// How many of those shown stand before that place on the axis.
const shownBefore = x => byOrder ? Math.max(0, Math.min(shown.list.length, Math.ceil(x))) : shownBeforeTime(x);
function shownBeforeTime(time) {
  let low = 0, high = shown.list.length;
  while (low < high) { const mid = (low + high) >> 1; if (T.at[shown.list[mid]] < time) low = mid + 1; else high = mid; }
  return low;
}
/// The time that belongs to a place on the axis.
function timeAt(x) {
  if (!byOrder) return x;
  if (!shown.list.length) return 0;
  return T.at[shown.list[Math.max(0, Math.min(shown.list.length - 1, Math.floor(x)))]];
}
function isUpAt(p, time) {
  const s = T.switches[p];
  let up = s.upAtFirst;
  for (let k = 0; k < s.at.length && T.at[s.at[k]] <= time; k++) up = s.up[k];
  return up;
}
