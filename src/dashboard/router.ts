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

/// Set by a page while something was typed there that leaving it would lose.
export const unsaved = signal(false);
/// What somebody wants to do who has to say first that what was typed may be lost.
export const leaving = signal<(() => void) | null>(null);

export function ask_first(then: () => void): void {
  if (unsaved.peek()) leaving.value = then;
  else then();
}

/// `replace` for what is no step of its own, such as typing into a filter.
export function go(to: string, replace = false): void {
  if (unsaved.peek() && new URL(to, location.href).pathname !== place.peek().path) {
    leaving.value = () => go(to, replace);
    return;
  }
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
    const was = place.peek();
    if (unsaved.peek() && location.pathname !== was.path) {
      const to = location.pathname + location.search + location.hash;
      leaving.value = () => go(to);
      history.pushState(null, '', was.path + was.search + was.hash);
      return;
    }
    place.value = here();
  });
  addEventListener('beforeunload', e => unsaved.peek() && e.preventDefault());
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

/// What was typed is given up, and what was held is done.
export function leave(): void {
  const then = leaving.peek();
  unsaved.value = false;
  leaving.value = null;
  then?.();
}
