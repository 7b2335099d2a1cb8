// What we know of MLflow's page: where it is, which of its routes is shown, its theme, and when any of that changes.

const SCRIPT = document.getElementById('timelapse-script');
const CHECK_MS = 400; // routers change the address without an event
const RUN_ROUTE = /^\/experiments\/([^/]+)\/runs\/([^/]+)/;
const EXPERIMENT_ROUTE = /^\/experiments\/([^/]+)/;
const COMPARE_ROUTE = /^\/compare-runs\/?$/;
export const OPEN = 'predictions'; // in the query of MLflow's route: our panel is open, and what it shows (1: the usual)

/** Where our pages lie, with a slash at the end: `https://host/prefix/timelapse/`. */
export const home = new URL('timelapse/', new URL('.', location.href)).href;

/** Whether our pages may stand in a frame; not where MLflow's own setting X-Frame-Options is DENY. */
export const framesAllowed = () => SCRIPT?.dataset.frames !== 'no';

/** Which of MLflow's pages an address shows: `{kind, experimentId, runId, runIds, workspace, open, view}`. */
export function routeOf(hash = location.hash) {
  const [path, query = ''] = hash.replace(/^#/, '').split(/\?(.*)/s);
  const params = new URLSearchParams(query);
  const shown = params.get(OPEN) ?? '';
  const common = { workspace: params.get('workspace'), open: params.has(OPEN), view: shown === '1' ? '' : shown };
  const run = RUN_ROUTE.exec(path);
  if (run) return { kind: 'run', experimentId: decoded(run[1]), runId: decoded(run[2]), ...common };
  if (COMPARE_ROUTE.test(path)) return { kind: 'compare', runIds: listOf(params.get('runs')), ...common };
  const experiment = EXPERIMENT_ROUTE.exec(path);
  if (experiment) return { kind: 'experiment', experimentId: decoded(experiment[1]), ...common };
  return { kind: 'other', ...common };
}

/** The address of the present route with our panel open, showing a view (our page's fragment), or closed. */
export function withPanel(open, view = '', href = location.href) {
  const [before, hash = ''] = href.split(/#(.*)/s);
  const [path, query = ''] = hash.split(/\?(.*)/s);
  const kept = query.split('&').filter((part) => part && part.split('=')[0] !== OPEN);
  if (open) kept.push(`${OPEN}=${encodeURIComponent(view) || '1'}`);
  return `${before}#${path}${kept.length ? `?${kept.join('&')}` : ''}`;
}

/** MLflow's theme at present. */
export const theme = () => (document.body.classList.contains('dark-mode') ? 'dark' : 'light');

/** Call back at once, and whenever the page, its address, its size or its theme may have changed. */
export function observe(callback) {
  let href = '';
  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      href = location.href;
      callback();
    });
  };
  new MutationObserver(soon).observe(document.body, { childList: true, subtree: true });
  new MutationObserver(soon).observe(document.body, { attributes: true, attributeFilter: ['class'] });
  for (const name of ['popstate', 'hashchange', 'resize']) addEventListener(name, soon);
  setInterval(() => href !== location.href && soon(), CHECK_MS);
  soon();
}

/** Add a style sheet to the page, once. */
export function loadStyles(href) {
  document.head.append(Object.assign(document.createElement('link'), { rel: 'stylesheet', href }));
}

function listOf(json) {
  try {
    const found = JSON.parse(json);
    return Array.isArray(found) ? found.filter((each) => typeof each === 'string') : [];
  } catch {
    return [];
  }
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
