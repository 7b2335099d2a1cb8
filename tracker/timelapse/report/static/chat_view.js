// What was asked: as a chat, and as the model saw it.

import { html } from './dom.js';
import { laidOut } from './json_layout.js';

/** The sample's messages, tools and other columns. */
export function ChatView({ sample }) {
  const messages = sample.messages ?? [];
  const metadata = Object.entries(sample.metadata ?? {});
  return html`<div class="chat">
    ${!messages.length && html`<p class="muted">No messages are stored of this sample.</p>`}
    ${messages.map((message) => html`<${Message} message=${message} />`)}
    ${sample.reference != null && html`<${Message} message=${{ role: 'expected', content: sample.reference }} />`}
    ${sample.tools?.length > 0 && html`<details><summary>${sample.tools.length} tools</summary>
      ${sample.tools.map((tool) => html`<${Json} value=${tool} />`)}</details>`}
    ${(metadata.length > 0 || sample.tags?.length > 0) && html`<dl class="columns">
      ${sample.tags?.length > 0 && html`<dt>tags</dt><dd dir="auto">${sample.tags.join(', ')}</dd>`}
      ${metadata.map(([name, value]) => html`<dt dir="auto">${name}</dt><dd>${typeof value === 'object' ? html`<${Json} value=${value} />` : html`<span class="text" dir="auto">${String(value)}</span>`}</dd>`)}
    </dl>`}
  </div>`;
}

function Message({ message }) {
  const { role, content, tool_calls: calls, ...rest } = message;
  const more = Object.entries(rest).filter(([, value]) => value != null);
  return html`<article class="message" data-role=${role}>
    <h3>${role}</h3>
    <${Content} content=${content} />
    ${(calls ?? []).map((call) => html`<${Json} value=${call.function ?? call} />`)}
    ${more.map(([name, value]) => html`<p><small dir="auto">${name}: ${typeof value === 'string' ? value : JSON.stringify(value)}</small></p>`)}
  </article>`;
}

function Content({ content }) {
  if (content == null) return null;
  if (Array.isArray(content)) return content.map((part) => (typeof part?.text === 'string' ? html`<${Content} content=${part.text} />` : html`<${Json} value=${part} />`));
  if (typeof content === 'object') return html`<${Json} value=${content} />`;
  const lines = laidOut(String(content));
  return lines == null ? html`<p class="text" dir="auto">${String(content)}</p>` : html`<pre class="json text" dir="auto">${lines}</pre>`;
}

function Json({ value }) {
  return html`<pre class="json text" dir="auto">${JSON.stringify(value, null, 2)}</pre>`;
}

const SPECIAL = /(<\|[^|>\n]{1,60}\|>|<\/?s>|\[\/?INST\]|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>|<<\/?SYS>>)/;

/** A rendered prompt with special tokens and line breaks made visible. */
export function RawView({ text }) {
  if (text == null) return html`<p class="muted">The rendered prompt of this sample is not stored.</p>`;
  return html`<pre class="raw text" dir="auto">${text.split(SPECIAL).map((part, at) => (at % 2 ? html`<mark>${part}</mark>` : breaks(part)))}</pre>`;
}

const breaks = (text) => text.split('\n').flatMap((line, at) => (at ? [html`<i aria-hidden="true">↵</i>`, '\n', line] : [line]));
