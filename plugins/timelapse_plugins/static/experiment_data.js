// What the experiment page and the run picker ask the API, and the order of what comes.

/** A page of an experiment's runs with predictions: `{experiment, runs: [{run, rounds, main_score, series, …}], next_cursor}`. */
export const experimentRuns = (get, experimentId, { cursor = null, sample = null } = {}) =>
  get(`experiments/${encodeURIComponent(experimentId)}/runs`, { cursor, sample });

/** The first pages of an experiment's runs as one, with each run's last answer to a sample if one is named. */
export async function firstPages(get, experimentId, pages, sample) {
  let found = await experimentRuns(get, experimentId, { sample });
  for (let page = 1; page < pages && found.next_cursor; page += 1) {
    const more = await experimentRuns(get, experimentId, { sample, cursor: found.next_cursor });
    found = { ...more, runs: [...found.runs, ...more.runs] };
  }
  return found;
}

/** The samples that can be pinned: those of a run. */
export const samplesOf = async (get, runId) => (await get(`runs/${encodeURIComponent(runId)}/overview`)).samples;

/** A sample itself, as the first of some runs that has it tells it; null where none has. */
export async function sampleOf(get, runIds, sampleId) {
  for (const runId of runIds) {
    const found = await get(`runs/${encodeURIComponent(runId)}/timeline`, { sample: sampleId }).catch(() => null);
    if (found) return found.sample;
  }
  return null;
}

/** `{last, change, best}` of a run's series of its main score: last value, change since the first, step of the best. */
export function digest({ series }) {
  const known = series.filter((point) => point.value !== null);
  const best = known.reduce((top, point) => (top === null || point.value > top.value ? point : top), null);
  return {
    last: known.at(-1)?.value ?? null,
    change: known.length > 1 ? known.at(-1).value - known[0].value : null,
    best: best?.step ?? null,
  };
}

const SORTS = {
  name: ({ run }) => run.name.toLowerCase(),
  state: ({ run }) => run.state.kind,
  rounds: ({ rounds }) => rounds,
  score: (row) => digest(row).last,
  learned: ({ learned, forgotten }) => (learned === null ? null : learned - (forgotten ?? 0)),
};

/** Rows in an order: a name of `SORTS`, `-` in front for the other way round; otherwise as they come, the newest first. */
export function ordered(rows, order) {
  const key = SORTS[order.replace('-', '')];
  if (!key) return rows;
  const sign = order.startsWith('-') ? -1 : 1;
  const keys = new Map(rows.map((row) => [row, key(row)]));
  return [...rows].sort((one, other) => {
    const [a, b] = [keys.get(one), keys.get(other)];
    if (a === null || b === null) return (a === null) - (b === null); // what is not known comes last, either way
    return sign * (a < b ? -1 : a > b ? 1 : 0);
  });
}
