// Copies a text, the address of this view by default: any view can be handed to a colleague.

import { html, useState } from './dom.js';

export function CopyButton({ text = ownAddress, title = 'Copy link', kind = '' }) {
  const [told, setTold] = useState('');
  const copy = async () => {
    setTold((await copied(text())) ? 'Copied' : 'Not copied: the browser refuses');
    setTimeout(() => setTold(''), 2500);
  };
  return html`<button class=${`button ${kind}`} type="button" onClick=${copy}>${told || title}</button>
    <span class="sr-only" role="status">${told}</span>`;
}

/** Where this view is, without the theme that MLflow's tab asks for: everybody has one of their own. */
function ownAddress() {
  const address = new URL(location.href);
  address.searchParams.delete('theme');
  return address.href;
}

/** Browsers have a clipboard for pages of HTTPS and of this machine alone; others copy what is selected. */
const copied = async (text) => (await navigator.clipboard?.writeText(text).then(() => true, () => false)) || copiedBySelection(text);

function copiedBySelection(text) {
  const focused = document.activeElement;
  const box = Object.assign(document.createElement('textarea'), { value: text, className: 'sr-only' });
  document.body.append(box);
  box.select();
  const done = document.execCommand('copy');
  box.remove();
  focused?.focus();
  return done;
}
