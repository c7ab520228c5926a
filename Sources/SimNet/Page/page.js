// The page around the diagram: facts, verdicts, filters, keys and pointers, and the place that the address remembers.
// trace.js holds what is in the run, diagram.js draws it, events.js lists it.

document.title = raw.title;
$('title').textContent = raw.title;

// MARK: Facts and verdicts

function fillFacts() {
  const failed = raw.oracles.some(o => o[2] !== null) || T.failures.length > 0;
  $('verdict').textContent = failed ? 'FAILED' : 'EVERYTHING HELD';
  $('verdict').className = failed ? 'failed' : '';
  $('extent').textContent = `${T.count.toLocaleString('en')} entries · ${T.peers} ${T.peers === 1 ? 'peer' : 'peers'} · ${span(T.end - T.begin)} of virtual time`;
  for (const [name, value] of raw.facts) {
    const box = element('div', value.length > 90 ? 'long' : '');
    box.append(element('dt', '', name), element('dd', '', value));
    if (box.className) {
      box.title = 'Show all of it';
      box.onclick = () => { if (!getSelection().toString()) { box.classList.toggle('open'); resized(); } };
    }
    if (/replay|command/i.test(name)) {
      box.classList.add('command');
      const copy = element('button', '', 'copy');
      const say = text => { copy.textContent = text; setTimeout(() => { copy.textContent = 'copy'; }, 1200); };
      copy.onclick = e => { e.stopPropagation(); navigator.clipboard?.writeText(value).then(() => say('copied'), () => say('refused')); };
      box.append(copy);
    }
    $('facts').append(box);
  }
}
function fillOracles() {
  const failed = raw.oracles.filter(o => o[2] !== null), held = raw.oracles.filter(o => o[2] === null);
  // A failure that no oracle of the list is known for is told all the same.
  for (const i of T.failures) if (!failed.some(o => o[0] === T.labelOf(i))) failed.push([T.labelOf(i), '', T.textOf(i)]);
  $('oracle-count').textContent = raw.oracles.length ? `${held.length} of ${raw.oracles.length} held` : '';
  for (const [id, statement, said] of [...failed, ...held]) {
    const box = element('button', 'oracle' + (said === null ? '' : ' failed'));
    box.append(element('i', '', said === null ? '✓' : '✗'), element('b', '', id), element('p', '', statement));
    if (said !== null) {
      box.append(element('p', 'said', said));
      const i = T.failures.find(i => T.labelOf(i) === id) ?? T.failures[0];
      if (i !== undefined) { box.append(element('p', 'go', `${moment(T.at[i])} →`)); box.onclick = () => { select(i, { move: false }); zoomTo(i); }; }
    } else { box.title = statement; box.onclick = () => box.classList.toggle('open'); }
    $('oracles').append(box);
  }
}

// MARK: Filters

