// The diagram and the overview: a line for each peer, messages across, faults as bands. Only what is in view is drawn, and
// where many entries share a pixel, how many they are.

const $ = id => document.getElementById(id);
let C = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  const names = `paper panel line ink soft faint accent rail lane message activity failed held sans
    accepted merged pinning pinned unpinned removed pin-failed pin-other
    partition fault-1 fault-2 fault-3 fault-4 fault-5 fault-6`.split(/\s+/);
  C = Object.fromEntries(names.map(n => [n, style.getPropertyValue('--' + n).trim()]));
}
readColours();

/// How the states of a pin look: colour and shape say the same. Later ones count more where there is no room for all.
const PINS = ['accepted', 'merged', 'pinning', 'pinned', 'unpinned', 'removed', 'failed'];
const pinColour = state => state === 'failed' ? C['pin-failed'] : C[PINS.includes(state) ? state : 'pin-other'];
const pinOrder = T.letter.map((l, k) => l !== PIN ? -1 : PINS.includes(T.label[k]) ? PINS.indexOf(T.label[k]) : PINS.length);

const GUTTER = 74, AXIS = 24, PHASES = 18, BOTTOM = 8;
const view = { x0: 0, x1: 1 };
const state = { selected: -1, chain: [], inChain: new Set(), hover: -1, hoverFault: null, cursor: 0 };

function fullRange() {
  if (byOrder) return [-.5, Math.max(1, shown.list.length - .5)];
  const room = Math.max(1, T.end - T.begin) * .01;
  return [T.begin - room, T.end + room];
}

class Surface {
  constructor(canvas) { this.canvas = canvas; this.c = canvas.getContext('2d'); this.resize(); }
  resize() {
    const box = this.canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1;
    this.w = Math.max(50, box.width); this.h = Math.max(20, box.height);
    this.canvas.width = Math.round(this.w * ratio); this.canvas.height = Math.round(this.h * ratio);
    this.c.setTransform(ratio, 0, 0, ratio, 0, 0);
  }
}
const diagram = new Surface($('diagram')), overview = new Surface($('overview'));

// MARK: Places

let lanes = [], laneOf = [], laneHeight = 0;
function layOut() {
  lanes = []; laneOf = new Array(T.peers).fill(-1);
  for (let p = 0; p < T.peers; p++) if (filter.peers[p]) { laneOf[p] = lanes.length; lanes.push(p); }
  laneHeight = (diagram.h - AXIS - PHASES - BOTTOM) / Math.max(1, lanes.length);
}
const laneTop = lane => AXIS + PHASES + lane * laneHeight;
/// The peer's line: where faults are named above it and what a step did hangs below.
const railOf = p => laneTop(laneOf[p]) + Math.max(14, laneHeight * .4);
const px = x => GUTTER + (x - view.x0) / (view.x1 - view.x0) * (diagram.w - GUTTER);
const unpx = p => view.x0 + (p - GUTTER) / (diagram.w - GUTTER) * (view.x1 - view.x0);
const xOf = i => px(X(i));
const DEPTH = 9;
const depthMax = () => Math.max(0, Math.floor(laneHeight * .52 / DEPTH) - 1);
function yOf(i) {
  if (T.peer[i] < 0) return AXIS + PHASES + 8;
  return railOf(T.peer[i]) + (detail && !byOrder ? Math.min(T.depth[i], depthMax()) * DEPTH : 0);
}
const isDrawn = i => T.peer[i] < 0 || laneOf[T.peer[i]] >= 0;

let first = 0, last = 0, detail = false;
const DETAIL = 2500;
/// Whether each entry in view can be told from the others.
function look() {
  first = shownBefore(view.x0);
  last = shownBefore(view.x1 + (byOrder ? 1 : 1e-6));
  detail = last - first <= DETAIL;
}

// MARK: Drawing

let queued = false;
const frameTimes = [];
function draw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => { queued = false; drawNow(); });
}
function drawNow() {
  const began = performance.now();
  look();
  const { c, w, h } = diagram;
  c.clearRect(0, 0, w, h);
  c.save();
  c.beginPath(); c.rect(GUTTER, 0, w - GUTTER, h); c.clip();
  drawLanes(c, w);
  drawFaults(c, w);
  drawRails(c, w);
  if (filter.cid >= 0) drawLives(c, w);
  drawAxisLines(c, w, h);
  const dim = state.selected >= 0 ? .35 : 1;
  c.globalAlpha = dim;
  drawMessages(c, w, dim);
  if (detail) drawEntries(c, w); else drawActivity(c, w, dim);
  c.globalAlpha = 1;
  drawSwitches(c, w);
  drawFailures(c, h);
  if (state.selected >= 0) drawChain(c);
  if (state.hover >= 0) drawRing(c, state.hover, 6, C.ink);
  drawCursor(c, h);
  drawFaultNames(c, w);
  drawAxis(c, w);
  c.restore();
  drawGutter(c, h);
  drawOverview();
  frameTimes.push(performance.now() - began);
  if (frameTimes.length > 600) frameTimes.shift();
}

