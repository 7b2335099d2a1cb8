// What the experiment page and the run picker ask the API about an experiment's runs.

/** A page of an experiment's runs with predictions: `{experiment, runs: [{run, …}], next}`. */
export async function experimentRuns(get, experimentId, { cursor = null, limit = null }) {
  return get(`experiments/${encodeURIComponent(experimentId)}/runs`, { cursor, limit });
}