function choice(into, name, count, swatch, isOn, toggle) {
  const box = element('button', 'choice');
  box.append(swatch, element('span', '', name), element('small', '', count.toLocaleString('en')));
  box.setAttribute('aria-pressed', isOn());
  // With Alt, only this one; once more, all again.
  box.onclick = e => { toggle(e.altKey); refilter(); for (const b of into.children) b.refresh?.(); };
  box.refresh = () => box.setAttribute('aria-pressed', isOn());
  into.append(box);
}
function only(flags, n, isAlone) {
  if (!isAlone) { flags[n] = flags[n] ? 0 : 1; return; }
  const others = flags.some((f, k) => f && k !== n && k !== NO_GROUP);
  for (let k = 0; k < flags.length; k++) if (flags !== filter.groups || k !== NO_GROUP) flags[k] = others ? (k === n ? 1 : 0) : 1;
}
/// A small picture of a mark.
function picture(paint) {
  const canvas = document.createElement('canvas'), ratio = 2;
  canvas.width = 16 * ratio; canvas.height = 14 * ratio;
  canvas.repaint = () => { const c = canvas.getContext('2d'); c.setTransform(ratio, 0, 0, ratio, 0, 0); c.clearRect(0, 0, 16, 14); paint(c); };
  canvas.repaint();
  pictures.push(canvas);
  return canvas;
}
const pictures = [];
const dot = (colour, radius, isHollow) => picture(c => {
  c.beginPath(); c.arc(8, 7, radius, 0, 7); c.fillStyle = c.strokeStyle = C[colour];
  if (isHollow) { c.lineWidth = 1.4; c.stroke(); } else c.fill();
});
function fillFilters() {
  const byPeer = new Int32Array(T.peers), byGroup = new Int32Array(NO_GROUP + 1), states = new Map();
  for (let i = 0; i < T.count; i++) {
    if (T.peer[i] >= 0) byPeer[T.peer[i]]++;
    byGroup[groupOf[i]]++;
    if (T.letterOf(i) === PIN) states.set(T.labelOf(i), (states.get(T.labelOf(i)) ?? 0) + 1);
  }
  for (let p = 0; p < T.peers; p++) choice($('peers'), T.names[p], byPeer[p], dot('rail', 4), () => !!filter.peers[p], alone => only(filter.peers, p, alone));
  const arrow = picture(c => {
    c.strokeStyle = c.fillStyle = C.message;
    c.beginPath(); c.moveTo(1, 2); c.lineTo(13, 11); c.stroke();
    c.beginPath(); arrowHead(c, 1, 2, 16, 13, 7); c.fill();
  });
  const signs = [arrow, dot('soft', 3), dot('soft', 3, true), picture(c => drawPin(c, 8, 7, 'pinned', 3.6)), dot('faint', 2.2)];
  for (const [g, group] of GROUPS.entries()) {
    if (!byGroup[g]) continue;
    choice($('groups'), group.name, byGroup[g], signs[g], () => !!filter.groups[g], alone => only(filter.groups, g, alone));
    if (group.id === 'pins') for (const name of [...PINS, ...[...states.keys()].filter(s => !PINS.includes(s))]) if (states.has(name)) {
      const legend = element('div', 'choice');
      legend.style.paddingLeft = '22px';
      legend.append(picture(c => drawPin(c, 8, 7, name, 3.8)), element('span', '', name), element('small', '', states.get(name).toLocaleString('en')));
      $('groups').append(legend);
    }
  }
  const names = new Map();
  for (const f of T.faults) names.set(f.name, [...(names.get(f.name) ?? []), f]);
  if (!names.size) $('faults').parentElement.hidden = true;
  for (const [name, faults] of names) {
    const box = element('button', 'choice'), swatch = element('i', 'swatch');
    swatch.style.background = `var(--${faults[0].colour})`;
    box.append(swatch, element('span', '', name), element('small', '', faults.length));
    box.title = 'To the next of them';
    let next = 0;
    box.onclick = () => {
      const f = faults[next++ % faults.length], from = X(f.from), to = f.to >= 0 ? X(f.to) : from, room = Math.max(to - from, (view.x1 - view.x0) * .05) * .6;
      glideTo(from - room, to + room);
      select(f.from, { move: false });
    };
    $('faults').append(box);
  }
}
function fillContents() {
  const words = $('cid-find').value.trim().toLowerCase(), box = $('cids');
  box.replaceChildren();
  $('cid-count').textContent = T.cids.length || '';
  if (!T.cids.length) { $('contents-section').hidden = true; return; }
  const found = [...T.cids.keys()].filter(n => !words || T.cids[n].toLowerCase().includes(words) || shortCID(n).includes(words));
  for (const n of found.slice(0, 500)) {
    const row = element('button', 'cid');
    row.append(element('span', '', shortCID(n)), element('small', '', T.byContent[n].length.toLocaleString('en')));
    row.title = T.cids[n];
    row.setAttribute('aria-pressed', n === filter.cid);
    row.onclick = () => chooseContent(n === filter.cid ? -1 : n);
    box.append(row);
  }
  if (found.length > 500) box.append(element('small', '', `… and ${found.length - 500} more: filter`));
}
/// Only what has to do with one content: the entries about it, and their causes. -1 for all.
function chooseContent(n) {
  filter.cid = n;
  refilter();
  fillContents();
  if (n < 0 || !shown.list.length) return;
  const a = X(shown.list[0]), b = X(shown.list.at(-1)), room = Math.max(1, b - a) * .04;
  if (byOrder) glideTo(...fullRange()); else glideTo(a - room, b + room);
}
/// Keeps the same entries in sight where the axis may have changed under them.
function keepingPlace(change) {
  const a = shown.list[Math.min(first, shown.list.length - 1)], b = shown.list[Math.max(0, last - 1)];
  const time = timeAt(state.cursor), wasAll = isAll(), wasByOrder = byOrder;
  change();
  state.cursor = state.selected >= 0 ? X(state.selected) : byOrder ? shownBeforeTime(time) : time;
  if (wasAll || a === undefined || !shown.list.length) setView(...fullRange());
  else if (byOrder || wasByOrder) setView(X(a) - (byOrder ? 1 : 0), X(b) + (byOrder ? 1 : 0));
}
/// Whether all of the run is in view.
const isAll = () => view.x1 - view.x0 >= (fullRange()[1] - fullRange()[0]) * .999;
function refilter() {
  look();
  keepingPlace(applyFilter);
  layOut();
  forgetRows();
  if (state.selected >= 0) { state.chain = chainOf(state.selected); state.inChain = new Set(state.chain); }
  scrollToRow(state.selected >= 0 ? shown.rank[state.selected] : shownBefore(state.cursor));
  const number = n => n.toLocaleString('en');
  $('shown-count').textContent = shown.list.length === T.count ? number(T.count) : `${number(shown.list.length)} of ${number(T.count)}`;
  noteFilter();
  rememberPlace();
  draw();
}
function noteFilter() {
  const note = $('filter-note');
  note.replaceChildren();
  const parts = [];
  if (filter.cid >= 0) parts.push(`${T.byContent[filter.cid].length} entries about ${shortCID(filter.cid)}, and their causes`);
  if (filter.find) parts.push(`“${filter.find}”`);
  if (filter.peers.includes(0) || filter.groups.includes(0)) parts.push('some are left out');
  if (!parts.length) return;
  note.append(element('span', '', parts.join(' · ')));
  if (filter.cid >= 0) {
    const timers = element('button', '', 'through timers');
    timers.title = 'Whether the causes go on behind a timer, to whatever set it';
    timers.setAttribute('aria-pressed', filter.timers);
    timers.onclick = () => { filter.timers = !filter.timers; refilter(); };
    note.append(timers);
  }
  const all = element('button', '', 'show all');
  all.onclick = clearFilters;
  note.append(all);
}
function clearFilters() {
  filter.cid = -1; filter.find = ''; filter.peers.fill(1); filter.groups.fill(1);
  $('find').value = '';
  refilter();
  fillContents();
  for (const id of ['peers', 'groups']) for (const b of $(id).children) b.refresh?.();
}
function setOrder(on) {
  if (on === byOrder) return;
  look();
  keepingPlace(() => { byOrder = on; });
  $('by-time').setAttribute('aria-pressed', !byOrder);
  $('by-order').setAttribute('aria-pressed', byOrder);
  draw();
  drawRows();
  rememberPlace();
}

