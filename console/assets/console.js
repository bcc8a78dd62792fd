// The page follows what happens, and sends what people confirm. No library, nothing from elsewhere; text stays text: the only markup that is
// put into the page is what this page's own server rendered and escaped.
'use strict';

const find = (selector) => document.querySelector(selector);
const token = find('meta[name="shoal-token"]')?.content;

// ---- Regions: what the server rendered anew is merged in, so that focus, selection, scrolling and open details stay.

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute('data-key') : null);

function mergeAttributes(old, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    const own = name === 'open' && old.localName === 'details';
    if (!fresh.hasAttribute(name) && !own) old.removeAttribute(name);
  }
}

function merge(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  // The age in it is ours.
  const sameMoment = old.hasAttribute('data-age') && old.getAttribute('datetime') === fresh.getAttribute('datetime');
  mergeAttributes(old, fresh);
  if (!sameMoment) mergeChildren(old, fresh);
}

function mergeChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) {
    const key = keyOf(child);
    if (key !== null) keyed.set(key, child);
  }
  let at = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    const key = keyOf(next);
    let match = null;
    if (key !== null) {
      match = keyed.get(key) ?? null;
      if (match && match.localName !== next.localName) match = null;
      // Whoever went away in between makes room, instead of the ones that stay being moved: moving takes the focus away.
      while (match && at && at !== match && keyOf(at) !== null && !has(fresh, keyOf(at))) at = removed(at);
    } else if (at && keyOf(at) === null && at.nodeName === next.nodeName) {
      match = at;
    }
    if (!match) {
      old.insertBefore(document.importNode(next, true), at);
    } else {
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      merge(match, next);
    }
  }
  while (at) at = removed(at);
}

function has(parent, key) {
  for (const child of parent.children) if (keyOf(child) === key) return true;
  return false;
}

function removed(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

function show(region, html) {
  const parsed = new DOMParser().parseFromString(`<!doctype html><div>${html}</div>`, 'text/html');
  mergeChildren(region, parsed.body.firstElementChild);
  tellAges();
}

// ---- Ages: by the server's clock.

let ahead = 0;

function age(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

function tellAges() {
  const now = Date.now() + ahead;
  for (const element of document.querySelectorAll('time[data-age]')) {
    const told = age((now - Date.parse(element.dateTime)) / 1000);
    const text = element.dataset.age === 'for' ? `for ${told}` : `${told} ago`;
    if (element.textContent !== text) element.textContent = text;
  }
}

// ---- The live stream.

const liveness = find('#liveness');
const STALE = 7000;
let heard = null;
let source = null;
let pause = 1000;

function tellLiveness() {
  if (!liveness) return;
  const silent = heard === null ? Infinity : performance.now() - heard;
  const [state, text] =
    silent < STALE ? ['live', 'live'] : heard === null ? ['waiting', 'connecting'] : ['stale', `no data for ${age(silent / 1000)}`];
  if (liveness.dataset.state !== state) liveness.dataset.state = state;
  if (liveness.textContent !== text) liveness.textContent = text;
  // Nobody shall take what is old for what is.
  document.body.dataset.stale = state === 'stale' ? 'yes' : 'no';
}

function follow() {
  source = new EventSource(`/live?page=${encodeURIComponent(document.body.dataset.live)}`);
  source.addEventListener('frame', (event) => {
    const { at, regions } = JSON.parse(event.data);
    heard = performance.now();
    pause = 1000;
    ahead = Date.parse(at) - Date.now();
    for (const [id, html] of Object.entries(regions)) {
      const region = document.getElementById(`region-${id}`);
      if (region) show(region, html);
    }
    tellLiveness();
  });
  source.addEventListener('error', () => {
    // The browser comes again by itself, except after an answer that is not a stream: too many pages, or the session has ended.
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(follow, pause);
    pause = Math.min(pause * 2, 15000);
  });
}

// ---- Changes.

const said = find('#said');
let saidUntil = null;

function say(text, failed) {
  said.textContent = text;
  said.dataset.failed = failed ? 'yes' : 'no';
  clearTimeout(saidUntil);
  saidUntil = setTimeout(() => { said.textContent = ''; }, 12000);
}

async function send(path, body) {
  const headers = { 'content-type': 'application/json', 'x-shoal-console': '1' };
  if (token) headers['x-shoal-token'] = token;
  try {
    const response = await fetch(path, { method: 'POST', headers, body: JSON.stringify(body), signal: AbortSignal.timeout(15000) });
    const answer = await response.json();
    return { ok: response.ok, text: answer.said ?? answer.problem ?? `The console answered with ${response.status}.` };
  } catch (error) {
    return { ok: false, text: `The console does not answer (${error.message}).` };
  }
}

const ACTS = {
  ready: { verb: 'Enable', text: (name) => `${name} gets requests again as soon as the balancers hear of it.` },
  drain: { verb: 'Drain', text: (name) => `${name} finishes what it has and gets nothing new.`, takes: true },
  maintenance: { verb: 'Disable', text: (name) => `${name} gets nothing at all until it is enabled again.`, takes: true },
};

// Who is left when this node is taken out.
function share(left) {
  if (left === 0) return '';
  return left === 1 ? ' One other node is usable and takes its share.' : ` ${left} other nodes are usable and take its share.`;
}

function confirmed(act, name, left) {
  const dialog = find('#confirm');
  find('#confirm-title').textContent = `${ACTS[act].verb} ${name}?`;
  find('#confirm-text').textContent = ACTS[act].text(name) + (ACTS[act].takes ? share(left) : '');
  const last = Boolean(ACTS[act].takes) && left === 0;
  find('#confirm-warning').textContent = last ? 'It is the last usable node: every client would get an error, or go to nodes that are not well.' : '';
  find('#confirm-yes').textContent = `${ACTS[act].verb} ${name}`;
  find('#confirm-reason').value = '';
  find('#confirm-strongly').hidden = !last;
  find('#confirm-name').value = '';
  dialog.dataset.name = last ? name : '';
  find('#confirm-yes').disabled = last;
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    const answer = () => (dialog.returnValue === 'yes' && isMeant() ? { reason: find('#confirm-reason').value, force: last } : null);
    dialog.addEventListener('close', () => resolve(answer()), { once: true });
  });
}

