// Search, filter chips with live counts, and what the table shows.

import { cx, html, memo, menuEvents } from './dom.js';
import { toggled } from './answer_columns.js';
import { count, label } from './format.js';
import { Choice, groupings } from './matrix_panel.js';
import { chipTags } from './run_model.js';

const MOST_VALUES = 200;

export function FilterBar({ model, view, update, counts, tags }) {
  const toggle = (name, list) => update({ [name]: view[name].includes(list) ? view[name].filter((each) => each !== list) : [...view[name], list] });
  const isFiltered = view.filter.length || view.tag.length || view.where.length || view.q;
  return html`<div class="filters">
    <input class="input" type="search" placeholder="Search prompt, reference or answer" aria-label="Search prompt, reference or answer" value=${view.q}
      onInput=${(event) => update({ q: event.target.value })} />
    <div class="row" role="group" aria-label="Filters">
      ${model.chips.map((name) => html`<${Chip} key=${name} text=${label(name).toLowerCase()} amount=${counts[name]} isOn=${view.filter.includes(name)} onClick=${() => toggle('filter', name)} />`)}
      ${[...tags].map(([tag, amount]) => html`<${Chip} key=${`tag:${tag}`} text=${`tag: ${tag}`} amount=${amount} isOn=${view.tag.includes(tag)} onClick=${() => toggle('tag', tag)} />`)}
      <${MoreTags} model=${model} chosen=${view.tag} update=${update} />
      ${view.where.map((each) => html`<${Chip} key=${`where:${each}`} text=${each.replace('=', ': ')} isOn onClick=${() => toggle('where', each)} />`)}
      ${isFiltered ? html`<button type="button" class="button quiet small" onClick=${() => update({ filter: [], tag: [], where: [], q: '' })}>Clear</button>` : null}
    </div>
  </div>`;
}

/** The tags that are too many for a chip each. */
const MoreTags = memo(({ model, chosen, update }) => {
  const shown = new Set(chipTags(model, chosen));
  const others = model.tags.filter((tag) => !shown.has(tag));
  if (!others.length) return null;
  return html`<select class="select small" aria-label="Only rows with another tag" onChange=${(event) => update({ tag: [...chosen, event.target.value] })}>
    <option value="" selected>more tags</option>
    ${others.map((tag) => html`<option key=${tag} value=${tag}>${tag}</option>`)}
  </select>`;
});

/** How the rows are grouped, how high they are, and which columns they have. */
export const TableChoices = memo(({ model, group, where, update, scores, columns, lines }) => html`
    <${Choice} name="Group rows by" value=${group} values=${groupings(model)} onChange=${(value) => update({ group: value })} />
    <select class="select small" aria-label="Lines of a row" title="Lines of a row" onChange=${(event) => update({ lines: event.target.value })}>
      ${[1, 2, 4, 6, 12].map((each) => html`<option value=${each} selected=${each === lines}>${each} ${each === 1 ? 'line' : 'lines'}</option>`)}
    </select>
    <${ColumnMenu} model=${model} scores=${scores} columns=${columns} where=${where} update=${update} />`);

function Chip({ text, amount, isOn, onClick }) {
  return html`<button type="button" class=${cx('chip', amount === 0 && 'none')} aria-pressed=${String(Boolean(isOn))} onClick=${onClick} dir="auto">
    ${text}${amount == null ? html`<b aria-label="remove">×</b>` : html`<b>${count(amount)}</b>`}</button>`;
}

/** Which columns are shown, and for those of the samples which value they must have. */
function ColumnMenu({ model, scores, columns, where, update }) {
  const box = (name, title) => html`<label class="check entry"><input type="checkbox" checked=${columns.includes(name)}
    onChange=${() => update({ col: toggled(columns, name) })} /><span dir="auto">${title}</span></label>`;
  return html`<details class="menu" ...${menuEvents}>
    <summary class="button small">Columns</summary>
    <div class="list">
      ${scores.map((name) => box(name, label(name)))}
      ${model.columns.map((column) => html`<div class="pair">${box(`@${column.name}`, column.name)}
        <${ColumnFilter} column=${column} where=${where} update=${update} /></div>`)}
    </div>
  </details>`;
}

function ColumnFilter({ column, where, update }) {
  const others = where.filter((each) => !each.startsWith(`${column.name}=`));
  const value = where.find((each) => each.startsWith(`${column.name}=`))?.slice(column.name.length + 1);
  const only = (asked) => update({ where: asked == null ? others : [...others, `${column.name}=${asked}`] });
  const name = `Only rows whose ${column.name} is`;
  if (column.values.length > MOST_VALUES) {
    return html`<input class="input small" type="search" placeholder="any" aria-label=${name} title=${name} value=${value ?? ''} dir="auto"
      onChange=${(event) => only(event.target.value || null)} />`;
  }
  return html`<select class="select small" aria-label=${name} onChange=${(event) => only(event.target.value === '' ? null : event.target.value.slice(1))}>
    <option value="">any</option>
    ${column.values.map((each) => html`<option value=${`=${each}`} selected=${each === value}>${each}</option>`)}
  </select>`;
}
