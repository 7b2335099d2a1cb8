// The answers side by side: a row a question, a column a run, with what differs.

import { html, memo, useMemo } from '../report/dom.js';
import { DiffView } from '../report/diff_view.js';
import { count, number, plural } from '../report/format.js';
import { FILTERS, MEANINGS, RARE, filtered, searched, sorted } from './compare_rows.js';
import { useSettled } from './loading.js';
import { Dot, NoText, Pager, Segment } from './shared_views.js';
import { inWorkspace } from '../report/workspace.js';

const ROWS_A_PAGE = 50;
const SHORT = 1500; // characters of a text that a row shows until it is opened

export function Answers({ data, state, update, prefix }) {
  const of = placeOf(data, state.of);
  const text = useSettled(state.search, 150);
  const found = useMemo(() => searched(data.rows, text), [data, text]);
  const { rows, counts } = useMemo(() => filtered(found, state.filter, of), [found, String(state.filter), of]);
  const ordered = useMemo(() => sorted(rows, state.sort), [rows, state.sort]);
  const pages = Math.max(1, Math.ceil(ordered.length / ROWS_A_PAGE));
  const page = Math.min(pages, Math.max(1, Number.parseInt(state.page, 10) || 1));
  const shown = ordered.slice((page - 1) * ROWS_A_PAGE, page * ROWS_A_PAGE);
  return html`<section class="panel" aria-labelledby="answers">
    <header><h2 id="answers">Answers side by side</h2><small role="status">${plural(rows.length, 'row')}</small>
      <span class="spacer"></span>
      <${Segment} label="Show changes against" value=${state.diff} choose=${(diff) => update({ diff })}
        choices=${[['against', `diff vs ${data.runs[data.against].label}`], ['reference', 'vs reference'], ['off', 'off']]}/></header>
    <${Filters} ...${{ data, state, update, counts, of }} />
    ${ordered.length ? html`<div class="scroll" role="region" aria-labelledby="answers" tabindex="0"><table class="table aligned">
        <${Head} ...${{ data, state, update }} />
        <tbody>${shown.map((row) => html`<${Row} key=${rowKey(row)} row=${row} data=${data} diff=${state.diff} prefix=${prefix}
          isOpen=${state.open === rowKey(row)} update=${update}/>`)}</tbody>
      </table></div>` : html`<div class="empty"><h2>No row passes</h2><p>${state.search ? 'Nothing has this text' : 'No row is of this kind'}.
        <button type="button" class="link" onClick=${() => update({ filter: [], search: '', of: '', page: '1' })}>Show all rows</button></p></div>`}
    <${Pager} page=${page} total=${ordered.length} size=${ROWS_A_PAGE} what="rows" go=${(to) => update({ page: String(to) })}/>
  </section>`;
}

const rowKey = (row) => `${row.sample_id}:${row.generation}`;
const placeOf = (data, selector) => {
  const at = data.runs.findIndex((each) => each.selector === selector);
  return at < 0 ? null : at;
};

function Filters({ data, state, update, counts, of }) {
  const toggle = (name) => update({
    filter: state.filter.includes(name) ? state.filter.filter((each) => each !== name) : [...state.filter, name], page: '1',
  });
  const names = Object.keys(FILTERS).filter((name) => state.filter.includes(name)
    || (RARE.includes(name) ? counts[name] > 0 : data.right || !name.startsWith('all_')));
  return html`<div class="row filters" role="group" aria-label="Filters">
    <label class="search"><span class="sr-only">Search prompt or text</span>
      <input class="input" type="search" placeholder="Search prompt or text…" value=${state.search}
        onInput=${(event) => update({ search: event.target.value, page: '1' })}/></label>
    ${names.map((name) => html`<button type="button" class=${`chip ${counts[name] ? '' : 'none'}`} title=${MEANINGS[name]}
      aria-pressed=${String(state.filter.includes(name))} onClick=${() => toggle(name)}>${name.replaceAll('_', ' ')} <b>${count(counts[name])}</b></button>`)}
    ${of !== null && html`<button type="button" class="chip" aria-pressed="true" onClick=${() => update({ of: '', page: '1' })}>
      <${Dot} at=${of}/> of ${data.runs[of].label} <span aria-hidden="true">×</span><span class="sr-only">: show those of all runs</span></button>`}
  </div>`;
}