// MARK: The diagram and the list follow each other

let leads = 'diagram';
/// Called when the diagram shows another stretch: the list goes there, unless it led.
function viewChanged() {
  rememberPlace();
  tip(null, null);
  state.hover = -1;
  if (leads === 'list') { drawRows(); return; }
  if (state.selected >= 0 && X(state.selected) >= view.x0 && X(state.selected) <= view.x1) { drawRows(); return; }
  if (state.cursor < view.x0 || state.cursor > view.x1) state.cursor = (view.x0 + view.x1) / 2;
  scrollToRow(shownBefore(state.cursor));
}
list.addEventListener('scroll', () => {
  if (Math.abs(list.scrollTop - expectedScroll) < 1.5) return;
  expectedScroll = -1;
  const row = shown.list[Math.min(shown.list.length - 1, Math.round(topRow() + rowsInSight() / 2))];
  drawRows();
  if (row === undefined) return;
  leads = 'list';
  state.cursor = X(row);
  const width = view.x1 - view.x0;
  if (state.cursor < view.x0 + width * .1 || state.cursor > view.x1 - width * .1) setView(state.cursor - width / 2, state.cursor + width / 2);
  draw();
  leads = 'diagram';
}, { passive: true });
$('events').addEventListener('click', e => {
  const row = e.target.closest('.row');
  if (row) select(+row.dataset.entry, { scroll: !list.contains(row) });
});
$('events').addEventListener('mouseover', e => { const row = e.target.closest('.row'); setHover(row ? +row.dataset.entry : -1); });
$('events').addEventListener('mouseleave', () => setHover(-1));
function setHover(i) { if (state.hover !== i) { state.hover = i; draw(); } }

