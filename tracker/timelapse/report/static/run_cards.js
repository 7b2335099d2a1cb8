// The run in a row of numbers: how it stands now, and how that differs from where it began.

import { cx, html, memo } from './dom.js';
import { count, label, number, percent, plural, signed } from './format.js';
import { MARK } from './run_model.js';

const MOST_SCORES = 3;

export const RunCards = memo(({ overview }) => {
  const { scores, trends, rounds } = overview;
  const shown = scores.slice(0, MOST_SCORES).filter(({ name }) => name in trends);
  return html`<section class="cards" aria-label="Summary">
    ${shown.map((score) => html`<${ScoreCard} name=${score.name} better=${score.higher_is_better} series=${trends[score.name]} rounds=${rounds} />`)}
    ${trends.reference_nll && html`<${ScoreCard} name="reference_nll" better=${false} series=${trends.reference_nll} rounds=${rounds} />`}
    <${LearnedCard} overview=${overview} />
    ${trends.churn && html`<${ChurnCard} overview=${overview} />`}
    <${HealthCard} overview=${overview} />
    <${CostCard} overview=${overview} />
  </section>`;
});

function Card({ name, value, note, tone, series }) {
  return html`<div class="card">
    <div class="label">${name}</div>
    <div class="value">${value}${series && html`<${Sparkline} series=${series} />`}</div>
    <div class=${cx('note', tone)}>${note}</div>
  </div>`;
}

function ScoreCard({ name, better, series, rounds }) {
  const known = series.filter((value) => value != null);
  const [first, last] = [known[0], known[known.length - 1]];
  const change = Math.round((last - first) * 1e6) / 1e6; // 0.3 − 0.1 − 0.2 is nothing
  const tone = change === 0 ? null : change > 0 === better ? 'good' : 'bad';
  const arrow = change > 0 ? '▲ ' : change < 0 ? '▼ ' : '';
  return html`<${Card} name=${label(name)} value=${number(last)} series=${series} tone=${known.length > 1 && tone}
    note=${known.length > 1 ? `${arrow}${change ? number(Math.abs(change)) : '±0'} vs ${beginning(rounds, series)}` : 'one round so far'} />`;
}

/** What the first value is that of: of the base model, before training, or of a later step. */
function beginning(rounds, series) {
  const { step, trigger } = rounds[series.findIndex((value) => value != null)];
  return step === 0 || trigger === 'baseline' ? 'base' : `step ${count(step)}`;
}

function LearnedCard({ overview: { classes, samples, right, trends } }) {
  if (!right || !samples.some((sample) => sample.sample_class)) return null;
  const { learned = 0, forgotten = 0, oscillating = 0 } = classes;
  const net = learned - forgotten;
  const more = oscillating ? `, ${oscillating} oscillating` : '';
  return html`<${Card} name="Learned / forgotten" value=${`${learned} / ${forgotten}`} series=${trends.right}
    tone=${net > 0 ? 'good' : net < 0 ? 'bad' : null} note=${`net ${signed(net, 0)}${more}`} />`;
}

function ChurnCard({ overview: { trends, settled_since: settled } }) {
  const known = trends.churn.filter((value) => value != null);
  const last = known[known.length - 1];
  const before = known[known.length - 2];
  const note = settled != null ? `settled since step ${settled}`
    : before == null ? 'answers that changed' : last < before ? 'the texts are settling' : 'the texts keep changing';
  return html`<${Card} name="Churn, last round" value=${percent(last)} series=${trends.churn} note=${note} />`;
}

const SIGNS = [['truncated', 'truncated'], ['empty', 'empty'], ['loop', 'looping'], ['failed', 'failed']];

/** Answers of the last round that have no sound text, counted; `failed` only where there is one. */
function HealthCard({ overview: { rounds, marks } }) {
  const has = (line, at, name) => (line[at] & MARK[name]) > 0;
  const last = rounds.length - 1;
  const counts = SIGNS.map(([name, word]) => [marks.filter((line) => has(line, last, name)).length, word]);
  const found = counts.filter(([amount]) => amount);
  if (!found.length) {
    const ever = SIGNS.filter(([name]) => marks.some((line) => rounds.some((_round, at) => has(line, at, name)))).map(([, word]) => word);
    const note = ever.length ? `none now; ${ever.join(', ')} before` : 'no truncated, empty or looping answer';
    return html`<${Card} name="Health" value="Sound" note=${note} tone="good" />`;
  }
  const shown = counts.filter(([amount, word]) => amount || word !== 'failed');
  const words = shown.map(([, word]) => word).join(' · ');
  return html`<${Card} name=${label(words)} value=${shown.map(([amount]) => amount).join(' · ')} tone="bad"
    note=${found.map(([amount, word]) => `${amount} ${word}`).join(', ')} />`;
}

function CostCard({ overview: { run, rounds, trends } }) {
  const speed = trends.tokens_per_second?.findLast((value) => value != null);
  const seconds = trends.seconds?.reduce((sum, value) => sum + (value ?? 0), 0);
  const pace = speed ? `${number(speed, 0)} tokens/s` : '';
  if (run.share_of_training_time != null) {
    const note = `of training time${pace && `, ${pace}`}`;
    return html`<${Card} name="Cost of predictions" value=${percent(run.share_of_training_time, 1)} note=${note} />`;
  }
  if (!seconds) return null;
  return html`<${Card} name="Cost of predictions" value=${`${number(seconds, seconds < 10 ? 1 : 0)} s`} note=${`in ${plural(rounds.length, 'round')}${pace && `, ${pace}`}`} />`;
}

const [WIDTH, HEIGHT] = [64, 20];

function Sparkline({ series }) {
  const points = series.map((value, at) => [at, value]).filter(([, value]) => value != null);
  if (points.length < 2) return null;
  const values = points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (at) => 2 + (at / (series.length - 1)) * (WIDTH - 5);
  const y = (value) => HEIGHT - 3 - (high > low ? (value - low) / (high - low) : 0.5) * (HEIGHT - 6);
  const path = points.map(([at, value], place) => `${place ? 'L' : 'M'}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join('');
  const [at, value] = points[points.length - 1];
  return html`<svg class="sparkline" width=${WIDTH} height=${HEIGHT} viewBox="0 0 ${WIDTH} ${HEIGHT}" aria-hidden="true">
    <path d=${path} /><circle cx=${x(at)} cy=${y(value)} r="2.5" /></svg>`;
}