function Head({ data, state, update }) {
  return html`<thead><tr>
    <th scope="col" class="index">#</th><th scope="col">Prompt</th><th scope="col">Reference</th>
    ${data.runs.map((run, at) => html`<th scope="col" class="answer" aria-sort=${ariaSort(state.sort, at)}>
      <${Dot} at=${at}/> ${run.label} <span class="step">step ${count(run.step)}</span>
      ${data.score && html`<${Order} at=${at} isAgainst=${at === data.against} label=${run.label} sort=${state.sort} choose=${(sort) => update({ sort, page: '1' })}/>`}
    </th>`)}
  </tr></thead>`;
}

const ariaSort = (sort, at) => (!sort.endsWith(`:${at}`) ? undefined : sort.startsWith('-') ? 'descending' : 'ascending');

/** Orders the rows by a run's change (the one compared against: by its score): worst first, best first, not at all. */
function Order({ at, isAgainst, label, sort, choose }) {
  const key = `${isAgainst ? 'score' : 'change'}:${at}`;
  const [next, sign, told] = sort === key ? [`-${key}`, '↑', 'worst first'] : sort === `-${key}` ? ['', '↓', 'best first'] : [key, '↕', 'as in the set'];
  return html`<button type="button" class="order" title=${`Order: ${told}`} aria-label=${`Order by ${isAgainst ? 'the score' : 'the change'} of ${label}; now ${told}`}
    onClick=${() => choose(next)}>${sign}</button>`;
}

const Row = memo(({ row, data, diff, isOpen, update, prefix }) => {
  const limit = isOpen ? Infinity : SHORT;
  const name = row.index === null ? '–' : String(row.index);
  return html`<tr class=${isOpen ? 'open' : ''}>
    <th scope="row" class="index"><button type="button" class="link" aria-expanded=${String(isOpen)} aria-label=${`Sample ${name}: ${isOpen ? 'shorten' : 'show whole'}`}
      onClick=${() => update({ open: isOpen ? '' : rowKey(row) })}>${name}${row.generation > 0 && html`<sup>${row.generation + 1}</sup>`}</button></th>
    <td><div class="clamp text" dir="auto">${cut(row.prompt ?? row.sample_id, limit)}</div>
      ${row.tags.length > 0 && html`<div class="row tags">${row.tags.map((tag) => html`<span class="badge">${tag}</span>`)}</div>`}</td>
    <td><div class="clamp text" dir="auto">${cut(row.reference ?? '–', limit)}</div></td>
    ${row.answers.map((answer, at) => html`<td class="answer"><${Cell} ...${{ row, data, diff, at, answer, limit, isOpen, prefix }} /></td>`)}
  </tr>`;
});

function Cell({ row, data, diff, at, answer, limit, isOpen, prefix }) {
  const before = diff === 'reference' ? row.reference : diff === 'against' && at !== data.against ? row.answers[data.against]?.text : null;
  const isText = answer?.status === 'ok' && answer.text;
  return html`<small class="whose"><${Dot} at=${at}/> ${data.runs[at].label}</small><div class="clamp">${isText ? html`<${DiffView} before=${before} after=${answer.text} mode=${before == null ? 'off' : 'words'} limit=${limit}/>`
    : html`<${NoText} answer=${answer}/>`} ${answer && html`<${Score} answer=${answer} outcome=${row.outcomes[at]}/>`}</div>
    ${isOpen && answer && html`<${More} ...${{ row, data, at, answer, prefix }} />`}`;
}

const SIGNS = { win: ['good', ' ▲', 'better'], loss: ['bad', ' ▼', 'worse'] };

/** The score that decides, and whether it is better or worse than that of the run compared against. */
function Score({ answer, outcome }) {
  const [kind, sign, told] = SIGNS[outcome] ?? [answer.right ? 'good' : '', '', ''];
  if (answer.scores[0] == null && !told) return null;
  return html`<span class=${`badge number ${kind}`} title=${told || undefined}>${answer.scores[0] == null ? '' : number(answer.scores[0])}${sign}<span class="sr-only"> ${told}</span></span>`;
}

/** What an opened row tells besides: all scores, what was cut, the way to the sample's whole history. */
function More({ row, data, at, answer, prefix }) {
  const { run_id: id } = data.runs[at].run;
  const state = new URLSearchParams({ set: data.set, step: data.runs[at].step, sample: `id:${row.sample_id}.${row.generation}` });
  const address = inWorkspace(`${prefix}/timelapse/runs/${encodeURIComponent(id)}#${state}`);
  return html`<div class="more"><small>${data.scores.map((score, place) => html`<span>${score.name.replaceAll('_', ' ')} <b class="number">${number(answer.scores[place])}</b></span>`)}
    ${answer.cut && html`<span>cut here</span>`}<a href=${address}>all rounds</a></small></div>`;
}

const cut = (text, limit) => (text.length <= limit ? text : `${text.slice(0, limit)} …`);
