// What the experiment page and the run picker ask the API, and what they make of the answers.

/** A page of an experiment's runs with predictions, see `ExperimentRuns`: `{experiment, runs: [{run, rounds}], next_cursor}`. */
export const experimentRuns = (get, experimentId, { cursor = null, limit = null } = {}) =>
  get(`experiments/${encodeURIComponent(experimentId)}/runs`, { cursor, limit });

/** The first pages of an experiment's runs, as one. */
export async function firstPages(get, experimentId, pages) {
  let found = await experimentRuns(get, experimentId);
  for (let page = 1; page < pages && found.next_cursor; page += 1) {
    const more = await experimentRuns(get, experimentId, { cursor: found.next_cursor });
    found = { ...more, runs: [...found.runs, ...more.runs] };
  }
  return found;
}

/** A run's numbers over its rounds, see `RunTrends`. */
export const runTrends = (get, runId) => get(`runs/${encodeURIComponent(runId)}/trends`);

/** A sample's last answer in a run: `{prompt, reference, step, answer}`; `answer` null where there is none. */
export async function lastAnswer(get, runId, sampleId, score) {
  const { sample, rounds } = await get(`runs/${encodeURIComponent(runId)}/samples/${encodeURIComponent(sampleId)}`);
  const last = rounds.findLast((round) => round.answers.length);
  const [row] = last?.answers ?? [];
  const answer = row ? { status: row.status ?? 'ok', text: row.prediction, error: row.error, score: row.scores[score] ?? null } : null;
  return { prompt: sample.prompt, reference: sample.reference, step: last?.step ?? null, answer };
}

/** The samples that can be pinned: those of a run. */
export const samplesOf = async (get, runId) => (await get(`runs/${encodeURIComponent(runId)}/overview`)).samples;

/** What a row shows of a run's trends. */
export function digest({ score, steps, best_step: best, trends }) {
  const values = (score && trends[score]) || [];
  const known = values.filter((value) => value !== null);
  const total = (name) => trends[name]?.reduce((sum, value) => sum + (value ?? 0), 0) ?? null;
  return {
    score, steps, values, best,
    last: known.at(-1) ?? null,
    change: known.length > 1 ? known.at(-1) - known[0] : null,
    learned: total('learned'),
    forgotten: total('forgotten'),
  };
}

const SORTS = {
  name: ({ run }) => run.name.toLowerCase(),
  state: ({ run }) => run.state.kind,
  rounds: ({ rounds }) => rounds,
  score: (_row, told) => told?.last ?? null,
  learned: (_row, told) => (told?.learned == null ? null : told.learned - told.forgotten),
};

/** Rows in an order: a name of `SORTS`, `-` in front for the other way round; otherwise as they come, the newest first. */
export function ordered(rows, order, toldOf) {
  const key = SORTS[order.replace('-', '')];
  if (!key) return rows;
  const sign = order.startsWith('-') ? -1 : 1;
  const keys = new Map(rows.map((row) => [row, key(row, toldOf(row))]));
  return [...rows].sort((one, other) => {
    const [a, b] = [keys.get(one), keys.get(other)];
    if (a == null || b == null) return (a == null) - (b == null); // what is not known comes last, either way
    return sign * (a < b ? -1 : a > b ? 1 : 0);
  });
}