function drawLanes(c, w) {
  c.fillStyle = C.lane;
  for (let l = 0; l < lanes.length; l += 2) c.fillRect(GUTTER, laneTop(l), w, laneHeight);
}

const textWidths = new Map();
function widthOf(c, text, font) {
  const key = font + text;
  if (!textWidths.has(key)) { c.font = font; textWidths.set(key, c.measureText(text).width); }
  return textWidths.get(key);
}

let hatches = {};
/// Stripes for the two sides of a partition, slanted each its own way.
function hatch(c, colour, side) {
  const key = colour + side;
  if (hatches[key]) return hatches[key];
  const tile = document.createElement('canvas'), ratio = devicePixelRatio || 1, size = Math.round(8 * ratio);
  tile.width = tile.height = size;
  const t = tile.getContext('2d');
  t.strokeStyle = colour; t.lineWidth = ratio; t.globalAlpha = .38;
  t.beginPath();
  for (const o of [-size, 0, size]) { t.moveTo(o, side ? 0 : size); t.lineTo(o + size, side ? size : 0); }
  t.stroke();
  const pattern = c.createPattern(tile, 'repeat');
  pattern.setTransform(new DOMMatrix().scale(1 / ratio));
  return hatches[key] = pattern;
}

/// Where a fault is in view, or nothing. One without an end fades out, unless it parts peers: then it lasts.
function extentOf(f, w) {
  const from = xOf(f.from), to = f.to >= 0 ? xOf(f.to) : f.others.length ? w + 10 : from + 70;
  return to < GUTTER || from > w ? null : { from, to: Math.max(to, from + 2), fades: f.to < 0 && !f.others.length };
}
function drawFaults(c, w) {
  for (const f of T.faults) {
    const e = extentOf(f, w);
    if (!e) continue;
    const colour = C[f.colour];
    for (const [side, peers] of [f.peers, f.others].entries()) for (const p of peers) {
      if (laneOf[p] < 0) continue;
      const top = laneTop(laneOf[p]), inset = Math.min(f.row * 2, 8);
      if (f.others.length) {
        c.fillStyle = hatch(c, colour, side); c.globalAlpha = 1;
        c.fillRect(e.from, top, e.to - e.from, laneHeight);
        c.fillStyle = colour; c.globalAlpha = .07;
      } else if (e.fades) {
        const g = c.createLinearGradient(e.from, 0, e.to, 0);
        g.addColorStop(0, colour); g.addColorStop(1, 'transparent');
        c.fillStyle = g; c.globalAlpha = .3;
      } else { c.fillStyle = colour; c.globalAlpha = .16; }
      c.fillRect(e.from, top + inset, e.to - e.from, laneHeight - inset);
      c.globalAlpha = 1; c.fillStyle = colour;
      c.fillRect(e.from, top + inset, e.fades ? 2 : e.to - e.from, e.fades ? laneHeight - inset : 1.5);
    }
    // A wall wherever neighbours are on different sides.
    if (f.others.length) for (let l = 0; l + 1 < lanes.length; l++) {
      const [a, b] = [lanes[l], lanes[l + 1]];
      const parted = f.peers.includes(a) && f.others.includes(b) || f.others.includes(a) && f.peers.includes(b);
      if (!parted) continue;
      c.fillStyle = colour; c.globalAlpha = .85;
      c.fillRect(e.from, laneTop(l + 1) - 2, e.to - e.from, 4);
      c.globalAlpha = 1;
    }
  }
}
let faultBoxes = [];
function drawFaultNames(c, w) {
  faultBoxes = [];
  const font = `600 10.5px ${C.sans}`;
  for (const f of T.faults) {
    const e = extentOf(f, w);
    if (!e) continue;
    const sides = f.others.length ? [['◢ ', f.peers], ['◣ ', f.others]] : [['', f.peers]];
    for (const [sign, peers] of sides) {
      let before = -2;
      for (const p of [...peers].sort((a, b) => laneOf[a] - laneOf[b])) {
        const l = laneOf[p];
        if (l < 0) continue;
        const again = l === before + 1 && f.others.length;
        before = l;
        if (again) continue;
        const text = sign + f.name, room = Math.min(e.to, w) - Math.max(e.from, GUTTER), width = widthOf(c, text, font);
        const x = Math.max(e.from, GUTTER) + 4, y = laneTop(l) + 3 + Math.min(f.row, 3) * 13;
        const roomy = e.fades || room > width + 8;
        if (roomy) {
          c.globalAlpha = .88; c.fillStyle = C.panel; c.fillRect(x - 2, y, width + 5, 12.5); c.globalAlpha = 1;
          c.font = font; c.textAlign = 'left'; c.textBaseline = 'middle'; c.fillStyle = C[f.colour];
          c.fillText(text, x, y + 6.5);
        }
        const x1 = roomy ? Math.max(x + width + 3, GUTTER) : Math.max(e.to, e.from + 5);
        faultBoxes.push({ fault: f, x0: Math.max(e.from, GUTTER) - 2, x1, y0: y - 3, y1: y + 13 });
      }
    }
  }
}

