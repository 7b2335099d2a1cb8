// The panel over MLflow's run page that shows ours: a frame that starts below MLflow's tabs and ends where its page does.

import { theme } from './mlflow_page.js';

export const PANEL_ID = 'timelapse-panel';

/** One panel for a window; it is made when it is first shown, and then kept, so that coming back is at once. */
export class Panel {
  #node = null;
  #frame = null;
  #address = '';
  #below = null;
  #sizes = new ResizeObserver(() => this.#place());

  /** Show a page of ours below a node of MLflow's, labelled by our tab. */
  show(address, below, tab) {
    if (!this.#node) this.#make();
    if (this.#address !== address) {
      this.#address = address;
      // Replaced, so that the frame has no history of its own and "back" is MLflow's.
      this.#frame.contentWindow.location.replace(`${address}${address.includes('?') ? '&' : '?'}theme=${theme()}`);
    }
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

  #make() {
    this.#frame = Object.assign(document.createElement('iframe'), { title: 'Predictions' });
    this.#node = Object.assign(document.createElement('div'), { id: PANEL_ID, className: 'timelapse-panel' });
    this.#node.setAttribute('role', 'tabpanel');
    this.#node.append(this.#frame);
    document.body.append(this.#node);
    this.#frame.addEventListener('load', () => this.tellTheme());
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
