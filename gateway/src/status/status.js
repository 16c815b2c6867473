// Puts a new copy of what is shown in its place now and then, so that neither the place that one
// has scrolled to, nor what is unfolded, marked or half typed is lost. Without this script the page
// reloads itself.
'use strict';

const seconds = Number(document.getElementById('status').dataset.refresh);
const stale = document.getElementById('stale');
const pause = document.getElementById('pause');
let busy = false;
let paused = false;

// Who reads slowly, or has it read to him, may stop it.
pause.hidden = false;
pause.addEventListener('click', () => {
  paused = !paused;
  pause.setAttribute('aria-pressed', String(paused));
  if (!paused) refresh();
});

// Nobody types or presses anything meanwhile.
document.addEventListener('submit', () => { busy = true; });
// And who comes back by the browser's button finds it as it was left.
addEventListener('pageshow', () => { busy = false; });

function focus(id) {
  const at = document.getElementById(id);
  // A row takes it for as long as it has it.
  if (at?.matches('tr')) at.tabIndex = -1;
  at?.focus({ preventScroll: true });
}

// After a button one is at its row again, with the keyboard too. A reload is to lead nowhere.
if (location.hash.startsWith('#project-')) {
  focus(location.hash.slice(1));
  // The browser would, but not once the address has no place any more.
  document.getElementById(location.hash.slice(1))?.scrollIntoView({ block: 'center' });
  history.replaceState(null, '', location.pathname + location.search);
}

// Whoever marks something wants to copy it.
function isMarked() {
  const marked = getSelection();
  return !marked.isCollapsed && marked.containsNode(document.getElementById('status'), true);
}

// The form that finds projects, if somebody is at it.
function form() {
  const form = document.getElementById('find');
  const field = form?.elements.q;
  return form?.contains(document.activeElement) || field && field.value !== field.defaultValue ? form : null;
}

// Puts `next` in the place of `old`, around what is kept of it: an element that leaves the page for
// a moment loses the focus.
function put(next, old, kept) {
  const place = kept && next.querySelector(`#${kept.id}`);
  if (!place || !old.contains(kept)) {
    old.replaceWith(document.adoptNode(next));
    return;
  }
  const [way, oldWay] = [[...next.children].find((child) => child.contains(place)), [...old.children].find((child) => child.contains(kept))];
  for (const node of [...old.childNodes]) if (node !== oldWay) node.remove();
  const nodes = [...next.childNodes];
  const at = nodes.indexOf(way);
  oldWay.before(...nodes.slice(0, at));
  oldWay.after(...nodes.slice(at + 1));
  if (oldWay !== kept) put(way, oldWay, kept);
}

async function refresh() {
  if (busy || paused || document.hidden || isMarked()) return;
  busy = true;
  try {
    const answer = await fetch(location.href, { headers: { 'X-Refresh': '1' }, signal: AbortSignal.timeout(20000) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html');
    const next = fresh.getElementById('status');
    if (next === null) {
      // The session has ended.
      location.reload();
      return;
    }
    stale.hidden = true;
    // It was marked while the answer came.
    if (isMarked()) return;
    const main = document.getElementById('status');
    const open = [...main.querySelectorAll('details[open]')].map((details) => details.id);
    const aside = [...main.querySelectorAll('.sheet[id]')].map((sheet) => [sheet.id, sheet.scrollLeft]);
    const focused = main.contains(document.activeElement) ? document.activeElement.id : '';
    put(next, main, form());
    for (const id of open) document.getElementById(id)?.setAttribute('open', '');
    for (const [id, left] of aside) document.getElementById(id)?.scrollTo({ left, behavior: 'instant' });
    if (focused !== '' && document.activeElement?.id !== focused) focus(focused);
    document.title = fresh.title;
    // It was seen; what went wrong stays until the next page.
    document.querySelector('#notice.good')?.remove();
  } catch {
    stale.hidden = false;
  } finally {
    busy = false;
  }
}

setInterval(refresh, seconds * 1000);
document.addEventListener('visibilitychange', refresh);