/// The spans of a peer's line, in pixels: `draw(from, to, isUp)`.
function eachSpan(p, w, draw) {
  const s = T.switches[p];
  let from = GUTTER - 1, up = s.upAtFirst;
  for (let k = 0; k < s.at.length; k++) {
    const x = xOf(s.at[k]);
    if (x > w) break;
    if (x > from) { draw(from, x, up); from = x; }
    up = s.up[k];
  }
  draw(from, w, up);
}
function drawRails(c, w) {
  for (const p of lanes) {
    const y = railOf(p);
    eachSpan(p, w, (from, to, up) => {
      if (up) { c.fillStyle = C.rail; c.fillRect(from, y - 1, to - from, 2); return; }
      c.strokeStyle = C.rail; c.globalAlpha = .6; c.lineWidth = 1; c.setLineDash([1, 5]);
      c.beginPath(); c.moveTo(from, y); c.lineTo(to, y); c.stroke();
      c.setLineDash([]); c.globalAlpha = 1;
    });
  }
}
function drawSwitches(c, w) {
  for (const p of lanes) {
    const s = T.switches[p], y = railOf(p);
    for (let k = 0; k < s.at.length; k++) {
      const x = xOf(s.at[k]);
      if (x < GUTTER - 8 || x > w + 8) continue;
      c.lineWidth = 2; c.strokeStyle = c.fillStyle = s.up[k] ? C.held : C.failed;
      c.beginPath();
      if (s.up[k]) { c.moveTo(x, y - 6); c.lineTo(x + 5.5, y + 4); c.lineTo(x - 5.5, y + 4); c.fill(); } else {
        c.moveTo(x - 4.5, y - 4.5); c.lineTo(x + 4.5, y + 4.5); c.moveTo(x + 4.5, y - 4.5); c.lineTo(x - 4.5, y + 4.5); c.stroke();
      }
    }
  }
}

/// With one content chosen: what it was at each peer, as a thick line under the peer's.
function drawLives(c, w) {
  const y = p => railOf(p) + 4, marks = lanes.map(() => []);
  for (const i of T.byContent[filter.cid]) {
    if (T.letterOf(i) === PIN && T.about(i)[0] === filter.cid && T.peer[i] >= 0 && laneOf[T.peer[i]] >= 0) marks[laneOf[T.peer[i]]].push(i);
  }
  for (const [l, list] of marks.entries()) for (const [k, i] of list.entries()) {
    const from = Math.max(GUTTER, xOf(i)), to = k + 1 < list.length ? xOf(list[k + 1]) : w;
    if (to < GUTTER || from > w || ['removed', 'unpinned'].includes(T.labelOf(i))) continue;
    c.fillStyle = pinColour(T.labelOf(i)); c.globalAlpha = .55;
    c.fillRect(from, y(lanes[l]), Math.max(1, to - from), 5);
    c.globalAlpha = 1;
  }
}

/// At most one arrow for a pair of peers within a few pixels; the more it stands for, the stronger it is.
function drawMessages(c, w, dim) {
  const bin = detail ? 1.5 : 4, bins = Math.ceil((w - GUTTER) / bin) + 2, pairs = lanes.length * lanes.length;
  const counts = new Uint16Array(bins * pairs), which = new Int32Array(bins * pairs);
  const { messages, reach } = shown, endTime = last < shown.list.length ? shown.list[last] : T.count;
  const firstEntry = first < shown.list.length ? shown.list[first] : T.count;
  let most = 1, drawn = 0;
  for (let b = 0; b < reach.length; b++) {
    const to = Math.min(messages.length, (b + 1) * REACH);
    if (messages[to - 1] < firstEntry) continue;
    if (reach[b] > endTime) { if (messages[b * REACH] > endTime && !later(b)) break; continue; }
    for (let k = b * REACH; k < to; k++) {
      const i = messages[k], from = T.cause[i];
      if (i < firstEntry || from > endTime) continue;
      const x = xOf(i), bucket = Math.max(0, Math.min(bins - 1, (x - GUTTER) / bin | 0));
      const slot = (laneOf[T.peer[from]] * lanes.length + laneOf[T.peer[i]]) * bins + bucket;
      if (x > w) { if (!counts[slot]) drawn++; counts[slot] = 1; which[slot] = i; continue; }
      if (!counts[slot]) { which[slot] = i; drawn++; } else if (T.cause[i] < T.cause[which[slot]]) which[slot] = i;
      if (counts[slot] < 65535 && ++counts[slot] > most) most = counts[slot];
    }
  }
  // Slanted ones are lines. Where pixels hold many and all look upright, they are a shade between the lines they cross.
  const lines = [], shades = new Float32Array(bins * lanes.length);
  let darkest = 0;
  for (let slot = 0; slot < counts.length; slot++) if (counts[slot]) {
    const i = which[slot];
    if (detail || Math.abs(xOf(i) - xOf(T.cause[i])) > 5) { lines.push(i); continue; }
    const l0 = laneOf[T.peer[T.cause[i]]], l1 = laneOf[T.peer[i]], bucket = slot % bins;
    for (let l = Math.min(l0, l1); l < Math.max(l0, l1); l++) darkest = Math.max(darkest, shades[l * bins + bucket] += counts[slot]);
  }
  c.strokeStyle = c.fillStyle = C.message;
  if (darkest) for (let step = 1; step <= 6; step++) {
    c.globalAlpha = step * .035 * dim;
    c.beginPath();
    for (let l = 0; l + 1 < lanes.length; l++) {
      const y = railOf(lanes[l]);
      for (let k = 0; k < bins; k++) if (Math.ceil(6 * shades[l * bins + k] / darkest) === step) c.rect(GUTTER + k * bin, y, bin, laneHeight);
    }
    c.fill();
  }
  c.globalAlpha = (detail ? .8 : .5) * Math.max(.25, Math.min(1, 700 / lines.length)) * dim;
  c.lineWidth = 1;
  c.beginPath();
  for (const i of lines) { c.moveTo(xOf(T.cause[i]), yOf(T.cause[i])); c.lineTo(xOf(i), yOf(i)); }
  c.stroke();
  if (detail && drawn < 700) {
    c.beginPath();
    for (const i of lines) arrowHead(c, xOf(T.cause[i]), yOf(T.cause[i]), xOf(i), yOf(i), 6);
    c.fill();
  }
  c.globalAlpha = dim;
  /// Whether a later block reaches back into the view: bytes that were held up for long.
  function later(b) { for (let k = b + 1; k < reach.length; k++) if (reach[k] <= endTime) return true; return false; }
}
function arrowHead(c, x0, y0, x1, y1, size) {
  const length = Math.hypot(x1 - x0, y1 - y0) || 1, ux = (x1 - x0) / length, uy = (y1 - y0) / length, tipX = x1 - ux * 3.5, tipY = y1 - uy * 3.5;
  c.moveTo(tipX, tipY);
  c.lineTo(tipX - ux * size - uy * size * .42, tipY - uy * size + ux * size * .42);
  c.lineTo(tipX - ux * size + uy * size * .42, tipY - uy * size - ux * size * .42);
}

