// The scrubber: the round that is shown, moved by pointer, keys or play. It stays in view.

import { cx, html, memo, useEffect, useLayoutEffect, useRef, useState } from './dom.js';
import { epoch } from './format.js';

const AGAINST = { previous: 'previous', reference: 'reference', base: 'base', off: 'off' };
const LABEL_WIDTH = 66;
const WHOLE_PLAY_MS = 9_000;

export const Scrubber = memo(({ model, round, goTo, vs, update }) => {
  const [isPlaying, setPlaying] = usePlay(model, round, goTo);
  useKeys(model, round, goTo, isPlaying, setPlaying);
  const label = model.labels[round];
  return html`<section class="scrubber" aria-label="Rounds">
    <button type="button" class="play" aria-label=${isPlaying ? 'Pause' : 'Play the rounds'} title="Play or pause (space)" onClick=${() => setPlaying(!isPlaying)}>
      <svg viewBox="0 0 16 16" aria-hidden="true">${isPlaying ? html`<path d="M4 3h3v10H4zM9 3h3v10H9z" />` : html`<path d="M5 3v10l8-5z" />`}</svg>
    </button>
    <${Rail} model=${model} round=${round} goTo=${goTo} label=${label} />
    <div class="against">
      <span id="against">Changes against</span>
      <div class="segment" role="group" aria-labelledby="against">${Object.entries(AGAINST).map(([name, text]) => html`
        <button type="button" aria-pressed=${String(vs === name)} onClick=${() => update({ vs: name })}>${text}</button>`)}</div>
    </div>
  </section>`;
});

function Rail({ model, round, goTo, label }) {
  const rail = useRef(null);
  const [width, setWidth] = useState(600);
  useLayoutEffect(() => {
    const sizes = new ResizeObserver(([entry]) => setWidth(entry.contentRect.width));
    sizes.observe(rail.current);
    return () => sizes.disconnect();
  }, []);
  const go = (event) => {
    const box = rail.current.getBoundingClientRect();
    goTo(nearest(model.places, (event.clientX - box.left) / box.width));
  };
  const down = (event) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    event.currentTarget.querySelector('[role=slider]').focus({ preventScroll: true });
    event.preventDefault();
    go(event);
  };
  const here = `${100 * model.places[round]}%`;
  return html`<div class="rail" ref=${rail} onPointerDown=${down} onPointerMove=${(event) => event.buttons & 1 && go(event)}>
    <div class="track"></div><div class="fill" style=${{ width: here }}></div>
    <${Ticks} model=${model} width=${width} />
    <div class="knob" role="slider" tabindex="0" aria-label="Round" aria-valuemin="0" aria-valuemax=${model.last} aria-valuenow=${round}
      aria-valuetext=${label} style=${{ left: here }}><output class="bubble" aria-hidden="true">${label}</output></div>
  </div>`;
}

/** A tick a round; labels where there is room for them, the first and the last always. */
const Ticks = memo(({ model, width }) => {
  let free = -LABEL_WIDTH;
  const last = model.places[model.last] * width;
  return html`<div class="ticks" aria-hidden="true">${model.rounds.map((each, at) => {
    const left = model.places[at] * width;
    const isShown = at === model.last || (left >= free && left + LABEL_WIDTH <= last) || at === 0;
    if (isShown) free = left + LABEL_WIDTH;
    const isNew = at === 0 || Math.floor(each.epoch ?? 0) > Math.floor(model.rounds[at - 1].epoch ?? 0);
    return html`<i class=${cx(isNew && 'epoch', each.failed > each.rows / 10 && 'failed')} style=${{ left: `${100 * model.places[at]}%` }}>${isShown && html`<span>${tickLabel(each)}</span>`}</i>`;
  })}</div>`;
});

function tickLabel(round) {
  if (round.trigger === 'baseline') return `${round.step} · base`;
  const at = epoch(round.epoch);
  return at != null && Number.isInteger(Number(at)) && at !== '0' ? `${round.step} · ep ${at}` : String(round.step);
}

function nearest(places, wanted) {
  let best = 0;
  places.forEach((place, at) => {
    if (Math.abs(place - wanted) < Math.abs(places[best] - wanted)) best = at;
  });
  return best;
}

/** Playing goes from round to round, and begins again when it was at the end. */
function usePlay(model, round, goTo) {
  const [isPlaying, setPlaying] = useState(false);
  const isFirst = useRef(false);
  const pause = Math.min(900, Math.max(90, WHOLE_PLAY_MS / (model.last || 1)));
  useEffect(() => {
    if (!isPlaying) return undefined;
    if (isFirst.current) {
      isFirst.current = false;
      if (round === model.last) {
        goTo(0);
        return undefined;
      }
    }
    if (round === model.last) {
      setPlaying(false);
      return undefined;
    }
    const timer = setTimeout(() => goTo(round + 1), pause);
    return () => clearTimeout(timer);
  }, [isPlaying, round, model]);
  return [isPlaying, (now) => {
    isFirst.current = now;
    setPlaying(now);
  }];
}

/** Arrow keys, Home, End and the space bar, wherever they have no other meaning. */
function useKeys(model, round, goTo, isPlaying, setPlaying) {
  const handler = useRef(null);
  handler.current = (event) => {
    if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest('input, select, textarea, [role=application], [role=tablist]')) return;
    const isButton = event.target.closest('button, a, summary');
    const to = { ArrowLeft: round - 1, ArrowRight: round + 1, Home: 0, End: model.last, PageUp: round - 10, PageDown: round + 10 };
    const isSlider = event.target.closest('[role=slider]');
    if (event.key === ' ' && !isButton) setPlaying(!isPlaying);
    else if (event.key in to && (isSlider || !event.key.startsWith('Page'))) {
      setPlaying(false);
      goTo(Math.min(model.last, Math.max(0, to[event.key])));
    } else return;
    event.preventDefault();
  };
  useEffect(() => {
    const listen = (event) => handler.current(event);
    addEventListener('keydown', listen);
    return () => removeEventListener('keydown', listen);
  }, []);
}
