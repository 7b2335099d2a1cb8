// The compare page: runs held against one of them. All that it shows is in its address.

import { html, useEffect, useMemo } from '../report/dom.js';
import { api, placeOf } from '../report/source_http.js';
import { useUrlState } from '../report/url_state.js';
import { Curves } from './compare_curves.js';
import { Header } from './compare_header.js';
import { Likeness } from './compare_likeness.js';
import { Scoreboard } from './compare_scoreboard.js';
import { Answers } from './compare_table.js';
import { Failure, Loading, useLoaded } from './loading.js';
import { mount } from './mount.js';

const DEFAULTS = {
  run: [], round: 'best', against: '', score: '', set: '', diff: 'against', filter: [], of: '', search: '', sort: '', page: '1',
  curve: '', axis: 'step', open: '',
};

const { prefix } = placeOf();
const { get, address } = api(prefix);

function Compare() {
  const [state, update] = useUrlState(DEFAULTS);
  const query = useMemo(
    () => ({ run: state.run, round: state.round, against: state.against, score: state.score, set: state.set }),
    [String(state.run), state.round, state.against, state.score, state.set],
  );
  const enough = state.run.length > 1;
  const { data, error, isLoading, again } = useLoaded(() => get('compare', query), enough ? JSON.stringify(query) : null, isLive);
  useEffect(() => {
    if (data) document.title = `${data.runs.map((each) => each.label).join(' · ')} · Timelapse`;
  }, [data]);
  const page = { state, update, query, prefix, get, address, data: enough ? data : null };
  return html`<main class="page stack compare" aria-busy=${String(isLoading)}>
    <${Header} ...${page} />
    ${error && html`<${Failure} error=${error} again=${again}/>`}
    ${page.data ? html`<${Body} ...${page} />` : isLoading ? html`<${Loading} what="the comparison"/>` : !error && html`<${TooFew} ...${page} />`}
  </main>`;
}

function Body({ data, ...page }) {
  return html`
    <${Likeness} data=${data}/>
    <${Scoreboard} data=${data} ...${page}/>
    <${Curves} data=${data} ...${page}/>
    <${Answers} data=${data} ...${page}/>`;
}

function TooFew({ state }) {
  return html`<section class="panel empty">
    <h2>${state.run.length ? 'One run alone cannot be compared' : 'Nothing to compare yet'}</h2>
    <p>Add runs above, or choose some on an experiment's page. Two rounds of one run are compared as
      <code>run=ID@first&run=ID@last</code>.</p>
  </section>`;
}

const isLive = (data) => data.runs.some((each) => each.run.state.kind === 'live');

mount(Compare);