// MARK: Pointers

function tip(at, hit) {
  const box = $('tip');
  if (!hit) { box.style.visibility = 'hidden'; return; }
  box.replaceChildren();
  const i = hit.entry;
  if (hit.crowd > 1) {
    box.append(element('b', '', `${hit.crowd} entries at ${T.names[hit.peer]}`));
    box.append(element('small', '', `${moment(hit.from)} to ${moment(hit.to)} · double-click to look closer`));
    box.append([...hit.kinds].sort((a, b) => b[1] - a[1]).slice(0, 6).map(([k, n]) => `${n} ${k}`).join(', '));
  } else {
    const head = element('b', '', `${shownWho(i)} ${shownLabel(i)}`.trim());
    let delay = '';
    if (T.isMessage[i]) delay = ` · under way for ${span(T.at[i] - T.at[T.cause[i]])}`;
    else if (hit.fault?.to >= 0) delay = ` · for ${span(T.at[hit.fault.to] - T.at[hit.fault.from])}`;
    box.append(head, element('small', '', `${(T.at[i] / 1e9).toFixed(6)} s · #${i}${delay}`), shownText(i).slice(0, 400));
    const fault = hit.fault ?? T.faults.find(f => f.from === i), names = peers => peers.map(p => T.names[p]).join(' ');
    if (fault) box.append(element('small', '', names(fault.peers) + (fault.others.length ? ' from ' + names(fault.others) : '')));
  }
  box.style.visibility = 'visible';
  const w = box.offsetWidth, h = box.offsetHeight;
  box.style.left = Math.max(4, Math.min(diagram.w - w - 4, at.x + 14)) + 'px';
  box.style.top = (at.y + 18 + h > diagram.h ? Math.max(2, at.y - h - 12) : at.y + 18) + 'px';
}
function pointerAt(e, surface) { const box = surface.canvas.getBoundingClientRect(); return { x: e.clientX - box.left, y: e.clientY - box.top }; }

let drag = null;
const main = $('diagram');
function scrub(x) {
  select(-1, { scroll: false });
  state.cursor = Math.max(fullRange()[0], Math.min(fullRange()[1], unpx(Math.max(GUTTER, Math.min(diagram.w, x)))));
  scrollToRow(shownBefore(state.cursor));
  draw();
}
main.addEventListener('pointerdown', e => {
  const at = pointerAt(e, diagram);
  main.setPointerCapture(e.pointerId);
  main.focus({ preventScroll: true });
  cancelAnimationFrame(motion);
  drag = { kind: at.y < AXIS ? 'scrub' : 'pan', x: at.x, start: at, moved: false };
  if (drag.kind === 'scrub') scrub(at.x);
});
main.addEventListener('pointermove', e => {
  const at = pointerAt(e, diagram);
  if (drag?.kind === 'scrub') { scrub(at.x); return; }
  if (drag) {
    if (Math.hypot(at.x - drag.start.x, at.y - drag.start.y) > 4) drag.moved = true;
    if (drag.moved) { tip(at, null); main.style.cursor = 'grabbing'; panBy(drag.x - at.x); drag.x = at.x; }
    return;
  }
  const found = at.x > GUTTER && at.y > AXIS ? hit(at.x, at.y) : null;
  main.style.cursor = at.y < AXIS && at.x > GUTTER ? 'ew-resize' : found ? 'pointer' : 'grab';
  setHover(found && !(found.crowd > 1) ? found.entry : -1);
  tip(at, found);
});
main.addEventListener('pointerup', e => {
  const at = pointerAt(e, diagram);
  if (drag?.kind === 'pan' && !drag.moved) {
    const found = at.x > GUTTER ? hit(at.x, at.y) : null;
    if (found) select(found.entry, { move: false }); else {
      select(-1, { scroll: false });
      if (at.x > GUTTER) { state.cursor = unpx(at.x); scrollToRow(shownBefore(state.cursor)); draw(); }
    }
  }
  drag = null;
  main.style.cursor = 'grab';
});
main.addEventListener('pointercancel', () => { drag = null; });
main.addEventListener('pointerleave', () => { if (!drag) { setHover(-1); tip(null, null); } });
main.addEventListener('dblclick', e => { const x = unpx(pointerAt(e, diagram).x), width = (view.x1 - view.x0) / 6; glideTo(x - width / 2, x + width / 2); });
$('diagram-box').addEventListener('wheel', e => {
  e.preventDefault();
  tip(null, null);
  const unit = e.deltaMode === 1 ? 16 : e.deltaMode === 2 ? 400 : 1;
  if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) panBy((Math.abs(e.deltaX) > Math.abs(e.deltaY) ? e.deltaX : e.deltaY) * unit);
  else zoomBy(Math.exp(Math.max(-200, Math.min(200, e.deltaY * unit)) * (e.ctrlKey ? .01 : .002)), unpx(Math.max(GUTTER, pointerAt(e, diagram).x)));
}, { passive: false });

