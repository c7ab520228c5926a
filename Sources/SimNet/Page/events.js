// The list of entries, of which only the rows in sight exist, and the entry that is selected.

const ROW = 22, TALLEST = 8e6;
const list = $('list'), listRows = $('rows');
let expectedScroll = -1;

const totalHeight = () => Math.min(TALLEST, shown.list.length * ROW);
const rowsInSight = () => Math.max(1, Math.floor(list.clientHeight / ROW));
/// The first row in sight. Where there are more rows than a browser can make room for, the bar moves over several at once.
function topRow() {
  const room = totalHeight() - list.clientHeight, most = shown.list.length - list.clientHeight / ROW;
  return room <= 0 || most <= 0 ? 0 : list.scrollTop / room * most;
}
function scrollToRow(row, isMiddle = true) {
  $('list-space').style.height = totalHeight() + 'px';
  const room = totalHeight() - list.clientHeight, most = shown.list.length - list.clientHeight / ROW;
  if (room <= 0 || most <= 0) { drawRows(); return; }
  const top = Math.max(0, Math.min(most, isMiddle ? row - rowsInSight() / 2 : row));
  list.scrollTop = top / most * room;
  expectedScroll = list.scrollTop;
  drawRows();
}

function element(tag, name, text) {
  const e = document.createElement(tag);
  if (name) e.className = name;
  if (text !== undefined) e.textContent = text;
  return e;
}
function rowElement(i) {
  const row = element('div', 'row ' + T.letterOf(i));
  row.dataset.entry = i;
  row.append(element('time', '', stamp(T.at[i])), element('span', 'who', shownWho(i)));
  row.append(element('span', 'what', shownLabel(i)), element('span', 'words', shownText(i)));
  const colour = entryColour(i);
  if (colour) row.children[2].style.color = colour;
  return row;
}
function entryColour(i) {
  switch (T.letterOf(i)) {
    case PIN: return pinColour(T.labelOf(i));
    case UP: return C.held;
    case DOWN: return C.failed;
    case FAULT: { const f = T.faults.find(f => f.from === i); return f && C[f.colour]; }
    case HEALED: { const f = faultHealedBy(i); return f ? C[f.colour] : C.held; }
    case LOG: return T.labelOf(i) === 'error' ? C.failed : /warn/.test(T.labelOf(i)) ? C.pinning : C.faint;
    case INPUT: return T.isMessage[i] ? C.message : C.soft;
    case EFFECT: return C.soft;
  }
}

const rowPool = new Map();
function drawRows() {
  $('list-space').style.height = totalHeight() + 'px';
  const top = topRow(), from = Math.max(0, Math.floor(top) - 4), to = Math.min(shown.list.length, Math.ceil(top + list.clientHeight / ROW) + 4);
  const offset = list.scrollTop - top * ROW;
  const kept = new Set();
  for (let k = from; k < to; k++) {
    const i = shown.list[k];
    kept.add(i);
    let row = rowPool.get(i);
    if (!row) { row = rowElement(i); rowPool.set(i, row); listRows.append(row); }
    row.style.transform = `translateY(${k * ROW + offset}px)`;
    row.classList.toggle('selected', i === state.selected);
    row.classList.toggle('chain', i !== state.selected && state.inChain.has(i));
    row.classList.toggle('outside', X(i) < view.x0 || X(i) > view.x1);
    row.classList.toggle('context', filter.cid >= 0 && shown.mask[i] === 1);
  }
  for (const [i, row] of rowPool) if (!kept.has(i)) { row.remove(); rowPool.delete(i); }
}
function forgetRows() { listRows.replaceChildren(); rowPool.clear(); }

// MARK: Selection

function select(i, { scroll = true, move = true } = {}) {
  state.selected = i;
  state.chain = i < 0 ? [] : chainOf(i);
  state.inChain = new Set(state.chain);
  if (i >= 0) {
    state.cursor = X(i);
    if (move) reveal(X(i));
  }
  drawDetail();
  if (i >= 0 && scroll) scrollToRow(shown.rank[i]);
  drawRows();
  draw();
  $('step-cause').disabled = i < 0 || followed(i) < 0;
  $('step-effect').disabled = i < 0 || !T.effectsOf(i).length;
  rememberPlace();
}

const CHAIN_SHOWN = 60;
function drawDetail() {
  const box = $('detail'), i = state.selected;
  box.replaceChildren();
  box.scrollTop = 0;
  if (i < 0) return;
  const head = element('div', 'head');
  const what = element('span', '', shownLabel(i)), colour = entryColour(i);
  if (colour) what.style.color = colour;
  head.append(what, element('span', '', shownWho(i)), element('small', '', `#${i} · ${(T.at[i] / 1e9).toFixed(6)} s`));
  box.append(head, element('div', 'full', T.textOf(i)));
  for (const n of T.about(i)) {
    const about = element('button', 'about', T.cids[n]);
    about.title = 'Show only what has to do with this';
    about.onclick = () => chooseContent(n);
    box.append(about);
  }
  const fault = T.faults.find(f => f.from === i || f.to === i);
  if (fault && fault.to >= 0) {
    const other = fault.from === i ? fault.to : fault.from;
    box.append(element('h3', '', `${fault.from === i ? 'Ends' : 'Began'} after ${span(T.at[fault.to] - T.at[fault.from])}`), detailRow(other, ''));
  }
  if (state.chain.length > 1) {
    const steps = state.chain.length > 2 ? `${state.chain.length - 1} steps` : '1 step';
    box.append(element('h3', '', `Caused by · ${steps} over ${span(T.at[i] - T.at[state.chain.at(-1)])}`));
    for (const c of state.chain.slice(1, CHAIN_SHOWN)) box.append(detailRow(c, T.at[i] === T.at[c] ? 'at once' : '−' + span(T.at[i] - T.at[c])));
    if (state.chain.length > CHAIN_SHOWN) box.append(element('div', 'full', `… and ${state.chain.length - CHAIN_SHOWN} before`));
  }
  const after = T.effectsOf(i);
  if (after.length) {
    box.append(element('h3', '', `Brought about · ${after.length}`));
    for (const e of after.slice(0, 40)) box.append(detailRow(e, T.at[e] === T.at[i] ? 'at once' : '+' + span(T.at[e] - T.at[i])));
    if (after.length > 40) box.append(element('div', 'full', `… and ${after.length - 40} more`));
  }
}
function detailRow(i, when) {
  const row = rowElement(i);
  row.firstChild.textContent = when || stamp(T.at[i]);
  row.title = shownText(i);
  return row;
}

/// The next that is shown, from the selected or the cursor on.
function stepBy(by) {
  if (!shown.list.length) return;
  let k = state.selected >= 0 ? shown.rank[state.selected] + (by < 0 || shown.mask[state.selected] ? by : 0) : shownBefore(state.cursor);
  select(shown.list[Math.max(0, Math.min(shown.list.length - 1, k))]);
}
function toCause() { if (state.selected >= 0 && followed(state.selected) >= 0) select(followed(state.selected)); }
function toEffect() { const after = state.selected < 0 ? [] : T.effectsOf(state.selected); if (after.length) select(after[0]); }
function toFailure() {
  const i = T.failures[0];
  if (i === undefined) return;
  if (filter.cid >= 0 && !shown.mask[i]) chooseContent(-1);
  select(i, { move: false });
  zoomTo(i);
}
