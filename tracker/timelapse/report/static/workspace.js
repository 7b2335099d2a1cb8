// MLflow's workspace, where there are several: the page's own `?workspace=` goes along with every address.

const NAME = 'workspace';

/** An address with the page's workspace in it; MLflow's pages have it in the query of their route, behind the `#`. */
export function inWorkspace(address, search = location.search) {
  const workspace = new URLSearchParams(search).get(NAME);
  if (!workspace) return address;
  const [path, hash] = address.split(/#(.*)/s);
  if (hash?.startsWith('/')) return `${path}#${withQuery(hash, workspace)}`;
  return withQuery(path, workspace) + (hash === undefined ? '' : `#${hash}`);
}

const withQuery = (path, workspace) => `${path}${path.includes('?') ? '&' : '?'}${NAME}=${encodeURIComponent(workspace)}`;
