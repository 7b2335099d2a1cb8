// From the configuration's JSON schema to the fields of a form.

/** The definition behind a `$ref`. */
const resolved = (schema, root) => (schema.$ref ? { ...root.$defs[schema.$ref.split('/').at(-1)], ...without(schema, '$ref') } : schema);

const without = (object, name) => Object.fromEntries(Object.entries(object).filter(([key]) => key !== name));

/** The variants of a schema, less `null`. */
const variants = (schema, root) => (schema.anyOf ?? [schema]).map((each) => resolved(each, root)).filter((each) => each.type !== 'null');

/** The sections of the form: `{name, description, fields}`; the last one holds what is in no block. */
export function sections(root) {
  const found = [];
  const loose = [];
  for (const [name, schema] of Object.entries(root.properties)) {
    const block = variants(schema, root).find((each) => each.properties);
    if (block) found.push({ name, description: schema.description ?? block.description, optional: !root.required.includes(name), fields: fieldsOf(block, name, root) });
    else loose.push(field(name, schema, [name], false, root));
  }
  return [...found, { name: 'general', description: 'What is in no block.', optional: true, fields: loose }];
}

const fieldsOf = (block, section, root) => Object.entries(block.properties)
  .map(([name, schema]) => field(name, schema, [section, name], block.required?.includes(name) ?? false, root));

/** A field: `{name, path, kind, choices, description, usual, required}`; of kind `json` what has an inner structure. */
function field(name, schema, path, required, root) {
  const options = variants(schema, root);
  const choices = options.flatMap((each) => each.enum ?? (each.const === undefined ? [] : [each.const]));
  return {
    name, path, required, choices, kind: kindOf(options, choices),
    description: schema.description ?? '', usual: schema.default ?? null,
  };
}

function kindOf(options, choices) {
  const types = new Set(options.map((each) => each.type ?? (each.const === undefined && !each.enum ? 'any' : 'choice')));
  if (choices.length && types.has('boolean')) return 'switch';
  if (choices.length) return 'choice';
  if (types.has('any') || types.has('object') || types.has('array')) return 'json';
  if (types.has('boolean')) return 'switch';
  return types.has('number') || types.has('integer') ? 'number' : 'text';
}

/** What stands at a place; a block given as one word (`model: NAME`) is that block. */
export function valueAt(values, [section, name]) {
  const found = values?.[section];
  if (name === undefined) return found;
  if (typeof found === 'string' && name === 'name') return found;
  if (typeof found === 'boolean' && name === 'enabled') return found;
  return found && typeof found === 'object' ? found[name] : undefined;
}

/** The data with another value at a place; undefined takes it away, and a block that is empty then, too. */
export function withValue(values, [section, name], value) {
  const before = values ?? {};
  if (name === undefined) return tidy(before, section, value);
  const found = before[section];
  const block = typeof found === 'string' ? { name: found } : typeof found === 'boolean' ? { enabled: found } : found && typeof found === 'object' ? found : {};
  const after = tidy(block, name, value);
  return tidy(before, section, Object.keys(after).length ? after : undefined);
}

const tidy = (object, name, value) => (value === undefined ? without(object, name) : { ...object, [name]: value });

/** A problem's place as it is called in an id: `training.learning_rate`. */
export const nameOf = (path) => path.slice(0, 2).join('.');
