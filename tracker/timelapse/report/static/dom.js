// What all views are written with: Preact, its hooks and `html`, from the one vendored file.

import { Component, h } from './vendor/preact.js';

export {
  Component, Fragment, h, html, render, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState,
} from './vendor/preact.js';

/** Class names, of those that are not false: `cx('chip', isEmpty && 'empty')`. */
export const cx = (...names) => names.filter(Boolean).join(' ');

/** The same view, drawn anew only when one of its properties is another: what makes scrubbing cheap. */
export function memo(view) {
  return class Memo extends Component {
    shouldComponentUpdate(next) {
      return !sameProperties(this.props, next);
    }

    render(properties) {
      return h(view, properties);
    }
  };
}

function sameProperties(one, other) {
  const names = Object.keys(other);
  return names.length === Object.keys(one).length && names.every((name) => Object.is(one[name], other[name]));
}

/** Closes a <details class="menu"> when one of its entries was chosen, or Escape was pressed in it. */
export const menuEvents = {
  onClick(event) {
    if (event.target.closest('.menu > div > a, .menu > div > button')) event.currentTarget.open = false;
  },
  onKeyDown(event) {
    if (event.key !== 'Escape') return;
    event.currentTarget.open = false;
    event.currentTarget.querySelector('summary').focus();
  },
  onFocusOut(event) {
    const menu = event.currentTarget;
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false;
  },
};

/** A press beside an open menu closes it: the focus tells of it only where what was pressed can have it. */
addEventListener('pointerdown', ({ target }) => {
  for (const menu of document.querySelectorAll('details.menu[open]')) if (!menu.contains(target)) menu.open = false;
});

/** A colour token as the browser computes it, for canvases: `colour('--accent')`. */
export function colour(token) {
  const probe = document.createElement('i');
  probe.hidden = true;
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
