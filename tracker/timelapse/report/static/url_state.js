// What a page shows, kept in its address, so that any view can be pasted to a colleague.

import { useCallback, useEffect, useRef, useState } from './dom.js';

const PAUSE_MS = 200; // browsers refuse an address that changes too often: scrubbing does

/** Read the values named in `defaults` from the address, its fragment before its query; lists are repeated keys. */
export function readState(defaults, at = location) {
  const sources = [new URLSearchParams(at.hash.slice(1)), new URLSearchParams(at.search)];
  const found = {};
  for (const [name, usual] of Object.entries(defaults)) {
    const source = sources.find((each) => each.has(name));
    found[name] = !source ? usual : Array.isArray(usual) ? source.getAll(name).filter(Boolean) : source.get(name);
  }
  return found;
}

/** The fragment that stands for a state: only what is not as usual. */
export function fragment(state, defaults) {
  const parts = new URLSearchParams();
  for (const [name, usual] of Object.entries(defaults)) {
    const value = state[name];
    if (Array.isArray(usual)) {
      if (String(value) !== String(usual)) (value.length ? value : ['']).forEach((each) => parts.append(name, each));
    } else if (value !== usual && value != null) parts.set(name, value);
  }
  return parts.toString();
}

/**
 * `[state, update]` like useState, with `update({name: value})` for some of the values; the address follows.
 *
 * What the address's query names is usual there: the fragment says only what is otherwise, also that it is not so.
 */
export function useUrlState(named) {
  const [defaults] = useState(() => readState(named, { search: location.search, hash: '' }));
  const [state, setState] = useState(() => readState(defaults));
  const timer = useRef(0);
  const update = useCallback((some) => setState((before) => ({ ...before, ...some })), []);
  useEffect(() => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => writeFragment(fragment(state, defaults)), PAUSE_MS);
  }, [state]);
  useEffect(() => {
    const follow = () => setState(readState(defaults));
    addEventListener('hashchange', follow);
    return () => removeEventListener('hashchange', follow);
  }, []);
  return [state, update];
}

function writeFragment(text) {
  if (parent !== window && origin !== 'null') parent.postMessage({ view: text }, origin); // MLflow's page keeps it in its own
  if (location.hash.slice(1) === text) return;
  try {
    history.replaceState(history.state, '', text ? `#${text}` : location.pathname + location.search);
  } catch {
    // a sandboxed frame may not: then the view is not in the address
  }
}