/// Many entries: how many there are at each peer above its line, and what became of pins below.
function drawActivity(c, w, dim) {
  const bin = 2, bins = Math.ceil((w - GUTTER) / bin) + 1, counts = new Float32Array(bins * lanes.length);
  const pinBin = 4, pinBins = Math.ceil((w - GUTTER) / pinBin) + 1, kinds = PINS.length + 1, pins = new Uint16Array(pinBins * lanes.length * kinds);
  const scale = (w - GUTTER) / (view.x1 - view.x0);
  let most = 1, mostPins = 1;
  for (let k = first; k < last; k++) {
    const i = shown.list[k], l = T.peer[i] < 0 ? -1 : laneOf[T.peer[i]];
    if (l < 0) continue;
    const x = ((byOrder ? k : T.at[i]) - view.x0) * scale, slot = l * bins + (x / bin | 0);
    if (++counts[slot] > most) most = counts[slot];
    const order = pinOrder[T.kind[i]];
    if (order >= 0) { const s = (l * pinBins + (x / pinBin | 0)) * kinds; pins[s + order]++; }
  }
  for (let s = 0; s < pins.length; s += kinds) { let n = 0; for (let k = 0; k < kinds; k++) n += pins[s + k]; if (n > mostPins) mostPins = n; }
  const up = Math.max(8, laneHeight * .4 - 16), down = Math.max(8, laneHeight * .6 - 8);
  c.fillStyle = C.activity; c.globalAlpha = .75 * dim;
  c.beginPath();
  for (let l = 0; l < lanes.length; l++) {
    const y = railOf(lanes[l]);
    for (let b = 0; b < bins; b++) if (counts[l * bins + b]) {
      const size = Math.max(1, Math.sqrt(counts[l * bins + b] / most) * up);
      c.rect(GUTTER + b * bin, y - 1 - size, bin, size);
    }
  }
  c.fill();
  c.globalAlpha = dim;
  const unit = Math.min(6, down / mostPins);
  for (let order = 0; order < kinds; order++) {
    c.fillStyle = pinColour(PINS[order] ?? '');
    c.beginPath();
    for (let l = 0; l < lanes.length; l++) {
      const y = railOf(lanes[l]) + 3;
      for (let b = 0; b < pinBins; b++) {
        const s = (l * pinBins + b) * kinds, n = pins[s + order];
        if (!n) continue;
        let before = 0;
        for (let k = 0; k < order; k++) before += pins[s + k];
        c.rect(GUTTER + b * pinBin, y + before * unit, pinBin - 1, Math.max(1, n * unit - .5));
      }
    }
    c.fill();
  }
}

