// One answer in the table.

import { cx, html, memo } from './dom.js';
import { DiffView } from './diff_view.js';
import { count, label } from './format.js';
import { MARK, columnOf } from './run_model.js';

const LIMIT = 600; // characters of a text that a row looks at: it has a few lines
const CHARACTERS_A_LINE = 26;
const CLASSES = { __proto__: null, always_right: 'info', learned: 'good', forgotten: 'bad', oscillating: 'warn', never: '' };
const FLAGS = ['truncated', 'empty', 'loop', 'echo', 'length_drift', 'script_switch'];
const SAID = ['invalid', ...FLAGS].reduce((sum, flag) => sum | MARK[flag], 0);

export const AnswerRow = memo(({ columns, place, numbers, ...row }) => {
  const values = numbers.split(' ');
  let next = 0;
  const cells = columns.map((column) => {
    const value = column.kind === 'score' ? values[next++] : undefined;
    return html`<div role="cell" key=${column.key} class=${cx(column.kind, column.kind === 'score' && 'number')}>${CELLS[column.kind](row, column, value)}</div>`;
  });
  return html`<div class=${cx('tr', row.isSelected && 'selected')} role="row" aria-rowindex=${place} aria-selected=${String(row.isSelected)}
    onClick=${() => row.select(row.item.key)}>${cells}</div>`;
});

const CELLS = {
  index: ({ item, select }) => html`<${Opener} item=${item} select=${select} />`,
  prompt: ({ item }) => html`<${Fixed} text=${item.sample.prompt} />`,
  reference: ({ item }) => html`<${Fixed} text=${item.sample.reference} />`,
  prediction: prediction,
  score: (_row, _column, value) => value,
  column: ({ item }, { name }) => html`<${Fixed} text=${shown(columnOf(item.sample, name))} />`,
  class: ({ item, mark, findings, ended }) => html`<${Notes} item=${item} mark=${mark & SAID} findings=${findings} ended=${ended} />`,
};

const Opener = memo(({ item, select }) => html`<button type="button" class="open" aria-label=${`Show sample ${item.key} over training`} onClick=${() => select(item.key)}>${item.key}</button>`);

const Fixed = memo(({ text }) => html`<span class="text clip" dir="auto">${text}</span>`);

const shown = (value) => (value == null ? '' : String(value));

function prediction({ lines, text, before, error, isLoading, isLeftOut, mark }) {
  if (isLoading) return html`<span class="skeleton half"></span>`;
  if (isLeftOut) return html`<span class="muted">not in this report</span>`;
  if (mark & MARK.failed) return html`<span class="clip failed"><b>Failed:</b> <span class="text" dir="auto">${error ?? 'no reason was told'}</span></span>`;
  if (mark & MARK.skipped) return html`<span class="muted">skipped${error ? html`: <span dir="auto">${error}</span>` : ''}</span>`;
  if (!mark) return html`<span class="muted">no answer in this round</span>`;
  if (text === '') return html`<span class="muted">empty</span>`;
  return html`<span class="clip"><${DiffView} before=${before} after=${text} mode=${before == null ? 'off' : 'words'} limit=${LIMIT} longest=${CHARACTERS_A_LINE * lines} /></span>`;
}

/** Why an answer ended, where that is another reason than the usual two (which marks tell) and no error. */
export const unusualEnd = (reason) => (['stop', 'length', 'error'].includes(reason) ? null : reason ?? null);

/** The sample's class, and what is to be said of this answer. */
const Notes = memo(({ item: { sample }, mark, findings, ended }) => {
  const { sample_class: name, class_step: step } = sample;
  const at = step != null && name !== 'oscillating' ? ` @${count(step)}` : '';
  return html`<span class="notes">
    ${name && html`<span class=${cx('badge', CLASSES[name])}>${label(name)}${at}</span>`}
    ${mark & MARK.invalid ? html`<span class="badge bad" title=${findings ?? ''}>invalid</span>` : null}
    ${ended && html`<span class="badge warn" dir="auto">${ended}</span>`}
    ${FLAGS.filter((flag) => mark & MARK[flag]).map((flag) => html`<span class="badge warn">${label(flag).toLowerCase()}</span>`)}
  </span>`;
});
