// The config page: a form and its YAML, each following the other; what is wrong, what it costs, how to start it.

import { CopyButton } from '../report/copy_button.js';
import { html, useCallback, useEffect, useMemo, useRef, useState } from '../report/dom.js';
import { plural } from '../report/format.js';
import { api, placeOf } from '../report/source_http.js';
import { useUrlState } from '../report/url_state.js';
import { inWorkspace } from '../report/workspace.js';
import { Commands } from './config_commands.js';
import { Form } from './config_form.js';
import { GUESSES, Plan, SPEEDS } from './config_plan.js';
import { nameOf, sections, withValue } from './config_schema.js';
import { Failure, Loading, useLoaded, useSettled } from './loading.js';
import { mount } from './mount.js';
import { Crumbs } from './shared_views.js';
import { toYaml } from './yaml_writer.js';

const START = toYaml({
  model: { name: 'HuggingFaceTB/SmolLM2-135M-Instruct' },
  data: { train: 'train.jsonl', eval: 'eval.jsonl' },
  training: { num_train_epochs: 3 },
  lora: { r: 16, alpha: 32 },
  predictions: { sample_count: 32, sample_frequency: 'epoch', max_new_tokens: 64 },
  tracking: { experiment: 'my-experiment' },
});
const empty = (named) => Object.fromEntries(Object.keys(named).map((name) => [name, '']));
const DEFAULTS = { config: START, find: '', only: '', ...empty(GUESSES), ...empty(SPEEDS) };

const { prefix } = placeOf();
const { get } = api(prefix);

function Config() {
  const [state, update] = useUrlState(DEFAULTS);
  const schema = useLoaded(() => get('config/schema'), 'schema');
  const guesses = Object.fromEntries(Object.entries(GUESSES).map(([name, [usual]]) => [name, state[name] || usual]));
  const query = { config: useSettled(state.config, 350), ...guesses };
  const check = useLoaded(() => get('config/check', query).then((found) => ({ ...found, text: query.config })), JSON.stringify(query));
  const values = useValues(check.data, state.config, update);
  const problems = check.data?.problems ?? [];
  const parts = useMemo(() => (schema.data ? sections(schema.data) : []), [schema.data]);
  const isCurrent = check.data?.text === state.config && !check.isLoading;
  return html`<main class="page stack config" aria-busy=${String(check.isLoading)}>
    <header class="row"><div>
      <${Crumbs} steps=${[['MLflow', inWorkspace(`${prefix}/#/`)]]}/><div class="row"><h1>Configuration</h1><${Verdict} ...${{ problems, isCurrent, check }} /></div></div>
      <span class="spacer"></span><${CopyButton}/></header>
    ${[schema, check].map((each) => each.error && html`<${Failure} error=${each.error} again=${each.again}/>`)}
    <div class="two">
      <section class="panel form" aria-labelledby="fields"><header><h2 id="fields">Fields</h2>
        <label><span class="sr-only">Find a field</span><input class="input" type="search" placeholder="Find a field…" value=${state.find} onInput=${(event) => update({ find: event.target.value })}/></label>
        <label class="check"><input type="checkbox" checked=${state.only === '1'} onChange=${(event) => update({ only: event.target.checked ? '1' : '' })}/> only what is set</label></header>
        ${schema.data ? html`<${Form} sections=${parts} values=${values.current} problems=${problems} search=${state.find} onlySet=${state.only === '1'} change=${values.change}/>`
          : !schema.error && html`<div class="body"><${Loading} what="the fields"/></div>`}
      </section>
      <div class="stack side">
        <${Editor} ...${{ text: state.config, problems, notes: check.data?.notes ?? [], update }} />
        <${Plan} plan=${check.data?.plan} state=${state} update=${update}/>
        <${Commands} text=${state.config} isRight=${!problems.length}/>
      </div>
    </div>
  </main>`;
}

/**
 * The data of the form: what the server read in the YAML; a change in a field writes the YAML anew. What it read in an
 * earlier text is nothing: it would take back what has been changed since.
 */
function useValues(checked, text, update) {
  const [current, setCurrent] = useState(null);
  const latest = useRef(null);
  const set = (values) => { latest.current = values; setCurrent(values); };
  useEffect(() => {
    if (checked?.values && checked.text === text) set(checked.values);
  }, [checked, text]);
  const change = useCallback((path, value) => {
    set(withValue(latest.current, path, value));
    update({ config: toYaml(latest.current) });
  }, []);
  return { current, change };
}

function Verdict({ problems, isCurrent, check }) {
  const [kind, text] = !isCurrent ? ['', 'checking…'] : problems.length ? ['bad', plural(problems.length, 'problem')] : ['good', 'nothing is wrong'];
  return html`<span class=${`badge ${kind}`} role="status">${text}</span>`;
}

function Editor({ text, problems, notes, update }) {
  return html`<section class="panel" aria-labelledby="yaml"><header><h2 id="yaml">config.yaml</h2><span class="spacer"></span>
      <${CopyButton} kind="small" title="Copy" text=${() => text}/></header>
    <textarea class="yaml mono" aria-labelledby="yaml" aria-describedby="problems" spellcheck="false" autocomplete="off" wrap="off"
      rows=${Math.min(30, Math.max(12, text.split('\n').length + 1))} value=${text} onInput=${(event) => update({ config: event.target.value })}></textarea>
    <div id="problems" class="findings">
      ${problems.map((each) => html`<p class="error">${each.line !== null && html`<span class="number">line ${each.line}: </span>`}${each.path.length
        ? html`<a href=${`#field-${nameOf(each.path)}`} onClick=${focus}>${each.path.join('.')}</a>: ` : ''}${each.text}</p>`)}
      ${notes.map((note) => html`<p class="hint">${note}</p>`)}
      ${/(^|\s)#/.test(text) && html`<p class="hint">A change in a field writes the YAML anew: comments go.</p>`}
    </div>
  </section>`;
}

/** To the field that is wrong, without writing it into the address. */
function focus(event) {
  event.preventDefault();
  const field = document.getElementById(decodeURIComponent(event.target.hash.slice(1)));
  if (!field) return;
  field.closest('details').open = true;
  field.focus();
}

mount(Config);
