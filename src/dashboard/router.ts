// Which page an address names, and moving between pages without loading the document again. The addresses are those of
// pages.json, for which the coordinator answers the document.
import { signal } from '@preact/signals';

export interface place {
  path: string;
  search: string;
  hash: string;
}

const here = (): place => ({ path: location.pathname, search: location.search, hash: location.hash });

export const place = signal<place>(here());

/// `replace` for what is no step of its own, such as typing into a filter.
export function go(to: string, replace = false): void {
  if (replace) history.replaceState(null, '', to);
  else history.pushState(null, '', to);
  const before = place.value.path;
  place.value = here();
  if (place.value.path !== before) {
    scrollTo(0, 0);
    // A screen reader starts reading at the new page's heading.
    requestAnimationFrame(() => document.querySelector<HTMLElement>('h1')?.focus({ preventScroll: true }));
  }
}

export function start_router(): void {
  place.value = here(); // a token may have been taken out of it
  addEventListener('popstate', () => {
    place.value = here();
  });
  // Plain clicks on links of ours; everything else is the browser's.
  document.addEventListener('click', e => {
    if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
    const link = (e.target as Element).closest?.('a');
    if (!link || link.target || link.origin !== location.origin || link.hasAttribute('download')) return;
    if (link.pathname.startsWith('/api/')) return;
    e.preventDefault();
    go(link.pathname + link.search + link.hash);
  });
}
