// Draws a page: the theme, the style sheet that these pages share, then the view.

import { h, render } from '../report/dom.js';
import { followTheme } from '../report/theme.js';

const STYLES = new URL('./pages.css', import.meta.url).href;

/** Draw a view as the whole page. */
export async function mount(view) {
  followTheme();
  await styled();
  render(h(view), document.getElementById('app'));
}

/** Add the style sheet, unless the page's HTML names it already; a page without it is still a page. */
function styled() {
  if ([...document.styleSheets].some((sheet) => sheet.href === STYLES)) return undefined;
  return new Promise((done) => {
    const link = Object.assign(document.createElement('link'), { rel: 'stylesheet', href: STYLES, onload: done, onerror: done });
    document.head.append(link);
  });
}
