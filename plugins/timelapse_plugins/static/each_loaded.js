// Loading something for each of many rows, a few at a time.

import { useEffect, useRef, useState } from '../report/dom.js';

const AT_ONCE = 4;

/** A map from each key to `{data}` or `{error}`, as they come. load(key) is asked once a key; of keys that go, nothing is kept. */
export function useEach(keys, load) {
  const [found, setFound] = useState(new Map());
  const asked = useRef(new Set());
  const waiting = useRef([]);
  const running = useRef(0);
  const current = useRef({});
  current.current = { keys: new Set(keys), load };
  const all = keys.join('\n');
  useEffect(() => {
    const fresh = keys.filter((key) => !asked.current.has(key));
    fresh.forEach((key) => asked.current.add(key));
    waiting.current = [...waiting.current, ...fresh];
    const next = () => {
      const key = waiting.current.shift();
      if (key === undefined) return;
      if (!current.current.keys.has(key)) { // scrolled or typed away meanwhile
        asked.current.delete(key);
        next();
        return;
      }
      running.current += 1;
      const tell = (what) => {
        running.current -= 1;
        setFound((before) => new Map(before).set(key, what));
        next();
      };
      current.current.load(key).then((data) => tell({ data }), (error) => tell({ error }));
    };
    while (running.current < AT_ONCE && waiting.current.length) next();
  }, [all]);
  return found;
}
