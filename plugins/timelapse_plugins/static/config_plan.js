// What the training would do, and what its rounds would cost: by counts that are guessed until the files are read.

import { html } from '../report/dom.js';
import { count, duration, epoch, number, percent, plural } from '../report/format.js';

const SHOWN = 12;

/** What cannot be known without the files; names as the API takes them, and `null` for speeds, which only the page uses. */
export const GUESSES = {
  rows: ['1000', 'training rows'], row_tokens: ['200', 'tokens a row'], samples: ['32', 'samples in a file'],
  prompt_tokens: ['100', 'tokens a prompt'], answer_tokens: ['50', 'tokens an answer'],
};
export const SPEEDS = { train_speed: ['', 'training tokens/s'], answer_speed: ['', 'answer tokens/s'] };

export function Plan({ plan, state, update }) {
  return html`<section class="panel" aria-labelledby="plan">
    <header><h2 id="plan">Plan and cost</h2><small>an estimate; <code>timelapse config plan --probe</code> counts and measures</small></header>
    <div class="body stack">
      <div class="guesses">${Object.entries({ ...GUESSES, ...SPEEDS }).map(([name, [usual, text]]) => html`<label class="guess"><span>${text}</span>
        <input class="input" type="number" min="1" max="1000000000" step="any" placeholder=${usual || 'unknown'} value=${state[name]} onInput=${(event) => update({ [name]: event.target.value })}/></label>`)}</div>
      ${plan ? html`<${Cost} plan=${plan} state=${state}/><${Rounds} plan=${plan}/>` : html`<p class="muted">There is a plan when nothing is wrong.</p>`}
    </div>
  </section>`;
}

function Cost({ plan, state }) {
  const train = seconds(plan.train_tokens, state.train_speed);
  const answers = seconds(plan.new_tokens, state.answer_speed);
  const most = seconds(plan.most_new_tokens, state.answer_speed);
  const share = train !== null && answers !== null ? answers / (train + answers) : null;
  const card = (label, value, note) => html`<div class="card"><div class="label">${label}</div><div class="value">${value}</div><div class="note">${note}</div></div>`;
  return html`<div class="cards">
    ${card('Training', plural(plan.steps, 'step'), `${number(plan.epochs)} epochs of ${count(plan.steps_per_epoch)}; ${count(plan.train_tokens)} tokens${train === null ? '' : `, ${duration(train)}`}`)}
    ${card('Predictions', plural(plan.rounds, 'round'), `${plural(plan.answers, 'answer')}, ${count(plan.prompt_tokens)} prompt tokens`)}
    ${card('Tokens to generate', count(plan.new_tokens), `at most ${count(plan.most_new_tokens)}`)}
    ${card('Cost of predictions', share === null ? '–' : percent(share, 1), answers === null ? 'give speeds for a time' : `${duration(answers)}, at most ${duration(most)}; prompts and losses not counted`)}
  </div>`;
}

const seconds = (tokens, speed) => (Number(speed) > 0 ? tokens / Number(speed) : null);

function Rounds({ plan }) {
  if (!plan.shown.length) return html`<p class="muted">No rounds: predictions are switched off.</p>`;
  const several = new Set(plan.shown.map((each) => each.set)).size > 1;
  const line = (each) => html`<tr><td class="number">${count(each.step)}</td><td class="number">${epoch(each.epoch)}</td><td>${each.trigger}</td>
    ${several && html`<td>${each.set}</td>`}<td class="number">${count(each.samples)}</td><td>${each.why}</td></tr>`;
  return html`<details open><summary>When the model answers${plan.rounds > SHOWN ? `: the first ${SHOWN} of ${count(plan.rounds)} rounds` : ''}</summary>
    <div class="scroll" role="region" aria-label="Rounds" tabindex="0"><table class="table">
      <thead><tr><th scope="col" class="number">Step</th><th scope="col" class="number">Epoch</th><th scope="col">Trigger</th>
        ${several && html`<th scope="col">Set</th>`}<th scope="col" class="number">Samples</th><th scope="col">Why</th></tr></thead>
      <tbody>${plan.shown.slice(0, SHOWN).map(line)}</tbody></table></div></details>`;
}