/// Few entries: each its mark.
function drawEntries(c, w) {
  const room = (w - GUTTER) / Math.max(1, last - first), size = Math.max(1.6, Math.min(3.2, room * .5));
  const dots = { [INPUT]: [], [EFFECT]: [], [LOG]: [] }, context = filter.cid >= 0;
  for (let k = first; k < last; k++) {
    const i = shown.list[k], l = T.letterOf(i);
    if (T.peer[i] < 0 || laneOf[T.peer[i]] < 0) continue;
    if (l === PIN) continue;
    (dots[l] ?? []).push(i);
  }
  const disc = (list, radius, fill) => {
    c.fillStyle = fill; c.beginPath();
    for (const i of list) { const x = xOf(i), y = yOf(i); c.moveTo(x + radius, y); c.arc(x, y, radius, 0, 7); }
    c.fill();
  };
  const base = c.globalAlpha;
  if (context) c.globalAlpha = base * .55;
  disc(dots[INPUT].filter(i => !context || shown.mask[i] === 1), size, C.soft);
  c.globalAlpha = base;
  disc(dots[INPUT].filter(i => !context || shown.mask[i] === 2), size + (context ? 1 : 0), context ? C.ink : C.soft);
  disc(dots[LOG], size * .75, C.faint);
  c.strokeStyle = C.soft; c.lineWidth = 1.2; c.fillStyle = C.panel; c.beginPath();
  for (const i of dots[EFFECT]) { const x = xOf(i), y = yOf(i); c.moveTo(x + size * .9, y); c.arc(x, y, size * .9, 0, 7); }
  c.fill(); c.stroke();
  for (let k = first; k < last; k++) {
    const i = shown.list[k];
    if (pinOrder[T.kind[i]] >= 0 && isDrawn(i) && T.peer[i] >= 0) drawPin(c, xOf(i), yOf(i), T.labelOf(i), Math.max(3.6, size * 1.5));
  }
}
/// A pin's state as a mark of its own colour and shape.
function drawPin(c, x, y, name, r) {
  c.fillStyle = c.strokeStyle = pinColour(name); c.lineWidth = 1.8;
  c.beginPath();
  switch (name) {
    case 'accepted': c.moveTo(x, y - r * 1.2); c.lineTo(x + r * 1.2, y); c.lineTo(x, y + r * 1.2); c.lineTo(x - r * 1.2, y); c.closePath(); c.fill(); break;
    case 'merged': c.rect(x - r * .85, y - r * .85, r * 1.7, r * 1.7); c.fill(); break;
    case 'pinning':
      c.fillStyle = C.panel; c.arc(x, y, r * .95, 0, 7); c.fill(); c.stroke();
      c.fillStyle = c.strokeStyle; c.beginPath(); c.arc(x, y, r, Math.PI / 2, Math.PI * 1.5); c.fill();
      break;
    case 'pinned': c.arc(x, y, r * 1.1, 0, 7); c.fill(); break;
    case 'unpinned': c.fillStyle = C.panel; c.arc(x, y, r * .95, 0, 7); c.fill(); c.stroke(); break;
    case 'removed': c.moveTo(x - r, y); c.lineTo(x + r, y); c.lineWidth = 3; c.stroke(); break;
    case 'failed': c.moveTo(x - r, y - r); c.lineTo(x + r, y + r); c.moveTo(x + r, y - r); c.lineTo(x - r, y + r); c.lineWidth = 2.4; c.stroke(); break;
    default: c.moveTo(x, y - r); c.lineTo(x + r, y + r * .8); c.lineTo(x - r, y + r * .8); c.fill();
  }
}

function drawFailures(c, h) {
  for (const i of T.failures) {
    const x = xOf(i);
    c.fillStyle = C.failed;
    c.globalAlpha = .13; c.fillRect(x - 5, AXIS, 10, h); c.globalAlpha = 1;
    c.fillRect(x - 1, AXIS, 2, h);
    label(c, x, AXIS + 9, T.labelOf(i) + ' fails', C.failed, C.panel);
  }
}
/// A name on a plate, kept in view.
function label(c, x, y, text, back, ink) {
  const font = `600 10.5px ${C.sans}`, width = widthOf(c, text, font) + 10, left = Math.max(GUTTER + 2, Math.min(diagram.w - width - 2, x - width / 2));
  if (x < GUTTER - 20 || x > diagram.w + 20) return;
  c.fillStyle = back; c.beginPath(); c.roundRect(left, y - 8, width, 16, 4); c.fill();
  c.font = font; c.fillStyle = ink; c.textAlign = 'left'; c.textBaseline = 'middle';
  c.fillText(text, left + 5, y + .5);
}

