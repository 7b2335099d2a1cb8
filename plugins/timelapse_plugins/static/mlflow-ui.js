// Our additions to MLflow's own pages: a tab on the run page, a button on the compare page, an entry in the
// experiment's sidebar. Nodes are only appended, MLflow's own are never moved, hidden or changed; where the places
// that we know are gone (another version of MLflow), a small link in the corner leads to our pages instead.

import { Additions } from './mlflow_additions.js';
import { framesAllowed, home, loadStyles, observe, routeOf, withPanel } from './mlflow_page.js';
import { Panel } from './mlflow_panel.js';

loadStyles(new URL('./mlflow-ui.css', import.meta.url).href);
/** What our panel shows stands in MLflow's address, too: it can be pasted, and comes back with a reload. */
function remember(view) {
  if (routeOf().open) history.replaceState(history.state, '', withPanel(true, view));
}

const additions = new Additions(home, framesAllowed() ? new Panel(remember) : null);
observe(() => additions.refresh());
