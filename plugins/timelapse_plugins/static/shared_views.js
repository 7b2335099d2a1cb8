// Small views that the pages share: the way here, menus, choices, pages of a table.

import { html, menuEvents } from '../report/dom.js';
import { count } from '../report/format.js';

/** The way to this page: `[[text, address], …]`; the page itself is the heading below. */
export function Crumbs({ steps }) {
  return html`<nav class="crumbs" aria-label="Where this page is">${steps.map(([text, address]) =>
    html`<a href=${address} target=${address.includes('/#/') ? '_top' : undefined}>${text}</a><span aria-hidden="true">›</span>`)}</nav>`;
}

/** A menu that drops from a button. */
export function Menu({ title, children, kind = '' }) {
  return html`<details class="menu" ...${menuEvents}><summary class=${`button ${kind}`}>${title}</summary><div>${children}</div></details>`;
}

/** One of several: `choices` are `[value, text]`. */
export function Segment({ label, value, choices, choose }) {
  return html`<div class="segment" role="group" aria-label=${label}>${choices.map(([each, text]) =>
    html`<button type="button" aria-pressed=${String(each === value)} onClick=${() => choose(each)}>${text}</button>`)}</div>`;
}

/** A drop-down with its label beside it: `choices` are `[value, text]`. */
export function Choice({ label, value, choices, choose, hidden = false, small = false }) {
  return html`<label class="field"><span class=${hidden ? 'sr-only' : ''}>${label}</span>
    <select class=${`select ${small ? 'small' : ''}`} value=${value} onChange=${(event) => choose(event.target.value)}>
      ${choices.map(([each, text]) => html`<option value=${each} selected=${each === value}>${text}</option>`)}
    </select></label>`;
}

/** Turns the pages of a table: `page` from 1. */
export function Pager({ page, total, size, go, what }) {
  const pages = Math.max(1, Math.ceil(total / size));
  if (pages === 1) return null;
  const first = (page - 1) * size + 1;
  return html`<nav class="pager" aria-label=${`Pages of ${what}`}>
    <button class="button small" type="button" disabled=${page <= 1} onClick=${() => go(page - 1)}>Previous</button>
    <span class="number">${count(first)}–${count(Math.min(total, first + size - 1))} of ${count(total)} ${what}</span>
    <button class="button small" type="button" disabled=${page >= pages} onClick=${() => go(page + 1)}>Next</button>
  </nav>`;
}

/** The colour of the n-th run, wherever it appears. */
export const Dot = ({ at }) => html`<span class=${`dot series-${1 + (at % 7)}`} aria-hidden="true"></span>`;

/** What an answer is, where it has no text. */
export function NoText({ answer }) {
  if (!answer) return html`<span class="muted">not asked</span>`;
  if (answer.status === 'error') return html`<span class="badge bad">failed</span> <span class="muted text">${answer.error}</span>`;
  if (answer.status === 'skipped') return html`<span class="badge">skipped</span>`;
  return html`<span class="muted">(empty)</span>`;
}
