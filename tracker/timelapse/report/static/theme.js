// Light or dark: the system's choice, unless `?theme=` or the window around us (MLflow's tab) says otherwise.

const CHANGED = 'timelapse-theme';

/** Follow the theme that the address names, and then any that a parent window posts as `{theme}`. */
export function followTheme() {
  setTheme(new URLSearchParams(location.search).get('theme'));
  addEventListener('message', (event) => {
    if (event.source === parent && event.data && typeof event.data === 'object') setTheme(event.data.theme);
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', tell);
}

/** Call back when the colours have changed; returns how to stop that. For canvases, which keep what was drawn. */
export function onTheme(callback) {
  addEventListener(CHANGED, callback);
  return () => removeEventListener(CHANGED, callback);
}

function setTheme(theme) {
  if (theme !== 'dark' && theme !== 'light') return;
  document.documentElement.dataset.theme = theme;
  tell();
}

function tell() {
  dispatchEvent(new Event(CHANGED));
}
