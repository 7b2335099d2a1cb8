// The form: a section a block of the configuration, a field a value, each with what is wrong with it.

import { html, memo, useEffect, useState } from '../report/dom.js';
import { plural } from '../report/format.js';
import { nameOf, valueAt } from './config_schema.js';

const OPEN = ['model', 'data', 'training', 'predictions'];

export function Form({ sections, values, problems, search, onlySet, change }) {
  const asked = search.trim().toLowerCase();
  const shows = (field) => (!asked || `${nameOf(field.path)} ${field.description}`.toLowerCase().includes(asked))
    && (!onlySet || valueAt(values, field.path) !== undefined || field.required);
  const found = sections.map((section) => ({ ...section, fields: section.fields.filter(shows) })).filter((section) => section.fields.length);
  if (!found.length) return html`<div class="empty"><h2>No field fits</h2></div>`;
  return html`${found.map((section) => html`<${Section} key=${section.name} ...${{ section, values, problems, change, isSearch: Boolean(asked || onlySet) }} />`)}`;
}

function Section({ section, values, problems, change, isSearch }) {
  const mine = problems.filter((each) => section.fields.some((field) => isAt(each, field)));
  const own = problems.filter((each) => each.path.length === 1 && each.path[0] === section.name && !mine.includes(each));
  const given = section.fields.filter((field) => valueAt(values, field.path) !== undefined).length;
  return html`<details class="section" open=${isSearch || OPEN.includes(section.name) || given > 0 || mine.length > 0}>
    <summary><strong>${section.name}</strong> <small>${said(section.description)}</small>
      ${given > 0 && html` <span class="badge">${given} set</span>`}${mine.length + own.length > 0 && html` <span class="badge bad">${plural(mine.length + own.length, 'problem')}</span>`}</summary>
    ${own.map((each) => html`<p class="error">${section.name}: ${each.text}</p>`)}
    <div class="fields">${section.fields.map((field) => html`<${Field} key=${nameOf(field.path)} field=${field} value=${valueAt(values, field.path)}
      error=${problems.filter((each) => isAt(each, field)).map((each) => within(each, field) + each.text).join('; ')} change=${change}/>`)}</div>
  </details>`;
}

const isAt = (problem, field) => field.path.every((part, at) => problem.path[at] === part);
const within = (problem, field) => (problem.path.length > field.path.length ? `${problem.path.slice(field.path.length).join('.')}: ` : '');

const Field = memo(({ field, value, error, change }) => {
  const id = `field-${nameOf(field.path)}`;
  const Input = { choice: Choice, switch: Choice, json: Json }[field.kind] ?? Typed;
  const about = { id, 'aria-describedby': `${id}-help${error ? ` ${id}-error` : ''}`, 'aria-invalid': error ? 'true' : undefined, required: field.required };
  return html`<div class=${`config-field ${value === undefined ? '' : 'set'} ${error ? 'wrong' : ''}`}>
    <label for=${id}>${field.name}${field.required && html`<span class="bad" title="required"> *</span>`}</label>
    <${Input} field=${field} value=${value} about=${about} give=${(next) => change(field.path, next)}/>
    <p class="help" id=${`${id}-help`}>${said(field.description)}</p>
    ${error && html`<p class="error" id=${`${id}-error`}>${error}</p>`}
  </div>`;
});

/** A text in which `code` stands between backticks. */
const said = (text) => (text ?? '').split('`').map((part, at) => (at % 2 ? html`<code>${part}</code>` : part));

const shown = (value) => (value === undefined || value === null ? '' : typeof value === 'string' ? value : JSON.stringify(value));
const usual = (field) => (field.usual === null ? '' : `default: ${shown(field.usual)}`);

/** What is being typed, until the value behind it changes: `[text, setText]`. */
function useDraft(told) {
  const [text, setText] = useState(told);
  useEffect(() => setText(told), [told]);
  return [text, setText];
}

function Typed({ field, value, about, give }) {
  const [text, setText] = useDraft(shown(value));
  const isNumber = field.kind === 'number';
  const read = (text) => (text === '' ? undefined : isNumber && /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text.trim()) ? Number(text) : text);
  return html`<input class="input" ...${about} type="text" inputmode=${isNumber ? 'decimal' : undefined} spellcheck="false" autocomplete="off"
    placeholder=${usual(field)} value=${text} onInput=${(event) => setText(event.target.value)} onChange=${(event) => give(read(event.target.value))}/>`;
}

function Choice({ field, value, about, give }) {
  const choices = field.kind === 'switch' ? [true, false, ...field.choices] : field.choices;
  const strange = value !== undefined && !choices.includes(value);
  return html`<select class="select" ...${about} value=${value === undefined ? '' : JSON.stringify(value)}
    onChange=${(event) => give(event.target.value === '' ? undefined : JSON.parse(event.target.value))}>
    <option value="" selected=${value === undefined}>${usual(field) || 'not set'}</option>
    ${[...choices, ...(strange ? [value] : [])].map((each) => html`<option value=${JSON.stringify(each)} selected=${each === value}>${String(each)}</option>`)}
  </select>`;
}

/** A list or a block, written as JSON. */
function Json({ field, value, about, give }) {
  const [text, setText] = useDraft(value === undefined ? '' : JSON.stringify(value));
  const [wrong, setWrong] = useState(false);
  const read = (typed) => {
    try {
      give(typed.trim() === '' ? undefined : JSON.parse(typed));
      setWrong(false);
    } catch {
      setWrong(true);
    }
  };
  return html`<input class="input mono" ...${about} aria-invalid=${wrong ? 'true' : about['aria-invalid']} type="text" spellcheck="false" autocomplete="off"
    placeholder=${usual(field) || 'as JSON'} value=${text} onInput=${(event) => setText(event.target.value)} onChange=${(event) => read(event.target.value)}/>
    ${wrong && html`<span class="error" role="alert">expected JSON, such as ${field.usual && Object.keys(field.usual).length ? JSON.stringify(field.usual) : '["name"] or {"name": 1}'}</span>`}`;
}