/// The causes of the selected entry back to where they begin, and what it brought about.
function drawChain(c) {
  const line = (list, width, colour, alpha) => {
    c.strokeStyle = c.fillStyle = colour; c.lineWidth = width; c.globalAlpha = alpha; c.lineJoin = 'round';
    c.beginPath();
    for (const [from, to] of list) { c.moveTo(xOf(from), yOf(from)); c.lineTo(xOf(to), yOf(to)); }
    c.stroke();
    c.beginPath();
    for (const [from, to] of list) if (T.isMessage[to]) arrowHead(c, xOf(from), yOf(from), xOf(to), yOf(to), 8);
    c.fill();
    c.globalAlpha = 1;
  };
  const links = [], after = [];
  for (let k = 0; k + 1 < state.chain.length; k++) if (isDrawn(state.chain[k]) && isDrawn(state.chain[k + 1])) links.push([state.chain[k + 1], state.chain[k]]);
  for (const i of T.effectsOf(state.selected)) if (shown.mask[i] && isDrawn(i)) after.push([state.selected, i]);
  line(after.slice(0, 500), 1.5, C.accent, .5);
  line(links, 5, C.accent, .18);
  line(links, 2, C.accent, 1);
  for (const i of state.chain) {
    if (!isDrawn(i) || T.peer[i] < 0) continue;
    const x = xOf(i), y = yOf(i);
    if (x < GUTTER - 9 || x > diagram.w + 9) continue;
    if (T.letterOf(i) === PIN) drawPin(c, x, y, T.labelOf(i), 5); else { c.fillStyle = C.accent; c.beginPath(); c.arc(x, y, 3.6, 0, 7); c.fill(); }
  }
  drawRing(c, state.selected, 7.5, C.accent);
}
function drawRing(c, i, radius, colour) {
  if (!isDrawn(i)) return;
  c.strokeStyle = C.panel; c.lineWidth = 4; c.beginPath(); c.arc(xOf(i), yOf(i), radius, 0, 7); c.stroke();
  c.strokeStyle = colour; c.lineWidth = 2; c.stroke();
}
function drawCursor(c, h) {
  const x = px(state.cursor);
  c.fillStyle = C.accent; c.globalAlpha = .7;
  c.fillRect(x - .5, AXIS, 1, h);
  c.globalAlpha = 1;
}

// MARK: Axis

/// A step of 1, 2 or 5 times a power of ten that gives about that many ticks.
function tickStep(range, ticks) {
  const rough = range / ticks, power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5, 10].find(m => m * power >= rough));
}
function ticks(w) {
  let step = tickStep(view.x1 - view.x0, (w - GUTTER) / 110);
  if (byOrder) step = Math.max(1, step);
  const out = [];
  for (let t = Math.ceil(view.x0 / step) * step; t <= view.x1 && out.length < 100; t += step) out.push(t);
  return { step, out };
}
function drawAxisLines(c, w, h) {
  c.fillStyle = C.line; c.globalAlpha = .8;
  for (const t of ticks(w).out) c.fillRect(Math.round(px(t)), AXIS, 1, h);
  for (const i of T.phases) { c.fillStyle = C.soft; c.globalAlpha = .55; c.fillRect(xOf(i) - .5, AXIS, 1, h); }
  c.globalAlpha = 1;
}
function drawAxis(c, w) {
  const { step, out } = ticks(w);
  c.fillStyle = C.panel; c.fillRect(GUTTER, 0, w, AXIS);
  c.fillStyle = C.line; c.fillRect(GUTTER, AXIS - 1, w, 1);
  c.font = `11px ${C.sans}`; c.textBaseline = 'middle'; c.textAlign = 'center'; c.fillStyle = C.soft;
  for (const t of out) {
    if (byOrder && (t < 0 || t >= shown.list.length)) continue;
    c.fillText(byOrder ? moment(timeAt(t)) : moment(t, step), Math.max(GUTTER + 24, Math.min(w - 24, px(t))), AXIS / 2);
  }
  let right = -Infinity;
  c.textAlign = 'left';
  for (const i of T.phases) {
    const x = xOf(i), text = T.labelOf(i), font = `600 10.5px ${C.sans}`;
    if (x < GUTTER - 400 || x > w || x < right) continue;
    c.font = font; c.fillStyle = C.soft;
    c.fillText(text, Math.max(GUTTER, x) + 4, AXIS + PHASES / 2 + .5);
    right = Math.max(GUTTER, x) + widthOf(c, text, font) + 12;
  }
  const x = px(state.cursor);
  if (x >= GUTTER - 1 && x <= w + 1) {
    const text = moment(timeAt(state.cursor), byOrder ? 1e6 : Math.min(1e6, step / 10)), width = widthOf(c, text, `600 11px ${C.sans}`) + 14;
    const left = Math.max(GUTTER, Math.min(w - width, x - width / 2));
    c.fillStyle = C.accent; c.beginPath(); c.roundRect(left, 3, width, AXIS - 6, 5); c.fill();
    c.beginPath(); c.moveTo(x - 5, AXIS - 4); c.lineTo(x + 5, AXIS - 4); c.lineTo(x, AXIS + 2); c.fill();
    c.font = `600 11px ${C.sans}`; c.fillStyle = C.panel; c.textAlign = 'left';
    c.fillText(text, left + 7, AXIS / 2 + .5);
  }
}
/// The peers' names and what they are at the cursor.
function drawGutter(c, h) {
  c.fillStyle = C.panel; c.fillRect(0, 0, GUTTER, h);
  c.fillStyle = C.line; c.fillRect(GUTTER - 1, 0, 1, h);
  const time = timeAt(state.cursor);
  for (const p of lanes) {
    const y = railOf(p), up = isUpAt(p, time);
    c.fillStyle = up ? C.held : C.failed;
    c.beginPath(); c.arc(13, y, 3.5, 0, 7); if (up) c.fill(); else { c.lineWidth = 1.5; c.strokeStyle = C.failed; c.stroke(); }
    c.font = `600 12.5px ${C.sans}`; c.textAlign = 'left'; c.textBaseline = 'middle'; c.fillStyle = up ? C.ink : C.faint;
    c.fillText(T.names[p], 22, y + .5, GUTTER - 28);
    let note = up ? '' : 'down', colour = C.faint;
    if (filter.cid >= 0) {
      let pin = -1;
      for (const i of T.byContent[filter.cid]) {
        if (T.at[i] > time) break;
        if (T.peer[i] === p && T.letterOf(i) === PIN && T.about(i)[0] === filter.cid) pin = i;
      }
      if (pin >= 0) { note = T.labelOf(pin); colour = pinColour(note); }
    }
    if (note && laneHeight > 34) { c.font = `10.5px ${C.sans}`; c.fillStyle = colour; c.fillText(note, 22, y + 14, GUTTER - 26); }
  }
}

