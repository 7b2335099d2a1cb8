// How a run's predictions stand, with the reason.

import { html } from './dom.js';

const LOOKS = {
  __proto__: null,
  live: 'live info', finished: 'good', degraded: 'warn', failed: 'bad', killed: 'bad', disabled: '', not_started: '',
};

/** `state`: `{kind, text}` of RunInfo; `short` leaves the reason to a tooltip. */
export function StateBadge({ state, short = false }) {
  const kind = state.kind.replaceAll('_', ' ');
  return html`<span class=${`badge state ${LOOKS[state.kind] ?? ''}`} title=${state.text}>${short ? kind : state.text}</span>`;
}
