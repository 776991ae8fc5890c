// Which runs a list shows: the filter as it stands in the address bar, in the API's parameters, and in the body of
// a bulk action. Pure.
export interface run_filter {
  state: string[];
  job: string;
  worker: string;
  tag: string;
  since: string;
}

export const run_states = [
  'queued',
  'active',
  'retry_wait',
  'unknown',
  'succeeded',
  'failed',
  'cancelled',
  'expired',
  'skipped',
];
const texts = ['job', 'worker', 'tag', 'since'] as const;

export const no_filter: run_filter = { state: [], job: '', worker: '', tag: '', since: '' };

/// States that do not exist are left out: an address somebody mistyped still shows a list.
export function filter_of(search: string): run_filter {
  const given = new URLSearchParams(search);
  const filter: run_filter = { ...no_filter, state: [] };
  const wanted = (given.get('state') ?? '').split(',');
  filter.state = run_states.filter(s => wanted.includes(s));
  for (const key of texts) filter[key] = (given.get(key) ?? '').trim();
  return filter;
}

/// What goes behind the address, with its question mark; empty without a filter. The API takes the same words.
export function search_of(filter: run_filter): string {
  const parts: string[] = [];
  if (filter.state.length > 0) parts.push('state=' + filter.state.join(','));
  for (const key of texts) {
    if (filter[key] !== '') parts.push(`${key}=${encodeURIComponent(filter[key])}`);
  }
  return parts.length === 0 ? '' : '?' + parts.join('&');
}

/// The same as members of a request's body.
export function body_of(filter: run_filter): Record<string, string> {
  const body: Record<string, string> = {};
  if (filter.state.length > 0) body.state = filter.state.join(',');
  for (const key of texts) if (filter[key] !== '') body[key] = filter[key];
  return body;
}

export function is_empty(filter: run_filter): boolean {
  return search_of(filter) === '';
}
