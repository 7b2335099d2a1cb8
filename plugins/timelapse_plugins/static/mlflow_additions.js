// The nodes that we add to MLflow's page, for the route that it shows: made when missing, taken away when out of place.

import { routeOf, withPanel } from './mlflow_page.js';
import { PANEL_ID } from './mlflow_panel.js';

const TABS = '[data-component-id="mlflow.run-page.view-mode-switch"]';
const HEADING = 'main h1, main h2';
const PATIENCE_MS = 8000; // how long MLflow may take to draw the places that we know
const UNFINISHED = ['RUNNING', 'SCHEDULED'];
const LABELS = { run: 'Predictions', compare: 'Compare predictions', experiment: 'Predictions' };

/** Keeps our additions in step with MLflow's page; without a panel (frames are forbidden) all are plain links. */
export class Additions {
  #home;
  #panel;
  #known = new Map(); // run address -> whether it has predictions
  #route = '';
  #since = 0;
  #retry = 0;
  #heard = new WeakSet(); // rows of tabs whose clicks we hear

  constructor(home, panel) {
    this.#home = home;
    this.#panel = panel;
  }

  /** Bring everything in line with what MLflow shows now. */
  refresh() {
    const route = routeOf();
    const key = `${route.kind} ${route.runId ?? ''} ${route.experimentId ?? ''}`;
    if (key !== this.#route) {
      this.#route = key;
      this.#since = Date.now();
    }
    const done = this.#runPage(route) | this.#comparePage(route) | this.#sidebar(route);
    this.#corner(route, Boolean(done));
  }

