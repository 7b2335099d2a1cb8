// The report's page: the run page on the data in this file.

import { html, render } from './dom.js';
import { RunPage } from './run_view.js';
import { reportSource } from './source_report.js';
import { followTheme } from './theme.js';

followTheme();
const data = JSON.parse(document.getElementById('data').textContent);
render(html`<${RunPage} source=${reportSource(data)} />`, document.getElementById('app'));
