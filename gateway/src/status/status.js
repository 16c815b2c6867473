// Puts a new copy of what is shown in its place now and then, so that neither the place that one
// has scrolled to nor what is unfolded is lost. Without this script the page reloads itself.
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

function inUse() {
  const at = document.activeElement;
  return at !== null && at.matches('input, select');
}

async function refresh() {
  if (busy || paused || document.hidden || inUse()) return;
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
    const main = document.getElementById('status');
    const open = [...main.querySelectorAll('details[open]')].map((details) => details.id);
    const focused = main.contains(document.activeElement) ? document.activeElement.id : '';
    main.replaceWith(document.adoptNode(next));
    for (const id of open) document.getElementById(id)?.setAttribute('open', '');
    if (focused !== '') document.getElementById(focused)?.focus({ preventScroll: true });
    document.title = fresh.title;
    stale.hidden = true;
  } catch {
    stale.hidden = false;
  } finally {
    busy = false;
  }
}

setInterval(refresh, seconds * 1000);
document.addEventListener('visibilitychange', refresh);
