// The columns of the table of answers: what is always there, and what was chosen.

import { label } from './format.js';

const NONE = 'none';

/** The names of the optional columns that are shown: scores by name, the samples' columns as `@name`. */
export function columnChoice(model, scores, col) {
  if (col.length) return col.filter((name) => name !== NONE && (scores.includes(name) || name.startsWith('@')));
  return [...scores.slice(0, 1), ...(scores.includes('reference_nll') ? ['reference_nll'] : [])];
}

/** The choice after a column was switched on or off, as the address keeps it. */
export function toggled(columns, name) {
  const next = columns.includes(name) ? columns.filter((each) => each !== name) : [...columns, name];
  return next.length ? next : [NONE];
}

/** All columns, `[{key, kind, name, title, sort, width, least}]`, least in pixels. */
export function tableColumns(model, scores, chosen) {
  const { right, samples } = model.overview;
  const hasReferences = samples.some(({ reference }) => reference != null);
  return [
    { key: 'index', kind: 'index', title: '#', sort: 'index', width: '34px', least: 34 },
    { key: 'prompt', kind: 'prompt', title: 'Prompt', sort: 'prompt', width: 'minmax(100px, 1.2fr)', least: 100 },
    ...(hasReferences ? [{ key: 'reference', kind: 'reference', title: 'Reference', sort: 'reference', width: 'minmax(84px, .8fr)', least: 84 }] : []),
    { key: 'prediction', kind: 'prediction', title: 'Prediction', width: 'minmax(150px, 2fr)', least: 150 },
    ...chosen.filter((name) => !name.startsWith('@')).map((name) => (
      { key: name, kind: 'score', name, title: label(name), sort: `score:${name}`, width: '78px', least: 78 })),
    ...chosen.filter((name) => name.startsWith('@')).map((name) => (
      { key: name, kind: 'column', name: name.slice(1), title: name.slice(1), sort: name, width: 'minmax(90px, .6fr)', least: 90 })),
    { key: 'class', kind: 'class', title: right ? 'Class' : 'Notes', sort: right ? 'class' : undefined, width: '112px', least: 112 },
  ];
}