// MARK: Overview

const OVER = { top: 8, faults: 9, bottom: 12 };
const overPx = x => { const [a, b] = fullRange(); return GUTTER + (x - a) / (b - a) * (overview.w - GUTTER - 12); };
const overUnpx = p => { const [a, b] = fullRange(); return a + (p - GUTTER) / (overview.w - GUTTER - 12) * (b - a); };
let overCache = null;
/// What does not change while one moves about, drawn once.
function overviewPicture() {
  const { w, h } = overview, key = [w, h, byOrder, devicePixelRatio, C.paper].join();
  if (overCache && overCache.key === key && overCache.list === shown.list) return overCache.canvas;
  const canvas = document.createElement('canvas'), ratio = devicePixelRatio || 1;
  canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio);
  const c = canvas.getContext('2d');
  c.scale(ratio, ratio);
  const bin = 2, bins = Math.ceil((w - GUTTER) / bin) + 1, counts = new Float32Array(bins), [a, b] = fullRange(), scale = (w - GUTTER - 12) / (b - a);
  let most = 1;
  for (let k = 0; k < shown.list.length; k++) {
    const slot = Math.max(0, Math.min(bins - 1, ((byOrder ? k : T.at[shown.list[k]]) - a) * scale / bin | 0));
    if (++counts[slot] > most) most = counts[slot];
  }
  const base = h - OVER.bottom, room = base - OVER.top - OVER.faults;
  c.fillStyle = C.activity;
  for (let s = 0; s < bins; s++) if (counts[s]) {
    const size = Math.max(1, Math.sqrt(counts[s] / most) * room);
    c.fillRect(GUTTER + s * bin, base - size, bin - .5, size);
  }
  c.fillStyle = C.line; c.fillRect(GUTTER, base, w - GUTTER - 12, 1);
  for (const f of T.faults) {
    const from = overPx(X(f.from)), to = f.to >= 0 ? overPx(X(f.to)) : f.others.length ? overPx(b) : from + 3;
    c.fillStyle = C[f.colour]; c.globalAlpha = .8;
    c.fillRect(from, OVER.top - 3 + Math.min(f.row, 2) * 4, Math.max(2, to - from), 3);
  }
  c.globalAlpha = 1;
  c.fillStyle = C.failed;
  for (const p of T.switches) for (let k = 0; k < p.at.length; k++) if (!p.up[k]) c.fillRect(overPx(X(p.at[k])) - .5, base - 5, 1.5, 5);
  c.fillStyle = C.soft;
  for (const i of T.phases) c.fillRect(overPx(X(i)) - .5, OVER.top, 1, base - OVER.top);
  c.fillStyle = C.failed;
  for (const i of T.failures) { const x = overPx(X(i)); c.fillRect(x - 1, 2, 2.5, h - OVER.bottom - 2); }
  overCache = { key, list: shown.list, canvas };
  return canvas;
}
function drawOverview() {
  const { c, w, h } = overview;
  c.clearRect(0, 0, w, h);
  c.drawImage(overviewPicture(), 0, 0, w, h);
  const from = Math.max(GUTTER - 2, overPx(view.x0)), to = Math.min(w - 10, overPx(view.x1)), height = h - OVER.bottom;
  const mid = (from + to) / 2, half = Math.max(3, (to - from) / 2);
  c.fillStyle = C.paper; c.globalAlpha = .62;
  c.fillRect(0, 0, mid - half, height + 1); c.fillRect(mid + half, 0, w, height + 1);
  c.globalAlpha = 1;
  c.strokeStyle = C.accent; c.lineWidth = 1.5; c.beginPath(); c.roundRect(mid - half, 1, half * 2, height, 4); c.stroke();
  c.fillStyle = C.accent;
  for (const x of [mid - half, mid + half]) { c.beginPath(); c.roundRect(x - 2.5, height / 2 - 8, 5, 16, 2.5); c.fill(); }
  c.globalAlpha = .8; c.fillRect(overPx(state.cursor) - .5, 1, 1, height); c.globalAlpha = 1;
  c.font = `11px ${C.sans}`; c.textAlign = 'left'; c.textBaseline = 'middle'; c.fillStyle = C.soft;
  c.fillText('whole run', 12, height / 2 - 6);
  c.fillStyle = C.faint; c.fillText(span(T.end - T.begin), 12, height / 2 + 8);
}

// MARK: What is under the pointer