const over = $('overview');
let overDrag = null;
over.addEventListener('pointerdown', e => {
  const { x } = pointerAt(e, overview), a = overPx(view.x0), b = overPx(view.x1), grip = 7;
  over.setPointerCapture(e.pointerId);
  cancelAnimationFrame(motion);
  let part = 'new';
  if (b - a > 2 * grip && Math.abs(x - a) < grip) part = 'left';
  else if (b - a > 2 * grip && Math.abs(x - b) < grip) part = 'right';
  else if (!isAll()) {
    part = 'move';
    const half = (view.x1 - view.x0) / 2, at = overUnpx(x);
    if (x < a || x > b) setView(at - half, at + half);
  }
  overDrag = { part, from: overUnpx(x), x0: view.x0, x1: view.x1 };
});
over.addEventListener('pointermove', e => {
  const at = overUnpx(pointerAt(e, overview).x);
  if (!overDrag) {
    const { x } = pointerAt(e, overview), nearest = Math.min(Math.abs(x - overPx(view.x0)), Math.abs(x - overPx(view.x1)));
    over.style.cursor = nearest < 7 ? 'ew-resize' : 'grab';
    return;
  }
  const { part, from, x0, x1 } = overDrag, [a, b] = fullRange();
  if (part === 'move') { const by = Math.max(a - x0, Math.min(b - x1, at - from)); setView(x0 + by, x1 + by); }
  if (part === 'left') setView(Math.min(at, x1 - 1), x1);
  if (part === 'right') setView(x0, Math.max(at, x0 + 1));
  if (part === 'new' && Math.abs(overPx(at) - overPx(from)) > 4) setView(Math.min(at, from), Math.max(at, from));
});
for (const name of ['pointerup', 'pointercancel']) over.addEventListener(name, () => { overDrag = null; });
over.addEventListener('wheel', e => { e.preventDefault(); zoomBy(Math.exp(e.deltaY * .002), overUnpx(pointerAt(e, overview).x)); }, { passive: false });

let edge = null;
$('edge').addEventListener('pointerdown', e => {
  e.preventDefault();
  $('edge').setPointerCapture(e.pointerId);
  edge = { x: e.clientX, width: $('events').getBoundingClientRect().width };
});
$('edge').addEventListener('pointermove', e => {
  if (!edge) return;
  const width = Math.max(220, Math.min(innerWidth * .7, edge.width + edge.x - e.clientX));
  $('page').style.setProperty('--events-width', width + 'px');
});
for (const name of ['pointerup', 'pointercancel']) $('edge').addEventListener(name, () => { edge = null; });

// MARK: Buttons and keys

