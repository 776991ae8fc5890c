// The rows of a long list that grows at its top while somebody reads it: what is known changes in place, and what is
// new waits until it is wanted. Pure; the list of runs is made of it.

export interface row {
  id: string; // later ones are larger
}

export interface page_of<T> {
  items: T[];
  next_cursor: string | null;
}

export interface rows<T extends row> {
  items: T[];
  /// The cursor of what comes below; null when that is all.
  next: string | null;
  /// What came while one was reading. Between it and the items nothing is missing, unless `fresh_next` is set.
  fresh: T[];
  /// When more came than a page holds: then the page stands for itself, with its own cursor.
  fresh_next: string | null;
  /// Ids that do not fit the filter any more.
  gone: Set<string>;
}

const MOST = 500; // rows that are kept for somebody who only looks at the top

export function first_rows<T extends row>(page: page_of<T>): rows<T> {
  return { items: page.items, next: page.next_cursor, fresh: [], fresh_next: null, gone: new Set() };
}

/// The first page as it is now, laid over what is shown. With `hold` nothing moves.
export function lay_over<T extends row>(was: rows<T>, page: page_of<T>, hold: boolean): rows<T> {
  const known = new Set(was.items.map(r => r.id));
  const hole = was.items.length > 0 && page.next_cursor !== null && !page.items.some(r => known.has(r.id));
  if (!hold && (hole || was.items.length > MOST)) return first_rows(page);
  const now = new Map(page.items.map(r => [r.id, r]));
  const items = was.items.map(r => now.get(r.id) ?? r);
  const oldest = page.items.length > 0 ? page.items[page.items.length - 1].id : '';
  const gone = new Set(was.gone);
  for (const r of items) {
    if (now.has(r.id)) gone.delete(r.id);
    else if (page.next_cursor === null || r.id > oldest) gone.add(r.id);
  }
  const last = items.length > 0 ? items[items.length - 1].id : '';
  const fresh = page.items.filter(r => !known.has(r.id) && (r.id > last || was.next === null));
  if (hold) return { items, next: was.next, gone, fresh, fresh_next: hole ? page.next_cursor : null };
  const all = [...fresh, ...items].sort((a, b) => (a.id < b.id ? 1 : -1));
  return { items: all, next: was.next, gone, fresh: [], fresh_next: null };
}

/// What waited comes in.
export function take_fresh<T extends row>(was: rows<T>): rows<T> {
  if (was.fresh_next !== null) return first_rows({ items: was.fresh, next_cursor: was.fresh_next });
  const all = [...was.fresh, ...was.items].sort((a, b) => (a.id < b.id ? 1 : -1));
  return { ...was, items: all, fresh: [] };
}

/// A further page below.
export function append<T extends row>(was: rows<T>, page: page_of<T>): rows<T> {
  const known = new Set(was.items.map(r => r.id));
  return { ...was, items: [...was.items, ...page.items.filter(r => !known.has(r.id))], next: page.next_cursor };
}
