// Like for like? What makes a comparison fair or unfair: in a few words, and in full.

import { html } from '../report/dom.js';
import { plural } from '../report/format.js';

/** In a few words, for the heading. */
export function Verdict({ data }) {
  if (!data.alike) return html`<span class="badge warn">not like for like: ${differing(data).join(', ')}</span>`;
  const unknown = new Set(data.likeness.flatMap((each) => each.unknown));
  const same = [['sample set', 'samples'], ['chat template', 'template'], ['decoding', 'decoding']]
    .filter(([name]) => name === 'sample set' || !unknown.has(name)).map(([, word]) => `same ${word}`);
  return html`<span class="badge good">${same.join(' · ')}</span>`;
}

function differing(data) {
  const found = new Set(data.likeness.flatMap((each) => each.settings.map((name) => name.split('.')[0].replaceAll('_', ' '))));
  if (data.likeness.some((each) => each.only_against || each.only_run)) found.add('samples');
  if (data.likeness.some((each) => each.references)) found.add('references');
  return [...found];
}

/** In full: a warning where the comparison is not fair; what else is worth knowing, folded. */
export function Likeness({ data }) {
  const unfair = data.likeness.filter((each) => !each.alike);
  return html`
    ${unfair.length > 0 && html`<section class="banner warn" aria-label="Not like for like">
      <div><strong>Not like for like: what differs may explain a difference in scores.</strong>
        <div class="notes"><ul>${unfair.map((each) => finding(data, each))}</ul></div></div>
    </section>`}
    <${Notes} data=${data} fair=${data.likeness.filter((each) => each.alike && each.sentences.length)}/>`;
}

/** What makes no difference, or what nobody knows: package versions, what was not recorded, files not read. */
function Notes({ data, fair }) {
  const more = data.left_out ? [`only the first ${plural(data.rows.length, 'row')} are shown, ${plural(data.left_out, 'more')} are counted in the scoreboard; the exports hold all`] : [];
  const notes = [...more, ...data.notes];
  const total = fair.length + notes.length;
  if (!total) return null;
  return html`<details class="notes" open=${more.length > 0}><summary>${plural(total, 'note')}</summary><ul>
    ${fair.map((each) => finding(data, each))}
    ${notes.map((note) => html`<li>${note}</li>`)}
  </ul></details>`;
}

const finding = (data, each) => html`<li><b>${data.runs[each.run].label}</b>, ${plural(each.shared, 'shared sample')}:
  ${each.sentences.map((sentence) => html`<span class="finding">${sentence}</span>`)}</li>`;
