// Where a run is better or worse: its score by tag and by column, what fell most first.

import { html } from '../report/dom.js';
import { count, number, plural, signed } from '../report/format.js';
import { Dot } from './shared_views.js';

const FEW = 20; // a slice of fewer samples is a hint, no verdict

export function Slices({ data }) {
  if (!data.slices.length) return null;
  const worst = data.slices.filter((each) => each.why);
  return html`<details class="slices"><summary>${plural(data.slices.length, 'slice')} by tag and column${worst.length ? ':' : ''}
      ${worst.map((each) => html` <span class="badge warn"><${Dot} at=${each.run}/> ${each.name} ${each.why} ${signed(each.difference)}</span>`)}</summary>
    <div class="scroll" role="region" aria-label="Slices" tabindex="0"><table class="table">
      <thead><tr><th scope="col">Slice</th><th scope="col">Run</th><th scope="col" class="number">Samples</th>
        <th scope="col" class="number">Before</th><th scope="col" class="number">After</th><th scope="col" class="number">Difference</th><th scope="col">Stands out</th></tr></thead>
      <tbody>${data.slices.map((each) => html`<tr>
        <th scope="row">${each.name}</th><td><${Dot} at=${each.run}/> ${data.runs[each.run].label}</td>
        <td class="number">${count(each.count)}${each.failed > 0 && ` (${count(each.failed)} failed)`}</td>
        <td class="number">${number(each.before)}</td><td class="number">${number(each.after)}</td>
        <td class="number">${signed(each.difference)}</td><td>${each.why}</td></tr>`)}</tbody>
    </table></div>
    ${data.slices.some((each) => each.count < FEW) && html`<small class="hint">A slice of fewer than ${FEW} samples is a hint, no verdict.</small>`}
  </details>`;
}
