// One sample over the training: every round's answer with what changed, what was asked, and what the model saw.

import { cx, html, memo, useEffect, useMemo, useRef } from './dom.js';
import { unusualEnd } from './answer_row.js';
import { ChatView, RawView } from './chat_view.js';
import { DiffView } from './diff_view.js';
import { label, number, plural, roundLabel } from './format.js';
import { laidOut } from './json_layout.js';
import { useTimeline } from './run_data.js';

const TABS = { __proto__: null, '': 'Answers', question: 'Question', raw: 'Raw prompt' };
const VS = { __proto__: null, previous: 'previous round', reference: 'reference', base: 'base', off: null };

export const TimelinePanel = memo(({ source, chosen, model, round, goTo, vs, tab, selected, update }) => {
  const { timeline, error } = useTimeline(source, chosen, model, selected?.sample.sample_id ?? null);
  if (!selected) {
    return html`<section class="panel timeline" aria-label="Timeline"><p class="empty">Choose a row, or a cell of the matrix, to see one sample over the whole training.</p></section>`;
  }
  const { sample } = selected;
  return html`<section class="panel timeline" aria-label="Timeline">
    <header>
      <h2>Sample ${selected.key} over training</h2>
      <div class="segment" role="tablist" aria-label="What is shown of the sample" onKeyDown=${tabKeys}>${Object.entries(TABS).map(([name, title]) => html`
        <button type="button" role="tab" aria-selected=${String(tab === name)} tabindex=${tab === name ? 0 : -1} onClick=${() => update({ tab: name })}>${title}</button>`)}</div>
      <span class="spacer"></span>
      <button type="button" class="button quiet small" onClick=${() => update({ sample: '' })} aria-label="Close the timeline">Close</button>
    </header>
    <dl class="asked">
      <dt>Prompt</dt><dd class="text" dir="auto">${timeline?.sample.prompt ?? sample.prompt ?? 'not stored'}</dd>
      ${sample.reference != null && html`<dt>Reference</dt><dd class="text" dir="auto">${timeline?.sample.reference ?? sample.reference}</dd>`}
    </dl>
    ${error ? html`<div class="body"><div class="banner bad" role="alert"><p>${error.message}</p></div></div>`
      : timeline === null ? html`<p class="empty">The texts of this sample are not in this report.</p>`
      : !timeline ? html`<p class="empty">Loading…</p>`
      : html`<div class="body" role="tabpanel" aria-label=${TABS[tab] ?? TABS['']}><${Tab} tab=${tab} timeline=${timeline} model=${model} round=${round} goTo=${goTo} vs=${vs} selected=${selected} /></div>`}
  </section>`;
});

function tabKeys(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step) return;
  const tabs = [...event.currentTarget.querySelectorAll('[role=tab]')];
  const next = tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length];
  next.focus();
  next.click();
  event.preventDefault();
}

function Tab({ tab, timeline, ...rest }) {
  if (tab === 'question') return html`<${ChatView} sample=${timeline.sample} />`;
  if (tab === 'raw') return html`<${RawView} text=${timeline.sample.rendered_prompt} />`;
  return html`<${Answers} timeline=${timeline} ...${rest} />`;
}

/** The chosen round is marked from outside: the list itself, with a hundred answers perhaps, stays as it is. */
function Answers({ round, ...rest }) {
  const list = useRef(null);
  useEffect(() => {
    const line = list.current.querySelector('ol').children[round];
    line?.classList.add('now');
    line?.setAttribute('aria-current', 'step');
    return () => {
      line?.classList.remove('now');
      line?.removeAttribute('aria-current');
    };
  });
  return html`<div ref=${list}><${Lines} ...${rest} /></div>`;
}

const Lines = memo(({ timeline, model, goTo, vs, selected }) => {
  const lines = useMemo(() => answerLines(timeline, vs, selected.generation), [timeline, vs, selected.generation]);
  return html`<ol class="rounds" aria-label=${`Answers by round${VS[vs] ? `, with changes against the ${VS[vs]}` : ''}`}>
    ${lines.map((line, at) => html`<${Line} key=${line.step} ...${line} scores=${model.scoreNames} at=${at} goTo=${goTo} label=${model.labels[at] ?? roundLabel(line)} />`)}
  </ol>`;
});

/** Each round's answer and what it is compared with; JSON is laid out in lines, so that it can be read and compared. */
function answerLines({ sample, rounds }, vs, generation) {
  let before = null;
  let base = null;
  return rounds.map(({ step, answers }) => {
    const row = answers.find((each) => (each.generation ?? 0) === generation) ?? null;
    const told = row?.prediction ?? null;
    const against = { __proto__: null, previous: before, base, reference: sample.reference }[vs] ?? null;
    const isSame = told != null && told === before;
    before = told ?? before;
    base ??= told;
    return { step, row, isSame, text: told && pretty(told), against: against && pretty(against) };
  });
}

const pretty = (text) => laidOut(text) ?? text;

const Line = memo(({ row, text, against, isSame, scores, at, goTo, label: when }) => html`<li class=${cx(isSame && 'same')}>
  <button type="button" class="when" onClick=${() => goTo(at)}>${when}</button>
  <div class="said">${said(row, text, against)}</div>
  <div class="facts">${row && facts(row, isSame, scores)}</div>
</li>`);

function said(row, text, against) {
  if (!row) return html`<span class="muted">no answer in this round</span>`;
  if (row.status === 'error') return html`<span class="failed"><b>Failed:</b> <span class="text" dir="auto">${row.error ?? 'no reason was told'}</span></span>`;
  if (row.status === 'skipped') return html`<span class="muted">skipped</span>`;
  if (text === '') return html`<span class="muted">empty</span>`;
  return html`<${DiffView} before=${against} after=${text} mode=${against == null ? 'off' : 'words'} />${findings(row.validations)}`;
}

function findings(validations = []) {
  const found = (validations ?? []).filter((each) => each.passed === false);
  if (!found.length) return null;
  return html`<ul class="findings">${found.flatMap((each) => (each.errors ?? []).map((error) => html`
    <li><span class="badge bad">${each.name}</span> <code dir="auto">${error.path}</code> <span dir="auto">${error.message}</span></li>`))}</ul>`;
}

/** What was measured of an answer; the score that decides comes first. */
function facts(row, isSame, names) {
  const scores = names.map((name) => [name, row.scores?.[name]]).filter(([, value]) => value != null);
  const ended = unusualEnd(row.finish_reason);
  const flags = new Set([...(row.finish_reason === 'length' ? ['truncated'] : []), ...(row.flags ?? [])]);
  return html`
    ${isSame && html`<span class="badge">same</span>`}
    ${[...flags].map((flag) => html`<span class="badge warn">${label(flag).toLowerCase()}</span>`)}
    ${ended && html`<span class="badge warn" dir="auto">${ended}</span>`}
    ${scores.map(([name, value]) => html`<span>${label(name)} <b class="number">${number(value)}</b></span>`)}
    ${row.reference_nll != null && html`<span>NLL <b class="number">${number(row.reference_nll)}</b></span>`}
    ${row.prediction_tokens != null && html`<span class="number">${plural(row.prediction_tokens, 'token')}</span>`}`;
}