const bind = (id, action) => { $(id).onclick = action; };
bind('by-time', () => setOrder(false));
bind('by-order', () => setOrder(true));
bind('zoom-in', () => zoomBy(.5));
bind('zoom-out', () => zoomBy(2));
bind('zoom-all', () => glideTo(...fullRange()));
bind('step-back', () => stepBy(-1));
bind('step-on', () => stepBy(1));
bind('step-cause', toCause);
bind('step-effect', toEffect);
bind('jump-failure', toFailure);
bind('help-open', () => $('help').showModal());
$('cid-find').oninput = fillContents;
let findTimer = 0;
$('find').oninput = () => { clearTimeout(findTimer); findTimer = setTimeout(() => { filter.find = $('find').value.trim(); refilter(); }, 120); };

const KEYS = {
  ArrowLeft: e => panBy(-(e.shiftKey ? 600 : 120)), ArrowRight: e => panBy(e.shiftKey ? 600 : 120), ArrowUp: () => stepBy(-1), ArrowDown: () => stepBy(1),
  PageUp: () => stepBy(-rowsInSight()), PageDown: () => stepBy(rowsInSight()), k: () => stepBy(-1), j: () => stepBy(1),
  '+': () => zoomBy(.6), '=': () => zoomBy(.6), '-': () => zoomBy(1 / .6), '0': () => glideTo(...fullRange()),
  c: toCause, e: toEffect, f: toFailure, t: () => setOrder(!byOrder),
  z: () => { if (state.selected >= 0) zoomTo(state.selected); }, '/': () => $('find').select(), '?': () => $('help').showModal(),
  Home: () => { if (shown.list.length) select(shown.list[0]); }, End: () => { if (shown.list.length) select(shown.list.at(-1)); },
  Escape: () => { if (state.selected >= 0) select(-1); else clearFilters(); },
};
document.addEventListener('keydown', e => {
  if ($('help').open) return;
  if (e.target.matches('input')) { if (e.key === 'Escape') { e.target.value = ''; e.target.oninput(); e.target.blur(); } return; }
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const action = KEYS[e.key];
  if (!action) return;
  e.preventDefault();
  action(e);
});

// MARK: The place in the address, so that a moment can be passed on

let rememberTimer = 0;
function rememberPlace() {
  if (still) return;
  clearTimeout(rememberTimer);
  rememberTimer = setTimeout(() => {
    const place = new URLSearchParams();
    if (state.selected >= 0) place.set('entry', state.selected);
    if (filter.cid >= 0) place.set('cid', T.cids[filter.cid]);
    if (byOrder) place.set('by', 'order');
    place.set('from', +view.x0.toFixed(byOrder ? 2 : 0));
    place.set('to', +view.x1.toFixed(byOrder ? 2 : 0));
    try { history.replaceState(null, '', '#' + place); } catch { /* Some browsers remember nothing for files. */ }
  }, 250);
}
function recallPlace() {
  const place = new URLSearchParams(location.hash.slice(1)), number = name => place.has(name) && isFinite(+place.get(name)) ? +place.get(name) : null;
  if (T.cids.includes(place.get('cid'))) chooseContent(T.cids.indexOf(place.get('cid')));
  if (place.get('by') === 'order') setOrder(true);
  const entry = number('entry');
  if (number('from') !== null && number('to') > number('from')) setView(number('from'), number('to'));
  if (entry !== null && entry >= 0 && entry < T.count) { select(Math.floor(entry), { move: false }); if (number('from') === null) zoomTo(Math.floor(entry)); }
}

function resized() { diagram.resize(); overview.resize(); hatches = {}; layOut(); drawNow(); drawRows(); }
new ResizeObserver(resized).observe($('diagram-box'));
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  readColours();
  hatches = {};
  overCache = null;
  for (const p of pictures) p.repaint();
  forgetRows();
  drawRows();
  drawDetail();
  draw();
});
addEventListener('hashchange', recallPlace);

fillFacts();
fillOracles();
fillFilters();
fillContents();
$('by-time').setAttribute('aria-pressed', true);
$('by-order').setAttribute('aria-pressed', false);
$('jump-failure').hidden = !T.failures.length;
$('step-cause').disabled = $('step-effect').disabled = true;
$('shown-count').textContent = T.count.toLocaleString('en');
layOut();
[view.x0, view.x1] = fullRange();
state.cursor = T.begin;
recallPlace();
still = false;
resized();
if (state.selected < 0) scrollToRow(shownBefore(state.cursor));
const loaded = performance.now();
