// What to do with the configuration: commands to copy, a file to save. Nothing is started on the server.

import { CopyButton } from '../report/copy_button.js';
import { html } from '../report/dom.js';

/** A shell command that writes a text into a file, whatever the text holds. */
export function writing(text, file = 'config.yaml') {
  const lines = text.split('\n');
  let end = 'YAML';
  while (lines.includes(end)) end += '_';
  return `cat > ${file} <<'${end}'\n${text.endsWith('\n') ? text : `${text}\n`}${end}`;
}

const COMMANDS = [
  ['timelapse config check config.yaml', 'everything that can be known to be wrong, files too'],
  ['timelapse config plan config.yaml --probe', 'the plan with counted tokens and measured times'],
  ['timelapse train config.yaml', 'the training'],
  ['mlflow run . --env-manager local -P config=config.yaml', 'the same as an MLflow project, in a clone of Timelapse'],
];

export function Commands({ text, isRight }) {
  return html`<section class="panel" aria-labelledby="commands">
    <header><h2 id="commands">Start it</h2><small>on the machine that trains: this page starts nothing</small><span class="spacer"></span>
      <button type="button" class="button small" onClick=${() => save(text)}>Save config.yaml</button>
      <${CopyButton} kind="small primary" title="Copy file and command" text=${() => `${writing(text)}\ntimelapse train config.yaml`}/></header>
    <div class="body stack commands">
      ${!isRight && html`<p class="error">Something is still wrong: the training would refuse this configuration.</p>`}
      ${COMMANDS.map(([command, what]) => html`<div class="command"><code>${command}</code><small>${what}</small><${CopyButton} kind="small" title="Copy" text=${() => command}/></div>`)}
    </div>
  </section>`;
}

function save(text) {
  const address = URL.createObjectURL(new Blob([text], { type: 'application/yaml' }));
  const link = Object.assign(document.createElement('a'), { href: address, download: 'config.yaml' });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