  #runPage(route) {
    const tabs = route.kind === 'run' && this.#hasPredictions(route) ? document.querySelector(TABS) : null;
    const place = tabs && { parent: tabs, ...this.#pageOf(route) };
    const tab = put('timelapse-tab', place, () => this.#makeTab(tabs));
    if (!this.#panel) return Boolean(tab);
    const open = Boolean(tab) && route.open;
    document.body.classList.toggle('timelapse-open', open);
    if (tab) {
      setAttribute(tab, 'aria-selected', String(open));
      setAttribute(tab, 'data-state', open ? 'active' : 'inactive');
      this.#leaveWithOtherTabs(tabs, tab);
    }
    if (open) this.#panel.show(place.href, route.view, tabs, tab);
    else this.#panel.hide();
    return Boolean(tab);
  }

  #comparePage(route) {
    const heading = route.kind === 'compare' && route.runIds.length > 1 ? document.querySelector(HEADING) : null;
    const place = heading && { parent: heading.parentElement, ...this.#pageOf(route) };
    return Boolean(put('timelapse-compare', place, () => makeLink('timelapse-compare')));
  }

  #sidebar(route) {
    const links = route.experimentId ? [...document.querySelectorAll('aside nav a[href*="#/experiments/"]')] : [];
    const last = links.filter((link) => link.hash.startsWith(`#/experiments/${route.experimentId}/`)).at(-1);
    const after = last?.closest('li');
    const place = after && { after, ...this.#pageOf({ ...route, kind: 'experiment' }) };
    put('timelapse-entry', place, () => makeEntry(last));
    return route.kind === 'experiment' && Boolean(after);
  }

  /** The link of last resort, where the page has none of the places that we know. */
  #corner(route, done) {
    const wanted = !done && route.kind in LABELS && this.#hasPredictions(route) && (route.runIds?.length ?? 2) > 1;
    const late = Date.now() - this.#since >= PATIENCE_MS;
    const place = wanted && late ? { parent: document.body, ...this.#pageOf(route) } : null;
    put('timelapse-corner', place, () => makeLink('timelapse-corner'));
    clearTimeout(this.#retry);
    if (wanted && !late) this.#retry = setTimeout(() => this.refresh(), PATIENCE_MS);
  }

  /** The address and the label of our page for a route of MLflow's. */
  #pageOf(route) {
    const pages = {
      run: () => `runs/${encodeURIComponent(route.runId)}`,
      compare: () => `compare?${route.runIds.map((id) => `run=${encodeURIComponent(id)}`).join('&')}`,
      experiment: () => `experiments/${encodeURIComponent(route.experimentId)}`,
    };
    const page = pages[route.kind]();
    const workspace = route.workspace ? `workspace=${encodeURIComponent(route.workspace)}` : '';
    const glue = workspace && (page.includes('?') ? '&' : '?');
    return { href: `${this.#home}${page}${glue}${workspace}`, label: LABELS[route.kind] };
  }

  /** Whether a run has predictions, as our API says; until it has answered, yes. */
  #hasPredictions(route) {
    if (route.kind !== 'run') return true;
    const { href } = this.#pageOf(route);
    if (!this.#known.has(href)) {
      this.#known.set(href, true);
      const url = new URL(href);
      url.pathname = url.pathname.replace('/timelapse/runs/', '/timelapse/api/v1/runs/');
      this.#ask(url.href).then((has) => {
        this.#known.set(href, has);
        this.refresh();
      });
    }
    return this.#known.get(href);
  }

  async #ask(url) {
    try {
      const answer = await fetch(url, { headers: { Accept: 'application/json' } });
      if (!answer.ok) return true;
      const { run, rounds } = await answer.json();
      // A run that still trains may log its first round at any time.
      return run.state.kind !== 'not_started' || rounds != null || UNFINISHED.includes(run.status);
    } catch {
      return true;
    }
  }

  /** A tab that looks like its neighbours, whose classes it takes; a link where frames are forbidden. */
  #makeTab(tabs) {
    const tab = document.createElement(this.#panel ? 'button' : 'a');
    tab.className = `timelapse-tab ${tabs.querySelector('[role="tab"]')?.className ?? ''}`;
    const attributes = { role: 'tab', 'aria-selected': 'false', 'data-state': 'inactive' };
    for (const [name, value] of Object.entries(attributes)) tab.setAttribute(name, value);
    // MLflow's tabs take the keys for themselves: ours is reached with the tabulator.
    for (const name of ['keydown', 'mousedown']) tab.addEventListener(name, (event) => event.stopPropagation());
    if (!this.#panel) return tab;
    Object.assign(tab, { type: 'button' });
    tab.addEventListener('click', () => this.#turn(true));
    tab.addEventListener('keydown', (event) => {
      if (event.key !== 'Tab' || event.shiftKey || !routeOf().open) return;
      event.preventDefault();
      this.#panel.focus();
    });
    return tab;
  }

  #leaveWithOtherTabs(tabs, tab) {
    if (this.#heard.has(tabs)) return;
    this.#heard.add(tabs);
    tabs.addEventListener('click', (event) => {
      const other = event.target.closest('[role="tab"]');
      if (other && other.id !== tab.id && routeOf().open) setTimeout(() => this.#turn(false));
    });
  }

  #turn(open) {
    const route = routeOf();
    if (route.open !== open) history.pushState(history.state, '', withPanel(open, this.#panel.viewOf(this.#pageOf(route).href)));
    this.refresh();
  }
}

/** Put our node at the end of `place.parent`, or behind `place.after`; take it away where there is no place. */
function put(id, place, make) {
  let node = document.getElementById(id);
  if (!place) {
    node?.remove();
    return null;
  }
  const isThere = place.after ? place.after.nextSibling === node : node?.parentElement === place.parent;
  if (!node || !isThere) {
    node?.remove();
    node = Object.assign(make(), { id });
    if (place.after) place.after.after(node);
    else place.parent.append(node);
  }
  const link = node.matches('a') ? node : node.querySelector('a');
  if (link && link.getAttribute('href') !== place.href) link.href = place.href;
  const text = node.querySelector('.timelapse-label') ?? node;
  if (text.textContent !== place.label) text.textContent = place.label;
  return node;
}

function makeLink(className) {
  return Object.assign(document.createElement('a'), { className });
}

/** An entry like MLflow's own: its classes are read from a neighbour, its icon is ours. */
function makeEntry(neighbour) {
  const entry = document.createElement('li');
  const link = makeLink(`timelapse-entry ${neighbour.className}`);
  const icon = Object.assign(document.createElement('span'), { className: 'timelapse-icon' });
  icon.setAttribute('aria-hidden', 'true');
  link.append(icon, Object.assign(document.createElement('span'), { className: 'timelapse-label' }));
  entry.append(link);
  return entry;
}

function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}