// Who takes the last node out has typed its name.
function isMeant() {
  return find('#confirm-name').value.trim() === find('#confirm').dataset.name;
}

find('#confirm-name').addEventListener('input', () => {
  find('#confirm-yes').disabled = !isMeant();
});

let busy = false;

async function operate(button) {
  const { act, name } = button.dataset;
  if (!ACTS[act] || busy) return;
  const answer = await confirmed(act, name, Number(button.dataset.left));
  if (answer === null) return;
  // The button stays enabled: a disabled one would lose the focus.
  busy = true;
  const { ok, text } = await send(`/instances/${encodeURIComponent(name)}/admin-state`, { state: act, ...answer });
  busy = false;
  say(text, !ok);
}

// In a field, Enter confirms: the first button of the form would cancel.
for (const field of ['#confirm-reason', '#confirm-name']) {
  find(field).addEventListener('keydown', (event) => {
    if (event.key === 'Enter') {
      event.preventDefault();
      if (isMeant()) find('#confirm').close('yes');
    }
  });
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-act]');
  if (button) operate(button);
});

find('#logout')?.addEventListener('click', async () => {
  const { ok, text } = await send('/logout', {});
  if (ok) location.assign('/');
  else say(text, true);
});

find('#login')?.addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector('button');
  button.disabled = true;
  const { ok, text } = await send('/login', { name: form.elements.name.value, password: form.elements.password.value });
  button.disabled = false;
  if (ok) {
    location.assign('/');
  } else {
    find('#login-problem').textContent = text;
    form.elements.password.select();
  }
});

// ---- Explain, without leaving the page.

find('#explain-form')?.addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = event.target;
  const explained = find('#explained');
  explained.setAttribute('aria-busy', 'true');
  const query = new URLSearchParams(new FormData(form));
  try {
    const response = await fetch(`/explain/answer?${query}`, { headers: { 'x-shoal-console': '1' }, signal: AbortSignal.timeout(25000) });
    const type = response.headers.get('content-type') ?? '';
    if (type.startsWith('text/html')) show(explained, await response.text());
    else explained.textContent = (await response.json()).problem;
  } catch (error) {
    explained.textContent = `The console does not answer (${error.message}).`;
  }
  explained.removeAttribute('aria-busy');
});

// ---- Light and dark.

find('#theme').addEventListener('click', () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  document.cookie = `shoal-theme=${root.dataset.theme}; Path=/; SameSite=Strict; Max-Age=31536000`;
});

tellAges();
setInterval(() => { tellAges(); tellLiveness(); }, 1000);
if (document.body.dataset.live) follow();
