// The answers' texts: fetched in batches for the lanes that are in sight, over all rounds, and kept.

const BATCH = 40;
const MOST_CHARACTERS = 60_000_000;

/** `get(lane)` is what is there; `want(lanes)` has the rest fetched, and `onArrival()` called when it has come. */
export function textsStore(source, chosen, onArrival) {
  const held = new Map();
  let rounds = 0;
  let wanted = [];
  let isBusy = false;
  let size = 0;

  const isMissing = (lane) => !held.has(lane) || held.get(lane).predictions.length < rounds;

  async function work() {
    isBusy = true;
    while ((wanted = wanted.filter(isMissing)).length) {
      const batch = wanted.splice(0, BATCH);
      try {
        const answer = await source.texts(batch, chosen);
        answer.lanes.forEach(keep);
      } catch (error) {
        wanted = [];
        isBusy = false;
        onArrival(error);
        return;
      }
      onArrival(null);
    }
    isBusy = false;
  }

  function keep(texts) {
    size += length(texts) - length(held.get(texts.lane));
    held.delete(texts.lane);
    held.set(texts.lane, texts);
    for (const lane of held.keys()) {
      if (size <= MOST_CHARACTERS || lane === texts.lane) break;
      size -= length(held.get(lane));
      held.delete(lane);
    }
  }

  return {
    get: (lane) => held.get(lane),
    has: (lane) => held.has(lane),
    /** Fetch what is missing of these lanes, before anything that was wanted earlier. */
    want(lanes) {
      const missing = lanes.filter(isMissing);
      if (!missing.length) return;
      wanted = [...new Set([...missing, ...wanted])].slice(0, 20 * BATCH);
      if (!isBusy) work();
    },
    /** Say how many rounds there are now: lanes that were fetched before the newest are fetched again when wanted. */
    grow(count) {
      rounds = count;
    },
  };
}

function length(texts) {
  return texts ? texts.predictions.reduce((sum, text) => sum + (text?.length ?? 0), 0) : 0;
}

/** The text that an answer is compared with: `previous`, `base`, `reference`; null where there is none, or for `off`. */
export function comparedWith(texts, round, against) {
  if (against === 'reference') return texts.reference;
  const before = texts.predictions.slice(0, round);
  if (against === 'previous') return before.findLast((text) => text != null) ?? null;
  return against === 'base' ? before.find((text) => text != null) ?? null : null;
}
