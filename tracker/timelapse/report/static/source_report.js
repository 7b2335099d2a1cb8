// Where a report's data come from: the file itself. The methods are those of httpSource in source_http.js.

/** A run's data from what report.py has put into the file. */
export function reportSource(data) {
  const view = ({ set, attempt } = {}) => {
    const found = data.views[`${set || data.first}/${attempt ?? ''}`];
    if (!found) throw new Error(`This report does not hold ${attempt ? `attempt ${attempt} of ` : ''}set '${set}'.`);
    return found;
  };
  const held = Object.keys(data.views).map((key) => key.split('/'));
  return {
    notes: data.notes,
    sets: [...new Set(held.map(([set]) => set))],
    attemptsOf: (wanted) => held.filter(([set, attempt]) => set === wanted && attempt).map(([, attempt]) => Number(attempt)),
    overview: async (chosen) => view(chosen).overview,
    matrix: async (score, chosen) => view(chosen).matrices[score],
    texts: async (lanes, chosen) => ({ lanes: lanes.map((lane) => laneTexts(view(chosen), lane)) }),
    search: async (text, chosen) => found(view(chosen), text),
    timeline: async (sampleId, chosen) => view(chosen).timelines[sampleId] ?? null,
    exportUrl: () => null,
    links: null,
  };
}

/** What one lane answered in every round; null texts where the report has left its sample out. */
function laneTexts({ overview, timelines }, lane) {
  const [place, generation] = overview.lanes[lane];
  const timeline = timelines[overview.samples[place].sample_id];
  const rows = overview.rounds.map((_round, at) =>
    timeline?.rounds[at].answers.find((answer) => (answer.generation ?? 0) === generation) ?? {});
  return {
    lane,
    leftOut: !timeline,
    reference: timeline?.sample.reference ?? null,
    predictions: rows.map((row) => row.prediction ?? null),
    errors: rows.map((row) => row.error ?? null),
    findings: rows.map((row) => findings(row.validations)),
    finish_reasons: rows.map((row) => row.finish_reason ?? null),
  };
}

function findings(validations = []) {
  const lines = validations.filter((each) => each.passed === false)
    .flatMap((each) => (each.errors ?? []).map((error) => `${each.name}: ${error.path}: ${error.message}`));
  return lines.length ? lines.join('\n') : null;
}

function found(view, text) {
  const asked = text.toLowerCase();
  const has = (value) => (value ?? '').toLowerCase().includes(asked);
  const always = [];
  const rounds = view.overview.rounds.map(() => []);
  view.overview.lanes.forEach(([place], lane) => {
    const sample = view.timelines[view.overview.samples[place].sample_id]?.sample ?? view.overview.samples[place];
    if (has(sample.prompt) || has(sample.reference)) always.push(lane);
    laneTexts(view, lane).predictions.forEach((prediction, at) => has(prediction) && rounds[at].push(lane));
  });
  return { always, rounds };
}