function hit(x, y) {
  const failure = T.failures.find(i => Math.abs(xOf(i) - x) < 6);
  if (failure !== undefined && (!detail || y < AXIS + PHASES + 10)) return { entry: failure };
  const box = faultBoxes.find(b => x >= b.x0 && x <= b.x1 && y >= b.y0 && y <= b.y1);
  if (!detail) {
    if (box) return { entry: box.fault.from, fault: box.fault };
    return crowd(x, y);
  }
  let best = -1, distance = 110;
  for (let k = first; k < last; k++) {
    const i = shown.list[k];
    if (T.peer[i] < 0 || laneOf[T.peer[i]] < 0) continue;
    const dx = xOf(i) - x;
    if (dx > 11 || dx < -11) continue;
    const dy = yOf(i) - y, d = dx * dx + dy * dy - (T.letterOf(i) === PIN ? 6 : 0);
    if (d < distance) { distance = d; best = i; }
  }
  if (best >= 0) return { entry: best };
  if (failure !== undefined) return { entry: failure };
  if (box) return { entry: box.fault.from, fault: box.fault };
  distance = 5;
  for (const i of shown.messages) {
    const x1 = xOf(i), x0 = xOf(T.cause[i]);
    if (x1 < x - 5 || x0 > x + 5) continue;
    const y0 = yOf(T.cause[i]), y1 = yOf(i), dx = x1 - x0, dy = y1 - y0, t = ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1);
    if (t < 0 || t > 1) continue;
    const d = Math.hypot(x0 + t * dx - x, y0 + t * dy - y);
    if (d < distance) { distance = d; best = i; }
  }
  return best >= 0 ? { entry: best } : null;
}
/// Of many at once: the one nearest in time on the peer's line, and what the others are. A pin's life counts more than bytes.
function crowd(x, y) {
  const l = Math.floor((y - laneTop(0)) / laneHeight);
  if (l < 0 || l >= lanes.length) return null;
  const p = lanes[l], from = shownBefore(unpx(x - 4)), to = shownBefore(unpx(x + 4)), kinds = new Map();
  let best = -1, distance = Infinity, n = 0;
  for (let k = from; k < to; k++) {
    const i = shown.list[k];
    if (T.peer[i] !== p) continue;
    n++;
    const name = T.letterOf(i) === LOG ? 'log lines' : T.labelOf(i);
    kinds.set(name, (kinds.get(name) ?? 0) + 1);
    const d = Math.abs(xOf(i) - x) + (T.letterOf(i) === PIN ? 0 : 4);
    if (d < distance) { distance = d; best = i; }
  }
  return n ? { entry: best, crowd: n, kinds, peer: p, from: timeAt(unpx(x - 4)), to: timeAt(unpx(x + 4)) } : null;
}

// MARK: Moving about

let motion = 0;
function setView(x0, x1) {
  const [a, b] = fullRange(), full = b - a, least = byOrder ? 4 : 20;
  let width = Math.max(least, Math.min(full, x1 - x0));
  let from = Math.max(a, Math.min(b - width, x0 + (x1 - x0 - width) / 2));
  [view.x0, view.x1] = [from, from + width];
  draw();
  viewChanged();
}
/// Goes there in a moment, or at once for those who want no motion.
function glideTo(x0, x1) {
  cancelAnimationFrame(motion);
  if (matchMedia('(prefers-reduced-motion: reduce)').matches || still) return setView(x0, x1);
  const from = { ...view }, began = performance.now();
  const step = now => {
    const t = Math.min(1, (now - began) / 180), e = 1 - (1 - t) ** 3;
    setView(from.x0 + (x0 - from.x0) * e, from.x1 + (x1 - from.x1) * e);
    if (t < 1) motion = requestAnimationFrame(step);
  };
  motion = requestAnimationFrame(step);
}
let still = true;
function zoomBy(factor, at) {
  cancelAnimationFrame(motion);
  const middle = at ?? (view.x0 + view.x1) / 2;
  setView(middle - (middle - view.x0) * factor, middle + (view.x1 - middle) * factor);
}
function panBy(pixels) {
  cancelAnimationFrame(motion);
  const by = pixels / (diagram.w - GUTTER) * (view.x1 - view.x0);
  const [a, b] = fullRange(), move = Math.max(a - view.x0, Math.min(b - view.x1, by));
  setView(view.x0 + move, view.x1 + move);
}
/// Moves as little as is needed for that place to be in view, with some room around it.
function reveal(x) {
  const width = view.x1 - view.x0, room = width * .08;
  if (x >= view.x0 + room && x <= view.x1 - room) return;
  glideTo(x - width / 2, x + width / 2);
}
/// So near to an entry that it can be told from its neighbours.
function zoomTo(i) {
  const place = shown.rank[i], reach = 40, x = X(i);
  if (byOrder) return glideTo(x - reach, x + reach);
  const a = T.at[shown.list[Math.max(0, place - reach)] ?? i], b = T.at[shown.list[Math.min(shown.list.length - 1, place + reach)] ?? i];
  const half = Math.max(x - a, b - x, 1e6) * 1.1;
  glideTo(x - half, x + half);
}
