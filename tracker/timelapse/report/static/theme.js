// Light or dark: what was chosen in MLflow's pages, else the system's choice; unless `?theme=` or the window around us
// (MLflow's tab) says otherwise.

const CHANGED = 'timelapse-theme';
const CHOSEN = '_mlflow_dark_mode_toggle_enabled'; // where MLflow's pages keep it

/** Follow the theme that the address names, and then any that a parent window posts as `{theme}`. */
export function followTheme() {
  setTheme(new URLSearchParams(location.search).get('theme') ?? chosenInMlflow());
  addEventListener('storage', ({ key }) => key === CHOSEN && setTheme(chosenInMlflow()));
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

function chosenInMlflow() {
  try {
    return { true: 'dark', false: 'light' }[localStorage.getItem(CHOSEN)];
  } catch {
    return null; // a sandboxed frame has no storage
  }
}

function setTheme(theme) {
  if (theme !== 'dark' && theme !== 'light') return;
  document.documentElement.dataset.theme = theme;
  tell();
}

function tell() {
  dispatchEvent(new Event(CHANGED));
}
