// The panel over MLflow's run page that shows ours: a frame that starts below MLflow's tabs and ends where its page does.

import { theme } from './mlflow_page.js';

export const PANEL_ID = 'timelapse-panel';

/** One panel for a window; it is made when it is first shown, and then kept, so that coming back is at once. */
export class Panel {
  #node = null;
  #frame = null;
  #address = '';
  #source = ''; // the address with the theme that our page began with
  #view = ''; // the fragment of what our page shows
  #told;
  #below = null;
  #sizes = new ResizeObserver(() => this.#place());

  /** told(view): called when our page shows something else. */
  constructor(told) {
    this.#told = told;
  }

  /** What the panel shows of a page, shown or hidden; '' for what is usual. */
  viewOf(address) {
    return this.#address === address ? this.#view : '';
  }

  /** Show a view of a page of ours below a node of MLflow's, labelled by our tab. */
  show(address, view, below, tab) {
    if (!this.#node) this.#make();
    if (this.#address !== address) {
      this.#address = address;
      this.#source = `${address}${address.includes('?') ? '&' : '?'}theme=${theme()}`;
      this.#go(view, view && `#${view}`);
    } else if (this.#view !== view) this.#go(view, `#${view}`);
    this.#node.setAttribute('aria-labelledby', tab.id);
    this.#node.hidden = false;
    this.#follow(below);
    this.#place();
    this.tellTheme();
  }

  /** Hide it; what it shows stays as it is. */
  hide() {
    if (!this.#node || this.#node.hidden) return;
    this.#node.hidden = true;
    this.#sizes.disconnect();
    this.#below = null;
  }

  /** Bring the keyboard to our page. */
  focus() {
    this.#frame?.contentWindow?.focus();
  }

  /** Tell our page which theme MLflow has now. */
  tellTheme() {
    this.#frame?.contentWindow?.postMessage({ theme: theme() }, location.origin);
  }

  /** Replaced, so that the frame has no history of its own and "back" is MLflow's. */
  #go(view, fragment) {
    this.#view = view;
    this.#frame.contentWindow.location.replace(this.#source + fragment);
  }

  #hear({ source, origin, data }) {
    if (source !== this.#frame.contentWindow || origin !== location.origin || typeof data?.view !== 'string') return;
    this.#view = data.view;
    if (!this.#node.hidden) this.#told(data.view);
  }

  #make() {
    this.#frame = Object.assign(document.createElement('iframe'), { title: 'Predictions' });
    this.#node = Object.assign(document.createElement('div'), { id: PANEL_ID, className: 'timelapse-panel' });
    this.#node.setAttribute('role', 'tabpanel');
    this.#node.append(this.#frame);
    document.body.append(this.#node);
    this.#frame.addEventListener('load', () => this.tellTheme());
    addEventListener('message', (event) => this.#hear(event));
  }

  #follow(below) {
    if (this.#below === below) return;
    this.#sizes.disconnect();
    this.#below = below;
    for (const node of [below, document.querySelector('main'), document.body]) if (node) this.#sizes.observe(node);
  }

  #place() {
    if (!this.#below || this.#node.hidden) return;
    const top = this.#below.getBoundingClientRect().bottom;
    const around = (document.querySelector('main') ?? document.body).getBoundingClientRect();
    const bottom = Math.min(around.bottom, innerHeight);
    Object.assign(this.#node.style, {
      left: `${around.left}px`, top: `${top}px`, width: `${around.width}px`, height: `${Math.max(bottom - top, 0)}px`,
    });
  }
}
