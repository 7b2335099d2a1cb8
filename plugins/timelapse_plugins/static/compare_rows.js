// The rows of a comparison: which of them a reader asks for, in which order, and how many there are of each kind.

const hasFailed = (answer) => answer?.status === 'error';
const isWrong = (answer) => answer?.right === false || hasFailed(answer);

/** The filters by name: whether a row, seen from one run (its place) or from all (null), is of that kind. */
export const FILTERS = {
  regressions: (row, of) => some(row, of, 'loss'),
  improvements: (row, of) => some(row, of, 'win'),
  disagree: (row) => new Set(row.answers.filter((each) => each?.status === 'ok').map((each) => each.text)).size > 1,
  all_wrong: (row) => row.answers.every(isWrong),
  all_right: (row) => row.answers.every((answer) => answer?.right === true),
  failed: (row, of) => (of === null ? row.answers.some(hasFailed) : hasFailed(row.answers[of])),
  not_shared: (row) => row.answers.includes(null),
};

/** Filters that are offered only where they find something. */
export const RARE = ['failed', 'not_shared'];

/** What a filter means, for people. */
export const MEANINGS = {
  regressions: 'A run is worse than the one compared against',
  improvements: 'A run is better than the one compared against',
  disagree: 'The texts differ, whatever their scores',
  all_wrong: 'No run answers right',
  all_right: 'Every run answers right',
  failed: 'An answer failed',
  not_shared: 'A run was not asked',
};

function some(row, of, outcome) {
  return of === null ? row.outcomes.includes(outcome) : row.outcomes[of] === outcome;
}

/** The rows that have a text in prompt, reference, tags or an answer; case does not matter. */
export function searched(rows, text) {
  const asked = text.trim().toLowerCase();
  if (!asked) return rows;
  const has = (value) => value != null && value.toLowerCase().includes(asked);
  return rows.filter((row) => has(row.prompt) || has(row.reference) || row.tags.some(has)
    || row.answers.some((answer) => has(answer?.text) || has(answer?.error)));
}

/** `{rows, counts}`: the rows that pass all filters, and for each filter how many pass it and the others. */
export function filtered(rows, wanted, of) {
  const active = wanted.filter((name) => name in FILTERS);
  const counts = {};
  for (const name of Object.keys(FILTERS)) {
    const all = active.includes(name) ? active : [...active, name];
    counts[name] = rows.filter((row) => all.every((each) => FILTERS[each](row, of))).length;
  }
  return { rows: rows.filter((row) => active.every((name) => FILTERS[name](row, of))), counts };
}

/**
 * Rows in an order: `''` as in the sample set, `score:1` by the score of run 1 (lowest first), `change:1` by how much that
 * run differs from the one compared against (what fell most first; failures before everything); `-` in front: reversed.
 */
export function sorted(rows, order) {
  const [, minus, kind, place] = /^(-?)(score|change):(\d+)$/.exec(order) ?? [];
  if (!kind) return rows;
  const keys = new Map(rows.map((row) => [row, kind === 'score' ? scoreOf(row, place) : changeOf(row, place)]));
  const sign = minus ? -1 : 1;
  return [...rows].sort((one, other) => {
    const [a, b] = [keys.get(one), keys.get(other)];
    if (a === null || b === null) return (a === null) - (b === null); // what has no number comes last, either way
    return sign * (a - b || 0);
  });
}

const scoreOf = (row, place) => row.answers[place]?.scores[0] ?? null;

function changeOf(row, place) {
  const difference = row.differences[place];
  if (difference != null) return difference;
  return { loss: -Infinity, win: Infinity }[row.outcomes[place]] ?? null;
}
