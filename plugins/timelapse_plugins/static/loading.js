// Loading data for a view, and what is shown while there are none: in progress, failed, empty.

import { html, useCallback, useEffect, useRef, useState } from '../report/dom.js';

const LIVE_MS = 5000;

/**
 * Load whenever `key` changes: `{data, error, isLoading, again}`. Until the new data are there the old ones stay; an
 * answer that was overtaken by a later question is dropped. load(): a promise; null as key: there is nothing to load.
 * isLive(data): whether to ask again every few seconds while the page can be seen.
 */
export function useLoaded(load, key, isLive) {
  const [found, setFound] = useState({ data: null, error: null, isLoading: key !== null });
  const turn = useRef(0);
  const ask = useCallback((quietly) => {
    const mine = ++turn.current;
    if (key === null) {
      setFound({ data: null, error: null, isLoading: false });
      return;
    }
    if (!quietly) setFound((before) => ({ ...before, isLoading: true }));
    const tell = (some) => {
      if (mine === turn.current) setFound((before) => ({ ...before, isLoading: false, ...some }));
    };
    load().then((data) => tell({ data, error: null }), (error) => tell({ error }));
  }, [key]);
  useEffect(() => {
    ask(false);
    return () => { turn.current += 1; };
  }, [ask]);
  const follows = Boolean(found.data && isLive?.(found.data)) || found.error?.status === 0;
  useEffect(() => {
    if (!follows) return undefined;
    const timer = setInterval(() => { if (!document.hidden) ask(true); }, LIVE_MS);
    return () => clearInterval(timer);
  }, [follows, ask]);
  return { ...found, again: () => ask(false) };
}

/** Why there is nothing (new) to see, what to do, and a button that tries again. */
export function Failure({ error, again, children }) {
  return html`<div class="banner bad" role="alert">
    <p><strong>${error.message}</strong> ${error.hint}</p>
    <span class="spacer"></span>${children}
    <button class="button small" type="button" onClick=${again}>Try again</button>
  </div>`;
}

/** Grey bars where a table will be. */
export function Loading({ what }) {
  return html`<div class="loading" role="status"><span class="sr-only">Loading ${what}…</span>
    ${[1, 2, 3, 4].map((line) => html`<span class=${`skeleton line-${line}`} aria-hidden="true"></span>`)}
  </div>`;
}

/** A text that follows another after a pause: what is typed is not asked for letter by letter. */
export function useSettled(value, pause = 250) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), pause);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
