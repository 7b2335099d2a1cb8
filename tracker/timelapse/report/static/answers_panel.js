// The answers at the chosen round: searched, filtered, sorted and grouped here in the browser.

import { html, useMemo } from './dom.js';
import { AnswersTable } from './answers_table.js';
import { columnChoice, tableColumns } from './answer_columns.js';
import { FilterBar, TableChoices } from './filter_bar.js';
import { plural } from './format.js';
import { useSearch } from './run_data.js';
import { chipTags, countsAt, grouped, keptLanes, lanesAt, sorted, tagCounts } from './run_model.js';

export function AnswersPanel(props) {
  const { source, chosen, model, view, update, round, scores, matrices, texts } = props;
  const kept = useMemo(() => keptLanes(model, view), [model, view.tag, view.where]);
  const search = useSearch(source, chosen, model, view.q);
  const found = search?.(round) ?? null;
  const lanes = useMemo(() => lanesAt(model, kept, round, view.filter, found), [model, kept, round, view.filter, found]);
  const order = useMemo(
    () => sorted(lanes, view.sort, round, matrices), [lanes, view.sort, isRoundSort(view.sort) && round, isRoundSort(view.sort) && matrices]);
  const groups = useMemo(() => grouped(order, view.group), [order, view.group]);
  const counts = useMemo(() => countsAt(model, lanes, round), [model, lanes, round]);
  const tags = useMemo(() => tagCounts(chipTags(model, view.tag), lanes), [model, view.tag, lanes]);
  const chosenColumns = useMemo(() => columnChoice(model, scores, view.col), [model, scores, view.col]);
  const columns = useMemo(() => tableColumns(model, scores, chosenColumns), [model, scores, chosenColumns]);
  const usual = useMemo(() => usualLines(model), [model]);
  const lines = Number(view.lines) || usual;
  return html`<section class="panel answers" aria-label="Predictions">
    <header>
      <h2>Predictions at ${model.labels[round]}</h2>
      <small aria-live="polite">${lanes.length === model.lanes.length ? plural(lanes.length, 'row') : `${lanes.length} of ${plural(model.lanes.length, 'row')}`}</small>
      <span class="spacer"></span>
      <${TableChoices} model=${model} group=${view.group} where=${view.where} update=${update} scores=${scores} columns=${chosenColumns} lines=${lines} />
    </header>
    <${FilterBar} model=${model} view=${view} update=${update} counts=${counts} tags=${tags} />
    <${AnswersTable} ...${props} texts=${texts} groups=${groups} columns=${columns} lines=${lines} />
  </section>`;
}

const isRoundSort = (sort) => sort.includes('score:');

/** How many lines a row needs so that most prompts and references can be read. */
function usualLines({ overview }) {
  const lengths = overview.samples.map(({ prompt, reference }) => Math.max((prompt ?? '').length, (reference ?? '').length * 1.3)).sort((one, other) => one - other);
  const usual = lengths[Math.floor(lengths.length * 0.75)] ?? 0;
  return usual <= 26 ? 1 : usual <= 64 ? 2 : usual <= 160 ? 4 : 6;
}
