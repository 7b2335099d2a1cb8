// The server's run page, `<prefix>/timelapse/runs/<run id>`.

import { html, render } from './dom.js';
import { RunPage } from './run_view.js';
import { httpSource, placeOf } from './source_http.js';
import { followTheme } from './theme.js';

followTheme();
const { prefix, id } = placeOf();
render(html`<${RunPage} source=${httpSource(prefix, id)} />`, document.getElementById('app'));
