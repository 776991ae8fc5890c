// Which address fits which pattern, as the coordinator's router reads them. Pure.

/// Parts of `path` that the {…} of `pattern` match, or null.
export function match(pattern: string, path: string): string[] | null {
  const wanted = pattern.split('/');
  const given = path.split('/');
  if (wanted.length !== given.length) return null;
  const found: string[] = [];
  for (let i = 0; i < wanted.length; ++i) {
    if (wanted[i].startsWith('{')) {
      try {
        found.push(decodeURIComponent(given[i]));
      } catch {
        return null;
      }
      if (given[i] === '') return null;
    } else if (wanted[i] !== given[i]) {
      return null;
    }
  }
  return found;
}
