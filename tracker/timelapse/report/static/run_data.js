// A run's data as the page's views need them: fetched once, and followed while the run is live.

import { useEffect, useMemo, useRef, useState } from './dom.js';
import { runModel } from './run_model.js';
import { textsStore } from './texts_store.js';

const POLL_MS = 3_000;
const RETRY_MS = 5_000;
const SEARCH_PAUSE_MS = 250;
const FOLLOWED = new Set(['live', 'not_started', 'degraded']);

/** `{model, error, lost}`: `error` when there is nothing to show, `lost` while a live run cannot be reached. */
export function useRun(source, set, attempt) {
  const [state, setState] = useState({});
  useEffect(() => {
    let timer = 0;
    let known = null;
    let isOver = false;
    const load = async () => {
      try {
        const overview = await source.overview({ set, attempt });
        if (isOver) return;
        if (overview !== known) setState({ model: runModel(overview) });
        else setState((before) => (before.lost ? { model: before.model } : before));
        known = overview;
        if (isFollowed(source, overview)) timer = setTimeout(load, POLL_MS);
      } catch (error) {
        if (isOver) return;
        setState((before) => (before.model && known ? { ...before, lost: error } : { error }));
        if (known || isPassing(error)) timer = setTimeout(load, RETRY_MS);
      }
    };
    load();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [source, set, attempt]);
  return state;
}

const isFollowed = (source, { run }) => Boolean(source.links) && run.status === 'RUNNING' && FOLLOWED.has(run.state.kind);
const isPassing = (error) => error.status === 0 || error.status >= 500;

/** The matrices of the named scores that have come so far, by name; those of a live run are fetched anew with each round. */
export function useMatrices(source, chosen, model, scores) {
  const [matrices, setMatrices] = useState({ __proto__: null });
  const names = scores.join();
  useEffect(() => {
    let isOver = false;
    for (const name of scores) {
      source.matrix(name, chosen).then(
        (matrix) => isOver || setMatrices((before) => ({ __proto__: null, ...before, [name]: matrix })),
        () => {}, // the page is whole without it: its cells stay empty, and a live run asks again
      );
    }
    return () => {
      isOver = true;
    };
  }, [source, chosen, model, names]);
  return matrices;
}

/** `{texts, version, error}`: the store of texts, and a number that grows with every arrival. */
export function useTexts(source, chosen, rounds) {
  const [arrival, setArrival] = useState({ version: 0, error: null });
  const texts = useMemo(() => {
    const arrived = (error) => setArrival((before) => ({ version: before.version + 1, error }));
    return textsStore(source, chosen, arrived);
  }, [source, chosen]);
  texts.grow(rounds);
  return { texts, ...arrival };
}

/** Where a text occurs: `(round) => Set of lanes`; null where nothing is searched; the last answer until the next one comes. */
export function useSearch(source, chosen, model, text) {
  const [found, setFound] = useState(null);
  const asked = text.trim();
  const isFirst = useRef(true);
  useEffect(() => {
    if (!asked) {
      setFound(null);
      return undefined;
    }
    let isOver = false;
    const search = () => source.search(asked, chosen).then((answer) => isOver || setFound(() => byRound(answer)), () => {});
    const timer = setTimeout(search, isFirst.current ? 0 : SEARCH_PAUSE_MS);
    isFirst.current = false;
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [source, chosen, model, asked]);
  return asked ? found : null;
}

function byRound({ always, rounds }) {
  const sets = new Map();
  return (round) => {
    if (!sets.has(round)) sets.set(round, new Set([...always, ...(rounds[round] ?? [])]));
    return sets.get(round);
  };
}

/** `{timeline, error}` of a sample; the former one until the next has come. */
export function useTimeline(source, chosen, model, sampleId) {
  const [state, setState] = useState({});
  useEffect(() => {
    if (!sampleId) {
      setState({});
      return undefined;
    }
    let isOver = false;
    source.timeline(sampleId, chosen).then(
      (timeline) => isOver || setState({ timeline, sampleId }),
      (error) => isOver || setState({ error, sampleId }),
    );
    return () => {
      isOver = true;
    };
  }, [source, chosen, model, sampleId]);
  return state.sampleId === sampleId || state.timeline ? state : {};
}
